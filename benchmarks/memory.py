"""Peak memory of a training step over the length of the sequence, each point in a process of its own.

    python -m benchmarks.memory --steps 100,200,400,800 --learner bptt,osttp --json memory.json

What is measured: a process imports, builds network, rule and optimiser, makes the input (uint8), takes one training
step on two time steps (kernels compile, gradients and moments come to life) and notes its resident memory, the
baseline. The high-water mark (VmHWM) is then reset through /proc/self/clear_refs, two training steps run, and the mark
is read. The difference holds what a step needs besides parameters, gradients, moments and the input: what is kept for
the backward pass or of the present chunk, traces, and passing buffers. Beside it stand the rule's formula (activations
and traces) and its live tensors, which leave out passing buffers. Linux only.

glibc is told to take every block above 64 KiB from the system and give it back when freed; it would else keep such
blocks, and the mark would tell of fragments. Slope: least squares over T. Flatness: largest over smallest peak.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.options import add_json, command_line, numbers, positive, words
from benchmarks.timing import columns, environment_lines, write_json

ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}
MB = 1e6


@dataclass(frozen=True)
class Point:
    """One learner at one length; sizes in MB (10^6 bytes). peak: over the baseline."""

    learner: str
    steps: int
    peak: float
    formula: float
    live: float
    baseline: float


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("memory", __doc__)
    steps, rules = (100, 200, 400, 800), ("bptt", "osttp")
    parse.add_argument("--steps", type=numbers, default=steps, help="time steps (default: 100,200,400,800)")
    parse.add_argument("--learner", type=words, default=rules, help="rules by name (default: bptt,osttp)")
    parse.add_argument("--inputs", type=positive, default=700, help="input channels (default: %(default)s)")
    parse.add_argument("--hidden", type=numbers, default=(200, 200), help="hidden widths (default: 200,200)")
    parse.add_argument("--classes", type=positive, default=20, help="classes (default: %(default)s)")
    parse.add_argument("--batch", type=positive, default=64, help="sequences a batch (default: %(default)s)")
    parse.add_argument("--repeats", type=positive, default=1, help="processes a point; the median counts")
    parse.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a further setting")
    add_json(parse, "the points")
    parse.add_argument("--point", action="store_true", help=argparse.SUPPRESS)
    return parse


def resident(field: str) -> int:
    """Return `VmRSS` or `VmHWM` of this process, bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status does not tell {field}")


def measure(options: argparse.Namespace) -> Point:
    """Measure one learner at one length in this process."""
    import torch

    from benchmarks.workload import LearnerStep, Sizes, configured, spikes
    from workbench.cost.measure import SavedTensors

    torch.set_num_threads(1)
    (learner,), (steps,) = options.learner, options.steps
    sizes = Sizes(options.inputs, options.hidden, options.classes, steps, options.batch)
    config = configured(learner, sizes.hidden, dict(text.split("=", 1) for text in options.set))
    inputs, targets = spikes(sizes)
    step = LearnerStep(config, sizes, inputs[:2].clone(), targets)
    step()
    step.set_inputs(inputs)
    baseline = resident("VmRSS")
    # 5 resets the high-water mark to what is resident now; see proc(5).
    Path("/proc/self/clear_refs").write_text("5")
    step()
    step()
    peak = resident("VmHWM")
    formula = step.rule.memory(steps, sizes.batch)
    saved = SavedTensors([*step.network.parameters(), *step.network.buffers()])
    with saved.watching():
        step()
    live = step.rule.live_memory()
    return Point(
        learner,
        steps,
        (peak - baseline) / MB,
        (formula.activations + formula.traces) / MB,
        (saved.take() + live.activations + live.traces) / MB,
        baseline / MB,
    )


def in_fresh_process(options: argparse.Namespace, learner: str, steps: int) -> Point:
    """Measure one point elsewhere. Raises RuntimeError with the other process's words."""
    command = [
        sys.executable,
        "-m",
        "benchmarks.memory",
        "--point",
        "--learner",
        learner,
        "--steps",
        str(steps),
    ]
    command += ["--inputs", str(options.inputs), "--hidden", ",".join(map(str, options.hidden))]
    command += ["--classes", str(options.classes), "--batch", str(options.batch)]
    for text in options.set:
        command += ["--set", text]
    environment = {**os.environ, **ALLOCATOR, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).resolve().parent.parent
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=root, check=False)
    if answer.returncode:
        raise RuntimeError(f"measuring {learner} at T={steps} failed:\n{answer.stderr.strip()}")
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
    return 100 * (max(peaks) / min(peaks) - 1)


def table(points: Sequence[Point]) -> str:
    """Return the points as text."""
    rows = [
        (p.learner, str(p.steps), f"{p.peak:.1f}", f"{p.formula:.1f}", f"{p.live:.1f}", f"{p.baseline:.0f}")
        for p in points
    ]
    return columns(("learner", "T", "peak MB", "formula MB", "live MB", "baseline MB"), rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    if not Path("/proc/self/clear_refs").exists():
        print(
            "error: needs Linux's /proc/self/clear_refs to reset the memory high-water mark", file=sys.stderr
        )
        return 2
    if options.point:
        print(json.dumps(asdict(measure(options))))
        return 0
    print("\n".join(environment_lines(threads=1)))
    print(f"{options.inputs}-{'-'.join(map(str, options.hidden))}-{options.classes}, batch {options.batch}")
    points, summary = [], []
    try:
        for learner in options.learner:
            mine = []
            for steps in options.steps:
                again = [in_fresh_process(options, learner, steps) for _ in range(options.repeats)]
                middle = median(sorted(point.peak for point in again))
                mine.append(Point(**{**asdict(again[0]), "peak": middle}))
            points += mine
            summary.append((learner, f"{slope(mine):.4f}", f"{flatness(mine):.1f}"))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print("peak over baseline of two training steps; formula and live: activations and traces\n")
    print(table(points) + "\n")
    print(columns(("learner", "MB per time step", "largest over smallest peak, %"), summary))
    if options.json is not None:
        write_json(options.json, [asdict(point) for point in points])
    return 0


if __name__ == "__main__":
    sys.exit(main())
