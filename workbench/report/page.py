"""A report as one HTML file: text, tables, charts, and the program that draws them, all inside of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench import __version__
from workbench.compare.comparability import Block
from workbench.compare.comparison import Comparison, compare_groups, values_of
from workbench.compare.measures import measures
from workbench.compare.sheets import Sheet, sheets
from workbench.report import pictures, theme
from workbench.report.encodings import Chart, Palette
from workbench.report.sections import Section, sections
from workbench.report.study import Study, circumstances, facts, lines, settings_of

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Drawing:
    """A chart with its place in the page, and its picture for readers without scripts."""

    name: str
    chart: Chart
    picture: str
    height: int


def render(study: Study, cache: Path | None = None) -> str:
    """Return the page. The same study gives the same page, byte for byte.

    cache: folder for the program that draws charts; None for the user's.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    palette = Palette(study.group_names)
    parts = [_part(number, comparison, palette) for number, comparison in enumerate(study.comparisons)]
    drawings = [drawing for part in parts for _, of_section in part["sections"] for drawing in of_section]
    return environment.get_template("page.html").render(
        title=study.title,
        version=__version__,
        study=study,
        warnings=list(dict.fromkeys(warning for one in study.comparisons for warning in one.warnings)),
        circumstances=circumstances(study.records),
        chips=_chips(study.group_names),
        parts=parts,
        lines=lines(study),
        style=(TEMPLATES / "page.css").read_text(encoding="utf-8"),
        script=(TEMPLATES / "page.js").read_text(encoding="utf-8"),
        program=pictures.program(cache),
        payload=_payload(drawings),
    )


def _part(number: int, comparison: Comparison, palette: Palette) -> dict[str, Any]:
    shared, differing = settings_of(comparison.groups)
    drawn: list[tuple[Section, list[Drawing]]] = []
    for section in sections(comparison.groups, palette):
        places = [f"chart-{number}-{len(drawn)}-{place}" for place in range(len(section.charts))]
        drawn.append(
            (section, [_draw(name, chart) for name, chart in zip(places, section.charts, strict=True)])
        )
    return {
        "number": number,
        "heading": comparison.heading,
        "notes": comparison.notes,
        "facts": facts(comparison),
        "groups": [group.name for group in comparison.groups],
        "shared": shared,
        "differing": differing,
        "table": _numbered(sheets(comparison)[0]),
        "everything": _numbered(_everything(comparison)),
        "sections": drawn,
    }


def _everything(comparison: Comparison) -> Sheet:
    """Return the table of every measure that any group has."""
    known = [one for one in measures() if any(values_of(group, one) for group in comparison.groups)]
    runs = tuple(run for group in comparison.groups for run in group.runs)
    block = Block(comparison.heading, runs, comparison.warnings)
    return sheets(compare_groups(block, comparison.groups, known))[0]


def _numbered(sheet: Sheet) -> dict[str, Any]:
    """Return a sheet with what the template needs to mark cells."""
    rows = [
        [(text, (row, column) in sheet.bold) for column, text in enumerate(cells)]
        for row, cells in enumerate(sheet.rows)
    ]
    return {"heads": sheet.heads, "rows": rows, "footnotes": sheet.footnotes}


def _draw(name: str, chart: Chart) -> Drawing:
    picture = pictures.svg(chart.spec, f"{name}-")
    return Drawing(name, chart, picture, pictures.height_of(picture))


def _chips(names: Sequence[str]) -> list[dict[str, Any]]:
    """Return what the list of groups shows: name, place of its colour, whether it is told by dash and shape besides."""
    colours = len(theme.LIGHT)
    return [
        {"name": name, "colour": index % colours, "again": index // colours}
        for index, name in enumerate(names)
    ]


def _packed(chart: Chart) -> dict[str, Any]:
    """Return a chart for the page's script: rows of numbers without their keys, which stand once."""
    data = {}
    for name, rows in chart.spec["datasets"].items():
        keys = list(dict.fromkeys(key for row in rows for key in row))
        data[name] = {"keys": keys, "rows": [[row.get(key) for key in keys] for row in rows]}
    return {"spec": {**chart.spec, "datasets": {}}, "data": data, "panel": chart.panel}


def _payload(drawings: Sequence[Drawing]) -> str:
    """Return the charts and themes as JSON for a script element: no `<` in it, which could end the element."""
    content = {
        "charts": {one.name: _packed(one.chart) for one in drawings},
        "themes": {name: theme.vega_config(name == "dark") for name in ("light", "dark")},
    }
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
