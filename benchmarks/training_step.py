"""One training step of our learners against a hand-written PyTorch loop of the same function.

    python -m benchmarks.training_step --learner bptt,osttp --threads 2 --json step.json

Forward, backward and Adam on one batch. All variants take turns in one process; a ratio is the median over rounds of
variant / loop. Before anything is timed, loop and `bptt` must agree on their first three losses to 1e-4.

On a busy machine two threads wait for each other in every small operation: the loop, made of small operations, suffers
most and the ratios flatter. There, `--threads 1 --cpu-time` compares the work itself.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Mapping, Sequence

import torch

from benchmarks.options import add_cpu_time, add_json, command_line, numbers, positive, words
from benchmarks.peers import PEERS, installed
from benchmarks.plain_loop import PlainLoop, PlainStep, naive_trace_gradients
from benchmarks.timing import (
    Variant,
    columns,
    environment_lines,
    interleave,
    load_average,
    timing_table,
    write_json,
)
from benchmarks.workload import LearnerStep, Sizes, build_network, configured, spikes
from workbench.config import ExperimentConfig
from workbench.errors import WorkbenchError

TOLERANCE = 1e-4
FEW_ROUNDS = 3
"""Rounds of what takes seconds a step."""


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("training_step", __doc__)
    rules = ("bptt", "osttp")
    parse.add_argument("--learner", type=words, default=rules, help="rules by name (default: bptt,osttp)")
    parse.add_argument("--recurrent", action="store_true", help="recurrent synapses in all hidden layers")
    parse.add_argument("--hidden", type=numbers, default=(200, 200), help="hidden widths (default: 200,200)")
    parse.add_argument("--inputs", type=positive, default=700, help="input channels (default: %(default)s)")
    parse.add_argument("--classes", type=positive, default=20, help="classes (default: %(default)s)")
    parse.add_argument("--steps", type=positive, default=100, help="time steps (default: %(default)s)")
    parse.add_argument("--batch", type=positive, default=64, help="sequences a batch (default: %(default)s)")
    parse.add_argument("--threads", type=positive, default=2, help="CPU threads (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=15, help="rounds timed (default: %(default)s)")
    parse.add_argument("--peers", action="store_true", help="also snntorch, spikingjelly, norse if installed")
    parse.add_argument(
        "--naive", action="store_true", help="also the per-synapse trace recursion, step by step"
    )
    parse.add_argument("--update-step", action="store_true", help="also osttp with an update at every step")
    add_cpu_time(parse)
    add_json(parse, "name, ratio and milliseconds of each variant")
    return parse


LOOP_BACKBONE = {
    "backbone": "lif",
    "backbone.decay": "0.95",
    "backbone.threshold": "1",
    "backbone.reset": "soft",
    "backbone.reset_gradient": "cut",
    "backbone.surrogate": "fast-sigmoid",
    "backbone.sharpness": "25",
    "backbone.readout_decay": "0.95",
    "backbone.readout_reads": "last",
    "backbone.bias": "false",
    "backbone.gain": "2",
}
"""The backbone that computes what the loop computes.

With this gain about 2 % of the units fire in a step, as in the input; random input leaves smaller weights silent.
"""


class Bench:
    """The variants of one workload: same weights, same batch."""

    def __init__(self, sizes: Sizes, recurrent: bool) -> None:
        self.sizes, self.recurrent = sizes, recurrent
        inputs, self.targets = spikes(sizes)
        # Numbers rather than counts, as the loop and the peers need them.
        self.inputs = inputs.float()
        self.network = build_network(self._config("bptt", {}), sizes.inputs, sizes.classes)

    def _config(self, learner: str, settings: Mapping[str, str]) -> ExperimentConfig:
        backbone = {**LOOP_BACKBONE, "backbone.recurrent": str(self.recurrent).lower()}
        return configured(learner, self.sizes.hidden, {**backbone, **settings})

    def learner(self, name: str, settings: Mapping[str, str] | None = None) -> LearnerStep:
        """Return a training step of one of our rules, with settings beside the loop's."""
        # bptt takes the loss that the loop takes; other rules have one of their own.
        own = {"learner.loss": "sum"} if name == "bptt" else {}
        config = self._config(name, {**own, **(settings or {})})
        return LearnerStep(config, self.sizes, self.inputs, self.targets)

    def loop(self) -> PlainStep:
        """Return a training step of the hand-written loop."""
        return PlainStep(PlainLoop(self.network), self.inputs, self.targets)

    def peer(self, name: str) -> PlainStep:
        """Return a training step of a neighbouring library."""
        return PlainStep(PEERS[name][1](self.network), self.inputs, self.targets)

    def first_losses(self) -> tuple[list[float], list[float]]:
        """Return the first three losses of the loop and of bptt. Raises AssertionError if they differ."""
        loop, ours = self.loop(), self.learner("bptt")
        pairs = [(loop(), ours()) for _ in range(3)]
        worst = max(abs(a - b) for a, b in pairs)
        if not worst < TOLERANCE:
            raise AssertionError(
                f"loop and bptt do not compute the same: losses {pairs} differ by {worst:.2g}"
            )
        return [a for a, _ in pairs], [b for _, b in pairs]

    def naive_trace(self) -> NaiveTraceStep:
        """Return a training step of OSTTP with its traces renewed at every step."""
        return NaiveTraceStep(self.learner("osttp"))


class NaiveTraceStep:
    """OSTTP with `[B, N, in]` traces at every time step. Raises AssertionError if its gradient is not the rule's."""

    def __init__(self, step: LearnerStep) -> None:
        self.step = step
        step.rule.train_step(step.batch)
        for layer, gradient in zip(step.network.layers, self._gradients(), strict=True):
            torch.testing.assert_close(gradient, layer.synapse.weight.grad, rtol=1e-3, atol=1e-6)

    def _gradients(self) -> list[torch.Tensor]:
        step = self.step
        feedback = list(step.rule.state_dict().values())
        return naive_trace_gradients(step.network, feedback, step.batch.inputs, step.batch.targets)

    def __call__(self) -> None:
        """Compute the gradients and update."""
        for layer, gradient in zip(self.step.network.layers, self._gradients(), strict=True):
            layer.synapse.weight.grad = gradient
        self.step.optimiser.step()


def variants(bench: Bench, options: argparse.Namespace) -> list[Variant]:
    """Return the variants that were asked for, the loop first."""
    chosen = [Variant("torch-loop", bench.loop())]
    for name in options.learner:
        chosen.append(Variant(name, bench.learner(name)))
        if name == "osttp":
            chosen.append(Variant("osttp-hard-reset", bench.learner(name, {"backbone.reset": "hard"})))
            if options.update_step:
                step = bench.learner(name, {"learner.update": "step"})
                chosen.append(Variant("osttp-update-step", step, FEW_ROUNDS))
    if options.naive and bench.recurrent:
        print("skipping naive-trace: it is written for feed-forward networks")
    elif options.naive:
        chosen.append(Variant("naive-trace", bench.naive_trace(), FEW_ROUNDS))
    if options.peers and bench.recurrent:
        print("skipping the peers: they are compared feed-forward")
    elif options.peers:
        present, absent = installed()
        for name in absent:
            print(f"skipping {name}: not installed (pip install -e '.[peers]')")
        chosen += [Variant(name, bench.peer(name)) for name in present]
    return chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    sizes = Sizes(options.inputs, options.hidden, options.classes, options.steps, options.batch)
    torch.set_num_threads(options.threads)
    try:
        bench = Bench(sizes, options.recurrent)
        loop, ours = bench.first_losses()
        chosen = variants(bench, options)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n".join(environment_lines(options.threads)))
    kind = "processor" if options.cpu_time else "wall"
    print(
        f"one training step, {sizes}{', recurrent' if options.recurrent else ''}, float32, Adam, {kind} time"
    )
    rows = [(name, *(f"{x:.6f}" for x in xs)) for name, xs in (("torch-loop", loop), ("bptt", ours))]
    print(f"first three losses agree to {TOLERANCE}:")
    print(columns(("", "1", "2", "3"), rows) + "\n")
    clock = time.process_time if options.cpu_time else time.perf_counter
    timings = interleave(chosen, options.rounds, clock=clock)
    print(timing_table(timings))
    print(f"load average at the end {load_average()}, on {os.cpu_count()} cores")
    if options.json is not None:
        write_json(options.json, [timing.result() for timing in timings])
    return 0


if __name__ == "__main__":
    sys.exit(main())
