"""One training step with the weights on devices, against the same step on ideal hardware.

    python -m benchmarks.device_step
    python -m benchmarks.device_step --hardware pcm,reram-om:update=tiki-taka-2 --learner sltt --batch 1,32

Forward, gradients, optimiser, and what the chip does as in the trainer: reads before a batch, writes after the
optimiser's step. All variants take turns in one process; `ratio` is the median over rounds of variant / ideal. Settings
of a device follow its name as `:KEY=VALUE;KEY=VALUE`. The weights move on from round to round, as they do in training.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch

from benchmarks.options import (
    add_cpu_time,
    add_json,
    add_network,
    command_line,
    numbers,
    positive,
    words,
)
from benchmarks.timing import (
    Timing,
    Variant,
    columns,
    environment_lines,
    interleave,
    timing_table,
    write_json,
)
from benchmarks.workload import Sizes, build_network, build_rule, configured, spikes
from workbench.config import ExperimentConfig
from workbench.errors import WorkbenchError
from workbench.hardware.chip import Chip
from workbench.optimisers import build_optimiser
from workbench.plugin import RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry

IDEAL = "ideal"
SHOWN = (
    "pcm",
    "pcm:adc_bits=8;output_noise=0.04",
    "reram-om",
    "ecram",
    "reram-om:update=mixed-precision",
    "reram-om:update=tiki-taka-2",
    "quantised:bits=4",
)


class DeviceStep:
    """One training step of a learner whose weights are on devices; called again and again."""

    def __init__(self, config: ExperimentConfig, sizes: Sizes) -> None:
        streams = RandomStreams(config.seed)
        self.network = build_network(config, sizes.inputs, sizes.classes)
        hardware: Any = Registry.discover().load("hardware", config.hardware.name)(config.hardware.config)
        self.chip: Chip | None = hardware.attach(self.network, streams)
        self.rule = build_rule(config)
        self.rule.setup(self.network, RuleContext(streams, sizes.classes, self._update))
        self.optimiser = build_optimiser(self.rule.config, self.rule.parameter_groups())
        self.batch = SequenceBatch(*spikes(sizes))

    def _update(self) -> None:
        self.optimiser.step()
        if self.chip is not None:
            self.chip.update()
        self.optimiser.zero_grad()

    def __call__(self) -> None:
        """Take one step."""
        if self.chip is not None:
            self.chip.before_batch(self.batch.size)
        self.rule.train_step(self.batch)
        self._update()


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("device_step", __doc__)
    parse.add_argument("--hardware", type=words, default=SHOWN, help="devices, see above")
    parse.add_argument("--learner", type=words, default=("osttp", "bptt"), help="rules (default: osttp,bptt)")
    parse.add_argument("--settings", type=words, default=(), help="further settings, KEY=VALUE,KEY=VALUE")
    add_network(parse, hidden=(256,))
    parse.add_argument("--steps", type=numbers, default=(50,), help="time steps (default: 50)")
    parse.add_argument("--batch", type=numbers, default=(32,), help="sequences a batch (default: 32)")
    parse.add_argument("--threads", type=positive, default=1, help="CPU threads (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=30, help="rounds timed (default: %(default)s)")
    add_cpu_time(parse)
    add_json(parse, "learner, device, ratio and milliseconds")
    return parse


def step(learner: str, device: str, sizes: Sizes, options: argparse.Namespace) -> Callable[[], None]:
    """Return the training step of a learner on a device, `NAME:KEY=VALUE;...`. Raises ConfigurationError."""
    name, _, rest = device.partition(":")
    chosen = [f"hardware.{part}" for part in rest.split(";") if part]
    given = dict(text.split("=", 1) for text in (*options.settings, *chosen))
    settings = {"backbone": options.backbone, "hardware": name, **given}
    if options.recurrent:
        settings["backbone.recurrent"] = "true"
    return DeviceStep(configured(learner, sizes.hidden, settings), sizes)


def measure(learner: str, sizes: Sizes, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time one learner on all devices, print its table and return its records."""
    variants = [
        Variant(device, step(learner, device, sizes, options)) for device in (IDEAL, *options.hardware)
    ]
    clock = time.process_time if options.cpu_time else time.perf_counter
    timings = interleave(variants, options.rounds, warm_up=3, clock=clock)
    print(f"\n{learner}, {options.backbone} {sizes}, {'processor' if options.cpu_time else 'wall'} time")
    print(timing_table(timings), flush=True)
    return [record(learner, timing, sizes) for timing in timings]


def record(learner: str, timing: Timing, sizes: Sizes) -> dict[str, Any]:
    """Return what goes into the JSON file."""
    result, (low, high) = timing.result(), timing.middle_half()
    return {
        "learner": learner,
        "hardware": result.name,
        "ratio": result.ratio,
        "middle_half": [low, high],
        "ms": result.ms,
        "steps": sizes.steps,
        "batch": sizes.batch,
        "hidden": list(sizes.hidden),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print tables, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    print("\n".join(environment_lines(options.threads)))
    records: list[dict[str, Any]] = []
    try:
        for steps, batch in itertools.product(options.steps, options.batch):
            sizes = Sizes(options.inputs, options.hidden, options.classes, steps, batch)
            for learner in options.learner:
                records += measure(learner, sizes, options)
                gc.collect()
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    worst = sorted(records, key=lambda one: -one["ratio"])[:3]
    print(
        "\n"
        + columns(
            ("slowest", "learner", "ratio"),
            [(r["hardware"], r["learner"], f"{r['ratio']:.2f}") for r in worst],
        )
    )
    if options.json is not None:
        write_json(options.json, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
