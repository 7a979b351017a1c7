"""A study in words and cells: what the terminal, the text file and the page say alike."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.feasibility import numbers
from workbench.feasibility.axes import AXES, REFERENCE, axis_named
from workbench.feasibility.budget import Budget
from workbench.feasibility.quantities import number, seconds, watts
from workbench.feasibility.runs import Missing
from workbench.feasibility.sensitivity import Curve
from workbench.feasibility.study import Study
from workbench.feasibility.verdict import Verdict
from workbench.overrides import to_yaml, write_value
from workbench.report.units import UNKNOWN, joules, percent, size

HEADS = (
    "learner",
    "hardware",
    "verdict",
    "memory",
    "writes",
    "lifetime",
    "energy",
    "power",
    "accuracy",
    "vs ideal",
    "forgetting",
)
UNITS = (
    "",
    "",
    "",
    "besides the weights",
    "most written device, a sequence",
    "first device",
    "a sequence",
    "mean",
    "%",
    "points",
    "%",
)
CRITERION = {"memory": "memory", "endurance": "lifetime", "energy": "power", "accuracy": "accuracy"}


@dataclass(frozen=True)
class Row:
    """One pair as cells, in the order of `HEADS`, and the status of those that a budget decides, by head."""

    cells: tuple[str, ...]
    status: Mapping[str, str]


def row(verdict: Verdict) -> Row:
    """Return a verdict as cells."""
    found = {one.criterion: one.numbers for one in verdict.findings}
    wear, spent, kept = found["endurance"], found["energy"], found["accuracy"]
    cells = (
        verdict.learner,
        verdict.device,
        verdict.answer,
        size(found["memory"].get("bytes")),
        number(wear.get("writes_max_per_sample")),
        seconds(wear.get("lifetime_seconds")),
        joules(spent.get("joules_per_sample")),
        watts(spent.get("watts")),
        percent(kept.get("acc")),
        _points(kept.get("loss")),
        percent(found["forgetting"].get("forgetting")),
    )
    status = {head: verdict.finding(criterion).status for criterion, head in CRITERION.items()}
    return Row(cells, status)


def reference_rows(study: Study) -> list[Row]:
    """Return each learner on ideal hardware, which has no verdict."""
    rows = []
    for learner, runs in study.references.items():
        if runs:
            kept = numbers.memory(runs)
            acc, lost = (numbers.mean_of(runs, key) for key in ("acc", "forgetting"))
            memory = f"{size(kept.total)}*" if kept else UNKNOWN
            cells = [learner, REFERENCE, "reference", memory, *[UNKNOWN] * 4]
            cells += [percent(None if one is None else one.mean) for one in (acc, None, lost)]
            rows.append(Row(tuple(cells), {}))
    return rows


def budgets(budget: Budget) -> list[tuple[str, str]]:
    """Return the budgets as they are told."""
    return [
        ("memory", f"{size(budget.sram)} besides the weights"),
        (
            "endurance",
            f"{number(budget.endurance)} writes" if isinstance(budget.endurance, float) else budget.endurance,
        ),
        ("lifetime", seconds(budget.lifetime)),
        (
            "rate",
            "one sequence after another"
            if budget.rate == "continuous"
            else f"{number(float(budget.rate))} sequences a second",
        ),
        ("power", watts(budget.power)),
        *([("energy", f"{joules(budget.energy)} a sequence")] if budget.energy is not None else []),
        ("accuracy lost", f"{percent(budget.loss)} points against ideal hardware"),
    ]


def tolerances(study: Study) -> list[tuple[str, str, str, str]]:
    """Return device, learner, axis and how far along it no more is lost than allowed."""
    return [
        (curve.device, curve.learner, curve.axis.title, _tolerated(curve, study.budget.loss))
        for curve in study.curves
    ]


def _tolerated(curve: Curve, allowed: float) -> str:
    found, axis = curve.tolerance(allowed), curve.axis
    if found.end == "all" and found.last is not None:
        return f"all tried, to {axis.told(found.last)}"
    beyond = "unknown" if found.next is None else f"unknown at {axis.told(found.next)}"
    if found.last is None:
        return beyond if found.end == "unknown" else "nowhere within the budget"
    text = f"{'up' if axis.worse == 'up' else 'down'} to {axis.told(found.last)}"
    return f"{text}, {beyond}" if found.end == "unknown" else text


def assumed(study: Study) -> list[str]:
    """Return what the energies of any pair rest on, a sentence each, behind the table that it belongs to."""
    found: dict[str, None] = {}
    for verdict in study.verdicts:
        told = verdict.finding("energy").numbers
        found |= dict.fromkeys(f"{told['table']}: {one}" for one in told.get("assumed", ()))
    return list(found)


def not_followed(study: Study) -> list[str]:
    """Return a sentence on each axis asked for that none of the devices has."""
    return [
        f"{axis.title}: not followed, none of the devices has {' with '.join([axis.key, *axis.also])}"
        for axis in study.not_followed
    ]


def commands(study: Study) -> list[str]:
    """Return the commands that run a study again, and judge its runs again."""
    request = study.request
    given = {
        "learner": ",".join(map(write_value, request.learners)),
        "hardware": ",".join(map(write_value, request.devices)),
        "seed": ",".join(map(write_value, request.seeds)),
        **{key: write_value(value) for key, value in request.settings.items()},
        **{f"budget.{key}": write_value(value) for key, value in request.budget.items()},
        **{
            f"sensitivity.{name}": ",".join(map(write_value, values))
            for name, values in request.axes.items()
            if values != axis_named(name).values
        },
    }
    name = study.folder.resolve().name
    words = ["workbench", "feasibility", *(f"{key}={text}" for key, text in given.items()), *_options(study)]
    again = shlex.join(["workbench", "feasibility", "--from", name])
    if not request.cases:
        return [shlex.join([*words, "--out", name]), again]
    # What a line cannot say comes as a study file.
    text = to_yaml({"cases": [case.model_dump(mode="json") for case in request.cases]})
    line = shlex.join([*words, "--config", "cases.yaml", "--out", name])
    return [f"cat > cases.yaml <<'END'\n{text}END\n{line}", again]


def markdown(study: Study, root: str = ".") -> str:
    """Return a study as a text file in Markdown; root: its folder, seen from that of the file."""
    lines = [f"# Feasibility: {study.request.scenario}", ""]
    lines += [f"- {name}: {text}" for name, text in budgets(study.budget)]
    heads = [f"{head} ({unit})" if unit else head for head, unit in zip(HEADS, UNITS, strict=True)]
    lines += ["", *_table([heads, *(one.cells for one in rows(study))]), ""]
    lines += [f"Memory marked * includes the weights, which {REFERENCE} hardware keeps in it.", ""]
    for verdict in study.verdicts:
        lines += [f"## {verdict.learner} on {verdict.device}: {verdict.answer}", ""]
        for one in verdict.findings:
            runs = ", ".join(one.runs) or "none"
            lines.append(f"- {one.criterion}: {one.status}. {one.reason}. Runs: {runs}")
        lines.append("")
    found = tolerances(study)
    if found:
        head = ("hardware", "learner", "axis", "tolerated")
        lines += ["## How bad a device may become", "", *_table([head, *found]), ""]
    if study.not_followed:
        lines += [*not_followed(study), ""]
    if assumed(study):
        lines += ["## What energies assume", "", *(f"- {one}" for one in assumed(study)), ""]
    if study.missing:
        lines += ["## Not finished", "", *(f"- {one.job}: {told(one)}" for one in study.missing), ""]
    lines += [
        "## Run it again",
        "",
        *(f"    {line}" for one in commands(study) for line in one.split("\n")),
        "",
    ]
    where = "this folder" if root == "." else root
    lines += [f"Run folders are below {where}; feasibility.json has every number with its own.", ""]
    return "\n".join(lines)


def told(one: Missing) -> str:
    """Return how a job stands that has no finished run."""
    return f"{one.status}: {one.error.splitlines()[0]}" if one.error else one.status


def rows(study: Study) -> list[Row]:
    """Return the table of all pairs, ideal hardware last."""
    return [*map(row, study.verdicts), *reference_rows(study)]


def _table(cells: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(one.replace('|', chr(92) + '|') for one in row)} |" for row in cells]
    return [lines[0], f"|{'---|' * len(cells[0])}", *lines[1:]]


def _points(loss: float | None) -> str:
    return UNKNOWN if loss is None else percent(-loss, sign=True)


def _options(study: Study) -> list[str]:
    request = study.request
    options = []
    if not request.axes:
        options.append("--no-sensitivity")
    elif len(request.axes) < len(AXES):
        options += ["--only", ",".join(request.axes)]
    if request.axes and len(request.axis_seeds) < len(request.seeds):
        options += ["--sensitivity-seeds", str(len(request.axis_seeds))]
    return options
