"""What the benchmarks train: networks and learners by name, on made-up spikes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.config import ExperimentConfig, resolve
from workbench.plugin import Rule, RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.tasks import DatasetInfo, SequencePool, Setting, Task, TaskStream

DENSITY = 0.02
"""Chance of a spike in a channel and time step."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of a training step."""

    inputs: int = 700
    hidden: tuple[int, ...] = (200, 200)
    classes: int = 20
    steps: int = 100
    batch: int = 64

    def __str__(self) -> str:
        widths = "-".join(map(str, (self.inputs, *self.hidden, self.classes)))
        return f"{widths}, T={self.steps}, batch {self.batch}, Bernoulli({DENSITY}) input"


def spikes(sizes: Sizes, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return inputs `[T, B, N]` uint8, each 1 with probability DENSITY, and targets `[B]`."""
    generator = np.random.default_rng(seed)
    shape = (sizes.steps, sizes.batch, sizes.inputs)
    inputs = (generator.random(shape, dtype=np.float32) < DENSITY).astype(np.uint8)
    targets = generator.integers(0, sizes.classes, sizes.batch)
    return torch.from_numpy(inputs), torch.from_numpy(targets)


def configured(learner: str, hidden: Sequence[int], settings: Mapping[str, str]) -> ExperimentConfig:
    """Return the configuration of a learner, the hidden layers and further settings. Raises ConfigurationError."""
    widths = ",".join(map(str, hidden))
    overrides = {"learner": learner, "backbone.hidden": f"[{widths}]", "device": "cpu", **settings}
    return resolve([f"{key}={value}" for key, value in overrides.items()])


def build_network(config: ExperimentConfig, inputs: int, classes: int) -> Network:
    """Return the configuration's backbone for these widths; the same seed gives the same weights."""
    plugin: Any = Registry.discover().load("backbone", config.backbone.name)(config.backbone.config)
    network: Network = plugin.build(inputs, classes, RandomStreams(config.seed).torch("initialisation"))
    return network


def build_rule(config: ExperimentConfig) -> Rule:
    """Return the configuration's rule, not set up."""
    rule = Registry.discover().load("learner", config.learner.rule.name)(config.learner.rule.config)
    assert isinstance(rule, Rule)
    return rule


class LearnerStep:
    """One training step of a rule on one batch, with Adam at 1e-3; called again and again.

    inputs: `[T, B, N]` uint8 as the loader delivers it, or floats.
    """

    def __init__(self, config: ExperimentConfig, sizes: Sizes, inputs: Tensor, targets: Tensor) -> None:
        self.network = build_network(config, sizes.inputs, sizes.classes)
        self.rule = build_rule(config)
        self.rule.setup(self.network, RuleContext(RandomStreams(config.seed), sizes.classes, self._update))
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=1e-3)
        self.batch = SequenceBatch(inputs, targets)

    def set_inputs(self, inputs: Tensor) -> None:
        """Train on other inputs `[T, B, N]` from now on."""
        self.batch = SequenceBatch(inputs, self.batch.targets)

    def _update(self) -> None:
        self.optimiser.step()
        self.optimiser.zero_grad()

    def __call__(self) -> float:
        """Return the loss before the update."""
        self.optimiser.zero_grad()
        loss = self.rule.train_step(self.batch).loss
        self.optimiser.step()
        return float(loss.detach())


def made_up_stream(
    sizes: Sizes, samples: int, tasks: int = 1, setting: Setting = "class", seed: int = 0
) -> TaskStream:
    """Return a stream of random spikes: `samples` training sequences and a few test sequences for each task."""
    generator = np.random.default_rng(seed)
    by_task = np.array_split(np.arange(sizes.classes), tasks)

    def pool(count: int) -> SequencePool:
        shape = (count * tasks, sizes.steps, sizes.inputs)
        inputs = (generator.random(shape, dtype=np.float32) < DENSITY).astype(np.uint8)
        targets = np.concatenate([generator.choice(classes, count) for classes in by_task])
        return SequencePool(inputs, targets.astype(np.int64))

    test_samples = 8
    cut = tuple(
        Task(
            f"task-{number}",
            tuple(int(label) for label in classes),
            np.arange(number * samples, (number + 1) * samples),
            np.empty(0, np.int64),
            np.arange(number * test_samples, (number + 1) * test_samples),
        )
        for number, classes in enumerate(by_task)
    )
    names = tuple(f"class-{label}" for label in range(sizes.classes))
    return TaskStream(
        DatasetInfo("made-up", synthetic=True, digest="", notice="random spikes"),
        setting,
        pool(samples),
        pool(test_samples),
        cut,
        names,
    )
