"""The numbers behind a report's charts: tidy rows of plain data, means over seeds with 95 % intervals."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.compare.collect import Group, RunRecord
from workbench.compare.measures import MEMORY, at, chosen
from workbench.compare.statistics import interval

Row = dict[str, Any]
MEBIBYTE = 1024**2
COSINE = "gradient_cosine/"
MOST_POINTS = 40
"""Points of a curve over epochs; of a longer one neighbours are averaged."""
MOST_CELLS = 20_000
"""Cells of all heat maps of a section; beyond that some tasks are left out."""


def seen_accuracy(groups: Sequence[Group]) -> list[Row]:
    """Return, by group and tasks learned, the mean accuracy on the tasks learned so far, in percent."""
    rows = []
    for group in groups:
        for task in range(max(len(run.results["R"]) for run in group.runs)):
            values = [
                100 * sum(known) / len(known)
                for run in group.runs
                if task < len(run.results["R"])
                and (known := [one for one in run.results["R"][task][: task + 1] if one is not None])
            ]
            rows += _row(values, group=group.name, tasks=task + 1)
    return rows


def accuracy_matrix(groups: Sequence[Group]) -> tuple[list[Row], int]:
    """Return the mean R of each group, in percent, and n: each n-th task is there, and the last."""
    tasks = max(len(run.results["tasks"]) for group in groups for run in group.runs)
    every = 1
    while len(groups) * math.ceil(tasks / every) ** 2 > MOST_CELLS:
        every += 1
    return [row for group in groups for row in _matrix(group, every)], every


def _matrix(group: Group, every: int) -> Iterable[Row]:
    names = group.runs[0].results["tasks"]
    shown = [task for task in range(len(names)) if (len(names) - 1 - task) % every == 0]
    for after in shown:
        for task in shown:
            values = [
                run.results["R"][after][task]
                for run in group.runs
                if after < len(run.results["R"]) and run.results["R"][after][task] is not None
            ]
            if values:
                yield {
                    "group": group.name,
                    "after": after + 1,
                    "task": task + 1,
                    "name": names[task],
                    "accuracy": short(100 * sum(values) / len(values)),
                    "seeds": len(values),
                }


def trades(groups: Sequence[Group], measure: str, *, higher: bool) -> list[Row]:
    """Return a measure in percent points against memory in MiB, one row a group; `front` marks the Pareto front."""
    [read] = [one.read for one in chosen([measure])]
    [memory], [formula] = ([one.read for one in chosen([name])] for name in ("memory", "memory_formula"))
    rows = []
    for group in groups:
        held = _known(memory, group.runs) or _known(formula, group.runs)
        values = [100 * value for value in _known(read, group.runs)]
        if held and values and (size := sum(held) / len(held)) > 0:
            rows += _row(values, group=group.name, memory=short(size / MEBIBYTE))
    costs = [(row["memory"], -row["mean"] if higher else row["mean"]) for row in rows]
    for row, on_front in zip(rows, pareto(costs), strict=True):
        row["front"] = on_front
    return rows


def pareto(costs: Sequence[tuple[float, float]]) -> list[bool]:
    """Return which points no other is at least as good as in both costs and better in one.

    >>> pareto([(1, 3), (2, 2), (2, 3), (3, 2), (4, 1)])
    [True, True, False, False, True]
    """
    return [
        not any(other != one and other[0] <= one[0] and other[1] <= one[1] for other in costs)
        for one in costs
    ]


def memory_by_steps(groups: Sequence[Group]) -> list[Row]:
    """Return the memory that learning takes over the length of a sequence: the learner's formula at batch 1, in MiB."""
    rows = []
    for group in groups:
        given: Mapping[str, Any] = next(
            (run.results["memory_by_steps"] for run in group.runs if run.results.get("memory_by_steps")), {}
        )
        rows += [
            {"group": group.name, "steps": steps, "mean": short(total / MEBIBYTE)}
            for steps, total in zip(given.get("steps") or (), given.get("total") or (), strict=False)
            if total
        ]
    return rows


def memory_parts(groups: Sequence[Group]) -> list[Row]:
    """Return what each group's memory is made of, in MiB; measured, or by formula where nothing was measured."""
    rows = []
    for group in groups:
        for part in MEMORY:
            measured, formula = (
                _known(at("memory", kind, part), group.runs) for kind in ("measured", "formula")
            )
            values = measured or formula
            if values:
                mean = short(sum(values) / len(values) / MEBIBYTE)
                rows.append({"group": group.name, "part": part, "mean": mean})
    return [row for row in rows if row["mean"]]


def phases(groups: Sequence[Group], names: Mapping[str, str], scale: float) -> list[Row]:
    """Return measures of which each is a part of a whole, by group: `names` maps a measure to its part's name."""
    rows = []
    for group in groups:
        for name, part in names.items():
            [measure] = chosen([name])
            values = _known(measure.read, group.runs)
            if values:
                rows.append(
                    {"group": group.name, "part": part, "mean": short(scale * sum(values) / len(values))}
                )
    return rows


def single(groups: Sequence[Group], name: str, scale: float = 1.0) -> list[Row]:
    """Return one measure by group."""
    [measure] = chosen([name])
    return [
        row
        for group in groups
        for row in _row([scale * value for value in _known(measure.read, group.runs)], group=group.name)
    ]


def by_layer(groups: Sequence[Group], key: str, scale: float = 1.0) -> list[Row]:
    """Return what results hold by task and layer (`spike_rates`, `dormant`), by group, layer and tasks learned."""
    rows = []
    for group in groups:
        values: dict[tuple[int, int], list[float]] = defaultdict(list)
        for run in group.runs:
            given = run.results.get(key)
            for task, layers in enumerate(given if isinstance(given, list) else ()):
                for layer, value in enumerate(layers if isinstance(layers, list) else ()):
                    if value is not None:
                        values[layer, task].append(scale * value)
        for (layer, task), found in sorted(values.items()):
            rows += _row(found, group=group.name, layer=f"hidden layer {layer + 1}", tasks=task + 1)
    return rows


def gradient_alignment(groups: Sequence[Group]) -> list[Row]:
    """Return the cosine between a learner's gradients and exact ones, by group, layer and epochs since the start."""
    rows = []
    for group in groups:
        values: dict[tuple[str, int], list[float]] = defaultdict(list)
        for run in group.runs:
            for layer, step, value in _cosines(run.folder):
                values[layer, step].append(value)
        bins = max(1, -(-max((step for _, step in values), default=1) // MOST_POINTS))
        binned: dict[tuple[str, int], list[list[float]]] = defaultdict(list)
        for (layer, step), found in values.items():
            binned[layer, -(-step // bins) * bins].append(found)
        for (layer, step), parts in sorted(binned.items()):
            # Seeds stay apart until the interval is taken: a seed's epochs are no samples of their own.
            seeds = [sum(one) / len(one) for one in zip(*parts, strict=False)]
            rows += _row(seeds, group=group.name, layer=_layer_name(layer), epochs=step)
    return rows


def _cosines(folder: Path) -> list[tuple[str, int, float]]:
    from pyarrow import ArrowException, compute, parquet

    from workbench.errors import DataError
    from workbench.runfolder import RunFolder

    file = RunFolder(folder).metrics_file
    if not file.is_file():
        return []
    try:
        table = parquet.ParquetFile(file).read(columns=["step", "key", "value"])
        table = table.filter(compute.starts_with(table["key"], COSINE))
    except (OSError, KeyError, ArrowException) as error:
        raise DataError(f"{file} is damaged or no Parquet file: {error}") from error
    columns = (table[name].to_pylist() for name in ("key", "step", "value"))
    return [(key.removeprefix(COSINE), step, value) for key, step, value in zip(*columns, strict=True)]


def _layer_name(layer: str) -> str:
    kind, _, number = layer.partition("_")
    return f"hidden layer {int(number) + 1}" if kind == "hidden" and number.isdigit() else layer


def _row(values: Sequence[float], **place: Any) -> list[Row]:
    """Return one row with mean and interval; none if there is no value."""
    found = interval(values)
    if found is None:
        return []
    row = {**place, "mean": short(found.mean), "seeds": found.seeds}
    if found.low is not None and found.high is not None:
        row |= {"low": short(found.low), "high": short(found.high)}
    return [row]


def _known(read: Callable[[Mapping[str, Any]], float | None], runs: Iterable[RunRecord]) -> list[float]:
    return [value for value in (read(run.results) for run in runs) if value is not None]


def short(value: float) -> float:
    """Return a number to five significant digits, which no eye tells from the whole.

    >>> short(81.2345678), short(0.0)
    (81.235, 0.0)
    """
    return float(f"{value:.5g}")
