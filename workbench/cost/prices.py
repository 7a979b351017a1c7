"""Tables of energies, each number with its source.

A table is a small YAML file, one of `tables/` by its name or any other by its path. All but one price may be missing:

    summary: my process                    # one line
    scope: arithmetic                      # what the numbers cover
    assumes: [no leakage]                  # what has to be taken for granted
    mac: {energy_pj: 4.6, source: ...}     # picojoules of a multiply-accumulate
    ac: {energy_pj: 0.9, source: ...}      # of an accumulate, which for spikes is a synaptic event
    write: {energy_pj: 120, source: ...}   # of writing a weight, on hardware that is digital
    word: {bytes: {8192: 10, 32768: 20}, source: ...}   # of moving a word to or from a memory of so many bytes

and, for weights in arrays of devices, which are read tile by tile:

    cell: {energy_pj: 0.003, source: ...}          # of a device behind a driven input, in one read
    drive: {energy_pj: 0.1, source: ...}           # of an input of a tile that is driven
    conversion: {energy_pj: 2, source: ...}        # of an output of a tile that is converted
    tile: {energy_pj: 560, rows: 64, columns: 64, source: ...}   # of moving numbers to and from that many cells
    input_bits: 8                                  # real numbers enter bit by bit, that many reads each
    pulse: {rram: {energy_pj: 0.6, source: ...}}   # of writing a device, by kind of cell; `other` for any other kind

What a table has no number for makes the energy unknown rather than small: see `energy.py`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, field_validator

from workbench.errors import ConfigurationError, nearest

FOLDER = Path(__file__).parent / "tables"
AUTO = "auto"
"""The table that fits the hardware."""
DIGITAL, DEVICES = "horowitz-45nm", "spikesim-rram"
"""The tables that `AUTO` stands for: weights in digital memory, and in arrays of devices."""
OTHER = "other"
"""Price of a pulse on any kind of cell without one of its own."""


class _Entry(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    source: str = Field(min_length=1, description="where the number comes from")


class Price(_Entry):
    """What one event takes."""

    energy_pj: float = Field(ge=0, description="energy, picojoules")


class TilePrice(Price):
    """What moving numbers to and from a tile takes at a read; of a larger tile, that of as many as it is made of."""

    rows: int = Field(ge=1, description="inputs of the tile that the number is of")
    columns: int = Field(ge=1, description="outputs of that tile")


class WordPrice(_Entry):
    """What moving a word to or from a memory takes, by the size of the memory."""

    bytes: dict[int, float] = Field(
        min_length=1,
        description="picojoules of a word by bytes of the memory; linear between and down to 0 bytes, 0 pJ; "
        "a larger memory as the largest",
    )

    @field_validator("bytes")
    @classmethod
    def _rises(cls, bytes: dict[int, float]) -> dict[int, float]:
        if min(bytes) <= 0 or min(bytes.values()) < 0:
            raise ValueError("sizes must be above 0, energies at least 0")
        return dict(sorted(bytes.items()))

    def energy_pj(self, size: float) -> float:
        """Return picojoules of a word of a memory of `size` bytes.

        >>> price = WordPrice(bytes={8192: 10, 32768: 20}, source="...")
        >>> [price.energy_pj(size) for size in (0, 4096, 8192, 20480, 1e9)]
        [0.0, 5.0, 10.0, 15.0, 20.0]
        """
        below, least = 0.0, 0.0
        for place, energy in self.bytes.items():
            if size <= place:
                return least + (energy - least) * (size - below) / (place - below)
            below, least = place, energy
        return float(least)


class EnergyTable(BaseModel):
    """Energies of what is counted; None: not known, not counted."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    summary: str = Field("", description="what the table is of, one line")
    scope: str = Field("arithmetic", min_length=1, description="what the numbers cover")
    assumes: list[str] = Field([], description="what has to be taken for granted")
    mac: Price | None = Field(None, description="a multiply-accumulate")
    ac: Price | None = Field(None, description="an accumulate, or synaptic event")
    write: Price | None = Field(None, description="writing one weight in digital memory")
    word: WordPrice | None = Field(None, description="moving a word to or from a memory")
    cell: Price | None = Field(None, description="a device behind a driven input, in one read")
    drive: Price | None = Field(None, description="driving an input of a tile")
    conversion: Price | None = Field(None, description="converting an output of a tile")
    tile: TilePrice | None = Field(None, description="moving numbers to and from a tile at a read")
    input_bits: int | None = Field(
        None,
        ge=1,
        description="real numbers enter a tile bit by bit: reads that one takes where hardware.dac_bits is 0; "
        "null: drivers have levels, one read",
    )
    pulse: dict[str, Price] = Field({}, description="writing a device once, by kind of cell")

    def operations(self) -> dict[str, float]:
        """Return the energy of digital operations by kind, picojoules, as far as there is one."""
        return {kind: price.energy_pj for kind in ("mac", "ac") if (price := getattr(self, kind)) is not None}

    def pulse_of(self, kind: str | None) -> Price | None:
        """Return the price of a pulse on a kind of cell, None if there is none."""
        own = self.pulse.get(kind) if kind else None
        return own or self.pulse.get(OTHER)

    def prices(self, cells: str | None = None, *, devices: bool = False) -> dict[str, object]:
        """Return all energies that apply, picojoules, as plain data; of a word by bytes of its memory.

        devices: those of devices instead of `write`. cells: their kind.
        """
        kinds = ("mac", "ac", *(("cell", "drive", "conversion", "tile") if devices else ("write",)))
        found: dict[str, object] = {
            kind: price.energy_pj for kind in kinds if (price := getattr(self, kind)) is not None
        }
        if self.word is not None:
            found["word"] = {str(size): energy for size, energy in self.word.bytes.items()}
        pulse = self.pulse_of(cells)
        return {**found, "pulse": pulse.energy_pj} if devices and pulse is not None else found


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
    known = ", ".join((AUTO, *table_names()))
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        raise ConfigurationError(f"no such file (tables that come along: {known})")
    guess = nearest(table, (AUTO, *table_names()))
    hint = f"; did you mean {guess}?" if guess else ""
    raise ConfigurationError(f"no table of that name{hint} (allowed: {known}, or the path of a YAML file)")


def chosen_table(table: str, *, devices: bool) -> str:
    """Return the table that is meant. devices: whether weights are in arrays of devices.

    >>> chosen_table("auto", devices=True), chosen_table("loihi", devices=True)
    ('spikesim-rram', 'loihi')
    """
    if table != AUTO:
        return table
    return DEVICES if devices else DIGITAL


def load_table(table: str) -> EnergyTable:
    """Return a table by name or path. Raises ConfigurationError, which lists every problem of the file."""
    from workbench.overrides import read_config_file
    from workbench.validation import validate

    path = table_path(table)
    problems: list[str] = []
    found = validate(EnergyTable, read_config_file(path), "", problems)
    if found is None:
        raise ConfigurationError("\n".join(f"{path}: {problem}" for problem in problems))
    if not found.prices() and not found.prices(devices=True):
        raise ConfigurationError(f"{path}: gives no energy; write mac, ac or write")
    return found
