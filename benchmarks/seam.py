"""What the trainer costs around a training step: Avalanche's template against a bare loop over the same batches.

    python -m benchmarks.seam --learner bptt,osttp --threads 2

Made-up spikes in the sizes of split-shd (140 channels, 100 steps, its batch size) and the shipped `lif` backbone. The
bare loop looks batches up by index and calls rule, optimiser and zero_grad; the trainer also triggers Avalanche's
callbacks, sets learning rates and counts. With replay every batch holds as many stored samples as new ones, drawn by
Avalanche's plug-in in one case and by the same loader without it in the other. Target: less than 3 %.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from benchmarks.options import add_cpu_time, add_json, command_line, positive, words
from benchmarks.timing import (
    Result,
    Variant,
    columns,
    environment_lines,
    interleave,
    load_average,
    write_json,
)
from benchmarks.workload import Sizes, build_network, build_rule, made_up_stream
from workbench.config import ExperimentConfig, resolve
from workbench.errors import WorkbenchError
from workbench.plugin import LearnerConfig, Modifier, RuleContext, Scenario, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.streams import BatchLoader, Source, build_benchmark
from workbench.tasks import TaskStream

TARGET = 3.0


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("seam", __doc__)
    parse.add_argument("--learner", type=words, default=("bptt", "osttp"), help="rules (default: bptt,osttp)")
    parse.add_argument("--batches", type=positive, default=30, help="batches an epoch (default: %(default)s)")
    parse.add_argument("--epochs", type=positive, default=1, help="epochs a round (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=9, help="rounds timed (default: %(default)s)")
    parse.add_argument("--threads", type=positive, default=2, help="CPU threads (default: %(default)s)")
    parse.add_argument("--channels", type=positive, default=140, help="input channels (default: %(default)s)")
    parse.add_argument("--steps", type=positive, default=100, help="time steps (default: %(default)s)")
    parse.add_argument("--no-replay", action="store_true", help="leave out the runs with replay")
    add_cpu_time(parse)
    add_json(parse, "name, ratio and milliseconds a training step")
    return parse


class Case:
    """A learner on a stream of two tasks, its trainer having seen the first."""

    def __init__(self, learner: str, options: argparse.Namespace) -> None:
        self.config = resolve([f"learner={learner}", "scenario=split-shd", "device=cpu"])
        registry = Registry.discover()
        scenario: Any = registry.load("scenario", "split-shd")
        assert issubclass(scenario, Scenario)
        self.batch_size = scenario.default_batch_size
        self.epochs = options.epochs
        sizes = Sizes(options.channels, (), 20, options.steps, self.batch_size)
        self.stream = made_up_stream(sizes, self.batch_size * options.batches, tasks=2)
        self.modifiers: list[Any] = [
            registry.load("learner", choice.name)(choice.config) for choice in self.config.learner.modifiers
        ]
        self.steps = options.batches * options.epochs

    def trainer_epochs(self) -> Callable[[], object]:
        """Return training on the second task through the trainer; the first one has filled the replay buffer."""
        trainer = build_trainer(self.config, self.stream, self.modifiers, self.batch_size, self.epochs)
        trainer.train_task(0)
        return lambda: trainer.train_task(1)

    def bare_epochs(self) -> Callable[[], object]:
        """Return training on the second task by a loop; replayed samples come from the first."""
        second = self.stream.tasks[1].train
        sources = [Source(second, np.zeros_like(second), self.batch_size)]
        if self.modifiers:
            stored = self.stream.tasks[0].train[: self.modifiers[0].config.size]
            sources.append(Source(stored, np.zeros_like(stored), self.batch_size))
        return BareLoop(
            self.config, self.stream, BatchLoader(self.stream.training_pool, sources), self.epochs
        )


class BareLoop:
    """What one writes without a trainer: look up, learn, update."""

    def __init__(
        self, config: ExperimentConfig, stream: TaskStream, loader: BatchLoader, epochs: int
    ) -> None:
        from workbench.optimisers import build_optimiser

        self.loader, self.epochs = loader, epochs
        self.streams = RandomStreams(config.seed)
        network = build_network(config, stream.channels, stream.classes)
        self.rule = build_rule(config)
        self.rule.setup(network, RuleContext(self.streams, stream.classes))
        settings = config.learner.rule.config
        assert isinstance(settings, LearnerConfig)
        self.optimiser = build_optimiser(settings, self.rule.parameter_groups())

    def __call__(self) -> None:
        """Train for the epochs of one task, from a fresh optimiser state as the trainer does."""
        self.optimiser.state.clear()
        for epoch in range(self.epochs):
            self.loader.order = self.streams.numpy(f"data-order/1/{epoch}")
            for inputs, targets, _ in self.loader:
                self.optimiser.zero_grad()
                self.rule.train_step(SequenceBatch(inputs.transpose(0, 1).contiguous(), targets))
                self.optimiser.step()


def build_trainer(
    config: ExperimentConfig, stream: TaskStream, modifiers: Sequence[Modifier], batch_size: int, epochs: int
) -> Any:
    """Return the workbench's trainer on a stream."""
    from workbench.trainer import Trainer

    return Trainer(
        rule=build_rule(config),
        modifiers=modifiers,
        network=build_network(config, stream.channels, stream.classes),
        stream=stream,
        benchmark=build_benchmark(stream),
        streams=RandomStreams(config.seed),
        epochs=epochs,
        batch_size=batch_size,
        device=torch.device("cpu"),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    names = [name + extra for name in options.learner for extra in ("", "+replay")]
    if options.no_replay:
        names = list(options.learner)
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows, results = [], []
    print("\n".join(environment_lines(options.threads)))
    try:
        for name in names:
            case = Case(name, options)
            pair = [Variant("bare", case.bare_epochs()), Variant("trainer", case.trainer_epochs())]
            timings = interleave(pair, options.rounds, warm_up=1, clock=clock)
            bare, trainer = (timing.result() for timing in timings)
            step = [result.ms / case.steps for result in (bare, trainer)]
            overhead = 100 * (trainer.ratio - 1)
            rows.append((name, f"{step[0]:.1f}", f"{step[1]:.1f}", f"{overhead:+.1f}"))
            results += [
                Result(f"{name} bare", 1.0, step[0]),
                Result(f"{name} trainer", trainer.ratio, step[1]),
            ]
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"{options.channels} channels, T={options.steps}, batch {case.batch_size}, {options.batches} batches an "
        f"epoch, {options.epochs} epochs a round; target: less than {TARGET:.0f} %\n"
    )
    print(columns(("learner", "bare ms/step", "trainer ms/step", "overhead %"), rows))
    print(f"load average at the end {load_average()}")
    if options.json is not None:
        write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
