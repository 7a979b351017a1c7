"""Whether a learner can learn on a device, criterion by criterion, each with its reason and the runs it rests on.

A criterion is met, met with a reservation, missed, or unknown. What is missed rules a pair out whatever else is
unknown; what is unknown is never taken for met.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from workbench.feasibility import numbers
from workbench.feasibility.budget import Budget
from workbench.feasibility.endurance import Cell, Endurance, endurance
from workbench.feasibility.quantities import number, seconds, watts
from workbench.feasibility.runs import Run, folders
from workbench.report.units import joules, percent, size

Status = Literal["met", "reservation", "missed", "unknown"]
Answer = Literal["feasible", "feasible with reservations", "unknown", "not feasible"]
CRITERIA = ("locality", "memory", "endurance", "energy", "accuracy", "forgetting")


@dataclass(frozen=True)
class Finding:
    """One criterion: what was found, in words and as numbers by name, and the run folders that say so."""

    criterion: str
    status: Status
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    runs: Sequence[str] = ()


@dataclass(frozen=True)
class Verdict:
    """A learner on a device."""

    learner: str
    device: str
    findings: tuple[Finding, ...]

    @property
    def answer(self) -> Answer:
        """The whole, by its weakest part."""
        found = {one.status for one in self.findings}
        if "missed" in found:
            return "not feasible"
        if "unknown" in found or not self.findings:
            return "unknown"
        return "feasible with reservations" if "reservation" in found else "feasible"

    @property
    def reasons(self) -> list[Finding]:
        """What stands against it: missed criteria first, then unknown ones, then reservations."""
        order = ("missed", "unknown", "reservation")
        return [one for status in order for one in self.findings if one.status == status]

    def finding(self, criterion: str) -> Finding:
        """Return the finding of a criterion."""
        return next(one for one in self.findings if one.criterion == criterion)


def judge(
    learner: str, device: str, runs: Sequence[Run], ideal: Sequence[Run], budget: Budget, cell: Cell
) -> Verdict:
    """Return the verdict on a learner on a device, from its runs and those of the same learner on ideal hardware."""
    if not runs:
        nothing = tuple(Finding(one, "unknown", "no finished run") for one in CRITERIA)
        return Verdict(learner, device, nothing)
    return Verdict(
        learner,
        device,
        (
            locality(runs),
            memory(runs, budget),
            wear(runs, budget, cell),
            energy(runs, budget),
            accuracy(runs, ideal, budget),
            forgetting(runs, ideal, budget),
        ),
    )


def locality(runs: Sequence[Run]) -> Finding:
    """Judge what the rule needs besides what a synapse has at hand; nothing of it rules a chip out by itself."""
    known = numbers.first_known(runs, lambda run: run.results.get("locality"))
    where = folders(runs)
    if known is None:
        return Finding("locality", "unknown", "the rule does not say what it needs", {}, where)
    needs = {name: bool(known.get(name)) for name in NEEDS}
    why = known.get("why") or {}
    told = [f"{NEEDS[name]} ({why[name]})" if why.get(name) else NEEDS[name] for name in NEEDS if needs[name]]
    hard = [name for name in NEEDS if needs[name] and name != "per_synapse_memory"]
    if not told:
        return Finding(
            "locality", "met", "local: a synapse needs what is at its two ends alone", needs, where
        )
    status: Status = "reservation" if hard else "met"
    lead = "" if hard else "local, with "
    return Finding("locality", status, f"{lead}{'; '.join(told)}", needs, where)


NEEDS = {
    "weight_transport": "reads weights backwards",
    "future": "waits for later steps",
    "other_layers": "waits for other layers",
    "per_synapse_memory": "a memory of its own for each synapse",
}


def memory(runs: Sequence[Run], budget: Budget) -> Finding:
    """Judge the digital memory of learning from one sequence at a time."""
    found, where = numbers.memory(runs), folders(runs)
    if found is None:
        return Finding("memory", "unknown", "the runs do not say what memory learning needs", {}, where)
    told = {"bytes": found.total, "budget_bytes": budget.sram, "parts": dict(found.parts)}
    if not found.parts:
        return Finding("memory", "met", "needs no digital memory", told, where)
    largest = found.largest
    text = (
        f"{size(found.total)} besides the weights, of a budget of {size(budget.sram)}; most of it {largest}"
    )
    text += f" ({size(found.parts[largest])})"
    return Finding("memory", "met" if found.total <= budget.sram else "missed", text, told, where)


def rate_of(runs: Sequence[Run], budget: Budget) -> float:
    """Return training sequences a second: as budgeted, or one after the other."""
    return 1 / numbers.sequence_seconds(runs) if budget.rate == "continuous" else float(budget.rate)


def wear(runs: Sequence[Run], budget: Budget, cell: Cell) -> Finding:
    """Judge how long devices last that are written as often as in the runs."""
    found, where, allowed = numbers.writes(runs), folders(runs), endurance(budget, cell)
    if found is None:
        if allowed.writes == math.inf:
            known = {
                "lifetime_seconds": math.inf,
                "budget_seconds": budget.lifetime,
                "source": allowed.source,
            }
            return Finding("endurance", "met", allowed.source, known, where)
        return Finding(
            "endurance", "unknown", "the runs do not say how often devices were written", {}, where
        )
    rate = rate_of(runs, budget)
    told = _wear_numbers(found, allowed, rate, budget)
    often = (
        f"the most written device {number(found.largest)} times in {number(found.samples)} sequences "
        f"(99 of 100: at most {number(found.p99)})"
    )
    if allowed.writes is None:
        return Finding("endurance", "unknown", f"{often}; {allowed.source}", told, where)
    first, most = told["lifetime_seconds"], told["lifetime_p99_seconds"]
    if first >= budget.lifetime:
        status: Status = "met"
        text = f"lasts {seconds(first)}" if found.largest else "no device was written"
    elif most >= budget.lifetime:
        status = "reservation"
        others = f"last {seconds(most)}" if found.p99 else "were not written"
        text = f"the first device fails after {seconds(first)}, 99 of 100 {others}"
    else:
        status = "missed"
        text = f"devices fail from {seconds(first)} on, 1 in 100 within {seconds(most)}"
    return Finding(
        "endurance",
        status,
        f"{text}, {seconds(budget.lifetime)} wanted: {often}; {allowed.source}",
        told,
        where,
    )


def _wear_numbers(found: numbers.Writes, allowed: Endurance, rate: float, budget: Budget) -> dict[str, Any]:
    def lifetime(per_sample: float) -> float | None:
        if allowed.writes is None:
            return None
        return math.inf if per_sample == 0 else allowed.writes / (per_sample * rate)

    return {
        "writes_max": found.largest,
        "writes_p99": found.p99,
        "writes_mean": found.mean,
        "writes_max_per_sample": found.largest_per_sample,
        "writes_total_per_sample": found.total_per_sample,
        "samples": found.samples,
        "samples_per_second": rate,
        "endurance": allowed.writes,
        "source": allowed.source,
        "lifetime_seconds": lifetime(found.largest_per_sample),
        "lifetime_p99_seconds": lifetime(found.p99_per_sample),
        "budget_seconds": budget.lifetime,
    }


def energy(runs: Sequence[Run], budget: Budget) -> Finding:
    """Judge mean power, and energy where that has a budget; what the table leaves out makes both unknown."""
    found, where = numbers.energy(runs), folders(runs)
    if found is None:
        return Finding(
            "energy", "unknown", "the runs do not say what energy a training sequence takes", {}, where
        )
    rate = rate_of(runs, budget)
    power = None if found.total is None else found.total * rate
    told: dict[str, Any] = {
        "joules_per_sample": found.total,
        "parts": dict(found.parts),
        "watts": power,
        "samples_per_second": rate,
        "table": found.table,
        "left_out": list(found.left_out),
        "assumed": list(found.assumed),
        "budget_watts": budget.power,
        "budget_joules": budget.energy,
    }
    if found.total is None or power is None:
        left_out = ", ".join(found.left_out) or "something"
        text = f"the table {found.table} has no price for {left_out}"
        return Finding("energy", "unknown", text, told, where)
    apart = ", ".join(f"{name} {joules(found.parts[name])}" for name in APART if name in found.parts)
    text = f"{joules(found.total)} a sequence{f' ({apart})' if apart else ''}, {watts(power)}"
    text += f" at {number(rate)} a second, {watts(budget.power)} allowed; table {found.table}"
    dear = budget.energy is not None and found.total > budget.energy
    if dear:
        text += f"; more than {joules(budget.energy)} a sequence"
    status: Status = "missed" if power > budget.power or dear else "met"
    return Finding("energy", status, text, told, where)


APART = ("cells", "periphery", "digital")


def accuracy(runs: Sequence[Run], ideal: Sequence[Run], budget: Budget) -> Finding:
    """Judge accuracy against the same learner on ideal hardware, seed by seed."""
    where, own = folders([*runs, *ideal]), numbers.mean_of(runs, "acc")
    if own is None:
        return Finding("accuracy", "unknown", "the runs have no accuracy", {}, where)
    difference, start = numbers.against(ideal, runs, "acc"), numbers.untrained(runs)
    told = {
        "acc": own.mean,
        "low": own.low,
        "high": own.high,
        "seeds": own.seeds,
        "untrained": start,
        "by_seed": numbers.measured(runs, "acc"),
        "budget_loss": budget.loss,
        **_loss_numbers(difference),
    }
    text = f"{percent(own.mean)} %"
    if start is not None and own.mean <= start:
        text += f", no more than the untrained network's {percent(start)} %: it does not learn"
        return Finding("accuracy", "missed", text, told, where)
    if difference is None:
        return Finding(
            "accuracy", "unknown", f"{text}; no run on ideal hardware to hold it against", told, where
        )
    status, words = _lost(difference, budget, "below ideal hardware", "above it")
    return Finding("accuracy", status, f"{text}, {words}", told, where)


def forgetting(runs: Sequence[Run], ideal: Sequence[Run], budget: Budget) -> Finding:
    """Tell how much more is forgotten than on ideal hardware; accuracy has felt it, so it rules nothing out itself."""
    where, own = folders([*runs, *ideal]), numbers.mean_of(runs, "forgetting")
    if own is None:
        if all(len(run.results["tasks"]) == 1 for run in runs):
            return Finding("forgetting", "met", "one task: nothing to forget", {}, where)
        return Finding("forgetting", "unknown", "the runs do not say what was forgotten", {}, where)
    difference = numbers.against(runs, ideal, "forgetting")
    told = {
        "forgetting": own.mean,
        "low": own.low,
        "high": own.high,
        "seeds": own.seeds,
        "by_seed": numbers.measured(runs, "forgetting"),
        **_loss_numbers(difference),
    }
    text = f"{percent(own.mean)} %"
    if difference is None:
        return Finding(
            "forgetting", "unknown", f"{text}; no run on ideal hardware to hold it against", told, where
        )
    status, words = _lost(difference, budget, "more than on ideal hardware", "less")
    # A learner that learns less has less to forget: alone, this is no reason to say no.
    return Finding(
        "forgetting", "reservation" if status == "missed" else status, f"{text}, {words}", told, where
    )


def _loss_numbers(difference: Any) -> dict[str, Any]:
    if difference is None:
        return {"loss": None, "loss_low": None, "loss_high": None, "p": None}
    return {
        "loss": difference.mean,
        "loss_low": difference.low,
        "loss_high": difference.high,
        "p": difference.p,
    }


def _lost(difference: Any, budget: Budget, worse: str, better: str) -> tuple[Status, str]:
    """Return status and words of a loss: its mean decides, its interval says how sure that is."""
    loss, low, high = difference.mean, difference.low, difference.high
    points = f"{percent(abs(loss))} points {worse if loss >= 0 else better}"
    allowed = f"{percent(budget.loss)} allowed"
    if low is None or high is None:
        span = f"{difference.seeds} seed{'s' if difference.seeds > 1 else ''}: no interval"
    else:
        span = f"95 % interval {percent(low, sign=True)} to {percent(high, sign=True)}"
    text = f"{points} ({span}; {allowed})"
    if loss > budget.loss:
        return "missed", text
    if high is None:
        return "reservation", f"{text}: it may be chance"
    if high > budget.loss:
        return "reservation", f"{text}: it may be more than allowed"
    return "met", text
