"""A report's charts of what learning costs: against what it keeps, and by group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from workbench.lazy import lazy_module
from workbench.report import theme
from workbench.report.charts import HEIGHT
from workbench.report.encodings import (
    Axis,
    Chart,
    Palette,
    finished,
    group_tip,
    interval_tips,
    number_tip,
    on,
    opacity,
    range_of,
    tips,
    x_of,
    y_of,
)
from workbench.report.labels import beside
from workbench.report.series import Row

if TYPE_CHECKING:
    import altair as alt
else:
    alt = lazy_module("altair")

NARROW = 330
"""Pixels that a chart is wide at least where its names are placed."""
BAR = 22


def pareto(
    rows: Sequence[Row], y: Axis, palette: Palette, *, higher: bool, title: str, caption: str = ""
) -> Chart:
    """Return a measure against memory, a point a group; those on the Pareto front are named and joined.

    higher: whether more is better. Names stand on the side of the front where no point can be.
    """
    x = Axis("memory", "memory for learning [MiB]", log=True)
    low, high = range_of(rows, x)
    # Room for the first name on the left.
    across, domain = (low / (high / low) ** 0.3, high), range_of(rows, y)
    front = _named(sorted((row for row in rows if row["front"]), key=_memory_of), across, domain, higher)
    ends = [row for row in rows if "low" in row]
    places = {"x": x_of(x, across), "y": y_of(y, domain)}
    steps = on("front").mark_line(
        interpolate="step-after", color=theme.CONTEXT, strokeDash=[4, 3], strokeWidth=1.5
    )
    whiskers = on("ends").mark_rule(strokeWidth=1.5, clip=True)
    points = on("rows").mark_point(size=95, filled=True, strokeWidth=1.5)
    names = on("front").mark_text(align="right", dx=-8, fontSize=12, fontWeight=600)
    layered = alt.layer(
        steps.encode(**places),
        whiskers.encode(
            x=places["x"], y=y_of(y, domain, "low"), y2="high", color=palette.colour(), opacity=opacity(0.6)
        ),
        points.encode(
            **places,
            color=palette.colour(),
            shape=palette.shape(),
            opacity=opacity(),
            fillOpacity=alt.FillOpacityValue(0.35, condition={"test": "datum.front", "value": 1.0}),
            tooltip=tips(x, y),
        ),
        names.encode(
            x=places["x"],
            y=y_of(y, domain, "at"),
            text="group:N",
            color=palette.colour(),
            opacity=opacity(),
        ),
    ).properties(width="container", height=HEIGHT)
    return Chart(title, finished(layered, title, palette, rows=rows, front=front, ends=ends), caption)


def bars(rows: Sequence[Row], x: Axis, palette: Palette, *, title: str, caption: str = "") -> Chart:
    """Return a bar a group, the longest first, with its interval."""
    order = [row["group"] for row in sorted(rows, key=lambda row: (-row["mean"], row["group"]))]
    ends = [{**row, "from": max(row["low"], 0.0)} for row in rows if "low" in row]
    bar = on("rows").mark_bar(cornerRadiusEnd=2, height={"band": 0.7})
    whisker = on("ends").mark_rule(color=theme.CONTEXT, strokeWidth=1.5)
    layered = alt.layer(
        bar.encode(
            y=_side(order),
            x=alt.X("mean:Q", title=x.title, axis=alt.Axis(tickCount=5)),
            color=palette.colour(),
            opacity=opacity(),
            tooltip=[group_tip(), number_tip(x), *interval_tips()],
        ),
        whisker.encode(y=_side(order), x="from:Q", x2="high:Q", opacity=opacity()),
    ).properties(width="container", height=BAR * len(order))
    return Chart(title, finished(layered, title, palette, rows=rows, ends=ends), caption)


def stacks(
    rows: Sequence[Row], x: Axis, palette: Palette, parts: Sequence[str], *, title: str, caption: str = ""
) -> Chart:
    """Return a bar a group made of parts, the longest first. parts: all there can be, in their order."""
    totals = {row["group"]: 0.0 for row in rows}
    for row in rows:
        totals[row["group"]] += row["mean"]
    order = sorted(totals, key=lambda name: (-totals[name], name))
    used = [part for part in parts if any(row["part"] == part for row in rows)]
    data = [{**row, "order": used.index(row["part"])} for row in rows]
    tones = [theme.PARTS[parts.index(part) % len(theme.PARTS)] for part in used]
    legend = alt.Legend(orient="top", title=None, columns=3)
    stacked = on("rows").mark_bar(height={"band": 0.7})
    stacked = stacked.encode(
        y=_side(order),
        x=alt.X("mean:Q", stack="zero", title=x.title, axis=alt.Axis(tickCount=5)),
        color=alt.Color("part:N", scale=alt.Scale(domain=used, range=tones), legend=legend),
        order="order:Q",
        opacity=opacity(),
        tooltip=[group_tip(), alt.Tooltip("part:N", title="part"), number_tip(x)],
    ).properties(width="container", height=BAR * len(order))
    return Chart(title, finished(stacked, title, palette, rows=data), caption)


def _named(
    front: Sequence[Row], across: tuple[float, float], domain: tuple[float, float], higher: bool
) -> list[Row]:
    """Return the front's rows with the places of their names up the axis."""
    low, high = (math.log(end) for end in across)
    points = [
        (
            NARROW * (math.log(row["memory"]) - low) / (high - low),
            HEIGHT * (domain[1] - row["mean"]) / (domain[1] - domain[0]),
        )
        for row in front
    ]
    offsets = beside(points, [row["group"] for row in front], -1 if higher else 1)
    per_pixel = (domain[1] - domain[0]) / HEIGHT
    return [
        {**row, "at": row["mean"] - offset * per_pixel} for row, offset in zip(front, offsets, strict=True)
    ]


def _side(order: Sequence[str]) -> alt.Y:
    return alt.Y("group:N", sort=list(order), title=None, axis=alt.Axis(labelLimit=200, grid=False))


def _memory_of(row: Row) -> float:
    return float(row["memory"])
