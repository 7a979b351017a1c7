"""The learner under check, and the small world it is checked in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from workbench.backbones.lif import LIFBackbone, LIFConfig
from workbench.backbones.network import Network
from workbench.config import split_learner
from workbench.hardware.chip import Chip
from workbench.optimisers import build_optimiser
from workbench.plugin import Hardware, Modifier, Rule, RuleContext, SequenceBatch
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.tasks import DatasetInfo, SequencePool, Task, TaskStream

STEPS, BATCH, INPUTS, CLASSES = 12, 6, 10, 4


class ContractError(Exception):
    """A check that failed; the text says what was expected and what was found."""


def expect(condition: bool, text: str) -> None:
    """Raise ContractError with `text` unless `condition` holds."""
    if not condition:
        raise ContractError(text)


@dataclass(frozen=True)
class Subject:
    """A rule and its modifiers, as classes; every check makes its own objects, rule and modifiers with defaults."""

    name: str
    rule_name: str
    rule_class: type[Rule]
    modifier_names: tuple[str, ...]
    modifier_classes: tuple[type[Modifier], ...]
    registry: Registry
    hardware: type[Hardware] | None = None
    """Devices that hold the weights; None: ideal hardware."""
    hardware_settings: Mapping[str, object] = field(default_factory=dict)
    """Settings of the devices other than the defaults."""

    @staticmethod
    def find(name: str, registry: Registry) -> Subject:
        """Return the learner registered as `name`, or a combination. Raises PluginError."""
        rule, *modifiers = split_learner(name, registry)
        classes = tuple(registry.load("learner", modifier) for modifier in modifiers)
        full = "+".join([rule, *modifiers])
        loaded = registry.load("learner", rule)
        return Subject(full, rule, loaded, tuple(modifiers), classes, registry)  # type: ignore[arg-type]

    @property
    def classes(self) -> list[type[Rule] | type[Modifier]]:
        """The classes under check."""
        return [self.rule_class, *self.modifier_classes]

    def rule(self) -> Rule:
        """Return a new rule with default settings, not yet bound to a network."""
        return self.rule_class(self.rule_class.Config())

    def attached(self, network: Network, streams: RandomStreams) -> Chip | None:
        """Put a network on the devices, if there are any."""
        if self.hardware is None:
            return None
        config = self.hardware.Config(**self.hardware_settings)
        return self.hardware(config).attach(network, streams)

    def modifiers(self) -> list[Modifier]:
        """Return new modifiers with default settings."""
        return [modifier(modifier.Config()) for modifier in self.modifier_classes]


def small_network(seed: int = 0, inputs: int = INPUTS, classes: int = CLASSES) -> Network:
    """Return a network of one hidden layer of 16 units that fire."""
    config = LIFConfig(hidden=(16,), gain=2.0)
    return LIFBackbone(config).build(inputs, classes, RandomStreams(seed).torch("initialisation"))


def small_batch(
    steps: int = STEPS, size: int = BATCH, seed: int = 0, classes: int = CLASSES
) -> SequenceBatch:
    """Return random spikes `[steps, size, INPUTS]`, and targets below `classes`."""
    generator = torch.Generator().manual_seed(seed)
    spikes = (torch.rand(steps, size, INPUTS, generator=generator) < 0.4).to(torch.uint8)
    return SequenceBatch(spikes, torch.randint(classes, (size,), generator=generator))


class Bench:
    """A learner bound to a small network, fed batch by batch, the way the trainer does it."""

    def __init__(self, subject: Subject, seed: int = 0, network: Network | None = None) -> None:
        self.network = network if network is not None else small_network()
        self.chip = subject.attached(self.network, RandomStreams(seed))
        self.rule = subject.rule()
        self.modifiers = subject.modifiers()
        self.rule.setup(self.network, RuleContext(RandomStreams(seed), self.network.classes, self._apply))
        self.optimiser = build_optimiser(self.rule.config, self.rule.parameter_groups())
        self.rule.context.optimiser = self.optimiser
        self.batch: SequenceBatch | None = None
        self.gradients: dict[str, Tensor] = {}
        for modifier in self.modifiers:
            modifier.before_task(self.rule, 0)

    def learn(self, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
        """Run one batch and step; `gradients` then holds their sum by parameter. Returns loss and scores `[B, C]`."""
        self.batch, self.gradients = batch, {}
        self.optimiser.zero_grad()
        for modifier in self.modifiers:
            modifier.before_batch(self.rule, batch)
        if self.chip is not None:
            self.chip.before_batch(batch.size)
        result = self.rule.train_step(batch)
        if any(parameter.grad is not None for parameter in self.network.parameters()):
            self._apply()
        return result.loss.detach(), result.logits.detach()

    def trained(self) -> list[str]:
        """Return the names of the parameters that the rule hands to the optimiser."""
        chosen = {id(parameter) for group in self.rule.parameter_groups() for parameter in group["params"]}
        return [name for name, parameter in self.network.named_parameters() if id(parameter) in chosen]

    def weights(self) -> dict[str, Tensor]:
        """Return copies of the parameters."""
        return {name: value.detach().clone() for name, value in self.network.named_parameters()}

    def _apply(self) -> None:
        assert self.batch is not None
        own = {name: p.grad.clone() for name, p in self.network.named_parameters() if p.grad is not None}
        for modifier in self.modifiers:
            modifier.after_gradients(self.rule, self.batch)
        for name, parameter in self.network.named_parameters():
            # What a modifier takes away, since it moves the weights itself or holds them, counts as the rule left it.
            gradient = own.get(name) if parameter.grad is None else parameter.grad.clone()
            if gradient is not None:
                self.gradients[name] = self.gradients.get(name, 0.0) + gradient
        self.optimiser.step()
        if self.chip is not None:
            self.chip.update()
        for modifier in self.modifiers:
            modifier.after_update(self.rule, self.batch)
        self.optimiser.zero_grad()


def differing(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names whose tensors differ, or that only one side has."""
    names = sorted(one.keys() | other.keys())
    return [n for n in names if n not in one or n not in other or not torch.equal(one[n], other[n])]


@contextmanager
def global_generators_untouched(what: str) -> Iterator[None]:
    """Raise ContractError if torch's, NumPy's or Python's global generator is read or seeded inside this context."""
    import random

    def states() -> list[Any]:
        return [torch.get_rng_state().tolist(), np.random.get_state()[1].tolist(), random.getstate()]  # type: ignore[index]  # noqa: NPY002

    before = states()
    yield
    for library, one, other in zip(("torch", "NumPy", "random"), before, states(), strict=True):
        expect(
            one == other,
            f"{what} must leave the global generator of {library} alone; draw from context.streams instead",
        )


def small_stream(steps: int = STEPS, *, empty: bool = False) -> TaskStream:
    """Return two tasks of two classes, 16 training sequences each; `empty` puts one without samples between them."""
    generator = np.random.default_rng(0)
    pools = []
    for copies in (10, 4):
        targets = np.tile(np.arange(CLASSES), copies)
        rates = np.where(np.arange(INPUTS) % CLASSES == targets[:, None], 0.7, 0.1)[:, None, :]
        spikes = (generator.random((len(targets), steps, INPUTS)) < rates).astype(np.uint8)
        pools.append(SequencePool(spikes, targets.astype(np.int64)))
    tasks = []
    for pair in ((0, 1), (2, 3)):
        train, test = (np.flatnonzero(np.isin(pool.targets, pair)) for pool in pools)
        tasks.append(Task(f"{pair[0]}-{pair[1]}", pair, train[:16], train[16:], test))
    if empty:
        nothing = np.empty(0, dtype=np.int64)
        tasks.insert(1, Task("empty", (), nothing, nothing, nothing))
    info = DatasetInfo("made up", synthetic=True, digest="")
    return TaskStream(info, "class", pools[0], pools[1], tuple(tasks), tuple("0123"))
