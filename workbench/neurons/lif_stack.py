"""Layers of leaky integrate-and-fire units and a leaky readout in one piece.

Spikes go from layer to layer as bits, and errors come back through all layers a block of steps at a time, while it is
in the cache. Neither spikes as numbers nor a sequence of currents or errors ever exist. Same function as the layers one
after the other, which the tests hold it to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from workbench.neurons import lif_layer, lif_scan
from workbench.neurons.lif_layer import Backward, Units
from workbench.neurons.native import blocks, buffer
from workbench.neurons.presynaptic import (
    back_to_activity,
    currents,
    keep,
    kept,
    presynaptic,
    weight_gradient,
)

if TYPE_CHECKING:
    from workbench.neurons.lif import LIF


@dataclass(frozen=True)
class Readout:
    """Leaky integrators that read the last layer, or all of them side by side if they are that wide.

    decay `[C]`; start `[B, C]`; weight `[C, N]`, N the width of what is read; bias `[C]`.
    """

    decay: Tensor
    start: Tensor
    weight: Tensor
    bias: Tensor | None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """Return its tensors in order."""
        return self.decay, self.start, self.weight, self.bias


class _LIFStack(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, cells: Sequence[LIF], activity: Tensor, *tensors: Any) -> Tensor:
        hidden, readout = _sorted(cells, tensors)
        sources, membranes = [presynaptic(activity, readout.weight)], []
        for units in hidden:
            membrane, fired = lif_layer.forward(units, sources[-1], as_bits=True)
            membranes.append(membrane)
            sources.append(fired)
        read = _read(readout.weight, hidden)
        driven = currents(sources[-1], read[-1], readout.bias)
        for source, weight in zip(sources[1:-1], read[:-1], strict=False):
            driven += currents(source, weight, None)
        outputs = lif_scan.leaky_forward(readout.decay, readout.start, driven)
        ctx.cells = cells
        if ctx.needs_input_grad[1]:
            sources[0] = sources[0].spikes_as_bits()
        keep(ctx, sources, outputs, *membranes, *tensors)
        return outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor | None, ...]:
        sources, (outputs, *rest) = kept(ctx)
        hidden, readout = _sorted(ctx.cells, rest[len(ctx.cells) :])
        needed = ctx.needs_input_grad
        layers = []
        for i, units in enumerate(hidden):
            by_decay, _, by_weight, *_ = needed[2 + 5 * i :]
            wanted = {"by_decay": by_decay, "by_weight": by_weight}
            layers.append(Backward(units, sources[i], rest[i], torch.zeros_like(units.start), **wanted))
        by_activity = buffer(readout.weight, *sources[0].shape) if needed[1] else None
        errors, by_start, by_decay = lif_scan.leaky_adjoint(readout.decay, readout.start, outputs, signal)
        read = _read(readout.weight, hidden)
        _back(layers, read, errors, by_activity)
        found = [gradient for layer in layers for gradient in layer.gradients()]
        by_weight = torch.cat([weight_gradient(source, errors) for source in sources[-len(read) :]], dim=1)
        by_bias = None if readout.bias is None else errors.sum((0, 1))
        return None, by_activity, *found, by_decay.sum(0), by_start, by_weight, by_bias


def _read(weight: Tensor, hidden: Sequence[Units]) -> list[Tensor]:
    """Return a readout's weight by the layers it reads: the last alone, or all."""
    widths = [len(units.weight) for units in hidden]
    if weight.shape[1] == widths[-1]:
        return [weight]
    return [part.contiguous() for part in torch.split(weight, widths, dim=1)]


def _back(
    layers: Sequence[Backward], read: Sequence[Tensor], errors: Tensor, by_activity: Tensor | None
) -> None:
    """Take all layers back from the errors `[T, B, C]` of a readout with weights `read`, down to dE/dx if asked."""
    parts = blocks(len(errors), max(layer.final.numel() for layer in layers))
    signals = [buffer(errors, parts[0][1], *layer.final.shape) for layer in layers]
    from_readout: list[Tensor | None] = [None] * (len(layers) - len(read))
    from_readout += read
    for first, last in reversed(parts):
        error, above = None, None
        for layer, signal, weight in zip(layers[::-1], signals[::-1], from_readout[::-1], strict=True):
            signal = signal[: last - first]
            if error is not None and above is not None:
                back_to_activity(error, above, signal)
            if weight is not None:
                add = error is not None
                back_to_activity(errors[first:last], weight, signal, add=add)
            error, above = layer.retreat(first, last, signal), layer.units.weight
        if by_activity is not None and error is not None and above is not None:
            back_to_activity(error, above, by_activity[first:last])


def _sorted(cells: Sequence[LIF], tensors: Sequence[Any]) -> tuple[list[Units], Readout]:
    """Return the layers of tensors in the order of `Units.tensors`, those of the readout last."""
    hidden = [Units(cell, *tensors[5 * i : 5 * i + 5]) for i, cell in enumerate(cells)]
    return hidden, Readout(*tensors[5 * len(cells) :])


def scan(hidden: Sequence[Units], readout: Readout, activity: Tensor) -> Tensor:
    """Return the readout's values `[T, B, C]` of activity `[T, B, in]`; differentiable once. Kernels must apply."""
    cells = tuple(units.cell for units in hidden)
    tensors = [tensor for units in hidden for tensor in units.tensors()] + list(readout.tensors())
    outputs: Tensor = _LIFStack.apply(cells, activity, *tensors)
    return outputs
