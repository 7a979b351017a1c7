"""The scans of `lif_scan.py` in plain torch: the kernels' reference, and the path on any other device or dtype."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from workbench.neurons.linear_scan import linear_scan
from workbench.neurons.surrogate import slope

if TYPE_CHECKING:
    from workbench.neurons.lif import LIF


def slope_at(cell: LIF, membrane: Tensor) -> Tensor:
    """Return the surrogate slope at a membrane potential, same shape."""
    return slope(cell.surrogate, membrane - cell.threshold, cell.sharpness)


def forward(
    cell: LIF, decay: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `lif_scan.forward`."""
    membrane, spikes = torch.empty_like(currents), torch.empty_like(currents)
    before = start
    for t, current in enumerate(currents.unbind(0)):
        total = current
        if recurrent is not None:
            total = current + (before >= cell.threshold).to(current.dtype) @ recurrent.T
        before = decay * cell.after_reset(before) + total
        membrane[t] = before
        spikes[t] = before >= cell.threshold
    return membrane, spikes


def adjoint(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    membrane: Tensor,
    signal: Tensor,
    own: Tensor | None,
    final: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `lif_scan.adjoint`."""
    matrix = None if own is None else torch.diag(own)
    return recurrent_adjoint(cell, decay, start, membrane, signal, matrix, final)


def recurrent_adjoint(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    membrane: Tensor,
    signal: Tensor,
    recurrent: Tensor | None,
    final: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """See `lif_scan.recurrent_adjoint`."""
    gradient = torch.empty_like(membrane)
    by_decay = torch.zeros_like(start)
    later = final
    onto_output = torch.zeros_like(start)
    for t in reversed(range(membrane.shape[0])):
        here, before = membrane[t], membrane[t - 1] if t > 0 else start
        gradient[t] = later + slope_at(cell, here) * (signal[t] + onto_output)
        by_decay += gradient[t] * cell.after_reset(before)
        later = decay * cell.pass_through(before) * gradient[t]
        if recurrent is not None:
            onto_output = gradient[t] @ recurrent
    return gradient, later + slope_at(cell, start) * onto_output, by_decay


def leaky_forward(decay: Tensor, start: Tensor, currents: Tensor) -> Tensor:
    """See `lif_scan.leaky_forward`."""
    out = currents.clone()
    out[:1] += decay * start
    return linear_scan(decay, out)


def leaky_adjoint(decay: Tensor, start: Tensor, out: Tensor, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See `lif_scan.leaky_adjoint`."""
    gradient = linear_scan(decay, signal.flip(0)).flip(0)
    before = torch.cat([start[None], out[:-1]])
    return gradient, decay * gradient[0], (gradient * before).sum(0)


def transport(
    cell: LIF, decay: Tensor, start: Tensor, membrane: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """See `lif_scan.transport`."""
    before = torch.cat([start[None], membrane[:-1]])
    transition = decay * cell.pass_through(before)
    if own is not None:
        transition = transition + own * slope_at(cell, before)
    suffix = torch.ones_like(transition)
    for t in reversed(range(len(transition) - 1)):
        torch.mul(suffix[t + 1], transition[t + 1], out=suffix[t])
    return suffix, suffix[0] * transition[0]
