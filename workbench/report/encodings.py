"""What all charts of a report share: axes, the scales of groups, fading, tooltips, last touches to specifications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.lazy import lazy_module
from workbench.report import theme
from workbench.report.series import Row

if TYPE_CHECKING:
    import altair as alt
else:
    alt = lazy_module("altair")

FADED = 0.12
IS_CHOSEN = "length(chosen) == 0 || indexof(chosen, datum.group) >= 0"
_NAMES, _DASHES, _SHAPES = ([f"all {what}"] for what in ("groups", "dashes", "shapes"))
"""Stand for the lists that join at the end: Altair copies what it is given with every layer."""


@dataclass(frozen=True)
class Chart:
    """A Vega-Lite specification and what is told around it. panel: width of a small multiple, 0 for a single view."""

    title: str
    spec: dict[str, Any]
    caption: str = ""
    panel: int = 0


@dataclass(frozen=True)
class Axis:
    """A field drawn along an axis. title: with its unit. whole: ticks at whole numbers only.

    limits: what a value can be; an interval that reaches further is cut off at the edge.
    """

    field: str
    title: str
    log: bool = False
    limits: tuple[float, float] = (-math.inf, math.inf)
    whole: bool = False


class Palette:
    """All group names of a page in their order: the domain of every scale of groups.

    A group has one colour in all charts, whatever groups a chart shows; the second eight groups have the colours of the
    first with another dash and shape. The colours themselves are the theme's.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(names)

    def colour(self) -> alt.Color:
        """Return the encoding of groups by colour."""
        return alt.Color("group:N", scale=alt.Scale(domain=_NAMES), legend=None)

    def dash(self) -> alt.StrokeDash:
        """Return the encoding of groups by dash."""
        return alt.StrokeDash("group:N", scale=alt.Scale(domain=_NAMES, range=_DASHES), legend=None)

    def shape(self) -> alt.Shape:
        """Return the encoding of groups by shape."""
        return alt.Shape("group:N", scale=alt.Scale(domain=_NAMES, range=_SHAPES), legend=None)

    def present(self, rows: Sequence[Row]) -> list[str]:
        """Return the names that rows speak of, in the page's order."""
        found = {row["group"] for row in rows}
        return [name for name in self.names if name in found]

    def fill(self, value: Any) -> Any:
        """Return a specification with the names, dashes and shapes in place of what stands for them."""
        places = range(len(self.names))
        if value == _NAMES:
            return self.names
        if value == _DASHES:
            return [theme.dash(index) for index in places]
        if value == _SHAPES:
            return [theme.shape(index) for index in places]
        if isinstance(value, dict):
            return {key: self.fill(inside) for key, inside in value.items()}
        return [self.fill(inside) for inside in value] if isinstance(value, list) else value


def on(name: str) -> alt.Chart:
    """Return a chart of the data set of that name."""
    return alt.Chart(alt.NamedData(name))


def finished(chart: Any, title: str, palette: Palette, **data: Sequence[Row]) -> dict[str, Any]:
    """Return the specification with its data, and the parameter `chosen`: names of groups; the others fade.

    The data joins at the end: on its way through Altair every number would be copied and checked many times.
    """
    chosen = alt.param(name="chosen", value=[])
    described = chart.add_params(chosen).properties(description=title)
    spec: dict[str, Any] = palette.fill(described.to_dict(validate=False))
    spec.pop("config", None)  # Altair's own theme
    if spec.get("width") == "container":
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["datasets"] = {name: list(rows) for name, rows in data.items() if rows}
    return spec


def range_of(rows: Sequence[Row], axis: Axis) -> tuple[float, float]:
    """Return the range of an axis: all values and intervals with a little room, from 0 if they come near it.

    >>> range_of([{"mean": 10.0}, {"mean": 90.0, "high": 120.0}], Axis("mean", "accuracy [%]", limits=(0, 100)))
    (0.0, 100)
    """
    keys = ("mean", "low", "high") if axis.field == "mean" else (axis.field,)
    found = [row[key] for row in rows for key in keys if key in row]
    low, high = min(found), max(found)
    if axis.log:
        return low / 1.5, high * 1.5
    room = 0.06 * (high - low) or abs(high) * 0.1 or 1.0
    start = 0.0 if 0 <= low < 0.5 * high else low - room
    least, most = axis.limits
    return max(start, least), min(high + room, most)


def x_of(axis: Axis, domain: tuple[float, float] | None = None, title: str | None = "") -> alt.X:
    """Return the encoding along the bottom. title: None for none, empty for the axis' own."""
    whole: dict[str, Any] = {"format": "d", "tickMinStep": 1} if axis.whole else {}
    ticks = alt.Axis(grid=False, tickCount=5, labelFlush=False, labelOverlap=True, **whole)
    shown = axis.title if title == "" else title
    return alt.X(f"{axis.field}:Q", title=shown, scale=_scale(axis, domain), axis=ticks)


def y_of(axis: Axis, domain: tuple[float, float], name: str = "mean", title: str | None = "") -> alt.Y:
    """Return the encoding along the side of the field `name`; title as in `x_of`."""
    ticks = alt.Axis(tickCount=3 if axis.log else 5, labelOverlap=True)
    shown = axis.title if title == "" else title
    return alt.Y(f"{name}:Q", title=shown, scale=_scale(axis, domain), axis=ticks)


def _scale(axis: Axis, domain: tuple[float, float] | None) -> alt.Scale:
    ends: dict[str, Any] = {} if domain is None else {"domain": list(domain)}
    return (
        alt.Scale(type="log", nice=False, **ends) if axis.log else alt.Scale(nice=False, zero=False, **ends)
    )


def opacity(chosen: float = 1.0, faded: float = FADED) -> alt.OpacityValue:
    """Return the encoding that fades what belongs to groups that are not chosen."""
    return alt.OpacityValue(min(faded, chosen), condition={"test": IS_CHOSEN, "value": chosen})


def facet(name: str, order: Sequence[str]) -> alt.Facet:
    """Return the encoding of small multiples by a field."""
    return alt.Facet(f"{name}:N", sort=list(order), title=None)


def tips(x: Axis, y: Axis, extra: str = "") -> list[alt.Tooltip]:
    """Return what is told of a point of a curve."""
    further = [alt.Tooltip(f"{extra}:N", title=extra)] if extra else []
    across = alt.Tooltip(f"{x.field}:Q", title=x.title, format="d" if x.whole else ",.4~g")
    return [group_tip(), *further, across, number_tip(y), *interval_tips()]


def group_tip() -> alt.Tooltip:
    """Return what tells the group."""
    return alt.Tooltip("group:N", title="group")


def number_tip(axis: Axis) -> alt.Tooltip:
    """Return what tells the mean."""
    return alt.Tooltip("mean:Q", title=axis.title, format=",.4~g")


def interval_tips() -> list[alt.Tooltip]:
    """Return what tells the interval and how many seeds there are."""
    return [
        alt.Tooltip("low:Q", title="95 % from", format=",.4~g"),
        alt.Tooltip("high:Q", title="to", format=",.4~g"),
        alt.Tooltip("seeds:Q", title="seeds"),
    ]
