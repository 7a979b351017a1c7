"""Eligibility traces of one layer, exactly, in chunks, with memory that does not grow with the sequence.

For unit n with transition a_t (per unit and sample: decay, reset) and synapse from input j, the trace and gradient are

    e_t[n, j] = a_t[n] e_{t-1}[n, j] + b_t[n] x_t[j]           dE/dW[n, j] = sum_t (slope_t[n] L_t[n]) e_t[n, j]

with L_t the learning signal dE/dy_t. Inside a chunk of K steps the sum equals (adjoint scan of L) times x, one matrix
product, plus (adjoint at the chunk's start) times the trace carried in. The trace is carried once per chunk:

    e_end = (prod a) e_start + sum_t (prod of later a) b_t x_t

in one of two equal forms: *synaptic*, `[S, B, N, in]`, for transitions that depend on the data or differ in every unit;
*presynaptic*, `[D, B, in]`, one trace for each of D distinct constant decays. Derivation: design notes of the project;
for K = 1 it is the recursion of OSTL (Bohnstingl et al. 2022) and e-prop (Bellec et al. 2020) in diagonal form.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons.trajectory import Adjoint, Trajectory


@dataclass
class PresynapticTrace:
    """Traces `[D, B, in]` of one synapse for D distinct decays; `group` `[N]` tells each unit's."""

    decays: Tensor
    group: Tensor
    trace: Tensor

    @staticmethod
    def zero(decay: Tensor, source: Tensor) -> PresynapticTrace:
        """Return an empty trace for units with `decay` `[N]` of presynaptic activity `[K, B, in]`."""
        decays, group = torch.unique(decay, return_inverse=True)
        return PresynapticTrace(decays, group, source.new_zeros(decays.numel(), *source.shape[1:]))

    def credit(self, owed: Tensor) -> Tensor:
        """Return sum_b owed[b, n] e[group(n), b, :], `[N, in]`, for `owed` `[1, B, N]`."""
        if self.decays.numel() == 1:
            return owed[0].T @ self.trace[0]
        result = owed.new_empty(owed.shape[2], self.trace.shape[2])
        by_unit = owed[0].T
        for index, trace in enumerate(self.trace):
            members = (self.group == index).nonzero()[:, 0]
            result[members] = by_unit[members] @ trace
        return result

    def advance(self, activity: Tensor) -> None:
        """Carry the traces over `activity` `[K, B, in]`."""
        steps = activity.shape[0]
        exponents = torch.arange(steps, -1, -1, device=activity.device)
        powers = self.decays[:, None] ** exponents
        fresh = (powers[:, 1:] @ activity.flatten(1)).reshape(self.trace.shape)
        self.trace = self.trace.mul_(powers[:, :1, None]).add_(fresh)


@dataclass
class SynapticTrace:
    """Traces `[S, B, P N, in]` of one synapse; until the first `advance` they are zero and the memory is not filled.

    holomorphic: state and currents are Re and Im of complex numbers in pairs, dz/dI_im = i dz/dI_re, and the traces are
    those of the real currents alone, `[S, B, N, in]`.
    """

    trace: Tensor
    holomorphic: bool = False
    begun: bool = False

    @staticmethod
    def empty(layer: Layer, states: int, source: Tensor) -> SynapticTrace:
        """Return a trace of `states` state variables of the layer for presynaptic activity `[K, B, in]`."""
        holomorphic = layer.cell.holomorphic
        rows = layer.units if holomorphic else layer.cell.current_size * layer.units
        return SynapticTrace(source.new_empty(states, source.shape[1], rows, source.shape[2]), holomorphic)

    def credit(self, owed: Tensor) -> Tensor:
        """Return sum_{s,b} owed[s, b, n] e[s, b, n, :], `[P N, in]`, for `owed` `[S, B, N]`."""
        if self.holomorphic:
            turned = torch.stack([owed[1::2], -owed[0::2]], dim=1).reshape(owed.shape)
            return torch.cat([self._credit(owed), self._credit(turned)])
        return self._credit(_tiled(owed, self.trace))

    def _credit(self, owed: Tensor) -> Tensor:
        states, batch, units = owed.shape
        rows = owed.permute(2, 0, 1).reshape(units, 1, states * batch)
        columns = self.trace.permute(2, 0, 1, 3).reshape(units, states * batch, self.trace.shape[3])
        return (rows @ columns)[:, 0]

    def advance(self, product: Tensor, drive: Tensor, activity: Tensor) -> None:
        """Carry the traces: `product` `[S, S, B, N]`, `drive` `[K, S, B, P N]`, `activity` `[K, B, in]`."""
        states, inputs = product.shape[0], activity.transpose(0, 1)
        drive = drive[..., : self.trace.shape[2]]
        if not self.begun:
            self.begun = True
            for s in range(states):
                torch.bmm(drive[:, s].permute(1, 2, 0), inputs, out=self.trace[s])
            return
        product = _tiled(product, self.trace)
        if states == 1:
            self.trace.mul_(product[0, 0, ..., None])
        else:
            self.trace = torch.einsum("rsbn,sbnj->rbnj", product, self.trace)
        for s in range(states):
            torch.baddbmm(self.trace[s], drive[:, s].permute(1, 2, 0), inputs, out=self.trace[s])


def _tiled(values: Tensor, trace: Tensor) -> Tensor:
    """Return `[..., N]` once for each of the P blocks of currents of a trace `[S, B, P N, in]`."""
    blocks = trace.shape[2] // values.shape[-1]
    return values if blocks == 1 else values.repeat(*[1] * (values.dim() - 1), blocks)


Sources = dict[str, tuple[Tensor, Tensor]]
"""By name: the parameter of a synapse and the presynaptic activity `[K, B, in]` that it carries."""


def sources_of(layer: Layer, activity: Tensor, before: Tensor | None) -> Sources:
    """Return the layer's synapses: feed-forward, bias (activity one) and recurrent, as far as there are any."""
    sources = {"synapse": (layer.synapse.weight, activity)}
    if layer.synapse.bias is not None:
        sources["bias"] = (layer.synapse.bias, activity.new_ones(*activity.shape[:2], 1))
    recurrent = layer.recurrent_weight()
    if recurrent is not None:
        assert before is not None
        sources["recurrent"] = (recurrent, before)
    return sources


def learned_parameters(layer: Layer) -> frozenset[str]:
    """Return the names of the cell's constrained parameters that follow from trained ones."""
    with torch.enable_grad():
        constrained = layer.cell_parameters()
    return frozenset(name for name, value in constrained.items() if value.requires_grad)


def accumulate_cell_parameters(layer: Layer, gradients: dict[str, Tensor]) -> None:
    """Bring gradients `[N]` of the cell's constrained parameters back to the stored ones, adding to `.grad`."""
    with torch.enable_grad():
        constrained = layer.cell_parameters()
    chosen = {name: value for name, value in constrained.items() if value.requires_grad}
    torch.autograd.backward(list(chosen.values()), [gradients[name] for name in chosen])


class LayerEligibility:
    """The traces of one layer while a batch of sequences streams through it.

    `accumulate` adds the gradients of a chunk to `.grad` and carries the traces to the next chunk.
    """

    def __init__(self, layer: Layer, *, presynaptic: bool = True) -> None:
        """`presynaptic`: whether the presynaptic form may be taken; not if the trajectories are filtered."""
        self.layer = layer
        self.presynaptic = presynaptic
        self.traces: dict[str, PresynapticTrace | SynapticTrace] = {}
        self.parameter_traces: dict[str, Tensor] = {}
        self.learned = learned_parameters(layer)

    def accumulate(
        self, trajectory: Trajectory, signal: Tensor, activity: Tensor, before: Tensor | None, *, last: bool
    ) -> None:
        """Add the chunk's gradients to `.grad` of the layer's parameters.

        signal: `[K, B, N]` dE/dy. activity: `[K, B, in]` presynaptic. before: `[K, B, N]` the layer's own outputs one
        step earlier (recurrent synapse), or None. last: nothing follows, so no trace needs to be carried on.
        """
        adjoint = trajectory.adjoint(signal)
        sources = sources_of(self.layer, activity, before)
        for name, (parameter, source) in sources.items():
            gradient = adjoint.currents.flatten(0, 1).T @ source.flatten(0, 1)
            if name in self.traces:
                gradient += self.traces[name].credit(adjoint.state)
            add_gradient(parameter, gradient)
        self._accumulate_cell(adjoint)
        if not last:
            self._carry(trajectory, adjoint, sources)

    def _accumulate_cell(self, adjoint: Adjoint) -> None:
        """Bring the gradients of the cell's constrained parameters back to the stored ones."""
        if not self.learned:
            return
        gradients = {name: value.sum(0) for name, value in adjoint.parameters.items()}
        for name, trace in self.parameter_traces.items():
            gradients[name] = gradients[name] + (adjoint.state * trace).sum((0, 1))
        accumulate_cell_parameters(self.layer, gradients)

    def _carry(self, trajectory: Trajectory, adjoint: Adjoint, sources: Sources) -> None:
        for name, (_, source) in sources.items():
            if name not in self.traces:
                self.traces[name] = self._new_trace(adjoint.state, source)
        presynaptic = all(isinstance(trace, PresynapticTrace) for trace in self.traces.values())
        transport = trajectory.transport() if self.learned or not presynaptic else None
        for name, (_, source) in sources.items():
            trace = self.traces[name]
            if isinstance(trace, PresynapticTrace):
                trace.advance(source)
            else:
                assert transport is not None
                trace.advance(transport.product, transport.drive, source)
        if transport is not None:
            for name in self.learned:
                drive = transport.parameters[name]
                carried = self.parameter_traces.get(name, torch.zeros_like(drive))
                self.parameter_traces[name] = (transport.product * carried).sum(1) + drive

    def _new_trace(self, state: Tensor, source: Tensor) -> PresynapticTrace | SynapticTrace:
        """Return an empty trace of the layer for one source of presynaptic activity."""
        groups = presynaptic_groups(self.layer) if self.presynaptic else None
        if groups is None:
            return SynapticTrace.empty(self.layer, len(state), source)
        decays, group = groups
        return PresynapticTrace(decays, group, source.new_zeros(decays.numel(), *source.shape[1:]))

    def bytes(self) -> int:
        """Bytes that the carried traces occupy now."""
        tensors = [trace.trace for trace in self.traces.values()] + list(self.parameter_traces.values())
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def presynaptic_groups(layer: Layer) -> tuple[Tensor, Tensor] | None:
    """Return distinct decays `[D]` and each unit's place among them `[N]`, or None for synaptic traces.

    The presynaptic form is taken whenever it is equal and smaller.
    """
    with torch.no_grad():
        parameters = layer.cell_parameters()
    decay = layer.cell.constant_decay(parameters, recurrent=layer.recurrent is not None)
    if decay is None:
        return None
    decays, group = torch.unique(decay, return_inverse=True)
    return (decays, group) if decays.numel() < layer.units else None


def add_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add `gradient`, reshaped, to `parameter.grad`."""
    gradient = gradient.reshape(parameter.shape)
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient
