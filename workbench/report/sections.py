"""The sections of a report on one protocol: which charts it has, and how to get those whose numbers are missing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workbench.compare.collect import Group
from workbench.compare.measures import MEMORY, Kind
from workbench.compare.sheets import unit_of
from workbench.report import charts, cost_charts, series
from workbench.report.encodings import Axis, Chart, Palette

PERCENT = (0.0, 100.0)
TASKS = Axis("tasks", "tasks learned", whole=True)


@dataclass(frozen=True)
class Section:
    """Charts on one question. missing: in a line, how to get what these runs did not record."""

    title: str
    text: str
    charts: tuple[Chart, ...] = ()
    missing: str = ""


def sections(groups: Sequence[Group], palette: Palette) -> Iterator[Section]:
    """Yield the sections on comparable groups, the question that most ask first."""
    what = _accuracy_name(groups)
    yield _accuracy(groups, palette, what)
    yield _matrix(groups, palette, what)
    yield _trade(groups, palette)
    yield _memory(groups, palette)
    yield _alignment(groups, palette)
    yield _activity(groups, palette)
    yield _dormant(groups, palette)
    yield _cost(groups, palette)


def _accuracy(groups: Sequence[Group], palette: Palette, what: str) -> Section:
    rows = series.seen_accuracy(groups)
    chart = charts.curves(
        rows,
        TASKS,
        Axis("mean", f"{what} on the tasks seen [%]", limits=PERCENT),
        palette,
        title="Accuracy while tasks come in",
        caption=_band_caption(groups),
    )
    text = "Mean test accuracy on the tasks learned so far, after each task. A flat line forgets nothing."
    return Section("Accuracy over tasks", text, (chart,))


def _matrix(groups: Sequence[Group], palette: Palette, what: str) -> Section:
    rows, every = series.accuracy_matrix(groups)
    text = (
        f"R: {what} on each task (columns) after learning each task (rows), mean over seeds. The diagonal is what was "
        "just learned, the last row what is left at the end, above the diagonal are tasks not learned yet."
    )
    caption = f"Every {every}th task is shown." if every > 1 else ""
    chart = charts.heat_maps(rows, palette, title="Accuracy matrix R", caption=caption, what=what)
    return Section("What is kept", text, (chart,))


def _trade(groups: Sequence[Group], palette: Palette) -> Section:
    found = []
    for measure, name, title, higher in (
        ("forgetting", "forgetting [points]", "Forgetting against memory", False),
        ("acc", "ACC at the end [%]", "Accuracy against memory", True),
    ):
        rows = series.trades(groups, measure, higher=higher)
        if rows:
            limits = PERCENT if higher else (-100.0, 100.0)
            found.append(
                cost_charts.pareto(
                    rows, Axis("mean", name, limits=limits), palette, higher=higher, title=title
                )
            )
    text = (
        "The dashed line is the Pareto front: no other group is at least as good in both and better in one. Lines "
        "through points are 95 % intervals over seeds. Read both charts together: who learns nothing forgets nothing."
    )
    missing = "" if found else "These runs hold no memory or no forgetting: it takes two tasks at least."
    return Section("Forgetting and its price in memory", text, tuple(found), missing)


def _memory(groups: Sequence[Group], palette: Palette) -> Section:
    parts = series.memory_parts(groups)
    by_steps = series.memory_by_steps(groups)
    found = []
    if parts:
        axis = Axis("mean", "memory for learning [MiB]")
        found.append(cost_charts.stacks(parts, axis, palette, MEMORY, title="What the memory is made of"))
    if by_steps:
        x, y = Axis("steps", "sequence length T [steps]", log=True), Axis("mean", "memory [MiB]", log=True)
        caption = "Each learner's own formula, one sequence at a time."
        found.append(
            charts.curves(by_steps, x, y, palette, title="Memory over the sequence length", caption=caption)
        )
    text = "What learning holds at once: at its peak in these runs, and by formula for shorter and longer sequences."
    missing = (
        ""
        if by_steps
        else "Memory over T is in results.json of runs made with this version or later: run again."
    )
    return Section("Memory", text, tuple(found), missing)


def _alignment(groups: Sequence[Group], palette: Palette) -> Section:
    rows = series.gradient_alignment(groups)
    text = (
        "Cosine between a learner's gradient and that of back-propagation through time on the same batch, by layer: 1 "
        "is the same direction, 0 no relation."
    )
    if not rows:
        missing = "Not measured in these runs: run with diagnose.gradient=50 (compares at every 50th training step)."
        return Section("Gradient alignment", text, (), missing)
    chart = charts.by_layer(
        rows,
        Axis("epochs", "passes since the start", whole=True),
        Axis("mean", "cosine to BPTT", limits=(-1.0, 1.0)),
        palette,
        title="Gradient alignment",
        caption=_band_caption(groups),
    )
    return Section("Gradient alignment", text, (chart,))


def _activity(groups: Sequence[Group], palette: Palette) -> Section:
    rows = series.by_layer(groups, "spike_rates")
    text = (
        "Mean output of the units of each hidden layer on the test sequences: spikes per unit and time step."
    )
    if not rows:
        return Section(
            "Activity", text, (), "These runs recorded no spike rates: run them again with this version."
        )
    axis = Axis("mean", "spikes per unit and step", limits=(0.0, math.inf))
    chart = charts.by_layer(rows, TASKS, axis, palette, title="Spike rates", caption=_band_caption(groups))
    return Section("Activity", text, (chart,))


def _dormant(groups: Sequence[Group], palette: Palette) -> Section:
    rows = series.by_layer(groups, "dormant", 100.0)
    text = (
        "Share of units whose mean activity on the test sequences is at most 2.5 % of their layer's mean (Sokar et al. "
        "2023): what no longer fires can hardly learn any more."
    )
    if not rows:
        return Section(
            "Dormant units", text, (), "Not recorded in these runs: run them again with this version."
        )
    axis = Axis("mean", "dormant units [%]", limits=PERCENT)
    chart = charts.by_layer(rows, TASKS, axis, palette, title="Dormant units", caption=_band_caption(groups))
    return Section("Dormant units", text, (chart,))


def _cost(groups: Sequence[Group], palette: Palette) -> Section:
    passes = {"forward": "forward pass", "learning": "learning"}
    found, lacking = [], []
    time = series.single(groups, "time_train")
    if time:
        factor, unit = unit_of("seconds", [row["mean"] for row in time])
        axis = Axis("mean", f"time of training [{unit}]")
        rows = series.single(groups, "time_train", 1 / factor)
        found.append(cost_charts.bars(rows, axis, palette, title="Time of training"))
    kinds: tuple[tuple[str, str, Kind], ...] = (
        ("operations", "Operations", "count"),
        ("energy", "Energy", "joules"),
    )
    for name, title, kind in kinds:
        parts = {f"{name}_{part}": told for part, told in passes.items()}
        rows = series.phases(groups, parts, 1.0)
        if rows:
            factor, unit = unit_of(kind, [row["mean"] for row in rows])
            axis = Axis("mean", f"{name} per training sample" + (f" [{unit}]" if unit else ""))
            rows = series.phases(groups, parts, 1 / factor)
            caption = _energy_caption(groups) if name == "energy" else ""
            found.append(
                cost_charts.stacks(rows, axis, palette, tuple(passes.values()), title=title, caption=caption)
            )
        else:
            lacking.append(name)
    found += _energy_by_part(groups, palette)
    writes = series.single(groups, "writes_per_sample")
    if writes:
        axis = Axis("mean", "weights written per training sample")
        found.append(cost_charts.bars(writes, axis, palette, title="Writes"))
    else:
        lacking.append("writes")
    worn = series.single(groups, "device_writes_max")
    if worn:
        axis = Axis("mean", "writes of the device written most, over the run")
        caption = "Memory cells endure so many writes and no more."
        found.append(cost_charts.bars(worn, axis, palette, title="Writes of devices", caption=caption))
    missing = f"No {', '.join(lacking)} in these results: run again with this version." if lacking else ""
    return Section(
        "Time, operations, energy, writes", "What learning costs besides memory.", tuple(found), missing
    )


def _energy_by_part(groups: Sequence[Group], palette: Palette) -> list[Chart]:
    """Return what takes the energy; nothing where it is not told."""
    parts = {"energy_digital": "digital", "energy_periphery": "periphery", "energy_cells": "devices"}
    rows = series.phases(groups, parts, 1.0)
    if not rows:
        return []
    totals: dict[str, float] = {}
    for row in rows:
        totals[row["group"]] = totals.get(row["group"], 0.0) + row["mean"]
    factor, unit = unit_of("joules", list(totals.values()))
    axis = Axis("mean", f"energy per training sample [{unit}]")
    rows = series.phases(groups, parts, 1 / factor)
    caption = (
        "Digital: arithmetic and words moved. Periphery: converters, buffers and wires around the devices."
    )
    title = "Energy by what takes it"
    return [cost_charts.stacks(rows, axis, palette, tuple(parts.values()), title=title, caption=caption)]


def _energy_caption(groups: Sequence[Group]) -> str:
    """Return which table the energies come from, and what they count."""
    found = {
        f"{energy.get('scope', 'arithmetic')} by {energy['table']}"
        for group in groups
        for run in group.runs
        if (energy := run.results.get("energy")) and energy.get("table")
    }
    return f"Estimated: {'; '.join(sorted(found))}." if found else ""


def _accuracy_name(groups: Sequence[Group]) -> str:
    frames = any(run.results.get("predicts_steps") for group in groups for run in group.runs)
    return "frame accuracy" if frames else "test accuracy"


def _band_caption(groups: Sequence[Group]) -> str:
    if all(len(group.runs) == 1 for group in groups):
        return "One seed each, so there is no band."
    return "Line: mean over seeds. Band: its 95 % confidence interval (Student's t), cut off at the edge."
