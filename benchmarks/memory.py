"""Peak memory of a training step over the length of the sequence, each point in a process of its own.

    python -m benchmarks.memory --steps 100,250,500,1000 --learner bptt,sltt,osttp --peers --json memory.json

What is measured: a process imports, builds network, rule and optimiser, makes the input, takes one training step on two
time steps (kernels compile, gradients and moments come to life) and notes its resident memory, the baseline. The
high-water mark (VmHWM) is then reset through /proc/self/clear_refs, two training steps run, and the mark is read. The
difference holds what a step needs besides parameters, gradients, moments and the input: what is kept for the backward
pass or of the present chunk, traces, and passing buffers. Beside it stand the rule's formula (activations and traces)
and its live tensors, which leave out passing buffers. Linux only.

`torch-loop` is the hand-written loop of benchmarks/training_step.py, always measured: `ratio` is a peak over the loop's
at the same length, `to bptt` over that of our own bptt. The input is part of the baseline: uint8 for our learners, as
the loader delivers it; floats, made beforehand, for the loop and the peers.

glibc is told to take every block above 64 KiB from the system and give it back when freed; it would else keep such
blocks, and the mark would tell of fragments. Slope: least squares over T. Flatness: largest over smallest peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.options import (
    LearnerChoice,
    add_json,
    add_learners,
    add_network,
    command_line,
    learners,
    numbers,
    positive,
)
from benchmarks.timing import columns, environment_lines, write_json

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
MB = 1e6
LOOP = "torch-loop"


@dataclass(frozen=True)
class Point:
    """One learner, loop or peer at one length; sizes in MB (10^6 bytes). peak: over the baseline.

    formula, live: of our learners alone.
    """

    learner: str
    steps: int
    peak: float
    formula: float | None
    live: float | None
    baseline: float


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("memory", __doc__)
    steps, told = (100, 250, 500, 1000), "100,250,500,1000"
    parse.add_argument("--steps", type=numbers, default=steps, help=f"time steps (default: {told})")
    add_learners(parse, learners("bptt,sltt,osttp"), "bptt,sltt,osttp")
    add_network(parse)
    parse.add_argument("--batch", type=positive, default=64, help="sequences a batch (default: %(default)s)")
    parse.add_argument("--repeats", type=positive, default=1, help="processes a point; the median counts")
    parse.add_argument("--peers", action="store_true", help="also snntorch, spikingjelly, norse if installed")
    parse.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="a setting of all learners"
    )
    add_json(parse, "the points")
    parse.add_argument("--point", metavar="NAME", help=argparse.SUPPRESS)
    return parse


def resident(field: str) -> int:
    """Return `VmRSS` or `VmHWM` of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status does not tell {field}")


def measure(options: argparse.Namespace, name: str) -> Point:
    """Measure one learner, the loop or one peer at one length in this process."""
    import torch

    from benchmarks.contenders import Contenders
    from benchmarks.peers import PEERS
    from benchmarks.plain_loop import PlainStep
    from benchmarks.workload import LearnerStep, Sizes

    torch.set_num_threads(1)
    (steps,) = options.steps
    sizes = Sizes(options.inputs, options.hidden, options.classes, steps, options.batch)
    contenders = Contenders(sizes, options.backbone, options.recurrent)
    step: LearnerStep | PlainStep
    if name == LOOP or name in PEERS:
        step, inputs = contenders.loop() if name == LOOP else contenders.peer(name), contenders.floats
    else:
        step, inputs = contenders.learner(_with(options.set, name)), contenders.inputs
    step.set_inputs(inputs[:2].clone())
    step()
    step.set_inputs(inputs)
    baseline = resident("VmRSS")
    # 5 resets the high-water mark to what is resident now; see proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    step()
    step()
    peak = resident("VmHWM")
    formula, live = (
        _accounted(step, sizes.steps, sizes.batch) if isinstance(step, LearnerStep) else (None, None)
    )
    return Point(name, steps, (peak - baseline) / MB, formula, live, baseline / MB)


def _with(settings: Sequence[str], name: str) -> LearnerChoice:
    """Return a learner with settings for all learners besides its own, which count for more."""
    (choice,) = learners(name)
    common = tuple((key, value) for key, _, value in (text.partition("=") for text in settings))
    return LearnerChoice(name, choice.rule, (*common, *choice.settings))


def _accounted(step: Any, steps: int, batch: int) -> tuple[float, float]:
    """Return the rule's activations and traces by its formula and by what is alive, MB."""
    from workbench.cost.measure import SavedTensors

    formula = step.rule.memory(steps, batch)
    saved = SavedTensors([*step.network.parameters(), *step.network.buffers()])
    with saved.watching():
        step()
    live = step.rule.live_memory()
    return (
        (formula.activations + formula.traces) / MB,
        (saved.take() + live.activations + live.traces) / MB,
    )


def in_fresh_process(options: argparse.Namespace, name: str, steps: int) -> Point:
    """Measure one point elsewhere. Raises RuntimeError with the other process's words."""
    command = [sys.executable, "-m", "benchmarks.memory", "--point", name, "--steps", str(steps)]
    command += ["--inputs", str(options.inputs), "--hidden", ",".join(map(str, options.hidden))]
    command += [
        "--classes",
        str(options.classes),
        "--batch",
        str(options.batch),
        "--backbone",
        options.backbone,
    ]
    command += ["--recurrent"] if options.recurrent else []
    for text in options.set:
        command += ["--set", text]
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    if answer.returncode:
        raise RuntimeError(f"measuring {name} at T={steps} failed:\n{answer.stderr.strip()}")
    return Point(**json.loads(answer.stdout.splitlines()[-1]))


def slope(points: Sequence[Point]) -> float:
    """Return the least-squares slope of the peak over T, MB per time step; 0 for a single point."""
    mean_steps = sum(p.steps for p in points) / len(points)
    mean_peak = sum(p.peak for p in points) / len(points)
    spread = sum((p.steps - mean_steps) ** 2 for p in points)
    return sum((p.steps - mean_steps) * (p.peak - mean_peak) for p in points) / spread if spread else 0.0


def flatness(points: Sequence[Point]) -> float:
    """Return by how much the largest peak exceeds the smallest, in per cent."""
    peaks = [point.peak for point in points]
    return 100 * (max(peaks) / min(peaks) - 1) if min(peaks) else float("inf")


Peaks = Mapping[tuple[str, int], float]
"""Peak by name and length, MB."""


def relative(point: Point, peaks: Peaks, reference: str) -> float | None:
    """Return a peak over the reference's at the same length, or None if that is not known or too small to see."""
    other = peaks.get((reference, point.steps))
    return point.peak / other if other else None


def table(points: Sequence[Point]) -> str:
    """Return the points as text."""
    peaks = {(point.learner, point.steps): point.peak for point in points}

    def told(value: float | None, digits: int = 1) -> str:
        return "" if value is None else f"{value:.{digits}f}"

    rows = [
        (
            p.learner,
            str(p.steps),
            told(p.peak),
            told(relative(p, peaks, LOOP), 3),
            told(relative(p, peaks, "bptt"), 3),
            told(p.formula),
            told(p.live),
            f"{p.baseline:.0f}",
        )
        for p in points
    ]
    header = ("learner", "T", "peak MB", "ratio", "to bptt", "formula MB", "live MB", "baseline MB")
    return columns(header, rows)


def records(points: Sequence[Point]) -> list[dict[str, Any]]:
    """Return what goes into the JSON file: the points and their ratios to loop and bptt."""
    peaks = {(point.learner, point.steps): point.peak for point in points}
    return [
        {
            **asdict(point),
            "ratio": relative(point, peaks, LOOP),
            "to_bptt": relative(point, peaks, "bptt"),
        }
        for point in points
    ]


def names(options: argparse.Namespace) -> list[str]:
    """Return whom to measure: the loop, the learners, the peers that are installed."""
    chosen = [LOOP, *(choice.name for choice in options.learner)]
    if options.peers:
        from benchmarks.peers import present_peers

        chosen += present_peers(options.backbone)
    return chosen


def measured(options: argparse.Namespace) -> list[Point]:
    """Return all points, each measured in `--repeats` processes. Raises RuntimeError."""
    points = []
    for name in names(options):
        for steps in options.steps:
            again = [in_fresh_process(options, name, steps) for _ in range(options.repeats)]
            middle = median(point.peak for point in again)
            points.append(Point(**{**asdict(again[0]), "peak": middle}))
    return points


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    if not Path("/proc/self/clear_refs").exists():
        print(
            "error: needs Linux's /proc/self/clear_refs to reset the memory high-water mark", file=sys.stderr
        )
        return 2
    if options.point:
        print(json.dumps(asdict(measure(options, options.point))))
        return 0
    print("\n".join(environment_lines(threads=1)))
    recurrent = ", recurrent" if options.recurrent else ""
    widths = "-".join(map(str, (options.inputs, *options.hidden, options.classes)))
    print(f"{options.backbone}{recurrent} {widths}, batch {options.batch}")
    try:
        points = measured(options)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("peak over baseline of two training steps; formula and live: activations and traces\n")
    print(table(points) + "\n")
    summary = []
    for name in dict.fromkeys(point.learner for point in points):
        mine = [point for point in points if point.learner == name]
        summary.append((name, f"{slope(mine):.4f}", f"{flatness(mine):.1f}"))
    print(columns(("learner", "MB per time step", "largest over smallest peak, %"), summary))
    if options.json is not None:
        write_json(options.json, records(points))
    return 0


if __name__ == "__main__":
    sys.exit(main())
