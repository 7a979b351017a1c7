"""The look of a report's charts: colours, light and dark, and which colour, dash and shape a group has.

Eight colours are told apart by everyone: any two are at least 19 CIELAB units apart in normal sight and in simulated
protanopia, deuteranopia and tritanopia (Machado et al., IEEE TVCG 15, 2009), which the tests compute. Further groups
take the colours again with another dash and another shape.
"""

from __future__ import annotations

from typing import Any

LIGHT = ("#1F508F", "#C31E0C", "#168764", "#D99215", "#611545", "#22ACE1", "#7D0E20", "#92A961")
DARK = ("#157CE2", "#DE4818", "#24F9C7", "#F8CE23", "#AF6394", "#4CBBF4", "#E16D6E", "#D3E684")
DASHES = ((1, 0), (6, 3), (2, 2), (8, 3, 2, 3))
SHAPES = ("circle", "square", "triangle-up", "diamond")
PARTS = ("#3F5F8A", "#7C9AC4", "#B9C8DE", "#CFA14A", "#6FAE9A", "#A87BA8", "#9AA0A6")
"""What wholes are made of, in tones apart from those of groups: three blues for what every learner has."""
CONTEXT = "#8A93A0"
"""Grey of what stands behind, readable on both grounds."""
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def dash(index: int) -> list[int]:
    """Return the dash of the group at `index`.

    >>> dash(0), dash(9)
    ([1, 0], [6, 3])
    """
    return list(DASHES[index // len(LIGHT) % len(DASHES)])


def shape(index: int) -> str:
    """Return the shape of the group at `index`.

    >>> shape(7), shape(8)
    ('circle', 'square')
    """
    return SHAPES[index // len(LIGHT) % len(SHAPES)]


def vega_config(dark: bool) -> dict[str, Any]:
    """Return Vega-Lite's configuration of a theme; the ground stays transparent."""
    text, soft, line, colours = (
        ("#E6EDF3", "#A7B1BD", "#2F3742", DARK) if dark else ("#1F2328", "#59636E", "#E1E5EA", LIGHT)
    )
    axis = {
        "labelColor": soft,
        "titleColor": soft,
        "domainColor": line,
        "tickColor": line,
        "gridColor": line,
        "labelFontSize": 11,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelFont": FONT,
        "titleFont": FONT,
        "domain": False,
        "ticks": False,
        "labelPadding": 6,
        "titlePadding": 8,
    }
    label = {"color": text, "labelColor": text, "titleColor": soft, "labelFont": FONT, "titleFont": FONT}
    return {
        "background": "transparent",
        "font": FONT,
        "view": {"stroke": "transparent"},
        "range": {"category": list(colours), "ramp": {"scheme": "viridis"}, "heatmap": {"scheme": "viridis"}},
        "axis": axis,
        "legend": {
            **label,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "labelLimit": 320,
            "symbolStrokeWidth": 2,
        },
        "header": {
            **label,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "labelFontWeight": 600,
            "labelLimit": 280,
            "labelAnchor": "start",
            "titleFontWeight": "normal",
        },
        "title": {**label, "fontSize": 13, "anchor": "start"},
        "text": {"font": FONT, "color": text},
        "rule": {"color": soft},
    }
