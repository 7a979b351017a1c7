"""An update after every time step, a few samples at a time: the recursions themselves, each layer in a few calls.

For unit n and input j, x_t what the synapse reads, psi_t the surrogate slope, L_t = dE/dy_t the learning signal:

    e_t[n, j] = a_t[n] e_{t-1}[n, j] + x_t[j]              one for all units with the same constant a, else one each
    f_t[n, j] = leak f_{t-1}[n, j] + psi_t[n] e_t[n, j]    if the signal comes through a leaky readout
    dE_t/dW[n, j] = psi_t[n] now_t[n] e_t[n, j] + through_t[n] f_t[n, j]

The same numbers as `OnlinePass` gives in chunks of one step, which the tests hold it to: there a hundred operations of
torch a layer take longer than the arithmetic. It serves leaky integrate-and-fire layers below a leaky readout, without
recurrence, biases or trained decays; everything else takes the general path.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.backbones.network import Layer, Network
from workbench.neurons.leaky import LeakyIntegrator
from workbench.neurons.lif import LIF, LIFTrajectory
from workbench.neurons.lif_scan import kernel_settings
from workbench.neurons.native import fast_kernels_apply
from workbench.neurons.presynaptic import Presynaptic
from workbench.plugin import MemoryCost, SequenceBatch
from workbench.rules.eligibility import LayerEligibility, presynaptic_groups
from workbench.rules.loss import output_errors, step_errors
from workbench.rules.presynaptic import PresynapticCredit
from workbench.rules.traces import distinct

if TYPE_CHECKING:
    from workbench.rules.online import Credit, OnlinePass

MOST_SAMPLES = 4
"""Batch above which matrix products pay."""


def serves(online: OnlinePass, batch: SequenceBatch) -> bool:
    """Tell whether single steps of this pass can be taken here."""
    return (
        online.chosen is None
        and batch.inputs.dtype in (torch.uint8, online.network.readout.synapse.weight.dtype)
        and all(isinstance(credit, LayerEligibility | PresynapticCredit) for credit in online.credits)
        and serves_network(online.network, batch.inputs.shape[1])
    )


def serves_network(network: Network, batch: int) -> bool:
    """Tell whether single steps of `batch` samples can be taken through this network here."""
    *hidden, readout = network.layers
    return (
        batch <= MOST_SAMPLES
        and fast_kernels_apply(readout.synapse.weight)
        and isinstance(readout.cell, LeakyIntegrator)
        and all(isinstance(layer.cell, LIF) for layer in hidden)
        and all(_plain(layer) for layer in network.layers)
    )


def _plain(layer: Layer) -> bool:
    return (
        layer.reads_plainly
        and layer.recurrent is None
        and layer.synapse.bias is None
        and not layer.cell.trained()
        and not layer.listeners
    )


class _StepLayer:
    """One layer while it is led through a sequence step by step; its arrays are seen by torch and by the kernels."""

    def __init__(self, layer: Layer, credit: Credit, batch: int) -> None:
        self.layer = layer
        self.weight: Tensor = layer.synapse.weight
        like = self.weight.detach()
        units, inputs = like.shape
        self.state, self.before = like.new_zeros(batch, units), like.new_zeros(batch, units)
        self.spiking = isinstance(layer.cell, LIF)
        self.outputs = like.new_zeros(batch, units) if self.spiking else self.state
        psi, transition = like.new_ones(batch, units), like.new_zeros(batch, units)
        self.gradient = like.new_empty(units, inputs)
        self.decay = layer.cell_parameters()["decay"].detach().contiguous()
        self.settings = kernel_settings(layer.cell) if isinstance(layer.cell, LIF) else None
        self.columns = torch.empty(inputs, dtype=torch.int64).numpy()
        groups = _groups(layer, credit)
        shape = (batch, units, inputs) if groups is None else (len(groups[0]), batch, inputs)
        trace = like.new_zeros(shape)
        self.remembers = not isinstance(credit, PresynapticCredit) or credit.decay is not None
        self.trace = trace.numpy()
        # What the trace moves by: its distinct decays and each unit's place among them, or each unit's own transition.
        self.carried = (transition.numpy(),) if groups is None else (groups[0].numpy(), groups[1].numpy())
        self.slopes = (psi.numpy(), transition.numpy())
        self.moving = (self.state.numpy(), self.before.numpy())
        self.filtered = like.new_empty(0, units, inputs).numpy()
        self.absent = like.new_zeros(batch, units).numpy()

    def advance(self, inputs: Tensor) -> Tensor:
        """Take a step over `inputs` `[B, in]`; returns the outputs `[B, N]`, which the next step overwrites."""
        from workbench.rules import step_kernels

        self.inputs = inputs.numpy()
        weight, decay = self.weight.detach().numpy(), self.decay.numpy()
        if self.settings is None:
            step_kernels.integrate(self.inputs, weight, decay, *self.moving, self.columns)
            return self.state
        threshold, hard, *_ = self.settings
        outputs = self.outputs.numpy()
        step_kernels.fire(self.inputs, weight, decay, threshold, hard, *self.moving, outputs, self.columns)
        rest: tuple[Any, ...] = (*self.settings, *self.slopes)
        step_kernels.slopes(*self.moving, decay, *rest)
        return self.outputs

    def trajectory(self) -> LIFTrajectory:
        """Return the step as learning signals look at it."""
        cell = self.layer.cell
        assert isinstance(cell, LIF)
        outputs = self.outputs[None]
        fired = Presynaptic(outputs.shape, outputs, None, self.decay)
        return LIFTrajectory(cell, self.decay, self.before, self.state[None], fired, None)

    def learn(self, now: Tensor | None, through: Tensor | None, leak: float) -> None:
        """Move the traces on and put the gradient into `.grad`; signals `[B, N]` on the outputs."""
        from workbench.rules import step_kernels

        if through is not None and not self.filtered.size:
            self.filtered = self.weight.new_zeros(len(self.state), *self.weight.shape).numpy()
        present = self.weight.grad
        gradient = self.gradient if present is None else present
        signals = (self._array(now), self.slopes[0], self._array(through))
        recursion: Any = step_kernels.synaptic if len(self.carried) == 1 else step_kernels.presynaptic
        into = (leak, self.filtered, present is None, gradient.numpy())
        recursion(self.inputs, *self.carried, self.trace, *signals, *into)
        self.weight.grad = gradient

    def _array(self, signal: Tensor | None) -> Any:
        return self.absent if signal is None else signal.contiguous().numpy()

    def held(self) -> int:
        """Bytes of a step's activations: states before and after, outputs."""
        numbers = self.state.numel() * (3 if self.spiking else 2)
        return numbers * self.state.element_size()

    def traces(self) -> int:
        """Bytes of the traces that are carried."""
        return int(self.trace.nbytes * self.remembers + self.filtered.nbytes)


def _groups(layer: Layer, credit: Credit) -> tuple[Tensor, Tensor] | None:
    """Return distinct decays of the traces and each unit's place among them; None for a trace per synapse."""
    if isinstance(credit, PresynapticCredit):
        decay = credit.decay if credit.decay is not None else layer.synapse.weight.new_zeros(layer.units)
        return distinct(decay)
    return presynaptic_groups(layer)


class StepwisePass:
    """A batch of few sequences that learns at every step; made by `OnlinePass`, whose settings it takes."""

    def __init__(self, online: OnlinePass, batch: SequenceBatch) -> None:
        self.online = online
        self.batch = batch
        pairs = zip(online.network.layers, online.credits, strict=True)
        self.layers = [_StepLayer(layer, credit, batch.inputs.shape[1]) for layer, credit in pairs]

    def learn(self, goal: Tensor, scale: float, update: Callable[[], None] | None) -> tuple[Tensor, Tensor]:
        """Take all steps, `update` after each; returns the summed loss and the readout `[T, B, C]`.

        goal: `[1 or T, B, C]`. scale: what the step losses are multiplied by.
        """
        steps = len(self.batch.inputs)
        weight = self.online.network.readout.synapse.weight
        scored = None if self.batch.scored is None else self.batch.scored.to(weight.dtype)
        seen = weight.new_empty(steps, *goal.shape[1:])
        wanted = goal.expand(steps, -1, -1)
        for t, inputs in enumerate(self.batch.inputs.unbind(0)):
            seen[t] = self._forward(inputs)
            counts = None if scored is None else scored[t : t + 1]
            self._backward(seen[t : t + 1], wanted[t : t + 1], counts, scale)
            if t == 0:
                self._note(inputs)
            if update is not None:
                update()
        loss, _ = step_errors(seen, goal, self.batch, scored)
        return loss, seen

    def _forward(self, inputs: Tensor) -> Tensor:
        """Return the readout `[B, C]` of a step."""
        *hidden, readout = self.layers
        activity = inputs
        for layer in hidden:
            activity = layer.advance(activity)
        if self.online.network.reads_all:
            activity = torch.cat([layer.outputs for layer in hidden], dim=-1)
        return readout.advance(activity)

    def _backward(self, outputs: Tensor, goal: Tensor, scored: Tensor | None, scale: float) -> None:
        """Let every layer learn from a step; outputs and goal `[1, B, C]`."""
        from workbench.rules.online import Chunk

        *hidden, readout = self.layers
        error = output_errors(outputs, goal, self.batch, scored).mul_(scale)
        goal = goal * scale if scored is None else goal * (scale * scored)[..., None]
        # Signals look at the layers only to pass through them.
        trajectories = [layer.trajectory() for layer in hidden]
        signals = self.online.signal(Chunk(self.online.network, goal, error, list(trajectories)))
        leak = self.online.leak
        for layer, signal in zip(hidden, signals, strict=True):
            now = None if signal.now is None else signal.now[0]
            through = None if signal.through_readout is None else signal.through_readout[0]
            if through is not None and not leak:
                now, through = through if now is None else now + through, None
            layer.learn(now, through, leak)
        readout.learn(error[0], None, 0.0)

    def _note(self, inputs: Tensor) -> None:
        """Keep what a step holds, bytes; it is the same at every step."""
        readout = self.layers[-1]
        numbers = readout.state.numel()
        if self.online.network.reads_all:
            numbers += readout.weight.shape[1] * len(readout.state)
        held = numbers * readout.state.element_size() + inputs.numel() * inputs.element_size()
        held += sum(layer.held() for layer in self.layers)
        self.online.peak = MemoryCost(activations=held, traces=sum(layer.traces() for layer in self.layers))
