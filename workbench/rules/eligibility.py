"""Eligibility traces of one layer, exactly, in chunks, with memory that does not grow with the sequence.

For unit n with transition a_t (per unit and sample: decay, reset) and synapse from input j, the trace and gradient are

    e_t[n, j] = a_t[n] e_{t-1}[n, j] + b_t[n] x_t[j]           dE/dW[n, j] = sum_t (slope_t[n] L_t[n]) e_t[n, j]

with L_t the learning signal dE/dy_t. Inside a chunk of K steps the sum equals (adjoint scan of L) times x, one matrix
product, plus (adjoint at the chunk's start) times the trace carried in; the trace is carried once per chunk, in one of
the two forms of `traces.py`. Derivation: design notes of the project; for K = 1 it is the recursion of OSTL (Bohnstingl
et al. 2022) and e-prop (Bellec et al. 2020) in diagonal form.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons.presynaptic import Gradient, Presynaptic
from workbench.neurons.trajectory import Adjoint, Trajectory, Transport
from workbench.rules.sums import Sums, settle
from workbench.rules.traces import PresynapticTrace, SynapticTrace, distinct

Sources = dict[str, tuple[Tensor, Presynaptic]]
"""By name: the parameter of a synapse and the presynaptic activity `[K, B, in]` that it carries."""


def sources_of(layer: Layer, activity: Presynaptic, before: Presynaptic | None) -> Sources:
    """Return the layer's synapses: feed-forward, bias (activity one) and recurrent, as far as there are any."""
    sources = {"synapse": (layer.synapse.weight, activity)}
    if layer.synapse.bias is not None:
        ones = activity.like.new_ones(*activity.shape[:2], 1)
        sources["bias"] = (layer.synapse.bias, Presynaptic(ones.shape, ones, None, activity.like))
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

    `accumulate` adds the gradients of a chunk and carries the traces to the next one; `settle` puts them into `.grad`.
    """

    def __init__(self, layer: Layer, *, presynaptic: bool = True) -> None:
        """`presynaptic`: whether the presynaptic form may be taken; not if the trajectories are filtered."""
        self.layer = layer
        self.groups = presynaptic_groups(layer) if presynaptic else None
        self.traces: dict[str, PresynapticTrace | SynapticTrace] = {}
        self.parameter_traces: dict[str, Tensor] = {}
        self.sums: Sums = {}
        self.learned = learned_parameters(layer)

    def accumulate(
        self,
        trajectory: Trajectory,
        signal: Tensor,
        activity: Presynaptic,
        before: Presynaptic | None,
        *,
        last: bool,
    ) -> None:
        """Add the chunk's gradients to the layer's sums, which `settle` hands over.

        signal: `[K, B, N]` dE/dy. activity: `[K, B, in]` presynaptic. before: `[K, B, N]` the layer's own outputs one
        step earlier (recurrent synapse), or None. last: nothing follows, so no trace needs to be carried on.
        """
        adjoint = trajectory.adjoint(signal)
        transport = None if last else self._transport(trajectory)
        for name, (parameter, source) in sources_of(self.layer, activity, before).items():
            total = self.sums.setdefault(parameter, Gradient())
            total.add(source, adjoint.currents)
            self._credit(name, adjoint.state, transport, source, total, last=last)
        self._accumulate_cell(adjoint)
        if transport is not None:
            for name in self.learned:
                drive = transport.parameters[name]
                carried = self.parameter_traces.get(name, torch.zeros_like(drive))
                self.parameter_traces[name] = (transport.product * carried).sum(1) + drive

    def _transport(self, trajectory: Trajectory) -> Transport | None:
        """Return how the chunk carries traces; None if presynaptic traces are all there is to carry."""
        return trajectory.transport() if self.learned or self.groups is None else None

    def _credit(
        self,
        name: str,
        owed: Tensor,
        transport: Transport | None,
        source: Presynaptic,
        total: Gradient,
        *,
        last: bool,
    ) -> None:
        """Add what earlier chunks contribute to a gradient, and carry the trace on unless the chunk is the last."""
        trace = self.traces.get(name)
        if last or self.groups is not None:
            if trace is not None:
                trace.credit(owed, total)
            if last:
                return
        if self.groups is None:
            synaptic = trace if isinstance(trace, SynapticTrace) else SynapticTrace.empty(self.layer)
            self.traces[name] = synaptic
            assert transport is not None
            synaptic.carry(owed, transport, source, total)
            return
        if not isinstance(trace, PresynapticTrace):
            self.traces[name] = trace = PresynapticTrace.zero(self.groups, source)
        trace.advance(source)

    def settle(self) -> None:
        """Add the gradients of the synapses, summed over the chunks since, to `.grad`."""
        settle(self.sums)

    def _accumulate_cell(self, adjoint: Adjoint) -> None:
        """Bring the gradients of the cell's constrained parameters back to the stored ones."""
        if not self.learned:
            return
        gradients = {name: value.sum(0) for name, value in adjoint.parameters.items()}
        for name, trace in self.parameter_traces.items():
            gradients[name] = gradients[name] + (adjoint.state * trace).sum((0, 1))
        accumulate_cell_parameters(self.layer, gradients)

    def bytes(self) -> int:
        """Bytes that the carried traces occupy now."""
        traces = [trace.trace for trace in self.traces.values() if trace.trace is not None]
        tensors = traces + list(self.parameter_traces.values())
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
    groups = distinct(decay)
    return groups if groups[0].numel() < layer.units else None
