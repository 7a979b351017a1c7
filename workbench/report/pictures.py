"""Charts as static pictures, and the program that draws them in a page: both by Vega-Lite, without network."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from workbench.report import theme

VEGA_LITE = "6.4"
"""Version of Vega-Lite that the specifications are written for."""
STATIC_WIDTH = 660


def svg(spec: dict[str, Any], name: str = "") -> str:
    """Return the chart in the light theme on white; `STATIC_WIDTH` wide where the page has the say.

    name: begins the identifiers in it, so that several pictures can stand in one page.
    """
    import vl_convert

    fixed = {**spec, "width": STATIC_WIDTH} if spec.get("width") == "container" else spec
    config = {**theme.vega_config(dark=False), "background": "white", "aria": False}
    drawn: str = vl_convert.vegalite_to_svg(fixed, vl_version=VEGA_LITE, config=config)
    return _rounded(_renumbered(drawn, name))


def height_of(picture: str) -> int:
    """Return the height of an SVG in pixels.

    >>> height_of('<svg xmlns="..." width="660" height="352.5">')
    352
    """
    found = re.search(r'<svg[^>]* height="(\d+)', picture)
    return int(found[1]) if found else 0


def _renumbered(picture: str, name: str) -> str:
    """Return an SVG whose identifiers begin with `name` and count from 0.

    Vega counts on from one picture to the next; the same picture shall be the same text.

    >>> _renumbered('<clipPath id="clip7"/><g clip-path="url(#clip7)"/><linearGradient id="gradient_9"/>', "a-")
    '<clipPath id="a-clip0"/><g clip-path="url(#a-clip0)"/><linearGradient id="a-gradient_1"/>'
    """
    places: dict[str, int] = {}

    def renamed(found: re.Match[str]) -> str:
        return f"{found[1]}{name}{found[2]}{places.setdefault(found[3], len(places))}"

    return re.sub(r'(id="|url\(#)([a-z_]+?)(\d+)', renamed, picture)


def _rounded(picture: str) -> str:
    """Return an SVG with coordinates to a hundredth of a pixel.

    >>> _rounded('<path d="M0.1234567,12.5L10,3.14159"/>')
    '<path d="M0.12,12.5L10,3.14"/>'
    """
    return re.sub(r"\d+\.\d{3,}", lambda found: f"{float(found[0]):.2f}".rstrip("0").rstrip("."), picture)


def program(cache: Path | None = None) -> str:
    """Return the JavaScript that draws specifications: Vega, Vega-Lite and their embedder, for a script element.

    Putting it together takes seconds, so it is kept in the cache folder, by version.
    """
    from workbench.data.catalogue import cache_folder
    from workbench.runfolder import write_atomically

    folder = (cache or cache_folder()) / "report"
    file = folder / f"vega-lite-{VEGA_LITE}-by-vl-convert-{version('vl-convert-python')}.js"
    try:
        kept = file.read_text(encoding="utf-8")
        if kept.endswith(_END):
            return kept
    except (OSError, ValueError):
        pass
    import vl_convert

    made: str = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]
    # Inside of a script element this would end it.
    text = made.replace("</script", "<\\/script") + _END
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text.encode())
    except OSError:
        pass  # A cache that cannot be written costs seconds, not the report.
    return text


_END = "\n// end of bundle\n"
