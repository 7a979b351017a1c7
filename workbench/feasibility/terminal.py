"""A study in the terminal: the table of verdicts, and what stands against each pair."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench.feasibility.study import Study
from workbench.feasibility.words import HEADS, UNITS, budgets, not_followed, rows, tolerances

COLOURS = {
    "feasible": "green",
    "feasible with reservations": "yellow",
    "unknown": "magenta",
    "not feasible": "red",
    "reference": "dim",
    "met": "",
    "reservation": "yellow",
    "missed": "red",
}
SHORT = {"feasible with reservations": "reservations"}
"""Verdicts that are too long for a column."""
WORDS = ("learner", "hardware", "verdict")
APART = 2
"""Characters between two columns."""
LEFT_OUT = ("writes", "forgetting", "energy", "power", "vs ideal", "memory", "lifetime")
"""Columns that a narrow terminal has no room for, the first to go first."""


def print_study(console: Console, study: Study) -> None:
    """Print verdicts, reasons and tolerances."""
    console.print(_verdicts(study, console.width))
    console.print(
        Text("budgets: " + "; ".join(f"{name} {text}" for name, text in budgets(study.budget)), style="dim")
    )
    console.print(Text("memory*: with the weights, which ideal hardware keeps in it\n", style="dim"))
    for verdict in study.verdicts:
        head = Text(f"{verdict.learner} on {verdict.device}: ", style="bold")
        console.print(head.append(verdict.answer, style=COLOURS[verdict.answer]))
        for one in verdict.reasons:
            line = Text(f"  {one.criterion} ")
            line.append(one.status, style=COLOURS[one.status])
            console.print(line.append(f": {one.reason}"), soft_wrap=True)
    found = tolerances(study)
    for note in not_followed(study):
        console.print(Text(note, style="dim"))
    if found:
        table = _table("Lost no more than allowed")
        for name in ("hardware", "learner", "axis", "tolerated"):
            table.add_column(name)
        for cells in found:
            table.add_row(*cells)
        console.print("", table)
    if study.missing:
        count = len(study.missing)
        many = "s of the study are" if count > 1 else " of the study is"
        text = f"{count} run{many} not finished; what is not known without is left out"
        console.print(Text(text, style="yellow"))
        console.print(
            f"To go on: workbench feasibility --out {study.folder}", highlight=False, soft_wrap=True
        )


def _verdicts(study: Study, width: int) -> Table:
    table = _table(f"Can it learn on the chip? {study.request.scenario}")
    found = rows(study)
    shown = _fitting([dict(zip(HEADS, map(_short, one.cells), strict=True)) for one in found], width)
    for head in shown:
        table.add_column(_titled(head), justify="left" if head in WORDS else "right", no_wrap=True)
    for one in found:
        style = {head: COLOURS.get(status, "") for head, status in one.status.items()}
        style["verdict"] = COLOURS[one.cells[2]]
        cells = zip(HEADS, one.cells, strict=True)
        table.add_row(*(Text(_short(text), style.get(head, "")) for head, text in cells if head in shown))
    return table


def _fitting(cells: Sequence[Mapping[str, str]], width: int) -> list[str]:
    """Return the heads of the columns that fit into `width` characters, the less telling ones left out first."""
    widths = {head: max(len(_titled(head)), *(len(row[head]) for row in cells)) + APART for head in HEADS}
    for head in LEFT_OUT:
        if sum(widths.values()) > width:
            del widths[head]
    return list(widths)


def _short(text: str) -> str:
    return SHORT.get(text, text)


def _titled(head: str) -> str:
    return f"{head} %" if UNITS[HEADS.index(head)] == "%" else head


def _table(title: str) -> Table:
    return Table(
        title=title,
        title_justify="left",
        title_style="bold",
        box=SIMPLE_HEAD,
        show_edge=False,
        header_style="none",
        padding=(0, 1, 0, 0),
    )
