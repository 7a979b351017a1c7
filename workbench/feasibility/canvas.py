"""What every picture has in common: size, fonts, colours; and a figure as a file, or as part of a page.

Figures are drawn without a window and without matplotlib's global state. In a page a picture takes its colours from the
page, so that it is readable on light ground and on dark.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from workbench.report import theme

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 3.9
"""Width of a picture, inches: that of a phone."""
TEXT, SOFT, LINE, GROUND = "#1f2328", "#59636e", "#d8dee4", "#ffffff"
VARIABLES = {
    **{colour.lower(): f"var(--c{place})" for place, colour in enumerate(theme.LIGHT)},
    TEXT: "var(--text)",
    SOFT: "var(--soft)",
    LINE: "var(--line)",
    GROUND: "var(--ground)",
}
MARKERS = {"circle": "o", "square": "s", "triangle-up": "^", "diamond": "D"}
DOTS_PER_INCH = 160


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    wanted: dict[Any, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "feasibility",
        "font.family": "DejaVu Sans",
        "font.size": 8.5,
        "text.color": TEXT,
        "axes.edgecolor": LINE,
        "axes.labelcolor": SOFT,
        "xtick.color": SOFT,
        "ytick.color": SOFT,
        "axes.grid": False,
        "axes.titlesize": 9,
        "legend.frameon": False,
        "legend.fontsize": 8.5,
    }
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(wanted)
        yield


@contextmanager
def figure(height: float) -> Iterator[tuple[Figure, Axes]]:
    """Give a figure `WIDTH` wide and `height` high, inches, with one set of axes; to be drawn within the context."""
    with _style():
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        drawn = Figure(figsize=(WIDTH, height), layout="constrained")
        FigureCanvasAgg(drawn)
        axes = drawn.add_subplot()
        for side in ("top", "right", "left"):
            axes.spines[side].set_visible(False)
        axes.tick_params(length=0)
        yield drawn, axes


def look(place: int) -> dict[str, Any]:
    """Return colour, dash and marker of the learner at a place, as a report has them."""
    line = theme.dash(place)
    return {
        "color": theme.LIGHT[place % len(theme.LIGHT)].lower(),
        "linestyle": (0, tuple(line)) if line != [1, 0] else "-",
        "marker": MARKERS[theme.shape(place)],
    }


def as_svg(drawn: Figure) -> str:
    """Return a figure as SVG text; the same figure gives the same text."""
    with _style():
        text = io.StringIO()
        drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()


def as_png(drawn: Figure) -> bytes:
    """Return a figure as PNG."""
    with _style():
        content = io.BytesIO()
        drawn.savefig(content, format="png", dpi=DOTS_PER_INCH, metadata={"Software": None})
        return content.getvalue()


def inline(picture: str, name: str) -> str:
    """Return an SVG for the inside of a page: colours of the page, identifiers that begin with `name`, its own ground.

    >>> inline('<?xml version="1.0"?><svg width="9pt" id="a"><use xlink:href="#a" style="fill: #1f2328"/></svg>', "x")
    '<svg width="9pt" id="x-a"><use xlink:href="#x-a" style="fill: var(--text)"/></svg>'
    """
    body = picture[picture.index("<svg") :].strip()
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r'( id="|href="#|url\(#)', lambda found: f"{found[1]}{name}-", body)
    # Which of the two is written depends on matplotlib's version.
    body = re.sub(r"font: ([\d.]+px) 'DejaVu Sans'", r"font-size: \1", body)
    body = re.sub(r"font-family: 'DejaVu Sans';? ?", "", body)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: VARIABLES.get(found[0], found[0]), body)
