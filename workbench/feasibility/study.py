"""A feasibility study as its folder tells it: verdicts, references, curves, and what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.feasibility import numbers
from workbench.feasibility.axes import REFERENCE, Axis
from workbench.feasibility.budget import Budget
from workbench.feasibility.cells import cell_of
from workbench.feasibility.plan import plan_of
from workbench.feasibility.request import Request
from workbench.feasibility.runs import Found, Missing, Run, find, folders
from workbench.feasibility.sensitivity import Curve, curves
from workbench.feasibility.verdict import Verdict, judge
from workbench.registry import Registry

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Study:
    """Everything that is shown of a study.

    references: runs on ideal hardware by learner. not_followed: axes asked for that none of the devices has.
    """

    folder: Path
    request: Request
    budget: Budget
    verdicts: tuple[Verdict, ...]
    references: Mapping[str, Sequence[Run]]
    curves: tuple[Curve, ...]
    found: Found
    not_followed: tuple[Axis, ...] = ()

    @property
    def missing(self) -> Sequence[Missing]:
        """Jobs without a finished run."""
        return self.found.missing

    def verdict(self, learner: str, device: str) -> Verdict:
        """Return the verdict on a learner on a device."""
        return next(one for one in self.verdicts if (one.learner, one.device) == (learner, device))

    def pictures(self) -> list[tuple[Axis, str, list[Curve]]]:
        """Return the curves that belong into one picture: of one axis and device, with a line for each learner."""
        pairs = list(dict.fromkeys((curve.axis, curve.device) for curve in self.curves))
        return [
            (axis, device, [one for one in self.curves if (one.axis, one.device) == (axis, device)])
            for axis, device in pairs
        ]


def read_study(folder: Path, request: Request, registry: Registry) -> Study:
    """Return the study in a folder; what its finished runs do not tell is unknown.

    Raises ConfigurationError for a request that cannot be run, DataError for a run whose results are damaged.
    """
    plan, budget = plan_of(request, registry), request.budgets
    found = find(folder, plan)
    references = {learner: found.reference(learner) for learner in request.learners}
    verdicts = [
        judge(
            learner,
            device,
            found.of(learner, device),
            references[learner],
            budget,
            cell_of(device, found.of(learner, device), registry),
        )
        for learner in request.learners
        for device in request.devices
    ]
    return Study(
        Path(folder),
        request,
        budget,
        tuple(verdicts),
        references,
        tuple(curves(found, request.learners)),
        found,
        plan.unused,
    )


def content(study: Study) -> dict[str, Any]:
    """Return every number of a study with the run folders that it comes from, as plain data for JSON."""
    tree = {
        "schema_version": SCHEMA_VERSION,
        "request": study.request.to_dict(),
        "budget": study.budget.model_dump(mode="json"),
        "pairs": [_pair(verdict) for verdict in study.verdicts],
        "reference": [_reference(learner, runs) for learner, runs in study.references.items()],
        "sensitivity": [_curve(curve, study.budget.loss) for curve in study.curves],
        "not_followed": [axis.name for axis in study.not_followed],
        "missing": [
            {"job": one.job, "status": one.status, "error": one.error or None} for one in study.missing
        ],
    }
    finite: dict[str, Any] = _finite(tree)
    return finite


def _pair(verdict: Verdict) -> dict[str, Any]:
    return {
        "learner": verdict.learner,
        "hardware": verdict.device,
        "answer": verdict.answer,
        "criteria": {
            one.criterion: {
                "status": one.status,
                "reason": one.reason,
                "numbers": dict(one.numbers),
                "runs": list(one.runs),
            }
            for one in verdict.findings
        },
    }


def _reference(learner: str, runs: Sequence[Run]) -> dict[str, Any]:
    kept = numbers.memory(runs)
    return {
        "learner": learner,
        "hardware": REFERENCE,
        "acc": numbers.measured(runs, "acc"),
        "forgetting": numbers.measured(runs, "forgetting"),
        "memory": None if kept is None else dict(kept.parts),
        "runs": folders(runs),
    }


def _curve(curve: Curve, allowed: float) -> dict[str, Any]:
    return {
        "axis": curve.axis.name,
        "setting": curve.axis.key,
        "hardware": curve.device,
        "learner": curve.learner,
        "tolerated": curve.tolerance(allowed).last,
        "tolerated_ends": curve.tolerance(allowed).end,
        "ideal": {"acc": numbers.measured(curve.reference, "acc"), "runs": folders(curve.reference)},
        "unknown": list(curve.unknown),
        "points": [
            {
                "value": point.value,
                "acc": point.accuracy.mean,
                "low": point.accuracy.low,
                "high": point.accuracy.high,
                "loss": point.loss,
                "by_seed": point.by_seed,
                "runs": point.runs,
            }
            for point in curve.points
        ],
    }


def _finite(value: Any) -> Any:
    """Return data in which infinity, which JSON lacks, is the word for it."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return "infinite" if isinstance(value, float) and math.isinf(value) else value
