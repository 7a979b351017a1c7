"""What an experience of an online stream costs through the trainer, against a bare loop on the same data.

    python -m benchmarks.online_stream --experiences 10000,100000

Made-up spikes, a small network, batches of one sequence, each seen once. The bare loop takes slices of tensors that
already stand in order and calls the rule and the optimiser; the trainer looks batches up, triggers Avalanche's
callbacks, sets learning rates, counts, and tells its observers. Variants take turns within a round. Target: at most 1.5
times the bare loop, whatever the length of the stream.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch

from benchmarks.options import add_cpu_time, add_json, command_line, numbers, positive, words
from benchmarks.seam import build_trainer
from benchmarks.timing import (
    Result,
    Variant,
    columns,
    environment_lines,
    interleave,
    load_average,
    write_json,
)
from benchmarks.workload import Sizes, build_network, build_rule, configured, made_up_stream
from workbench.config import ExperimentConfig
from workbench.errors import WorkbenchError
from workbench.online_stream import online
from workbench.optimisers import build_optimiser
from workbench.plugin import LearnerConfig, RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.tasks import TaskStream

TARGET = 1.5
CLASSES = 10


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("online_stream", __doc__)
    parse.add_argument("--learner", type=words, default=("bptt", "osttp"), help="rules (default: bptt,osttp)")
    parse.add_argument(
        "--experiences", type=numbers, default=(10_000,), help="lengths of the stream (default: 10000)"
    )
    parse.add_argument("--batch", type=positive, default=1, help="sequences of each (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=3, help="rounds timed (default: %(default)s)")
    parse.add_argument("--threads", type=positive, default=1, help="CPU threads (default: %(default)s)")
    parse.add_argument("--channels", type=positive, default=64, help="input channels (default: %(default)s)")
    parse.add_argument("--hidden", type=numbers, default=(64,), help="hidden layers (default: 64)")
    parse.add_argument("--steps", type=positive, default=20, help="time steps (default: %(default)s)")
    add_cpu_time(parse)
    add_json(parse, "name, ratio and milliseconds an experience")
    return parse


def stream_of(options: argparse.Namespace, experiences: int) -> TaskStream:
    """Return one task of so many batches, to be seen once, in order."""
    sizes = Sizes(options.channels, (), CLASSES, options.steps, options.batch)
    whole = made_up_stream(sizes, experiences * options.batch)
    return online(whole, np.random.default_rng(0), "sharp", 0.5)


def bare_loop(config: ExperimentConfig, stream: TaskStream, batch_size: int) -> Callable[[], object]:
    """Return what one writes without a trainer: slice, learn, update."""
    network = build_network(config, stream.channels, stream.classes)
    rule = build_rule(config)
    settings = config.learner.rule.config
    assert isinstance(settings, LearnerConfig)
    rule.setup(network, RuleContext(RandomStreams(config.seed), stream.classes))
    optimiser = build_optimiser(settings, rule.parameter_groups())
    order = stream.tasks[0].train
    inputs = torch.from_numpy(stream.training_pool.inputs[order])
    targets = torch.from_numpy(stream.training_pool.targets[order])

    def run() -> None:
        optimiser.state.clear()
        for first in range(0, len(order), batch_size):
            part = slice(first, first + batch_size)
            optimiser.zero_grad()
            rule.train_step(SequenceBatch(inputs[part].transpose(0, 1).contiguous(), targets[part]))
            optimiser.step()

    return run


def through_trainer(config: ExperimentConfig, stream: TaskStream, batch_size: int) -> Callable[[], object]:
    """Return the same through the trainer."""
    trainer = build_trainer(config, stream, [], batch_size, epochs=1)
    return lambda: trainer.train_task(0)


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    rows, results = [], []
    print("\n".join(environment_lines(options.threads)))
    try:
        for name in options.learner:
            config = configured(name, options.hidden, {"scenario": "split-digits"})
            # What the first calls cost (compilation, allocation) is no matter of the stream's length.
            short = stream_of(options, 20)
            bare_loop(config, short, options.batch)()
            through_trainer(config, short, options.batch)()
            for count in options.experiences:
                stream = stream_of(options, count)
                variants = [
                    Variant("bare", bare_loop(config, stream, options.batch)),
                    Variant("trainer", through_trainer(config, stream, options.batch)),
                ]
                timings = interleave(variants, options.rounds, warm_up=0, clock=clock)
                for timing in timings:
                    result = timing.result()
                    each = replace(result, name=f"{name} {count} {result.name}", ms=result.ms / count)
                    rows.append((name, str(count), result.name, f"{each.ms:.3f}", f"{each.ratio:.2f}"))
                    results.append(Result(each.name, each.ratio, each.ms))
                    # A long stream takes minutes; what is known is said.
                    print(f"{each.name}: {each.ms:.3f} ms, {each.ratio:.2f}", file=sys.stderr, flush=True)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    widths = "-".join(map(str, (options.channels, *options.hidden, CLASSES)))
    print(
        f"{widths}, T={options.steps}, batch {options.batch}; target: at most {TARGET} times the bare loop\n"
    )
    print(columns(("learner", "experiences", "loop", "ms an experience", "ratio"), rows))
    print(f"load average at the end {load_average()}")
    if options.json is not None:
        write_json(options.json, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
