"""One pass of an online rule: chunks of a sequence run forward once, and every layer learns from its own traces.

OSTTP, OSTL, e-prop, OTTT and SLTT share this pass. They differ in two things only: the learning signal that reaches a
hidden layer, and how a layer's traces move in time (its *credit*). No autograd graph is kept, and memory does not
depend on the length of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from workbench.backbones.network import Layer, Network
from workbench.cost.measure import storage_bytes
from workbench.neurons.lif import LIFTrajectory
from workbench.neurons.presynaptic import Presynaptic, presynaptic
from workbench.neurons.trajectory import Trajectory, held_by
from workbench.plugin import MemoryCost, SequenceBatch, StepResult
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.filtered import FilteredTrajectory
from workbench.rules.loss import Reduction, decision, goals, masked, normaliser, step_errors
from workbench.rules.picked import PickedTrajectory
from workbench.rules.stepwise import StepwisePass, serves


@dataclass(frozen=True)
class Chunk:
    """A stretch of K steps after its forward pass: what a learning signal may look at.

    goal: `[1 or K, B, C]` targets y*, on the scale of the loss (divided by T B, say), 0 where a step is not scored.
    error: `[K, B, C]` dE/do of the readout on the same scale. trajectories: one per hidden layer.
    """

    network: Network
    goal: Tensor
    error: Tensor
    trajectories: list[Trajectory]


@dataclass(frozen=True)
class Signal:
    """dE/dy of one hidden layer, in two parts, either of which may be missing.

    now: `[K, B, N]` acts at its own step. through_readout: `[K, B, N]` dE/do carried to the units; with a leaky readout
    it acts on all earlier outputs too, by powers of the leak (the filtered trace of e-prop).
    """

    now: Tensor | None = None
    through_readout: Tensor | None = None


LearningSignal = Callable[[Chunk], list[Signal]]
"""Returns the signal of each hidden layer."""


class Credit(Protocol):
    """How one layer turns learning signals into gradients, with what it carries from chunk to chunk."""

    def accumulate(
        self,
        trajectory: Trajectory,
        signal: Tensor,
        activity: Presynaptic,
        before: Presynaptic | None,
        *,
        last: bool,
    ) -> None:
        """Add the chunk's gradients to those of the layer's parameters and carry what is needed on."""
        ...

    def settle(self) -> None:
        """See to it that what was accumulated stands in `.grad`."""
        ...

    def bytes(self) -> int:
        """Bytes that are carried now."""
        ...


def stretches(steps: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut `steps` into consecutive stretches of at most `chunk`.

    >>> list(stretches(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, steps, chunk):
        yield first, min(first + chunk, steps)


class OnlinePass:
    """State of one batch of sequences while it streams through the network.

    signal: the learning signal of the hidden layers. credit: makes the credit of a layer, by default its exact
    eligibility traces. leak: decay of the readout by which `Signal.through_readout` is filtered, 0 for not at all.
    chosen: `[T]` weight of each step's error, 0 for a step that is not learned from and that costs no more than its
    forward pass; None: 1 for all. Only for credit that follows no path through time.
    """

    def __init__(
        self,
        network: Network,
        signal: LearningSignal,
        *,
        credit: Callable[[Layer], Credit] = LayerEligibility,
        leak: float = 0.0,
        reduction: Reduction = "mean",
        chosen: Tensor | None = None,
    ) -> None:
        self.network = network
        self.signal = signal
        self.credit = credit
        self.leak = leak
        self.reduction = reduction
        self.chosen = chosen
        self.states: list[Tensor] = []
        self.credits: list[Credit] = []
        self.peak = MemoryCost()

    @torch.no_grad()
    def learn(self, batch: SequenceBatch, chunk: int, update: Callable[[], None] | None = None) -> StepResult:
        """Stream the batch in chunks of `chunk` steps, adding to `.grad`; `update` is called after each chunk.

        The loss is that of `sequence_loss` at every step; nothing returned carries a graph.
        """
        steps, size = batch.inputs.shape[:2]
        weight: Tensor = self.network.readout.synapse.weight
        goal = goals(batch, self.network.classes, weight.dtype)
        scale = 1.0 / normaliser(batch, self.reduction)
        self.states = self.network.initial_states(size)
        self.credits = [self.credit(layer) for layer in self.network.layers]
        if chunk == 1 and serves(self, batch):
            total, outputs = StepwisePass(self, batch).learn(goal, scale, update)
            return StepResult(total * scale, decision(outputs, batch.class_mask, batch.scored))
        total = weight.new_zeros(())
        summed = weight.new_zeros(size, self.network.classes)
        counted = weight.new_zeros(size)
        for first, last in stretches(steps, chunk):
            scored = None if batch.scored is None else batch.scored[first:last].to(weight.dtype)
            wanted = goal if len(goal) == 1 else goal[first:last]
            chosen = None if self.chosen is None else self.chosen[first:last]
            inputs = batch.inputs[first:last]
            loss, outputs = self._chunk(inputs, wanted, batch, scored, chosen, scale, last == steps)
            total += loss
            summed += outputs.sum(0) if scored is None else (outputs * scored[..., None]).sum(0)
            counted += (last - first) if scored is None else scored.sum(0)
            if update is not None or last == steps:
                for credit in self.credits:
                    credit.settle()
            if update is not None:
                update()
        logits = summed / counted.clamp(min=1.0)[:, None]
        return StepResult(total * scale, masked(logits, batch.class_mask))

    def _chunk(
        self,
        inputs: Tensor,
        goal: Tensor,
        batch: SequenceBatch,
        scored: Tensor | None,
        chosen: Tensor | None,
        scale: float,
        last: bool,
    ) -> tuple[Tensor, Tensor]:
        """Run one chunk and learn from it; returns the summed loss and the readout `[K, B, C]`."""
        activity: Tensor | Presynaptic = inputs
        weight: Tensor = self.network.readout.synapse.weight
        read: list[Presynaptic] = []
        before: list[Presynaptic | None] = []
        trajectories: list[Trajectory] = []
        for index, layer in enumerate(self.network.layers):
            if layer is self.network.readout and self.network.reads_all:
                activity = self.network.readout_input([trajectory.outputs for trajectory in trajectories])
            source = presynaptic(activity, weight) if isinstance(activity, Tensor) else activity
            trajectory = layer.run(source, self.states[index])
            earlier = None
            if layer.recurrent is not None:
                earlier = layer.one_step_earlier(self.states[index], trajectory.outputs)
            read.append(source)
            before.append(None if earlier is None else presynaptic(earlier, earlier))
            trajectories.append(trajectory)
            activity = _read_above(trajectory)
        outputs = trajectories[-1].outputs
        loss, error = step_errors(outputs, goal, batch, scored)
        error *= scale
        goal = goal * scale if scored is None else goal * (scale * scored)[..., None]
        held = self._held_bytes([*read, *before], trajectories, error)
        # A copy, so that the chunk's buffers are free before the next chunk allocates its own.
        self.states = [trajectory.state.clone() for trajectory in trajectories]
        if chosen is not None:
            steps = chosen.nonzero()[:, 0]
            counts = chosen[steps, None, None]
            error, goal = error[steps] * counts, goal.expand(len(chosen), -1, -1)[steps] * counts
            read = [source.picked(steps) for source in read]
            before = [None if source is None else source.picked(steps) for source in before]
            trajectories = [PickedTrajectory(trajectory, steps) for trajectory in trajectories]
        if len(error):
            self._assign(
                Chunk(self.network, goal, error, trajectories[:-1]), trajectories, read, before, last
            )
        cost = MemoryCost(activations=held, traces=sum(credit.bytes() for credit in self.credits))
        if cost.total > self.peak.total:
            self.peak = cost
        return loss, outputs

    def _assign(
        self,
        chunk: Chunk,
        trajectories: list[Trajectory],
        read: list[Presynaptic],
        before: list[Presynaptic | None],
        last: bool,
    ) -> None:
        """Let every layer learn from the chunk."""
        signals = self.signal(chunk)
        for index, credit in enumerate(self.credits):
            trajectory, signal = trajectories[index], chunk.error
            if index < len(signals):
                trajectory, signal = self._filtered(trajectory, signals[index])
            credit.accumulate(trajectory, signal, read[index], before[index], last=last)

    def _filtered(self, trajectory: Trajectory, signal: Signal) -> tuple[Trajectory, Tensor]:
        """Return the trajectory that the credit sees and the signal on it, the readout's leak included if asked."""
        if self.leak and signal.through_readout is not None:
            return FilteredTrajectory(trajectory, self.leak, signal.now), signal.through_readout
        parts = [part for part in (signal.now, signal.through_readout) if part is not None]
        if not parts:
            return trajectory, torch.zeros_like(trajectory.outputs)
        return trajectory, parts[0] if len(parts) == 1 else parts[0] + parts[1]

    def _held_bytes(
        self, read: list[Presynaptic | None], trajectories: list[Trajectory], error: Tensor
    ) -> int:
        """Return what a chunk holds, bytes."""
        inputs, *others = read
        assert inputs is not None
        assert inputs.activity is not None
        held = [error, *self.states, *inputs.held_as_bits()]
        held += [tensor for source in others if source is not None for tensor in source.held()]
        held += [tensor for trajectory in trajectories for tensor in held_by(trajectory)]
        held += [
            tensor for each in trajectories if isinstance(each, LIFTrajectory) for tensor in each.fired.held()
        ]
        # The input is a view of the whole batch's data, of which a chunk is needed.
        return storage_bytes(held) + inputs.activity.numel() * inputs.activity.element_size()


def _read_above(trajectory: Trajectory) -> Tensor | Presynaptic:
    """Return a layer's outputs as the layer above reads them."""
    if isinstance(trajectory, LIFTrajectory) and trajectory.fired.bits is not None:
        return trajectory.fired
    return trajectory.outputs
