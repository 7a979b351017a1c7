"""Energy of learning: counts times a table of energies, each with its source.

A table is a small YAML file, one of `tables/` by its name or any other by its path:

    summary: my process                # one line
    scope: arithmetic                  # what the numbers cover
    mac: {energy_pj: 4.6, source: ...} # picojoules of a multiply-accumulate
    ac: {energy_pj: 0.9, source: ...}  # of an accumulate, which for spikes is a synaptic event
    write: {energy_pj: 120, source: ...}   # of writing a weight

Operations that a table has no number for make the energy unknown rather than small. No table says what it takes to
move words between memory and arithmetic unless its numbers contain it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.cost.counts import OperationCount, Operations
from workbench.errors import ConfigurationError, nearest

FOLDER = Path(__file__).parent / "tables"
PICO = 1e-12


class Price(BaseModel):
    """What one operation takes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    energy_pj: float = Field(ge=0, description="energy, picojoules")
    source: str = Field(min_length=1, description="where the number comes from")


class EnergyTable(BaseModel):
    """Energies of operations and writes; None: not known, not counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    summary: str = Field("", description="what the table is of, one line")
    scope: str = Field("arithmetic", min_length=1, description="what the numbers cover")
    mac: Price | None = Field(None, description="a multiply-accumulate")
    ac: Price | None = Field(None, description="an accumulate, or synaptic event")
    write: Price | None = Field(None, description="writing one weight")

    def priced(self) -> dict[str, float]:
        """Return the energy of each kind that has one, picojoules."""
        prices = {"mac": self.mac, "ac": self.ac, "write": self.write}
        return {kind: price.energy_pj for kind, price in prices.items() if price is not None}


def table_names() -> list[str]:
    """Return the names of the tables that come along."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def table_path(table: str) -> Path:
    """Return the file of a table given by name or path. Raises ConfigurationError if there is none."""
    if table in table_names():
        return FOLDER / f"{table}.yaml"
    path = Path(table).expanduser()
    if path.is_file():
        return path.resolve()
    known = ", ".join(table_names())
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ConfigurationError(f"no such file (tables that come along: {known})")
    guess = nearest(table, table_names())
    hint = f"; did you mean {guess}?" if guess else ""
    raise ConfigurationError(f"no table of that name{hint} (allowed: {known}, or the path of a YAML file)")


def load_table(table: str) -> EnergyTable:
    """Return a table by name or path. Raises ConfigurationError, which lists every problem of the file."""
    from workbench.overrides import read_config_file
    from workbench.validation import validate

    path = table_path(table)
    problems: list[str] = []
    found = validate(EnergyTable, read_config_file(path), "", problems)
    if found is None:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    if not found.priced():
        raise ConfigurationError(f"{path}: gives no energy; write mac, ac or write")
    return found


def energy(name: str, table: EnergyTable, count: OperationCount, writes_per_sample: float) -> dict[str, Any]:
    """Return joules of a training sample: forward, learning (weights written included), total; null if not known.

    A phase is not known if it has operations that the table does not price, those on the units' own states aside:
    tables of synaptic events leave these out. left_out: what is not priced, `purpose.kind`. writes: joules of writing
    weights, null if that is not priced.
    """
    prices = table.priced()
    purposes = count.by_purpose()
    left_out = [
        f"{purpose}.{kind}"
        for purpose, part in purposes.items()
        for kind, amount in part.by_kind().items()
        if amount and kind not in prices
    ]
    missing = {entry.partition(".")[0] for entry in left_out} - {"cells"}
    writes = PICO * prices["write"] * writes_per_sample if "write" in prices else None
    forward = None if "synapses" in missing else _joules(prices, count.forward)
    learning = None if missing - {"synapses"} else _joules(prices, count.learning) + (writes or 0.0)
    return {
        "table": name,
        "scope": table.scope,
        "picojoules": prices,
        "left_out": left_out,
        "forward": forward,
        "learning": learning,
        "writes": writes,
        "total": None if forward is None or learning is None else forward + learning,
    }


def _joules(prices: Mapping[str, float], operations: Operations) -> float:
    return PICO * sum(prices.get(kind, 0.0) * amount for kind, amount in operations.by_kind().items())
