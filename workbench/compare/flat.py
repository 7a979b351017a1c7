"""Comparisons as plain numbers for other programs: one row a group or one row a run, as CSV or Parquet."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.compare.collect import Group, RunRecord, spelled
from workbench.compare.comparison import Cell, Comparison
from workbench.runfolder import replacing, write_atomically

Row = dict[str, Any]


def group_rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """Return one row a group: what it is, and of each measure NAME_mean, _low, _high, _n, _best.

    With a reference also NAME_difference, _difference_low, _difference_high, _difference_n, _difference_p (after Holm's
    correction). Units: fractions, bytes, joules, seconds, counts. What is not known is None.
    """
    rows = []
    for comparison in comparisons:
        for group, cells in zip(comparison.groups, comparison.cells, strict=True):
            row = _about(comparison, group) | {"seeds": " ".join(map(str, group.seeds))}
            for measure, cell in zip(comparison.columns, cells, strict=True):
                row |= _numbers(measure.name, cell, comparison.reference is not None)
            rows.append(row)
    return _filled(rows)


def run_rows(comparisons: Sequence[Comparison]) -> list[Row]:
    """Return one row a run: what it is, its folder and seed, and its measures, in the units of `group_rows`."""
    rows = []
    for comparison in comparisons:
        for group in comparison.groups:
            for run in group.runs:
                row = _about(comparison, group) | {"seed": run.seed, "folder": str(run.folder)}
                rows.append(row | {one.name: one.read(run.results) for one in comparison.columns})
    return _filled(rows)


def to_csv(rows: Sequence[Row]) -> str:
    """Return rows with a header line; None is an empty field, and numbers have all their digits."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def write_csv(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as CSV in one move."""
    write_atomically(path, to_csv(rows).encode())


def write_parquet(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as Parquet in one move; a column without any value is one of numbers."""
    import pyarrow
    import pyarrow.parquet

    arrays = {}
    for key in rows[0]:
        values = [row[key] for row in rows]
        empty = all(value is None for value in values)
        arrays[key] = pyarrow.array(values, type=pyarrow.float64() if empty else None)
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.table(arrays), temporary, compression="zstd")


def _about(comparison: Comparison, group: Group) -> Row:
    run: RunRecord = group.runs[0]
    row: Row = {
        "table": comparison.heading,
        "mixed": comparison.mixed,
        "group": group.name,
        **{key: run.settings[key] for key in ("scenario", "learner", "backbone", "hardware")},
        "dataset": str(run.results["dataset"]["name"]),
        "synthetic": bool(run.results["dataset"].get("synthetic")),
    }
    row |= {key: spelled(value) for key, value in group.varied.items() if key not in row and key != "data"}
    return row


def _numbers(name: str, cell: Cell, compared: bool) -> Row:
    found = cell.interval
    row: Row = {
        f"{name}_mean": found and found.mean,
        f"{name}_low": found and found.low,
        f"{name}_high": found and found.high,
        f"{name}_n": found.seeds if found else 0,
        f"{name}_best": cell.best,
    }
    if compared:
        apart = cell.difference
        row |= {
            f"{name}_difference": apart and apart.mean,
            f"{name}_difference_low": apart and apart.low,
            f"{name}_difference_high": apart and apart.high,
            f"{name}_difference_n": apart.seeds if apart else 0,
            f"{name}_difference_p": cell.adjusted,
        }
    return row


def _filled(rows: Sequence[Row]) -> list[Row]:
    """Give all rows the same keys, settings that only some groups vary before the numbers."""
    first = max(rows, key=len)
    keys = [*first, *(key for row in rows for key in row if key not in first)]
    return [{key: row.get(key) for key in dict.fromkeys(keys)} for row in rows]
