"""The full three-index eligibility trace of a recurrent layer: exact, O(B N^2 in), for small layers and as reference.

With k the unit of the state and (i, j) a synapse, I_t[k] = sum_j W[k, j] x_t[j] + sum_l H[k, l] y_{t-1}[l], and M, b,
c, k_t the within-unit derivatives of `workbench/neurons/trajectory.py`:

    dI_t[k, ij]   = delta_ki x_t[j] + sum_l H[k, l] e_{t-1}[l, ij]            (recurrent synapse: y_{t-1}[j] for x_t[j])
    eps_t[k, ij]  = M_t[k] eps_{t-1}[k, ij] + b_t[k] dI_t[k, ij]
    e_t[k, ij]    = c_t[k] eps_{t-1}[k, ij] + k_t[k] dI_t[k, ij]
    dE/dW[ij]     = sum_t,k L_t[k] e_t[k, ij]

the exact recursion of OSTL (Bohnstingl et al. 2022, eqs. for eps and e). The diagonal form keeps k = i alone.

`FullCredit` computes the same sum chunk by chunk. With z and y of all units as one vector v, v_t = A_t v_{t-1} +
D_t x_t; inside a chunk the sum is an adjoint scan, and the trace is carried once per chunk, P = A_K ... A_1 times the
trace plus sum_t (A_K ... A_{t+1} D_t) x_t, one matrix product. With chunks of one step this is the recursion above.

On hardware H is the recurrent matrix as it was last read: traces are digital, only signals are read through tiles.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons.presynaptic import Presynaptic
from workbench.neurons.trajectory import LinearisedTrajectory, Trajectory
from workbench.rules.eligibility import (
    accumulate_cell_parameters,
    learned_parameters,
    sources_of,
)
from workbench.rules.filtered import FilteredTrajectory
from workbench.rules.sums import add_to_gradient


@dataclass(frozen=True)
class FullTraceGradients:
    """Gradients `[N, in]` of the synapse and `[N, N]` of the recurrent synapse."""

    synapse: Tensor
    recurrent: Tensor


@torch.no_grad()
def full_trace_gradients(layer: Layer, activity: Tensor, signal: Tensor) -> FullTraceGradients:
    """Return exact gradients of a recurrent layer under the learning signal dE/dy, by the recursion step by step.

    activity: `[T, B, in]`. signal: `[T, B, N]`. Memory is S B N^2 (in + N) numbers: keep the layer small.
    Raises ValueError if the layer has no recurrent synapse, where the plain traces are exact already.
    """
    recurrent = layer.recurrent_weight()
    if recurrent is None:
        raise ValueError("the layer has no recurrent synapse; its ordinary eligibility traces are exact")
    parameters = {name: value.detach() for name, value in layer.cell_parameters().items()}
    currents = layer.synapse(activity)
    state = layer.initial_state(activity.shape[1], currents)
    record = LinearisedTrajectory.record(layer.cell, parameters, state, currents, recurrent)
    first = layer.cell.output(parameters, state)
    before = torch.cat([first[None], record.outputs[:-1]])
    sources = torch.cat([activity, before], dim=2)
    width, units, batch = sources.shape[2], layer.units, activity.shape[1]
    eps = sources.new_zeros(state.shape[0], batch, units, units, width)
    e = sources.new_zeros(batch, units, units, width)
    own = torch.eye(units, dtype=sources.dtype, device=sources.device)
    gradient = sources.new_zeros(units, width)
    for t in range(sources.shape[0]):
        current = torch.einsum("kl,blij->bkij", recurrent, e)
        current += own[None, :, :, None] * sources[t][:, None, None, :]
        e = (
            torch.einsum("sbk,sbkij->bkij", record.reach[t], eps)
            + record.direct[t][..., None, None] * current
        )
        eps = torch.einsum("rsbk,sbkij->rbkij", record.transition[t], eps)
        eps += record.drive[t][..., None, None] * current
        gradient += torch.einsum("bk,bkij->ij", signal[t], e)
    inputs = activity.shape[2]
    return FullTraceGradients(gradient[:, :inputs], gradient[:, inputs:])


class FullCredit:
    """Exact gradients of one recurrent layer from three-index traces `[B, (S + 1) N, N, width]`, in chunks."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        weight = layer.recurrent_weight()
        if weight is None:
            raise ValueError("the layer has no recurrent synapse; its ordinary eligibility traces are exact")
        self.recurrent = weight.detach()
        self.trace: Tensor | None = None
        self.parameter_traces: dict[str, Tensor] = {}

    @torch.no_grad()
    def accumulate(
        self,
        trajectory: Trajectory,
        signal: Tensor,
        activity: Presynaptic,
        before: Presynaptic | None,
        *,
        last: bool,
    ) -> None:
        """Add the chunk's gradients to `.grad`; see `LayerEligibility.accumulate`."""
        assert before is not None
        record = trajectory.linearised()
        currents, owed, by_parameter = self._adjoint(record, trajectory, signal)
        sources = sources_of(self.layer, activity, before)
        joined = torch.cat([source.rows().view(source.shape) for _, source in sources.values()], dim=2)
        gradient = currents.flatten(0, 1).T @ joined.flatten(0, 1)
        if self.trace is not None:
            gradient += torch.einsum("bv,bvij->ij", owed, self.trace)
        widths = [source.shape[2] for _, source in sources.values()]
        for (parameter, _), part in zip(sources.values(), torch.split(gradient, widths, dim=1), strict=True):
            add_to_gradient(parameter, part)
        if self.layer.cell.trained():
            for name, trace in self.parameter_traces.items():
                by_parameter[name] = by_parameter[name] + torch.einsum("bv,bvi->i", owed, trace)
            accumulate_cell_parameters(self.layer, by_parameter)
        if not last:
            self._carry(record, joined)

    def _adjoint(
        self, record: LinearisedTrajectory, trajectory: Trajectory, signal: Tensor
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return dE/dI `[K, B, N]`, what the chunk owes to the past `[B, (S + 1) N]`, and gradients `[N]` by name."""
        filtered = isinstance(trajectory, FilteredTrajectory)
        on_output = trajectory.now if isinstance(trajectory, FilteredTrajectory) else signal
        later = torch.zeros_like(record.drive[0])
        fed_back = torch.zeros_like(record.direct[0])
        currents = torch.empty_like(record.direct)
        sums = {name: torch.zeros_like(fed_back) for name in record.parameter_drive}
        for t in reversed(range(len(signal))):
            if filtered:
                later[-1] += signal[t]
            total = fed_back if on_output is None else fed_back + on_output[t]
            currents[t] = (record.drive[t] * later).sum(0) + record.direct[t] * total
            for name, drive in record.parameter_drive.items():
                sums[name] += (drive[t] * later).sum(0) + record.parameter_direct[name][t] * total
            later = (record.transition[t] * later[:, None]).sum(0) + record.reach[t] * total
            fed_back = currents[t] @ self.recurrent
        owed = torch.cat([*later, fed_back], dim=-1)
        return currents, owed, {name: value.sum(0) for name, value in sums.items()}

    def _carry(self, record: LinearisedTrajectory, joined: Tensor) -> None:
        """Carry the traces over the chunk: multiply up the transitions from its end."""
        steps, size, batch, units = record.drive.shape
        rows = (size + 1) * units
        # product [S + 1, B, rows, N]: derivative of the vector at the end by the vector at step t.
        product = torch.eye(rows).to(joined).reshape(rows, size + 1, units).transpose(0, 1)
        product = product[:, None].expand(-1, batch, -1, -1)
        drives = joined.new_empty(steps, batch, rows, units)
        fresh = {name: joined.new_zeros(batch, rows, units) for name in self._carried_parameters(record)}
        for t in reversed(range(steps)):
            states, output = product[:-1], product[-1]
            drive = _through(states, record.drive[t]) + output * record.direct[t][:, None]
            drives[t] = drive
            for name, value in fresh.items():
                value += _through(states, record.parameter_drive[name][t])
                value += output * record.parameter_direct[name][t][:, None]
            earlier = torch.empty_like(product)
            for q in range(size):
                earlier[q] = (
                    _through(states, record.transition[t][:, q]) + output * record.reach[t][q][:, None]
                )
            earlier[size] = drive @ self.recurrent
            product = earlier
        grown = drives.reshape(steps, batch, rows * units).permute(1, 2, 0) @ joined.transpose(0, 1)
        grown = grown.reshape(batch, rows, units, -1)
        matrix = product.permute(1, 2, 0, 3).reshape(batch, rows, rows)
        if self.trace is not None:
            grown += (matrix @ self.trace.reshape(batch, rows, -1)).reshape(grown.shape)
        self.trace = grown
        for name, value in fresh.items():
            carried = self.parameter_traces.get(name)
            self.parameter_traces[name] = value if carried is None else value + matrix @ carried

    def _carried_parameters(self, record: LinearisedTrajectory) -> list[str]:
        learned = learned_parameters(self.layer)
        return [name for name in record.parameter_drive if name in learned]

    def settle(self) -> None:
        """Do nothing: `accumulate` has added to `.grad`."""

    def bytes(self) -> int:
        """Bytes that the carried traces occupy now."""
        held = [] if self.trace is None else [self.trace]
        return sum(t.numel() * t.element_size() for t in [*held, *self.parameter_traces.values()])


def _through(states: Tensor, factors: Tensor) -> Tensor:
    """Return sum_s states[s] factors[s], `[S, B, rows, N]` and `[S, B, N]` -> `[B, rows, N]`."""
    total = states[0] * factors[0][:, None]
    for state, factor in zip(states[1:], factors[1:], strict=True):
        total.addcmul_(state, factor[:, None])
    return total
