"""How fast a rule learns from a live stream: an update of the weights at every time step, one sequence at a time.

    python -m benchmarks.streaming --learner osttp,ostl --optimiser adam,sgd --json streaming.json
    python -m benchmarks.streaming --learner osttp --profile

Made-up spikes stream through `update=step` in sequences of `--steps` steps and random classes; the optimiser is the one
that the trainer builds. A step runs the network forward, learns and updates. Told are the sustained steps a second over
`--seconds` and the latency of one step: the time between two updates, the start of a new sequence included. Target:
2,000 steps a second. `--profile` tells where the time of a step goes: parts by stopwatch, and torch's operators by
torch.profiler (Numba kernels are no operators).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import cycle
from typing import Any
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.contenders import Contenders
from benchmarks.options import (
    LearnerChoice,
    add_cpu_time,
    add_json,
    add_learners,
    add_network,
    command_line,
    learners,
    positive,
    words,
)
from benchmarks.profile_run import OTHER, Stopwatches
from benchmarks.timing import columns, environment_lines, load_average, write_json
from benchmarks.workload import Sizes, build_network, build_rule, spikes
from workbench.config import ExperimentConfig
from workbench.errors import WorkbenchError
from workbench.optimisers import build_optimiser
from workbench.plugin import RuleContext, SequenceBatch
from workbench.randomness import RandomStreams

TARGET = 2000.0
"""Steps a second."""
OPTIMISERS = ("adam", "sgd")
SEQUENCES = 32
"""Different sequences, streamed in turn."""
TOP = 12
FORWARD = "layers forward"


@dataclass(frozen=True)
class Result:
    """One learner with one optimiser; latencies in milliseconds a step."""

    name: str
    optimiser: str
    steps_per_second: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    steps: int
    seconds: float


class Stream:
    """A rule that learns from a stream, step by step. Raises WorkbenchError for settings that do not fit.

    stamps: the time after each update, seconds on `clock`.
    """

    def __init__(
        self, config: ExperimentConfig, sizes: Sizes, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        self.clock = clock
        self.network = build_network(config, sizes.inputs, sizes.classes)
        self.rule = build_rule(config)
        self.rule.setup(self.network, RuleContext(RandomStreams(config.seed), sizes.classes, self._update))
        rule_config: Any = self.rule.config
        self.optimiser = build_optimiser(rule_config, self.rule.parameter_groups())
        # Many sequences of different classes: one alone would be learned until its errors underflow.
        self.batches = cycle([SequenceBatch(*spikes(sizes, seed)) for seed in range(SEQUENCES)])
        self.stamps: list[float] = []

    def _update(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()
        self.stamps.append(self.clock())

    def sequence(self) -> None:
        """Learn from the next sequence."""
        self.rule.train_step(next(self.batches))

    def sustain(self, seconds: float) -> list[float]:
        """Learn from whole sequences for at least `seconds`; returns the time of each step, seconds."""
        self.stamps = [self.clock()]
        while self.stamps[-1] - self.stamps[0] < seconds:
            self.sequence()
        return np.diff(self.stamps).tolist()


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("streaming", __doc__)
    told = "osttp,ostl,eprop,ottt,sltt"
    add_learners(parse, learners(told), told)
    add_network(parse, (256,))
    told = ",".join(OPTIMISERS)
    parse.add_argument("--optimiser", type=words, default=OPTIMISERS, help=f"optimisers (default: {told})")
    parse.add_argument(
        "--batch", type=positive, default=1, help="streams side by side (default: %(default)s)"
    )
    parse.add_argument("--steps", type=positive, default=100, help="steps a sequence (default: %(default)s)")
    parse.add_argument(
        "--seconds",
        type=float,
        default=5.0,
        help="seconds timed, after a tenth to warm up (default: %(default)s)",
    )
    parse.add_argument("--threads", type=positive, default=1, help="CPU threads (default: %(default)s)")
    parse.add_argument("--profile", action="store_true", help="also tell where the time of a step goes")
    add_cpu_time(parse)
    add_json(parse, "steps a second and latencies of each learner and optimiser")
    return parse


def configured(choice: LearnerChoice, optimiser: str, options: argparse.Namespace) -> ExperimentConfig:
    """Return the configuration of a learner that updates at every step. Raises ConfigurationError."""
    sizes = Sizes(options.inputs, options.hidden, options.classes, options.steps, options.batch)
    streaming = (("update", "step"), ("optimiser", optimiser))
    asked = LearnerChoice(choice.name, choice.rule, (*streaming, *choice.settings))
    return Contenders(sizes, options.backbone, options.recurrent).config(asked)


def result(name: str, optimiser: str, times: Sequence[float]) -> Result:
    """Return what is told of a stream whose steps took `times` seconds."""
    whole = sum(times)
    p50, p99, most = (1000 * float(np.percentile(times, q)) for q in (50, 99, 100))
    return Result(name, optimiser, len(times) / whole, p50, p99, most, len(times), whole)


def parts(stream: Stream) -> dict[str, float]:
    """Return the microseconds a step of one sequence by part: forward, optimiser, learning (the rest)."""
    from workbench.backbones.network import Layer
    from workbench.rules.stepwise import StepwisePass

    before, watches = len(stream.stamps), Stopwatches()
    optimiser = type(stream.optimiser)
    with (
        patch.object(Layer, "run", watches.around(Layer.run, FORWARD)),
        patch.object(StepwisePass, "_forward", watches.around(StepwisePass._forward, FORWARD)),
        patch.object(optimiser, "step", watches.around(optimiser.step, "optimiser step")),
        patch.object(optimiser, "zero_grad", watches.around(optimiser.zero_grad, "gradients cleared")),
    ):
        stream.sequence()
    seconds = watches.stop()
    seconds["loss, signals, credit, bookkeeping"] = seconds.pop(OTHER)
    steps = len(stream.stamps) - before
    return {part: 1e6 * value / steps for part, value in seconds.items()}


def operators(stream: Stream) -> list[tuple[str, float, float]]:
    """Return name, calls a step and microseconds a step of torch's operators in one sequence, the dearest first."""
    before = len(stream.stamps)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        stream.sequence()
    steps = len(stream.stamps) - before
    events = sorted(profiler.key_averages(), key=lambda event: -event.self_cpu_time_total)
    return [(event.key, event.count / steps, event.self_cpu_time_total / steps) for event in events]


def tell_profile(stream: Stream) -> None:
    """Print where the time of a step goes."""
    by_part = parts(stream)
    whole = sum(by_part.values())
    rows = [(part, f"{value:.1f}", f"{100 * value / whole:.1f}") for part, value in by_part.items()]
    print(columns(("part", "us a step", "share %"), [*rows, ("all", f"{whole:.1f}", "100.0")]) + "\n")
    found = operators(stream)
    rows = [(name, f"{calls:.2f}", f"{spent:.1f}") for name, calls, spent in found[:TOP]]
    calls, spent = sum(entry[1] for entry in found), sum(entry[2] for entry in found)
    rows.append((f"all {len(found)} operators", f"{calls:.2f}", f"{spent:.1f}"))
    print(columns(("operator (under the profiler)", "calls a step", "us a step"), rows) + "\n", flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Stream, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    sizes = Sizes(options.inputs, options.hidden, options.classes, options.steps, options.batch)
    print("\n".join(environment_lines(options.threads)))
    kind = "processor" if options.cpu_time else "wall"
    print(f"an update at every step, {options.backbone} {sizes}, float32, {kind} time\n")
    results = []
    try:
        for choice in options.learner:
            for optimiser in options.optimiser:
                stream = Stream(configured(choice, optimiser, options), sizes, clock)
                stream.sustain(options.seconds / 10)
                results.append(result(choice.name, optimiser, stream.sustain(options.seconds)))
                if options.profile:
                    print(f"{choice.name}, {optimiser}")
                    tell_profile(stream)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    rows = [
        (
            f"{r.name}, {r.optimiser}",
            f"{r.steps_per_second:.0f}",
            f"{r.steps_per_second / TARGET:.2f}",
            *(f"{ms:.3f}" for ms in (r.p50_ms, r.p99_ms, r.max_ms)),
        )
        for r in results
    ]
    print(columns(("learner", "steps/s", f"of {TARGET:.0f}", "p50 ms", "p99 ms", "max ms"), rows))
    print(f"load average at the end {load_average()}")
    if options.json is not None:
        write_json(options.json, [asdict(r) for r in results])
    return 0


if __name__ == "__main__":
    sys.exit(main())
