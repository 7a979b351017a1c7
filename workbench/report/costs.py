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
    """Return operations and energy of a training sample, writes of weights; None where nothing is known of them.

    results: content of results.json, of which `operations`, `writes` and `energy` may be null or absent.
    """
    operations, energy = results.get("operations") or {}, results.get("energy") or {}
    writes = results.get("writes") or {}
    if not operations and not writes:
        return None
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="none")
    table.title, table.title_justify, table.title_style = "What learning costs", "left", "bold"
    table.add_column("a training sample", min_width=12)
    for name in ("MAC", "AC", "energy"):
        table.add_column(name, justify="right", no_wrap=True)
    for phase in ("forward", "learning"):
        counts = operations.get(phase) or {}
        cells = [amount(counts.get(kind)) for kind in ("mac", "ac")]
        table.add_row(phase, *cells, joules(energy.get(phase)))
    table.add_section()
    totals = [_both(operations, kind) for kind in ("mac", "ac")]
    table.add_row("total", *totals, joules(energy.get("total")), style="bold")
    return Group(table, *_lines(operations, writes, energy))


def _both(operations: Mapping[str, Any], kind: str) -> str:
    forward, learning = ((operations.get(phase) or {}).get(kind) for phase in ("forward", "learning"))
    return UNKNOWN if forward is None or learning is None else amount(forward + learning)


def _lines(
    operations: Mapping[str, Any], writes: Mapping[str, Any], energy: Mapping[str, Any]
) -> Iterator[Text]:
    if writes:
        each, sample = amount(writes.get("per_parameter")), amount(writes.get("per_sample"))
        yield Text(f"each weight written {each} times; {sample} writes a sample")
    if operations:
        yield Text("MAC: multiplies and adds real numbers; AC: adds a weight for a spike", style="dim")
    else:
        yield Text("operations: this rule does not say, or nothing was evaluated", style="dim")
    if energy:
        yield Text(f"energy: {energy.get('scope')}, table {energy.get('table')}", style="dim")
        if energy.get("total") is None:
            priced = " and ".join(energy.get("picojoules") or ()) or "nothing"
            yield Text(f"energy – : the table prices {priced} alone", style="dim")
    if operations.get("modifiers") is False:
        yield Text("modifiers: what they compute is not counted", style="dim")
