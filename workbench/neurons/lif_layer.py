"""A whole layer of leaky integrate-and-fire units, synapse and scan in one: what is large is never written out.

The currents of a block of steps are computed into a small buffer and consumed by the scan at once; on the way back
dE/dI is consumed, block by block, by the gradients of the weights and of what the synapse read. Kept for the gradient
are the membranes and, of spikes that were read, bits. Same function as product and scan one after the other, which the
tests hold it to; memory and time are saved because a sequence's worth of currents and errors never exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.neurons import lif_scan
from workbench.neurons.native import blocks, buffer
from workbench.neurons.presynaptic import (
    Gradient,
    Presynaptic,
    Product,
    back_to_activity,
    keep,
    kept,
    presynaptic,
)

if TYPE_CHECKING:
    from workbench.neurons.lif import LIF


def forward(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    source: Presynaptic,
    weight: Tensor,
    bias: Tensor | None,
    recurrent: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return membranes and spikes, both `[T, B, N]`, without a graph; weight `[N, in]`, bias `[N]`."""
    steps, batch = source.shape[:2]
    units = len(weight)
    membrane, spikes = buffer(weight, steps, batch, units), buffer(weight, steps, batch, units)
    product = Product(source, weight, bias)
    parts = blocks(steps, batch * units)
    currents = buffer(weight, parts[0][1], batch, units)
    before = start
    for first, last in parts:
        here = currents[: last - first]
        product.write(first, last, here)
        out = (membrane[first:last], spikes[first:last])
        lif_scan.forward(cell, decay, before, here, recurrent, out)
        before = membrane[last - 1]
    return membrane, spikes


class _LIFLayer(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: LIF,
        decay: Tensor,
        start: Tensor,
        activity: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        source = presynaptic(activity, weight)
        membrane, spikes = forward(cell, decay, start, source, weight, bias, recurrent)
        ctx.cell, ctx.biased = cell, bias is not None
        source = source.spikes_as_bits() if ctx.needs_input_grad[3] else source
        keep(ctx, source, decay, start, membrane, weight, recurrent)
        # A copy, so that handing the last membrane over does not keep the whole stretch alive.
        return membrane[-1].clone(), spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, final: Tensor, signal: Tensor) -> tuple[Tensor | None, ...]:
        source, (decay, start, membrane, weight, recurrent) = kept(ctx)
        assert decay is not None
        assert start is not None
        assert membrane is not None
        assert weight is not None
        cell: LIF = ctx.cell
        steps, batch, units = membrane.shape
        signal = signal.contiguous()
        synapse = Gradient(source, units) if ctx.needs_input_grad[4] else None
        by_activity = buffer(weight, *source.shape) if ctx.needs_input_grad[3] else None
        by_bias = torch.zeros_like(decay) if ctx.biased else None
        by_decay, by_recurrent = (
            torch.zeros_like(decay),
            None if recurrent is None else torch.zeros_like(recurrent),
        )
        parts = blocks(steps, batch * units)
        gradients = buffer(weight, parts[0][1], batch, units)
        for first, last in reversed(parts):
            before = membrane[first - 1] if first else start
            gradient = gradients[: last - first]
            part = (membrane[first:last], signal[first:last])
            if recurrent is None:
                found = lif_scan.adjoint(cell, decay, before, *part, None, final, gradient)
            else:
                found = lif_scan.recurrent_adjoint(cell, decay, before, *part, recurrent, final, gradient)
            _, final, decays = found
            by_decay += decays.sum(0)
            if by_recurrent is not None:
                _add_recurrent(cell, by_recurrent, before, part[0], gradient)
            if synapse is not None:
                synapse.add(first, last, gradient)
            if by_bias is not None:
                by_bias += gradient.sum((0, 1))
            if by_activity is not None:
                back_to_activity(gradient, weight, by_activity[first:last])
        by_weight = None if synapse is None else synapse.result()
        return None, by_decay, final, by_activity, by_weight, by_bias, by_recurrent


def _add_recurrent(cell: LIF, total: Tensor, before: Tensor, membrane: Tensor, gradient: Tensor) -> None:
    """Add sum_t gradient_t y_{t-1}^T; the spikes follow from the membranes, of which `before` is the first."""
    earlier = torch.cat([before[None], membrane[:-1]])
    spikes = presynaptic((earlier >= cell.threshold).to(torch.uint8), gradient)
    recurrent = Gradient(spikes, gradient.shape[2])
    recurrent.add(0, len(gradient), gradient)
    total += recurrent.result()


def scan(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    activity: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    recurrent: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Return the last membrane `[B, N]` and the spikes `[T, B, N]` of activity `[T, B, in]`; differentiable once."""
    last, spikes = _LIFLayer.apply(cell, decay, start, activity, weight, bias, recurrent)
    return last, spikes
