"""What learning cost besides memory and time, as a table: operations, writes, energy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.report.units import UNKNOWN, amount, joules


def cost_table(results: Mapping[str, Any]) -> RenderableType | None:
    """Return operations, words and energy of a training sample, writes of weights and devices; None where unknown.

    results: content of results.json, of which `operations`, `writes`, `energy` and `devices` may be null or absent.
    """
    operations, energy = results.get("operations") or {}, results.get("energy") or {}
    writes, devices = results.get("writes") or {}, results.get("devices") or {}
    if not operations and not writes and not devices:
        return None
    words = operations.get("words") or {}
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="none")
    table.title, table.title_justify, table.title_style = "What learning costs", "left", "bold"
    table.add_column("a training sample", min_width=12)
    for name in ("MAC", "AC", *(["words"] if words else []), "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    for phase in ("forward", "learning"):
        counts = operations.get(phase) or {}
        cells = [amount(counts.get(kind)) for kind in ("mac", "ac")]
        cells += [amount(words.get(phase))] if words else []
        table.add_row(phase, *cells, joules(energy.get(phase)))
    table.add_section()
    totals = [_both(operations, kind) for kind in ("mac", "ac")]
    totals += [amount(words.get("total"))] if words else []
    table.add_row("total", *totals, joules(energy.get("total")), style="bold")
    lines = [*_written(writes, devices), *_read(operations), *_parts(energy)]
    return Group(table, *lines, *_remarks(operations, energy))


def _both(operations: Mapping[str, Any], kind: str) -> str:
    forward, learning = ((operations.get(phase) or {}).get(kind) for phase in ("forward", "learning"))
    return UNKNOWN if forward is None or learning is None else amount(forward + learning)


def _written(writes: Mapping[str, Any], devices: Mapping[str, Any]) -> Iterator[Text]:
    if writes:
        each, sample = amount(writes.get("per_parameter")), amount(writes.get("per_sample"))
        asked = "to be written" if devices else "written"
        yield Text(f"each weight {asked} {each} times; {sample} writes a sample")
    counted = devices.get("writes") or {}
    if counted:
        most, p99 = amount(counted.get("max")), amount(counted.get("p99"))
        yield Text(
            f"devices written {amount(counted.get('per_sample'))} times a sample; in all, the most written one "
            f"{most} times, 99 of 100 at most {p99}"
        )


def _read(operations: Mapping[str, Any]) -> Iterator[Text]:
    total = (operations.get("reads") or {}).get("total") or {}
    if total:
        tiles, cells, converted = (amount(total.get(kind)) for kind in ("tiles", "cells", "converted"))
        yield Text(f"reads a sample: {tiles} of tiles, {cells} devices, {converted} conversions")


def _parts(energy: Mapping[str, Any]) -> Iterator[Text]:
    """Tell what takes the energy: devices and what surrounds them, or arithmetic and words."""
    names = ("cells", "periphery", "digital") if energy.get("cells") is not None else ("arithmetic", "words")
    known = [f"{name} {joules(energy[name])}" for name in names if energy.get(name) is not None]
    written = energy.get("writes")
    if len(known) > 1:
        of_writes = f" (writes {joules(written)})" if names[0] == "cells" and written is not None else ""
        yield Text(f"energy: {known[0]}{of_writes}, {', '.join(known[1:])}")


def _remarks(operations: Mapping[str, Any], energy: Mapping[str, Any]) -> Iterator[Text]:
    if operations:
        moved = "; words: moved to or from memory" if operations.get("words") else ""
        yield Text(
            f"MAC: multiplies and adds real numbers; AC: adds a weight for a spike{moved}", style="dim"
        )
        if operations.get("reads"):
            yield Text("operations and words: of the algorithm, as if all were digital", style="dim")
    else:
        yield Text("operations: this rule does not say, or nothing was evaluated", style="dim")
    if energy:
        yield Text(f"energy: {energy.get('scope')}, table {energy.get('table')}", style="dim")
        if energy.get("total") is None:
            left_out = ", ".join(energy.get("left_out") or ()) or "something"
            yield Text(f"energy {UNKNOWN} : the table has no price for {left_out}", style="dim")
        if energy.get("assumed"):
            yield Text("what the table takes for granted: energy.assumed in results.json", style="dim")
    if operations.get("modifiers") is False:
        yield Text("modifiers: what they compute is not counted", style="dim")
