"""The pictures of a study: accuracy, memory against its budget, writes against endurance, curves along the axes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.compare.statistics import Interval
from workbench.feasibility import canvas, numbers
from workbench.feasibility.axes import REFERENCE, Axis, own_value
from workbench.feasibility.quantities import seconds
from workbench.feasibility.sensitivity import Curve
from workbench.feasibility.study import Study
from workbench.registry import Registry
from workbench.report import theme
from workbench.report.units import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROW = 0.27
"""Height of a row of a picture that lists pairs, inches."""
AROUND = 0.95
"""Height of what stands around the rows, inches."""
ENERGIES = {
    "cells": (theme.PARTS[4].lower(), "o"),
    "periphery": (theme.PARTS[3].lower(), "s"),
    "digital": (theme.PARTS[1].lower(), "^"),
    "total": (canvas.TEXT, "D"),
}
"""Colour and marker of what takes energy."""


@dataclass(frozen=True)
class Picture:
    """A picture: the name of its files, its title, what one should know to read it, SVG text and PNG.

    curves: what it shows along an axis; none for another picture.
    """

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    curves: tuple[Curve, ...] = ()


def pictures(study: Study, registry: Registry) -> list[Picture]:
    """Return every picture for which the study has numbers."""
    made = [_accuracy(study), _memory(study), _writes(study), _energy(study)]
    made += [_along(study, *parts, registry) for parts in study.pictures()]
    return [one for one in made if one is not None]


def _made(name: str, title: str, caption: str, drawn: Figure) -> Picture:
    return Picture(name, title, caption, canvas.as_svg(drawn), canvas.as_png(drawn))


def _legend(drawn: Figure, axes: Axes, count: int) -> None:
    if count:
        drawn.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper left",
            ncols=min(count, 4),
            handlelength=2.2,
            columnspacing=1.2,
        )


def _rows(study: Study) -> Iterator[tuple[str, str, int]]:
    """Yield device and learner of each row from the top, and the learner's place."""
    for device in study.request.devices:
        for place, learner in enumerate(study.request.learners):
            yield device, learner, place


def _accuracy(study: Study) -> Picture | None:
    """Draw accuracy of every learner on every device."""
    devices = [REFERENCE, *study.request.devices]
    learners = study.request.learners
    with canvas.figure(AROUND + ROW * len(devices) * max(1.0, 0.55 * len(learners))) as (drawn, axes):
        step, any_known = 0.7 / max(len(learners), 1), False
        for place, learner in enumerate(learners):
            look = {**canvas.look(place), "linestyle": "none", "markersize": 5}
            points = [
                (row, numbers.mean_of(study.found.of(learner, name), "acc"))
                for row, name in enumerate(devices)
            ]
            known = [(row, one) for row, one in points if one is not None]
            any_known |= bool(known)
            rows = [row + step * (place - (len(learners) - 1) / 2) for row, _ in known]
            for row, (_, one) in zip(rows, known, strict=True):
                low, high = _ends(one)
                axes.plot([low, high], [row, row], color=look["color"], linewidth=1.4, solid_capstyle="butt")
            axes.plot([100 * one.mean for _, one in known], rows, label=learner, **look)
        if not any_known:
            return None
        axes.set_yticks(range(len(devices)), devices)
        axes.set_ylim(len(devices) - 0.5, -0.5)
        axes.set_xlabel("accuracy after the last task, %")
        axes.grid(axis="x", color=canvas.LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        _legend(drawn, axes, len(learners))
        return _made("accuracy", "Accuracy", f"{MEANS}.", drawn)


def _memory(study: Study) -> Picture | None:
    """Draw the digital memory of learning, by category, against its budget."""
    rows: list[tuple[str, numbers.Memory]] = []
    for learner in study.request.learners:
        known = [(name, numbers.memory(study.found.of(learner, name))) for name in study.request.devices]
        found = [(name, one) for name, one in known if one is not None]
        alike = len({one.total for _, one in found}) == 1
        rows += [
            (learner if alike else f"{learner}, {name}", one) for name, one in found[: 1 if alike else None]
        ]
    if not rows:
        return None
    categories = list(dict.fromkeys(name for _, one in rows for name in one.parts))
    unit, told = (1024.0, "KiB") if max(one.total for _, one in rows) < 2**20 else (1024.0**2, "MiB")
    with canvas.figure(AROUND + 0.25 + ROW * len(rows)) as (drawn, axes):
        left = [0.0] * len(rows)
        for place, category in enumerate(categories):
            widths = [one.parts.get(category, 0) / unit for _, one in rows]
            colour = theme.PARTS[place % len(theme.PARTS)].lower()
            axes.barh(range(len(rows)), widths, left=left, height=0.62, color=colour, label=category)
            left = [begin + width for begin, width in zip(left, widths, strict=True)]
        budget = study.budget.sram / unit
        axes.axvline(budget, color=canvas.TEXT, linewidth=1.2, linestyle=(0, (4, 2)))
        axes.text(
            budget, -0.55, f" budget {size(study.budget.sram)}", ha=_side(budget, max(left)), va="bottom"
        )
        axes.set_yticks(range(len(rows)), [name for name, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.6)
        axes.set_xlabel(f"memory besides the weights, {told}")
        axes.set_xlim(0, 1.04 * max(budget, *left))
        _legend_in_rows(drawn, axes, len(categories))
        caption = "Learning from one sequence at a time; the weights are in the devices. Dashed: the budget."
        return _made("memory", "Memory for learning", caption, drawn)


def _side(budget: float, longest: float) -> str:
    return "right" if budget > 0.6 * max(longest, budget) else "left"


def _legend_in_rows(drawn: Figure, axes: Axes, count: int) -> None:
    drawn.legend(
        *axes.get_legend_handles_labels(),
        loc="outside upper left",
        ncols=min(count, 3),
        handlelength=1.0,
        columnspacing=1.2,
    )


def _writes(study: Study) -> Picture | None:
    """Draw the writes of a device within the wanted lifetime against its endurance."""
    rows = []
    for device, learner, place in _rows(study):
        told = study.verdict(learner, device).finding("endurance").numbers
        if told.get("writes_max_per_sample"):
            rows.append((device, learner, place, told))
    if not rows:
        return None
    lifetime = study.budget.lifetime
    seen: set[str] = set()
    with canvas.figure(AROUND + ROW * len(rows)) as (drawn, axes):
        for row, (_, learner, place, told) in enumerate(rows):
            look = {**canvas.look(place), "linestyle": "none", "markersize": 5.5}
            total = lifetime * told["samples_per_second"]
            most = total * told["writes_max_per_sample"]
            usual = total * told["writes_p99"] / told["samples"]
            if usual > 0:
                axes.plot([usual, most], [row, row], color=look["color"], linewidth=1.2)
                axes.plot([usual], [row], **{**look, "markerfacecolor": canvas.GROUND})
            axes.plot([most], [row], label=None if learner in seen else learner, **look)
            seen.add(learner)
            if told["endurance"] is not None and math.isfinite(told["endurance"]):
                axes.plot([told["endurance"]] * 2, [row - 0.38, row + 0.38], color=canvas.TEXT, linewidth=2)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.set_yticks(range(len(rows)), [f"{device}, {learner}" for device, learner, _, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel(f"writes of a device within {seconds(lifetime)}")
        axes.grid(axis="x", color=canvas.LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        _legend(drawn, axes, len(seen))
        caption = (
            "Filled: the device written most; hollow: 99 of 100 are written no more often. Upright stroke: what a "
            "device endures. A mark to the right of its stroke is a device that fails too soon."
        )
        return _made("writes", "Writes against endurance", caption, drawn)


def _energy(study: Study) -> Picture | None:
    """Draw what a training sequence takes, by what takes it, against what the power allows."""
    rows = []
    for device, learner, _ in _rows(study):
        told = study.verdict(learner, device).finding("energy").numbers
        if told.get("parts") or told.get("joules_per_sample"):
            rows.append((device, learner, told))
    if not rows:
        return None
    with canvas.figure(AROUND + ROW * len(rows)) as (drawn, axes):
        from matplotlib.ticker import EngFormatter

        for part, (colour, marker) in ENERGIES.items():
            found = [{**told["parts"], "total": told["joules_per_sample"]}.get(part) for _, _, told in rows]
            places = [row for row, value in enumerate(found) if value]
            look: dict[str, Any] = {"color": colour, "marker": marker, "linestyle": "none", "markersize": 5}
            if part == "total":
                look |= {"markerfacecolor": "none", "markersize": 8}
            if places:
                axes.plot([value for value in found if value], places, label=part, **look)
        for row, (_, _, told) in enumerate(rows):
            allowed = told["budget_watts"] / told["samples_per_second"]
            axes.plot([allowed] * 2, [row - 0.38, row + 0.38], color=canvas.TEXT, linewidth=2)
        axes.set_xscale("log")
        axes.minorticks_off()
        axes.xaxis.set_major_formatter(EngFormatter(unit="J", places=0))
        axes.set_yticks(range(len(rows)), [f"{device}, {learner}" for device, learner, _ in rows])
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlabel("energy of a training sequence")
        axes.grid(axis="x", color=canvas.LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        _legend(drawn, axes, len(ENERGIES))
        caption = "Cells and their periphery; digital: arithmetic and memory. Upright stroke: what the power allows."
        return _made("energy", "Energy", caption, drawn)


def _along(
    study: Study, axis: Axis, device: str, curves: Sequence[Curve], registry: Registry
) -> Picture | None:
    """Draw accuracy along an axis, a line for each learner; ideal hardware stands where devices get better."""
    values = sorted({point.value for curve in curves for point in curve.points})
    better_first = axis.worse == "up"
    ideal_at = -1.2 if better_first else len(values) + 0.2
    with canvas.figure(2.7) as (drawn, axes):
        for curve in curves:
            look = {**canvas.look(study.request.learners.index(curve.learner)), "markersize": 4.5}
            places = [values.index(point.value) for point in curve.points]
            ends = [_ends(point.accuracy) for point in curve.points]
            axes.plot(places, [100 * one.accuracy.mean for one in curve.points], label=curve.learner, **look)
            lows, highs = [low for low, _ in ends], [high for _, high in ends]
            axes.fill_between(places, lows, highs, color=look["color"], alpha=0.13, linewidth=0)
            if curve.ideal is not None:
                low, high = _ends(curve.ideal)
                axes.plot([ideal_at] * 2, [low, high], color=look["color"], linewidth=1, alpha=0.5)
                axes.plot([ideal_at], [100 * curve.ideal.mean], **{**look, "linestyle": "none"})
        name = "float" if axis.unit == "bits" else "ideal"
        _ticks(axes, axis, values, ideal_at, name)
        own = own_value(axis, device, study.request.settings, registry)
        if own in values and device in study.request.devices:
            axes.axvline(values.index(own), color=canvas.LINE, linewidth=5, zorder=0)
        axes.set_ylabel("accuracy, %")
        axes.set_xlabel(axis.title)
        axes.grid(axis="y", color=canvas.LINE, linewidth=0.6)
        axes.set_axisbelow(True)
        _legend(drawn, axes, len(curves))
        # A device may be called `package:name`.
        name = re.sub(r"[^A-Za-z0-9_.+-]", "_", f"{axis.name}-{device}")
        made = _made(name, f"{device}: {axis.title}", CAPTION, drawn)
        return replace(made, curves=tuple(curves))


MEANS = "Mean over seeds and, from three seeds on, its 95 % interval"
CAPTION = f"{MEANS}; the values tried stand at even distances. Grey: the device as it is."
FEWEST = 3
"""Seeds from which on an interval is drawn: that of two seeds is as wide as the picture."""


def _ticks(axes: Axes, axis: Axis, values: Sequence[float | int], ideal_at: float, name: str) -> None:
    places: list[float] = [*range(len(values)), ideal_at]
    axes.set_xticks(places, [*(axis.told(value) for value in values), name])
    axes.set_xlim(min(places) - 0.4, max(places) + 0.4)
    gap = (ideal_at + (0 if ideal_at < 0 else len(values) - 1)) / 2
    axes.axvline(gap, color=canvas.LINE, linewidth=0.8, linestyle=(0, (2, 2)))


def _ends(one: Interval) -> tuple[float, float]:
    """Return both ends of an accuracy's interval in per cent, within what accuracies can be."""
    if one.low is None or one.high is None or one.seeds < FEWEST:
        return 100 * one.mean, 100 * one.mean
    return 100 * max(one.low, 0.0), 100 * min(one.high, 1.0)
