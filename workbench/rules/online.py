"""One pass of an online rule: chunks of a sequence run forward once, and every layer learns from its own traces.

OSTTP, OSTL and e-prop share this pass and differ only in the learning signal of the hidden layers. No autograd graph
is kept, and memory does not depend on the length of the sequence.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from workbench.backbones.network import Network
from workbench.cost.measure import storage_bytes
from workbench.neurons.trajectory import Trajectory
from workbench.plugin import MemoryCost, SequenceBatch, StepResult
from workbench.rules.eligibility import LayerEligibility
from workbench.rules.loss import masked, step_errors


@dataclass(frozen=True)
class Chunk:
    """A stretch of K steps after its forward pass: what a learning signal may look at.

    one_hot: `[B, C]` targets. error: `[K, B, C]` dE/do of the readout, softmax(o) - y*, divided by T B.
    scale: 1 / (T B), for signals that do not come from the error. trajectories: one per hidden layer.
    """

    network: Network
    one_hot: Tensor
    error: Tensor
    scale: float
    trajectories: list[Trajectory]


LearningSignal = Callable[[Chunk], list[Tensor]]
"""Returns dE/dy `[K, B, N]` for each hidden layer."""


def stretches(steps: int, chunk: int) -> Iterator[tuple[int, int]]:
    """Cut `steps` into consecutive stretches of at most `chunk`.

    >>> list(stretches(5, 2))
    [(0, 2), (2, 4), (4, 5)]
    """
    for first in range(0, steps, chunk):
        yield first, min(first + chunk, steps)


class OnlinePass:
    """State of one batch of sequences while it streams through the network."""

    def __init__(self, network: Network, signal: LearningSignal) -> None:
        self.network = network
        self.signal = signal
        self.states: list[Tensor] = []
        self.eligibility: list[LayerEligibility] = []
        self.peak = MemoryCost()

    @torch.no_grad()
    def learn(self, batch: SequenceBatch, chunk: int, update: Callable[[], None] | None = None) -> StepResult:
        """Stream the batch in chunks of `chunk` steps, adding to `.grad`; `update` is called after each chunk.

        The loss is the mean cross-entropy over steps and samples; nothing returned carries a graph.
        """
        steps, size = batch.inputs.shape[:2]
        one_hot = functional.one_hot(batch.targets, self.network.classes).to(self._dtype())
        self.states = self.network.initial_states(size)
        self.eligibility = [LayerEligibility(layer) for layer in self.network.layers]
        total = one_hot.new_zeros(())
        summed = torch.zeros_like(one_hot)
        for first, last in stretches(steps, chunk):
            inputs = batch.inputs[first:last].to(self._dtype())
            loss, outputs = self._chunk(
                inputs, one_hot, batch.class_mask, 1.0 / (steps * size), last == steps
            )
            total += loss
            summed += outputs
            if update is not None:
                update()
        return StepResult(total / (steps * size), masked(summed / steps, batch.class_mask))

    def _dtype(self) -> torch.dtype:
        weight: Tensor = self.network.readout.synapse.weight
        return weight.dtype

    def _chunk(
        self, inputs: Tensor, one_hot: Tensor, mask: Tensor | None, scale: float, last: bool
    ) -> tuple[Tensor, Tensor]:
        """Run one chunk and learn from it; returns the summed loss and the readout summed over its steps `[B, C]`."""
        activity = inputs
        activities: list[Tensor] = []
        before: list[Tensor | None] = []
        trajectories: list[Trajectory] = []
        for index, layer in enumerate(self.network.layers):
            if layer is self.network.readout:
                activity = self.network.readout_input([trajectory.outputs for trajectory in trajectories])
            trajectory = layer.run(activity, self.states[index])
            activities.append(activity)
            before.append(layer.one_step_earlier(self.states[index], trajectory.outputs))
            trajectories.append(trajectory)
            activity = trajectory.outputs
        loss, error = step_errors(activity, one_hot, mask)
        error *= scale
        signals = [*self.signal(Chunk(self.network, one_hot, error, scale, trajectories[:-1])), error]
        for index, eligibility in enumerate(self.eligibility):
            eligibility.accumulate(
                trajectories[index], signals[index], activities[index], before[index], last=last
            )
        self._note_peak(activities, before, trajectories, error)
        # A copy, so that the chunk's buffers are free before the next chunk allocates its own.
        self.states = [trajectory.state.clone() for trajectory in trajectories]
        return loss, activity.sum(0)

    def _note_peak(
        self,
        activities: list[Tensor],
        before: list[Tensor | None],
        trajectories: list[Trajectory],
        error: Tensor,
    ) -> None:
        """Keep the largest chunk seen, bytes: what is alive now, just before it is let go."""
        held = [*activities, error, *self.states, *(tensor for tensor in before if tensor is not None)]
        held += [tensor for trajectory in trajectories for tensor in (trajectory.outputs, trajectory.state)]
        cost = MemoryCost(
            activations=storage_bytes(held), traces=sum(trace.bytes() for trace in self.eligibility)
        )
        if cost.total > self.peak.total:
            self.peak = cost
