"""A feasibility study as one HTML page: verdicts, reasons, numbers, pictures; it fetches nothing and runs no script."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench import __version__
from workbench.compare.collect import collect
from workbench.feasibility import canvas
from workbench.feasibility.axes import REFERENCE
from workbench.feasibility.pictures import Picture
from workbench.feasibility.runs import folders
from workbench.feasibility.sensitivity import Curve, Point
from workbench.feasibility.study import Study
from workbench.feasibility.verdict import Finding, Verdict
from workbench.feasibility.words import (
    HEADS,
    UNITS,
    assumed,
    budgets,
    commands,
    not_followed,
    rows,
    tolerances,
)
from workbench.report import page as report
from workbench.report.study import circumstances
from workbench.report.units import percent

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {
    "feasible": ("met", "✓"),
    "feasible with reservations": ("reservation", "!"),
    "unknown": ("unknown", "?"),
    "not feasible": ("missed", "✕"),
    "reference": ("reference", ""),
    "met": ("met", "✓"),
    "reservation": ("reservation", "!"),
    "missed": ("missed", "✕"),
}
"""Class and mark of each answer and status: colour is not all that tells them apart."""
GUILTY = {"not feasible": "missed", "unknown": "unknown", "feasible with reservations": "reservation"}


@dataclass(frozen=True)
class Link:
    """A way to a run folder: what stands in the page, and where it leads."""

    text: str
    target: str


@dataclass(frozen=True)
class Links:
    """Makes links; root: the study's folder, seen from that of the page."""

    root: str

    def to(self, run: str, text: str = "") -> Link:
        """Return the link to a run's results."""
        target = posixpath.normpath(posixpath.join(self.root, run, "results.json"))
        return Link(text or posixpath.basename(run), quote(target))

    def of(self, runs: Sequence[str]) -> list[Link]:
        """Return links that are called as the run folders are."""
        return [self.to(run) for run in runs]

    def of_point(self, point: Point) -> list[Link]:
        """Return links that are called as the seeds are."""
        seeds = [str(seed) for seed in point.by_seed]
        names = seeds if len(seeds) == len(point.runs) else ["run"] * len(point.runs)
        return [self.to(run, name) for run, name in zip(point.runs, names, strict=True)]


def render(study: Study, drawn: Sequence[Picture], root: str = ".") -> str:
    """Return the page. The same study gives the same page, byte for byte.

    root: the study's folder, seen from that of the page.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    links = Links(root)
    figures = [_figure(one, links) for one in drawn]
    styles = [report.TEMPLATES / "page.css", TEMPLATES / "feasibility.css"]
    runs = [study.folder / one for one in folders(study.found.runs.values())]
    return environment.get_template("feasibility.html").render(
        study=study,
        version=__version__,
        counts=_counts(study),
        finished=len(runs),
        matrix=_matrix(study),
        table=_table(study),
        heads=list(zip(HEADS, UNITS, strict=True)),
        budgets=budgets(study.budget),
        figures=[one for one in figures if not one["along"]],
        sensitivity=[one for one in figures if one["along"]],
        tolerances=tolerances(study),
        not_followed=not_followed(study),
        assumed=assumed(study),
        pairs=[_pair(study, verdict, links) for verdict in study.verdicts],
        references=[(learner, links.of(folders(some))) for learner, some in study.references.items()],
        logs=[(one, quote(posixpath.normpath(posixpath.join(root, one.log)))) for one in study.missing],
        circumstances=circumstances(collect(runs)) if runs else [],
        commands=commands(study),
        reference=REFERENCE,
        style="\n".join(style.read_text(encoding="utf-8") for style in styles),
    )


def anchor(study: Study, verdict: Verdict) -> str:
    """Return the place of a pair in the page."""
    learner, device = (
        study.request.learners.index(verdict.learner),
        study.request.devices.index(verdict.device),
    )
    return f"pair-{learner}-{device}"


def _counts(study: Study) -> list[str]:
    """Return how many pairs there are of each answer."""
    answers = [one.answer for one in study.verdicts]
    kinds = ("feasible", "feasible with reservations", "unknown", "not feasible")
    return [f"{answers.count(kind)} {kind}" for kind in kinds if kind in answers]


def _matrix(study: Study) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return a row for each learner, a cell for each device: the answer, and the criteria that make it so."""
    return [
        (learner, [_cell(study, study.verdict(learner, device)) for device in study.request.devices])
        for learner in study.request.learners
    ]


def _cell(study: Study, verdict: Verdict) -> dict[str, Any]:
    kind, mark = MARKS[verdict.answer]
    guilty = GUILTY.get(verdict.answer)
    why = ", ".join(one.criterion for one in verdict.findings if one.status == guilty)
    return {
        "answer": verdict.answer,
        "kind": kind,
        "mark": mark,
        "why": why,
        "place": anchor(study, verdict),
    }


def _table(study: Study) -> list[list[dict[str, str]]]:
    """Return the cells of the table of all numbers, with the status of those that a budget decides."""
    found = []
    for one in rows(study):
        status = {"verdict": one.cells[2], **one.status}
        marks = [MARKS[status[head]] if head in status else ("", "") for head in HEADS]
        # A tick in every cell would be noise.
        cells = [
            {"text": text, "kind": kind, "mark": "" if kind == "met" and head != "verdict" else mark}
            for text, head, (kind, mark) in zip(one.cells, HEADS, marks, strict=True)
        ]
        found.append(cells)
    return found


def _pair(study: Study, verdict: Verdict, links: Links) -> dict[str, Any]:
    own = list(verdict.findings[0].runs)
    kind, mark = MARKS[verdict.answer]
    return {
        "place": anchor(study, verdict),
        "learner": verdict.learner,
        "device": verdict.device,
        "answer": verdict.answer,
        "kind": kind,
        "mark": mark,
        "findings": [_finding(one, own, links) for one in verdict.findings],
        "runs": links.of(own),
    }


def _finding(one: Finding, own: Sequence[str], links: Links) -> dict[str, Any]:
    kind, mark = MARKS[one.status]
    return {
        "criterion": one.criterion,
        "status": one.status,
        "kind": kind,
        "mark": mark,
        "reason": one.reason,
        "further": links.of([run for run in one.runs if run not in own]),
    }


def _figure(one: Picture, links: Links) -> dict[str, Any]:
    """Return a picture for the page; one along an axis with its numbers, each with the seeds it is a mean over."""
    name = re.sub(r"[^A-Za-z0-9-]", "_", one.name)
    return {
        "name": f"figure-{name}",
        "title": one.title,
        "caption": one.caption,
        "picture": canvas.inline(one.svg, name),
        "along": _numbers(one.curves, links) if one.curves else None,
    }


def _numbers(curves: Sequence[Curve], links: Links) -> dict[str, Any]:
    axis = curves[0].axis
    values = sorted({value for curve in curves for value in (*curve.unknown, *map(_value, curve.points))})
    found = []
    for curve in curves:
        points = {point.value: point for point in curve.points}
        cells = [
            (percent(points[value].accuracy.mean), links.of_point(points[value])) if value in points else None
            for value in values
        ]
        found.append((curve.learner, cells))
    return {"heads": [axis.told(value) for value in values], "rows": found}


def _value(point: Point) -> float | int:
    return point.value
