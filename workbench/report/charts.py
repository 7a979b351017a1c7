"""A report's curves and heat maps: one picture where groups are few, small multiples where they are many."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from workbench.lazy import lazy_module
from workbench.report import theme
from workbench.report.encodings import (
    Axis,
    Chart,
    Palette,
    facet,
    finished,
    group_tip,
    on,
    opacity,
    range_of,
    tips,
    x_of,
    y_of,
)
from workbench.report.labels import LINE, spread
from workbench.report.series import Row

if TYPE_CHECKING:
    import altair as alt
else:
    alt = lazy_module("altair")

MOST_TOGETHER = 8
"""Curves in one picture; with more, each group has a small one of its own with the range of all behind it."""
HEIGHT = 300
SMALL = (140, 100)
SPACING = 18
"""Pixels between small multiples."""


def curves(
    rows: Sequence[Row], x: Axis, y: Axis, palette: Palette, *, title: str, caption: str = ""
) -> Chart:
    """Return one curve a group, with its band where it has one: together if they are few, else side by side."""
    names = palette.present(rows)
    if len(names) > MOST_TOGETHER:
        return _small_multiples(rows, x, y, palette, title, caption)
    domain = range_of(rows, y)
    ends = _labels(rows, x, domain, y.log) if len(names) > 1 else []
    layers = [*_curve_layers(rows, x, y, domain, palette, data="rows")]
    if ends:
        label = on("ends").mark_text(align="left", dx=8, fontSize=12, limit=150)
        across, place = x_of(x, range_of(rows, x) if x.log else None), y_of(y, domain, "at")
        layers.append(
            label.encode(x=across, y=place, text="group:N", color=palette.colour(), opacity=opacity())
        )
    layered = alt.layer(*layers).properties(width="container", height=HEIGHT)
    spec = finished(layered, title, palette, rows=rows, ends=ends)
    # A reader's letters may be wider than those that the picture is measured with.
    spec["padding"] = {"left": 5, "top": 5, "bottom": 5, "right": 5 + max(map(len, names))}
    return Chart(title, spec, caption)


def by_layer(
    rows: Sequence[Row], x: Axis, y: Axis, palette: Palette, *, title: str, caption: str = ""
) -> Chart:
    """Return a panel a layer with one curve a group; with many groups a panel a group with one curve a layer."""
    names = palette.present(rows)
    layers = list(dict.fromkeys(row["layer"] for row in sorted(rows, key=_layer_order)))
    if len(layers) == 1:
        return curves(rows, x, y, palette, title=title, caption=caption)
    domain = range_of(rows, y)
    if len(names) > MOST_TOGETHER:
        (width, height), columns = SMALL, 6
        dashes = [list(theme.DASHES[index % len(theme.DASHES)]) for index in range(len(layers))]
        legend = alt.Legend(orient="top", title=None, symbolStrokeColor=theme.CONTEXT)
        line = alt.Chart().mark_line(strokeWidth=2)
        inside: Any = line.encode(
            x=x_of(x, title=None),
            y=y_of(y, domain, title=None),
            color=palette.colour(),
            strokeDash=alt.StrokeDash("layer:N", scale=alt.Scale(domain=layers, range=dashes), legend=legend),
            opacity=opacity(),
            tooltip=tips(x, y, "layer"),
        )
        panels, heading = facet("group", names), _heading(x, y)
    else:
        width, height, columns = 230, 140, 4
        inside = alt.layer(*_curve_layers(rows, x, y, domain, palette, extra="layer"))
        panels, heading = facet("layer", layers), {}
    faceted = inside.properties(width=width, height=height).facet(
        panels, columns=columns, data=alt.NamedData("rows")
    )
    faceted = faceted.properties(spacing=SPACING, **heading)
    return Chart(title, finished(faceted, title, palette, rows=rows), caption, width)


def heat_maps(
    rows: Sequence[Row], palette: Palette, *, title: str, caption: str = "", what: str = "accuracy"
) -> Chart:
    """Return R of each group side by side: columns are the tasks tested, rows the tasks learned so far."""
    names = palette.present(rows)
    tasks = sorted({row["task"] for row in rows})
    few = len(names) <= 5
    widest = {4: 200, 5: 170}.get(max(len(names), 4), 130)
    size = min(max(40 * len(tasks), 120), widest)
    percent = f"{what} [%]"
    legend = alt.Legend(orient="top", title=percent, gradientLength=160, gradientThickness=10)
    ticks = tasks[:: -(-len(tasks) // 10)]
    base = alt.Chart().encode(
        x=alt.X("task:O", title="tested on task", axis=alt.Axis(labelAngle=0, values=ticks, grid=False)),
        y=alt.Y("after:O", title="after learning task", axis=alt.Axis(values=ticks, grid=False)),
        opacity=opacity(),
    )
    layers = [
        base.mark_rect(cornerRadius=2 if few and len(tasks) <= 12 else 0).encode(
            color=alt.Color("accuracy:Q", scale=alt.Scale(domain=[0, 100], scheme="viridis"), legend=legend),
            tooltip=[
                group_tip(),
                alt.Tooltip("after:O", title="after learning task"),
                alt.Tooltip("task:O", title="tested on task"),
                alt.Tooltip("name:N", title="named"),
                alt.Tooltip("accuracy:Q", title=percent, format=".1f"),
                alt.Tooltip("seeds:Q", title="seeds"),
            ],
        )
    ]
    if len(tasks) <= 6:
        ink = alt.ColorValue("#F5F5F5", condition={"test": "datum.accuracy > 55", "value": "#111111"})
        number = alt.Text("accuracy:Q", format=".0f")
        layers.append(base.mark_text(fontSize=10).encode(text=number, color=ink))
    faceted = (
        alt.layer(*layers)
        .properties(width=size, height=size)
        .facet(facet("group", names), columns=6, data=alt.NamedData("rows"))
        .properties(spacing=SPACING)
    )
    return Chart(title, finished(faceted, title, palette, rows=rows), caption, size)


def _small_multiples(
    rows: Sequence[Row], x: Axis, y: Axis, palette: Palette, title: str, caption: str
) -> Chart:
    """Return a panel a group: its curve and band, and the range of all groups in grey behind."""
    names, domain = palette.present(rows), range_of(rows, y)
    at: dict[float, list[float]] = {}
    for row in rows:
        at.setdefault(row[x.field], []).append(row["mean"])
    behind = [
        {x.field: place, "least": min(found), "most": max(found)} for place, found in sorted(at.items())
    ]
    context = on("behind").mark_area(color=theme.CONTEXT, opacity=0.22, clip=True)
    context = context.encode(
        x=x_of(x, range_of(rows, x) if x.log else None, None),
        y=y_of(y, domain, "least", title=None),
        y2="most:Q",
    )
    layers = alt.layer(context, *_curve_layers(rows, x, y, domain, palette, titles=None))
    faceted = (
        layers.properties(width=SMALL[0], height=SMALL[1])
        .facet(facet("group", names), columns=6, data=alt.NamedData("rows"))
        .properties(spacing=SPACING, **_heading(x, y))
    )
    told = " ".join(text for text in (caption, "One panel a group; in grey the range of all groups.") if text)
    return Chart(title, finished(faceted, title, palette, rows=rows, behind=behind), told, SMALL[0])


def _heading(x: Axis, y: Axis) -> dict[str, Any]:
    """Return the titles of both axes as one above all panels, which are too small for titles of their own."""
    return {
        "title": alt.TitleParams(f"{y.title} over {x.title}", fontSize=12, fontWeight="normal", offset=12)
    }


def _curve_layers(
    rows: Sequence[Row],
    x: Axis,
    y: Axis,
    domain: tuple[float, float],
    palette: Palette,
    *,
    data: str = "",
    extra: str = "",
    titles: str | None = "",
) -> Iterator[alt.Chart]:
    """Yield bands, lines and points. data: name of the data set; empty inside of small multiples, which give it."""
    base = on(data) if data else alt.Chart()
    across, upwards = x_of(x, range_of(rows, x) if x.log else None, titles), y_of(y, domain, title=titles)
    if any("low" in row for row in rows):
        yield base.mark_area(strokeWidth=0, clip=True).encode(
            x=across,
            y=y_of(y, domain, "low", title=titles),
            y2="high:Q",
            color=palette.colour(),
            opacity=opacity(0.15, 0.03),
        )
    line = base.encode(x=across, y=upwards, color=palette.colour(), opacity=opacity())
    yield line.mark_line(strokeWidth=2).encode(strokeDash=palette.dash())
    yield line.mark_point(size=28, filled=True).encode(shape=palette.shape(), tooltip=tips(x, y, extra))


def _labels(rows: Sequence[Row], x: Axis, domain: tuple[float, float], log: bool) -> list[Row]:
    """Return where the names at the ends of curves stand, moved apart where they would overlap."""
    last: dict[str, Row] = {}
    for row in rows:
        if row["group"] not in last or row[x.field] >= last[row["group"]][x.field]:
            last[row["group"]] = row
    low, high = (math.log(end) if log else end for end in domain)
    ordered = sorted(last.values(), key=lambda row: float(row["mean"]))
    wanted = [math.log(row["mean"]) if log else row["mean"] for row in ordered]
    places = spread(wanted, LINE * (high - low) / HEIGHT, low, high)
    right = max(row[x.field] for row in ordered)
    return [
        {"group": row["group"], x.field: right, "at": math.exp(place) if log else place}
        for row, place in zip(ordered, places, strict=True)
    ]


def _layer_order(row: Row) -> tuple[bool, str]:
    return (row["layer"] == "readout", row["layer"])
