"""Interleaved timing: variants take turns in one process, and each is compared with the reference of its own round.

A machine that is busy with other things slows all variants of a round alike, so ratios stay when milliseconds do not.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from workbench.runfolder import write_atomically

FEW_ROUNDS = 3
"""Rounds of what takes many seconds."""


@dataclass(frozen=True)
class Variant:
    """Something to time: `run` does the work once. rounds: in how many rounds it takes part; None for all."""

    name: str
    run: Callable[[], object]
    rounds: int | None = None


@dataclass
class Timing:
    """Times of one variant, seconds, and its ratio to the reference in each of its rounds."""

    name: str
    seconds: list[float] = field(default_factory=list)
    ratios: list[float] = field(default_factory=list)

    def against(self, other: Timing) -> float:
        """Return the median ratio to another variant over the rounds in which both took part."""
        # A variant that takes part in fewer rounds takes part in the first ones.
        return median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=False))

    def middle_half(self) -> tuple[float, float]:
        """Return the ratios between which half of them lie."""
        ordered = sorted(self.ratios)
        return ordered[len(ordered) // 4], ordered[(3 * len(ordered) - 1) // 4]

    def result(self) -> Result:
        """Return the medians."""
        return Result(self.name, median(self.ratios), 1000 * median(self.seconds))


@dataclass(frozen=True)
class Result:
    """What goes into a JSON file: median ratio to the reference and median milliseconds."""

    name: str
    ratio: float
    ms: float


def interleave(
    variants: Sequence[Variant],
    rounds: int,
    warm_up: int = 2,
    clock: Callable[[], float] = time.perf_counter,
    patience: float = math.inf,
) -> list[Timing]:
    """Time the variants round-robin; the first is the reference, whose ratio is 1 in every round.

    Every other round runs backwards, so that no variant always follows the same one. A variant that takes more than
    `patience` seconds takes part in FEW_ROUNDS rounds only. Raises ValueError without rounds.
    """
    if rounds < 1:
        raise ValueError(f"timing needs at least one round, not {rounds}")
    timings = {variant.name: Timing(variant.name) for variant in variants}
    limits = {variant.name: rounds if variant.rounds is None else variant.rounds for variant in variants}
    for variant in variants:
        # A variant with few rounds is a slow one: once is enough.
        times = [_timed(variant.run, clock) for _ in range(warm_up if variant.rounds is None else 1)]
        # The least, since a first run may compile.
        if min(times, default=0.0) > patience and variant is not variants[0]:
            limits[variant.name] = min(limits[variant.name], FEW_ROUNDS)
    for number in range(rounds):
        present = [v for v in variants if number < limits[v.name]]
        seconds = {v.name: _timed(v.run, clock) for v in (present if number % 2 == 0 else present[::-1])}
        for name, value in seconds.items():
            timings[name].seconds.append(value)
            timings[name].ratios.append(value / seconds[variants[0].name])
    return list(timings.values())


def _timed(run: Callable[[], object], clock: Callable[[], float]) -> float:
    begun = clock()
    run()
    return clock() - begun


def environment_lines(threads: int | None = None) -> list[str]:
    """Return what a figure means nothing without: machine, versions, threads, commit, load."""
    from workbench import environment

    captured = environment.capture(threads=threads)
    machine, code = captured["machine"], captured["code"]
    commit = "no checkout" if code is None else code["commit"][:10] + (" + changes" if code["dirty"] else "")
    packages = captured["packages"]
    return [
        f"{machine['cpu']}, {machine['cores_available']} cores, {captured['platform']}",
        f"python {captured['python']}, torch {packages.get('torch')}, numba {packages.get('numba')}, "
        f"threads {captured['threads']}",
        f"commit {commit}, {captured['started']}, load average {load_average()}",
    ]


def load_average() -> str:
    """Return how busy the machine was over the last minute, or `unknown`."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def columns(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table as text: the first column to the left, the others to the right.

    >>> print(columns(("name", "ms"), [("loop", "100.0"), ("fused", "9.1")]))
    name      ms
    loop   100.0
    fused    9.1
    """
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0])]
        cells += [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def timing_table(timings: Sequence[Timing], second: str | None = None) -> str:
    """Return name, median and least milliseconds, median ratio, the middle half of the ratios, rounds.

    second: a variant to which the ratio is shown too.
    """
    other = next((timing for timing in timings if timing.name == second), None)
    rows = []
    for timing in timings:
        result, (low, high) = timing.result(), timing.middle_half()
        row = [timing.name, f"{result.ms:.1f}", f"{1000 * min(timing.seconds):.1f}", f"{result.ratio:.3f}"]
        row.append(f"{low:.2f} .. {high:.2f}")
        if other is not None:
            row.append(f"{timing.against(other):.3f}")
        rows.append((*row, str(len(timing.ratios))))
    against = () if other is None else (f"to {second}",)
    return columns(("variant", "ms", "least ms", "ratio", "middle half", *against, "rounds"), rows)


def write_json(file: Path, content: Sequence[Mapping[str, Any]] | Sequence[Result]) -> None:
    """Write a list of records."""
    plain = [asdict(entry) if isinstance(entry, Result) else dict(entry) for entry in content]
    write_atomically(file, (json.dumps(plain, indent=2) + "\n").encode())
