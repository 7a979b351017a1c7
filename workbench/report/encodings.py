"""What all charts of a report share: axes, the scales of groups, fading, tooltips, last touches to specifications."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.lazy import lazy_module
from workbench.report import theme
from workbench.report.series import Row, short

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

    Data, parameter and the names of groups join at the end: with each touch Altair copies all that it has been given.
    """
    spec: dict[str, Any] = palette.fill(chart.to_dict(validate=False))
    spec.pop("config", None)  # Altair's own theme
    spec |= {"description": title, "params": [{"name": "chosen", "value": []}]}
    if spec.get("width") == "container":
        spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    spec["datasets"] = {name: list(rows) for name, rows in data.items() if rows}
    return spec


def range_of(rows: Sequence[Row], axis: Axis) -> tuple[float, float]:
    """Return the range of an axis: all means, from 0 if they come near it, and intervals, with a little room.

    Intervals reach at most as far beyond the means as the means differ: a wide one would flatten all curves.

    >>> range_of([{"mean": 10.0}, {"mean": 90.0, "high": 120.0}], Axis("mean", "accuracy [%]", limits=(0, 100)))
    (0.0, 104.0)
    """
    means = [row[axis.field] for row in rows]
    low, high = min(means), max(means)
    if axis.log:
        return low / 1.5, high * 1.5
    reach = high - low or math.inf
    if axis.field == "mean":
        low, high = (
            max(min(row.get("low", low) for row in rows), low - reach, axis.limits[0]),
            min(max(row.get("high", high) for row in rows), high + reach, axis.limits[1]),
        )
    start = 0.0 if 0 <= low < 0.5 * high else low
    room = 0.04 * (high - start) or abs(high) * 0.1 or 1.0
    return (start if start == 0.0 else start - room), high + room


def x_of(axis: Axis, domain: tuple[float, float] | None = None, title: str | None = "") -> alt.X:
    """Return the encoding along the bottom. title: None for none, empty for the axis' own."""
    ticks = alt.Axis(grid=False, labelFlush=False, labelOverlap=True, **_ticks(axis, domain))
    shown = axis.title if title == "" else title
    return alt.X(f"{axis.field}:Q", title=shown, scale=_scale(axis, domain), axis=ticks)


def y_of(axis: Axis, domain: tuple[float, float], name: str = "mean", title: str | None = "") -> alt.Y:
    """Return the encoding along the side of the field `name`; title as in `x_of`."""
    ticks = alt.Axis(labelOverlap=True, **_ticks(axis, domain))
    shown = axis.title if title == "" else title
    return alt.Y(f"{name}:Q", title=shown, scale=_scale(axis, domain), axis=ticks)


def _ticks(axis: Axis, domain: tuple[float, float] | None) -> dict[str, Any]:
    """Return what says where ticks are: few and round, powers of ten on a logarithmic axis."""
    if axis.log and domain is not None:
        exponents = range(math.floor(math.log10(domain[0])), math.ceil(math.log10(domain[1])) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), range(1, 10)):
            ticks = [short(factor * 10.0**power) for power in exponents for factor in factors]
            within = [tick for tick in ticks if domain[0] <= tick <= domain[1]]
            if len(within) >= 3:
                break
        return {"values": within}
    return {"tickCount": 5, **({"format": "d", "tickMinStep": 1} if axis.whole else {})}


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
