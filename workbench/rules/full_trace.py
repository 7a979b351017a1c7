"""The full three-index eligibility trace of a recurrent layer: exact, O(B N^2 in), for small layers and as reference.

With k the unit of the state and (i, j) a synapse, I_t[k] = sum_j W[k, j] x_t[j] + sum_l H[k, l] y_{t-1}[l], and M, b,
c, k_t the within-unit derivatives of `workbench/neurons/trajectory.py`:

    dI_t[k, ij]   = delta_ki x_t[j] + sum_l H[k, l] e_{t-1}[l, ij]            (recurrent synapse: y_{t-1}[j] for x_t[j])
    eps_t[k, ij]  = M_t[k] eps_{t-1}[k, ij] + b_t[k] dI_t[k, ij]
    e_t[k, ij]    = c_t[k] eps_{t-1}[k, ij] + k_t[k] dI_t[k, ij]
    dE/dW[ij]     = sum_t,k L_t[k] e_t[k, ij]

the exact recursion of OSTL (Bohnstingl et al. 2022, eqs. for eps and e). The diagonal form keeps k = i alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.backbones.network import Layer
from workbench.neurons.trajectory import LinearisedTrajectory


@dataclass(frozen=True)
class FullTraceGradients:
    """Gradients `[N, in]` of the synapse and `[N, N]` of the recurrent synapse."""

    synapse: Tensor
    recurrent: Tensor


@torch.no_grad()
def full_trace_gradients(layer: Layer, activity: Tensor, signal: Tensor) -> FullTraceGradients:
    """Return exact gradients of a recurrent layer under the learning signal dE/dy.

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
