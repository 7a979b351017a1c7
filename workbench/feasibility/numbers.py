"""What one learner on one device came to, read off its runs: bytes, writes, joules, accuracy. Unknown is None.

Counts that the configuration settles are the same for every seed; those that depend on data are means over the seeds,
but the most written device is that of the worst seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from workbench.compare.statistics import Difference, Interval, interval, paired_difference
from workbench.feasibility.runs import Run

WEIGHT_BYTES = 4
"""Bytes of a weight in the memory formula, which a device holds in their place."""
DEFAULT_SEQUENCE_SECONDS = 1.0


@dataclass(frozen=True)
class Memory:
    """Digital memory that learning needs, bytes by category; what devices hold is left out."""

    parts: Mapping[str, int]

    @property
    def total(self) -> int:
        """Sum over the categories."""
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        """The category that takes most."""
        return max(self.parts, key=lambda name: self.parts[name])


@dataclass(frozen=True)
class Writes:
    """Writes of a device over a run of `samples` training sequences.

    largest: of the device written most, in the worst seed. p99: 99 of 100 devices are written no more often. total: of
    all devices, by training sequence.
    """

    largest: float
    p99: float
    mean: float
    total_per_sample: float
    samples: float

    @property
    def largest_per_sample(self) -> float:
        """Writes of the device written most, by training sequence."""
        return self.largest / self.samples

    @property
    def p99_per_sample(self) -> float:
        """The same of the 99th percentile."""
        return self.p99 / self.samples


@dataclass(frozen=True)
class Energy:
    """Joules of a training sequence; None for unknown.

    parts: by what takes it, as far as that is known. left_out: what the table has no price for. assumed: in sentences.
    """

    total: float | None
    parts: Mapping[str, float]
    table: str
    left_out: tuple[str, ...]
    assumed: tuple[str, ...] = ()


def memory(runs: Sequence[Run]) -> Memory | None:
    """Return the digital memory of learning from one sequence at a time; None if no run tells."""
    for run in runs:
        known, devices = run.results.get("memory_at_batch_1"), run.results.get("devices")
        if not known:
            continue
        parts = {name: int(size) for name, size in known.items() if name != "total"}
        if devices:
            parts["parameters"] = max(0, parts.get("parameters", 0) - WEIGHT_BYTES * int(devices["weights"]))
            parts["write buffers"] = int(devices.get("buffer_bytes") or 0)
        return Memory({name: size for name, size in parts.items() if size})
    return None


def writes(runs: Sequence[Run]) -> Writes | None:
    """Return how often devices were written; None on ideal hardware, or if a run does not tell."""
    counted = [(run.results["devices"]["writes"], samples(run)) for run in runs if run.results.get("devices")]
    if not counted or len(counted) < len(runs):
        return None
    return Writes(
        largest=max(float(one["max"]) for one, _ in counted),
        p99=fmean(float(one["p99"]) for one, _ in counted),
        mean=fmean(float(one["mean"]) for one, _ in counted),
        total_per_sample=fmean(float(one["per_sample"]) for one, _ in counted),
        samples=fmean(shown for _, shown in counted),
    )


def samples(run: Run) -> float:
    """Return how many training sequences a run was shown."""
    results = run.results
    return float(sum(results["samples"]) * (results.get("epochs") or 1))


def sequence_seconds(runs: Sequence[Run]) -> float:
    """Return how long a training sequence takes, seconds: what the device's settings say."""
    for run in runs:
        found = (run.results.get("config") or {}).get("hardware", {}).get("sequence_seconds")
        if found:
            return float(found)
    return DEFAULT_SEQUENCE_SECONDS


def energy(runs: Sequence[Run]) -> Energy | None:
    """Return the energy of a training sequence, mean over the seeds; its total is None if any seed's is."""
    known: list[Mapping[str, Any]] = [run.results["energy"] for run in runs if run.results.get("energy")]
    if not known or len(known) < len(runs):
        return None
    totals = [float(one["total"]) for one in known if one.get("total") is not None]
    total = fmean(totals) if len(totals) == len(known) else None
    names = [name for name in PARTS if all(isinstance(one.get(name), int | float) for one in known)]
    left_out, assumed = (
        tuple(dict.fromkeys(entry for one in known for entry in one.get(key) or ()))
        for key in ("left_out", "assumed")
    )
    return Energy(
        total,
        {name: fmean(float(one[name]) for one in known) for name in names},
        str(known[0].get("table", "")),
        left_out,
        assumed,
    )


PARTS = ("cells", "periphery", "digital", "arithmetic", "words", "forward", "learning", "writes")
"""Keys of `energy` in results.json that are parts of its total, or of each other."""


def measured(runs: Sequence[Run], key: str) -> dict[int, float]:
    """Return a measure by seed, where it is known."""
    return {run.seed: float(run.results[key]) for run in runs if run.results.get(key) is not None}


def mean_of(runs: Sequence[Run], key: str) -> Interval | None:
    """Return a measure's mean over the seeds and its 95 % interval."""
    return interval(list(measured(runs, key).values()))


def against(first: Sequence[Run], second: Sequence[Run], key: str) -> Difference | None:
    """Return first minus second of a measure, seed by seed."""
    return paired_difference(measured(first, key), measured(second, key))


def untrained(runs: Sequence[Run]) -> float | None:
    """Return the mean accuracy before any training."""
    rows = [run.results["baseline"] for run in runs if run.results.get("baseline")]
    return fmean(fmean(row) for row in rows) if rows else None


def first_known(runs: Sequence[Run], read: Callable[[Run], Any]) -> Any:
    """Return what the first run that tells says; None if none does."""
    return next((found for run in runs if (found := read(run)) is not None), None)
