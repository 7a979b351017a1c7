"""The contracts of the four plug-in kinds: scenario, learner (rule or modifier), backbone, hardware.

A plug-in is one class with a typed `Config`, registered under an entry-point group:

    [project.entry-points."workbench.learners"]
    my-rule = "my_package.my_rule:MyRule"

The first line of the class's docstring is its summary in `workbench list`; the rest is shown by `workbench show`.
This module imports neither torch nor Avalanche.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import torch

    from workbench.backbones.network import Network
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount
    from workbench.data.catalogue import AnyDataSet
    from workbench.hardware.chip import Chip
    from workbench.randomness import RandomStreams
    from workbench.tasks import ScenarioContext, TaskStream

GROUPS = {
    "scenario": "workbench.scenarios",
    "learner": "workbench.learners",
    "backbone": "workbench.backbones",
    "hardware": "workbench.hardware",
}


class PluginConfig(BaseModel):
    """Frozen, typed settings; every field carries a description, which is its help text everywhere."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, defer_build=True
    )


class LazyConfig:
    """Settings that are made when they are first asked for, which `workbench list` never does.

    A class attribute: `Config = LazyConfig(base, make)` reads as the class that `make` returns, a subclass of `base`.
    """

    def __init__(self, base: type[PluginConfig], make: Callable[[], type[PluginConfig]]) -> None:
        self.base = base
        self._make = make
        self._made: type[PluginConfig] | None = None

    def __get__(self, instance: object, owner: type) -> type[PluginConfig]:
        if self._made is None:
            self._made = self._make()
        return self._made


class Plugin:
    """A class with typed settings. Subclasses name their settings in `Config`."""

    Config: ClassVar[type[PluginConfig]] = PluginConfig

    def __init__(self, config: Any) -> None:
        self.config = config


class Scenario(Plugin):
    """A data set and the way it is cut into tasks."""

    default_epochs: ClassVar[int] = 1
    """Passes over each task's training samples when `train.epochs` is not given."""
    default_batch_size: ClassVar[int] = 64
    """Sequences per training step when `train.batch_size` is not given."""

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return the data sets that the scenario reads, for `workbench data`; none by default."""
        return ()

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks. Raises DataError when the data is missing or damaged."""
        raise NotImplementedError


class Backbone(Plugin):
    """The temporal network that learns."""

    def build(self, inputs: int, outputs: int, generator: torch.Generator) -> Network:
        """Return a network from `[T, B, inputs]` to `[T, B, outputs]`, initialised from `generator` alone."""
        raise NotImplementedError


class Hardware(Plugin):
    """What the weights are stored in and how they may change."""

    cell_kind: ClassVar[str | None] = None
    """Kind of memory cell, which tells what writes it endures: one of `workbench/cost/endurance.yaml`, `sram` or
    `capacitor`, which do not wear out, or another of which nothing is known. None: no particular kind."""

    def attach(self, network: Network, streams: RandomStreams) -> Chip | None:
        """Put the network's weights on devices; the trainer then writes and reads them through the chip.

        None if there is no more to do than was done here: to the network's synapses, say, or nothing at all.
        """
        raise NotImplementedError


class LearnerConfig(PluginConfig):
    """Settings that every rule shares: the optimiser and its schedule."""

    lr: float = Field(1e-3, gt=0, description="learning rate at the start of each task")
    optimiser: Literal["adam", "sgd"] = Field(
        "adam", description="update rule that turns gradients into steps"
    )
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of sgd")
    weight_decay: float = Field(
        0.0, ge=0, description="decoupled decay of the weights per unit of learning rate"
    )
    schedule: Literal["constant", "cosine"] = Field(
        "cosine", description="learning rate within a task: constant, or falling to zero along a half cosine"
    )
    reduction: Literal["mean", "sum"] = Field(
        "mean",
        description="a loss of every step is averaged over the scored steps, or summed over each sequence",
    )


@dataclass(frozen=True)
class SequenceBatch:
    """One batch of sequences, time-major.

    inputs: `[T, B, N]` uint8 event counts or floats.
    targets: `[B]` int64 class labels, or `[T, B, C]` uint8 or float targets in [0, 1] of every step (prediction).
    class_mask: `[B, C]` bool, classes that compete for each sample (task setting), or None for all.
    scored: `[T, B]` bool, the steps at which the loss counts (padding does not), or None for all.
    """

    inputs: torch.Tensor
    targets: torch.Tensor
    class_mask: torch.Tensor | None = None
    scored: torch.Tensor | None = None

    @property
    def size(self) -> int:
        """Number B of sequences."""
        return self.inputs.shape[1]


@dataclass(frozen=True)
class StepResult:
    """What one training step produced.

    loss: scalar; carries a graph only if the rule leaves the backward pass to the caller.
    logits: `[B, C]` decision scores of the sequence; carry a graph under the same condition.
    """

    loss: torch.Tensor
    logits: torch.Tensor


@dataclass
class RuleContext:
    """What a rule may use besides the network."""

    streams: RandomStreams
    classes: int
    update: Callable[[], None] | None = None
    """Apply the gradients in `.grad` now and clear them; given when the rule may update within a sequence."""
    optimiser: torch.optim.Optimizer | None = None
    """The optimiser that the trainer made of the rule's parameter groups, for modifiers that reset its moments."""


@dataclass(frozen=True)
class MemoryCost:
    """Bytes that learning needs, by category; `total` is their sum.

    parameters: weights and trained cell parameters. optimiser: moments. gradients: `.grad` buffers.
    activations: kept for the backward pass (or, for an online rule, of the present chunk).
    traces: eligibility traces and carried state. replay: stored samples. other: feedback matrices, penalties, ...
    """

    parameters: int = 0
    optimiser: int = 0
    gradients: int = 0
    activations: int = 0
    traces: int = 0
    replay: int = 0
    other: int = 0

    @property
    def total(self) -> int:
        """Sum over the categories, bytes."""
        return sum(self.by_category().values())

    def by_category(self) -> dict[str, int]:
        """Return the categories as a dictionary, without the total."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __add__(self, other: MemoryCost) -> MemoryCost:
        mine, theirs = self.by_category(), other.by_category()
        return MemoryCost(**{name: mine[name] + theirs[name] for name in mine})


@dataclass(frozen=True)
class Locality:
    """What a rule's equations need at a synapse beyond its own two ends and a signal sent to all units.

    weight_transport: the transpose of forward weights. future: later time steps, or all of them stored. other_layers:
    signals that were worked out in other layers at the same step; the error of the readout, or the target, sent to all
    layers is none. per_synapse_memory: a number a synapse that lives from step to step (a trace); the sum of gradients
    until weights are written and the optimiser's moments are not meant, they depend on how it is written, and are in
    the memory formula. why: a sentence on each of the four, by name.
    """

    weight_transport: bool
    future: bool
    other_layers: bool
    per_synapse_memory: bool
    why: Mapping[str, str] = field(default_factory=dict)

    def needs(self) -> dict[str, bool]:
        """Return the four facts by name."""
        names = ("weight_transport", "future", "other_layers", "per_synapse_memory")
        return {name: getattr(self, name) for name in names}

    @property
    def local(self) -> bool:
        """Whether a synapse gets along with its own two ends, memory of its own, and a broadcast signal."""
        return not (self.weight_transport or self.future or self.other_layers)


class Rule(Plugin):
    """A credit-assignment rule: turns one batch of sequences into gradients, or into updates as it goes.

    Knows nothing of Avalanche: the same object learns from a task stream, a live event stream, or a ten-line test.
    """

    Config: ClassVar[type[PluginConfig]] = LearnerConfig
    needs_graph: ClassVar[bool] = False
    """True if `forward` returns a loss whose `backward()` the caller must run."""

    network: Network
    context: RuleContext

    def setup(self, network: Network, context: RuleContext) -> None:
        """Bind the rule to a network and draw what it needs (feedback matrices, say) from the context's streams."""
        self.network = network
        self.context = context

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Run one batch. A local rule adds to `.grad` here; a graph rule leaves that to `loss.backward()`."""
        raise NotImplementedError

    def train_step(self, batch: SequenceBatch) -> StepResult:
        """Run one batch and leave its gradients in `.grad`, whatever the kind of rule."""
        result = self.forward(batch)
        if result.loss.requires_grad:
            result.loss.backward()  # type: ignore[no-untyped-call]
        return result

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return everything besides the network that a bit-exact resume needs."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Restore what `state_dict` returned."""

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups: `params` and `lr`."""
        return [{"params": list(self.network.parameters()), "lr": self.config.lr}]

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """Return the analytic memory cost of one training step on `[steps, batch, N]` sequences."""
        raise NotImplementedError

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount | None:
        """Return the analytic count of operations of learning from one sequence; None, the default, for unknown.

        steps: of the sequence. batch: sequences that learn together, which share what is done once a batch.
        """
        return None

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount | None:
        """Return the analytic count of words that learning from one sequence moves; None, the default, for unknown.

        Arguments as of `operations`; what writing weights moves is added by the caller.
        """
        return None

    def transposed(self, steps: float, batch: float) -> Transposed | None:
        """Return how errors get through weights in arrays, which read them transposed; None, the default: unknown.

        Of one sequence, arguments as of `operations`. A rule that needs no such reads returns `Transposed({})`.
        """
        return None

    def locality(self) -> Locality | None:
        """Return what the rule needs besides what a synapse has at hand; None, the default, for unknown.

        From the rule's equations on the network that it was set up with.
        """
        return None

    def live_memory(self) -> MemoryCost:
        """Return what the last step held at its peak, read off the live tensors.

        Leave out what autograd saved, parameters, gradients and optimiser state: they are measured from outside.
        """
        return MemoryCost()


class Modifier(Plugin):
    """Changes what a rule does around its steps; several stack in order, `osttp+hlop+replay`."""

    default_rule: ClassVar[str] = "bptt"
    """The rule that `learner=<modifier>` alone brings along."""

    def avalanche_plugin(self) -> Any | None:
        """Return the Avalanche strategy plug-in that does the work, or None for a native modifier."""
        return None

    def before_task(self, rule: Rule, task: int) -> None:
        """Called before the first batch of a task; not again when a task is resumed in its midst."""

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Called before the rule runs a training batch."""

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Called when the rule's gradients stand in `.grad`, before the optimiser's step.

        A rule that updates within a sequence has several steps, hence several calls, a batch.
        """

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Called after each such step."""

    def after_task(self, rule: Rule, task: int) -> None:
        """Called after the last batch of a task."""

    def before_evaluation(self, rule: Rule, task: int) -> None:
        """Called before the network is evaluated on one task's data; it may lend the network other weights."""

    def after_evaluation(self, rule: Rule, task: int) -> None:
        """Called after it; the network must be as it was."""

    def metrics(self) -> dict[str, float]:
        """Return numbers worth following (a dormant ratio, say), by name; logged once an epoch."""
        return {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the state that a bit-exact resume needs."""
        return {}

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore what `state_dict` returned; `experiences` are the Avalanche training experiences so far."""

    def joined(self, batch: int) -> int:
        """Return how many sequences join each batch of `batch` new ones from the second task on."""
        return 0

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Return the analytic cost at the end of `tasks` tasks, given the bytes of a sample and of the parameters."""
        return MemoryCost()

    def live_memory(self, sample: int) -> MemoryCost:
        """Return the bytes that the modifier holds now, given the bytes of a sample."""
        return MemoryCost()
