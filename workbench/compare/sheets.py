"""A comparison as text cells: one unit a column, numbers with the digits they deserve, footnotes that say how."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from workbench.compare.comparison import Cell, Comparison
from workbench.compare.measures import Kind
from workbench.compare.statistics import DRAWN, EXACT, FEWEST, LEVEL, Interval
from workbench.report.units import UNKNOWN

_STEPS: dict[Kind, tuple[tuple[float, str], ...]] = {
    "percent": ((0.01, "%"),),
    "points": ((0.01, "points"),),
    "bytes": tuple((1024.0**power, unit) for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB"))),
    "joules": tuple(
        (10.0**power, unit) for power, unit in ((-12, "pJ"), (-9, "nJ"), (-6, "µJ"), (-3, "mJ"), (0, "J"))
    ),
    "seconds": ((1e-3, "ms"), (1.0, "s"), (60.0, "min"), (3600.0, "h")),
    "count": ((1.0, ""), (1e3, "thousand"), (1e6, "million"), (1e9, "billion")),
    "rate": ((1.0, ""),),
    "number": ((1.0, ""),),
}
_PATIENCE = {"min": 10.0, "h": 10.0, "thousand": 10.0}
"""How many there must be of units that people are slow to change to."""


@dataclass(frozen=True)
class Sheet:
    """A table of text. heads: title and unit of each column; the first is the group. bold: cells by row and column."""

    title: str
    heads: tuple[tuple[str, str], ...]
    rows: tuple[tuple[str, ...], ...]
    bold: frozenset[tuple[int, int]]
    warnings: tuple[str, ...]
    footnotes: tuple[str, ...]


def sheets(comparison: Comparison) -> list[Sheet]:
    """Return the table of means and, with a reference, that of the differences to it."""
    found = [_means(comparison)]
    if comparison.reference is not None:
        found.append(_differences(comparison))
    # What is said of all stands once, below the last.
    found[-1] = Sheet(
        **{**vars(found[-1]), "footnotes": (*found[-1].footnotes, *_sentences(comparison.notes))}
    )
    return found


def unit_of(kind: Kind, values: Sequence[float]) -> tuple[float, str]:
    """Return what one unit is worth and its name: that in which the middle one of the values is 1 or a little more.

    >>> unit_of("bytes", [2048.0, 5000.0]), unit_of("joules", [3e-7]), unit_of("seconds", [90.0])
    ((1024.0, 'KiB'), (1e-09, 'nJ'), (1.0, 's'))
    """
    sizes = [abs(value) for value in values if value]
    steps = _STEPS[kind]
    middle = median(sizes) if sizes else 1.0
    # Two minutes read better as 120 s, and 5,000 writes as they are.
    fitting = [step for step in steps if middle >= step[0] * _PATIENCE.get(step[1], 1.0)]
    return fitting[-1] if fitting else steps[0]


def number(value: float, kind: Kind, *, spread: float = 0.0, sign: bool = False) -> str:
    """Return a number in its column's unit: one decimal of per cent, else three digits, more if the spread is finer.

    >>> number(12.345, "percent"), number(0.01234, "seconds"), number(148.3, "bytes"), number(7, "bytes", spread=0.02)
    ('12.3', '0.0123', '148', '7.00')
    """
    digits = decimals(value, kind, spread)
    rounded = round(value, digits) + 0.0
    return f"{rounded:+,.{digits}f}" if sign and rounded else f"{rounded:,.{digits}f}"


def decimals(value: float, kind: Kind, spread: float = 0.0) -> int:
    """Return how many digits after the point a number of a column deserves."""
    if kind in ("percent", "points"):
        return 1
    if kind == "count" and value == int(value) and spread == 0:
        return 0
    wanted = [2 - math.floor(math.log10(abs(value)))] if value else [0]
    wanted += [-math.floor(math.log10(spread))] if spread > 0 else []
    return min(max(*wanted, 0), 4)


def _means(comparison: Comparison) -> Sheet:
    heads, columns = [("", ""), ("seeds", "")], []
    for index, measure in enumerate(comparison.columns):
        cells = [row[index] for row in comparison.cells]
        factor, unit = unit_of(measure.kind, [cell.interval.mean for cell in cells if cell.interval])
        heads.append((measure.title, unit))
        kind = _counted(measure.kind, factor)
        columns.append([_mean(cell, kind, factor, comparison, row) for row, cell in enumerate(cells)])
    rows = [
        (group.name, str(len(group.runs)), *(column[row] for column in columns))
        for row, group in enumerate(comparison.groups)
    ]
    bold = {
        (row, column + 2)
        for row, cells in enumerate(comparison.cells)
        for column, cell in enumerate(cells)
        if cell.best
    }
    footnotes = _mean_footnotes(comparison, bool(bold))
    return Sheet(
        comparison.heading, tuple(heads), tuple(rows), frozenset(bold), comparison.warnings, tuple(footnotes)
    )


def _mean(cell: Cell, kind: Kind, factor: float, comparison: Comparison, row: int) -> str:
    found = cell.interval
    if found is None:
        return UNKNOWN
    half = _half(found) / factor
    text = number(found.mean / factor, kind, spread=half)
    if half:
        # As many digits as the mean has.
        text += f" ± {half:,.{decimals(found.mean / factor, kind, half)}f}"
    fewer = found.seeds < len(comparison.groups[row].runs)
    return f"{text} ({found.seeds})" if fewer else text


def _counted(kind: Kind, factor: float) -> Kind:
    """Return `count` for what is told one by one, which needs no decimals; thousands of it are a number like others."""
    if kind not in ("count", "bytes"):
        return kind
    return "count" if factor == 1 else "number"


def _half(found: Interval) -> float:
    return 0.0 if found.high is None else found.high - found.mean


def _mean_footnotes(comparison: Comparison, marked: bool) -> list[str]:
    level = f"{100 * LEVEL:.0f} %"
    several = any(len(group.runs) > 1 for group in comparison.groups)
    found = []
    if several:
        found.append(
            f"mean ± half of the {level} confidence interval over seeds (Student's t); none where all seeds agree"
        )
    if any(len(group.runs) == 1 for group in comparison.groups):
        found.append("a single seed has no interval, and proves no difference")
    if any(
        cell.interval and cell.interval.seeds < len(group.runs)
        for group, row in zip(comparison.groups, comparison.cells, strict=True)
        for cell in row
    ):
        found.append("(n): only n of the seeds have this value")
    if marked:
        found.append(
            "best of its column: differs from every other group, paired by seed, at 5 % after Holm's correction "
            f"({_method(comparison)})"
        )
    elif len(comparison.groups) > 1 and several and not comparison.mixed:
        found.append(
            f"no column has a best: no group differs from every other at 5 % ({_method(comparison)}, Holm)"
        )
    return _sentences(found)


def _method(comparison: Comparison) -> str:
    """Return how differences were judged over the seeds at hand."""
    seeds = {
        len(set(one.seeds) & set(other.seeds))
        for place, one in enumerate(comparison.groups)
        for other in comparison.groups[:place]
    }
    if any(count >= FEWEST for count in seeds):
        drawn = "" if max(seeds) <= EXACT else f", {DRAWN:,} resamples"
        return f"paired studentised bootstrap{drawn}; Student's t where seeds are too few or too alike"
    return "paired Student's t" if max(seeds, default=0) > 1 else "fixed by the configuration"


def _differences(comparison: Comparison) -> Sheet:
    place = next(row for row, group in enumerate(comparison.groups) if group.name == comparison.reference)
    others = [row for row in range(len(comparison.groups)) if row != place]
    heads, columns, bold = [("", ""), ("seeds", "")], [], set()
    for index, measure in enumerate(comparison.columns):
        cells = [comparison.cells[row][index] for row in others]
        apart = [cell.difference.mean for cell in cells if cell.difference]
        means = [cell.interval.mean for cell in cells if cell.interval]
        factor, unit = unit_of(measure.kind, apart if any(apart) else means)
        heads.append((measure.title, "points" if unit == "%" else unit))
        columns.append([_difference(cell, _counted(measure.kind, factor), factor) for cell in cells])
        significant = [cell.adjusted is not None and cell.adjusted <= 1 - LEVEL for cell in cells]
        bold |= {(row, index + 2) for row, is_so in enumerate(significant) if is_so}
    base = set(comparison.groups[place].seeds)
    rows = [
        (
            comparison.groups[row].name,
            str(len(base & set(comparison.groups[row].seeds))),
            *(column[line] for column in columns),
        )
        for line, row in enumerate(others)
    ]
    footnote = (
        f"difference to {comparison.reference} over common seeds [95 % interval, {_method(comparison)}]; "
        "marked: significant at 5 % after Holm's correction for the groups of the column"
    )
    title = f"{comparison.heading}: difference to {comparison.reference}"
    return Sheet(
        title, tuple(heads), tuple(rows), frozenset(bold), comparison.warnings, (_sentence(footnote),)
    )


def _difference(cell: Cell, kind: Kind, factor: float) -> str:
    found = cell.difference
    if found is None:
        return UNKNOWN
    if found.low is None or found.high is None or found.low == found.high:
        return number(found.mean / factor, kind, sign=True)
    half = (found.high - found.low) / 2 / factor
    ends = ", ".join(number(end / factor, kind, spread=half, sign=True) for end in (found.low, found.high))
    return f"{number(found.mean / factor, kind, spread=half, sign=True)} [{ends}]"


def _sentences(texts: Sequence[str]) -> list[str]:
    return [_sentence(text) for text in texts]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + ("" if text.endswith(".") else ".")
