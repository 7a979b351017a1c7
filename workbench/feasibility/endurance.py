"""How many writes a device endures: as budgeted, as surveyed for cells of its kind, or as its settings say."""

from __future__ import annotations

import math
from dataclasses import dataclass

from workbench.feasibility.budget import Budget
from workbench.feasibility.quantities import number


@dataclass(frozen=True)
class Cell:
    """What is known of a device's endurance, writes; None for unknown.

    kind: of its cells. least, most: of a survey, and its source. own: of the device's settings. unlimited: memory that
    is written as often as one likes.
    """

    kind: str | None = None
    least: float | None = None
    most: float | None = None
    source: str = ""
    own: float | None = None
    unlimited: bool = False


@dataclass(frozen=True)
class Endurance:
    """Writes that a device endures, infinite without a limit, None for unknown; and where that comes from."""

    writes: float | None
    source: str


def endurance(budget: Budget, cell: Cell) -> Endurance:
    """Return how many writes count against a device's lifetime."""
    if cell.unlimited:
        return Endurance(math.inf, f"{cell.kind} does not wear out")
    wanted = budget.endurance
    if isinstance(wanted, float):
        return Endurance(wanted, f"budget of {number(wanted)} writes")
    if wanted == "device":
        if cell.own is None:
            return Endurance(None, "the device's settings say nothing of endurance: give budget.endurance")
        return Endurance(cell.own, f"{number(cell.own)} writes by the device's settings")
    found = cell.least if wanted == "survey-min" else cell.most
    what = "least" if wanted == "survey-min" else "most"
    if found is None:
        kind = f"{cell.kind} cells" if cell.kind else "cells of this device"
        return Endurance(None, f"no survey at hand says what {kind} endure at {what}: give budget.endurance")
    return Endurance(found, f"{number(found)} writes, the {what} that a survey found for {cell.kind}")
