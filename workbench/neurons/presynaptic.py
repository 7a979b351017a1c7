"""What a synapse reads in a stretch of steps, and its products with weights and errors.

    I_t = W x_t + b                  dE/dW = sum_t (dE/dI_t) x_t^T                  x_t `[B, in]`, often mostly zeros

The density of every stretch is counted; below `MOST` the products go by events (see `events.py`), above it they are
dense. What has to be kept of spikes for a gradient are bits; data are kept as they came, since somebody holds them
anyway. Numba kernels on a CPU in float32 or float64; anywhere else, or with `WORKBENCH_KERNELS=reference`, plain torch.
The tests hold the two equal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor

from workbench.neurons.events import Bits, Events, add_gradient, add_product, bits_of, dense, events_of
from workbench.neurons.native import buffer, fast_kernels_apply

MOST = 1 / 8
"""Density above which products are dense.

Events took 0.12 of the dense product's time at a density of 0.02 and 0.53 at 0.1; the gradient 0.14 and 0.67 (6400 rows
of 700 inputs, 200 units, one core).
"""
FEWEST = 32
"""Rows below which products are dense: bringing the weights into the order of the inputs would cost more."""


@dataclass(frozen=True)
class Presynaptic:
    """Activity `[K, B, in]` of a stretch of K steps as a synapse reads it.

    activity: as it came, uint8 or of the dtype of the weights; None if it is spikes and bits are kept alone.
    bits: None if events do not apply. like: an empty tensor of the dtype and device of the weights.
    """

    shape: torch.Size
    activity: Tensor | None
    bits: Bits | None
    like: Tensor

    @cached_property
    def sparse(self) -> bool:
        """Whether products go by events."""
        return self.bits is not None and self.bits.density <= MOST

    @cached_property
    def events(self) -> Events | None:
        """The events, None if products are dense."""
        if self.bits is None or not self.sparse:
            return None
        return events_of(self.bits, self.activity, self.like)

    def spikes_as_bits(self) -> Presynaptic:
        """Return itself with nothing but bits if it is zeros and ones, else without bits: what to keep of spikes."""
        if self.bits is None:
            return self
        binary = self.bits.binary
        return replace(self, activity=None if binary else self.activity, bits=self.bits if binary else None)

    def picked(self, steps: Tensor) -> Presynaptic:
        """Return `steps` `[P]` alone."""
        activity = None if self.activity is None else self.activity[steps]
        shape = torch.Size((len(steps), *self.shape[1:]))
        return Presynaptic(shape, activity, self._picked_bits(steps), self.like)

    def _picked_bits(self, steps: Tensor) -> Bits | None:
        if self.bits is None:
            return None
        each = self.bits.offsets.diff().view(*self.shape[:2])[steps].flatten()
        offsets = torch.cat([each.new_zeros(1), each.cumsum(0)])
        words = self.bits.words.view(*self.shape[:2], -1)[steps].flatten(0, 1)
        return replace(self.bits, words=words, offsets=offsets)

    def held(self) -> list[Tensor]:
        """Return the tensors behind it."""
        return self.held_as_bits() if self.activity is None else [self.activity, *self.held_as_bits()]

    def held_as_bits(self) -> list[Tensor]:
        """Return the tensors behind its bits."""
        return [] if self.bits is None else [self.bits.words, self.bits.offsets]

    def numbers(self) -> Tensor:
        """Return the activity `[K, B, in]` as numbers, as it came if it is there."""
        return self.activity if self.activity is not None else self.rows().view(self.shape)

    def rows(self, first: int = 0, last: int | None = None) -> Tensor:
        """Return steps first..last as dense rows `[K B, in]` of the dtype of the weights."""
        if self.activity is not None:
            return self.activity[first:last].flatten(0, -2).to(self.like.dtype)
        assert self.bits is not None
        batch = self.shape[1]
        bits = self.bits.rows(first * batch, (self.shape[0] if last is None else last) * batch)
        return dense(bits, self.like)


def presynaptic(activity: Tensor, like: Tensor) -> Presynaptic:
    """Return `activity` `[K, B, in]` as a synapse with weights of the dtype of `like` reads it."""
    activity = activity.detach()
    kinds = (torch.uint8, like.dtype)
    rows = activity.shape[0] * activity.shape[1]
    served = activity.dtype in kinds and rows >= FEWEST and fast_kernels_apply(like)
    bits = bits_of(activity) if served and _may_be_sparse(activity) else None
    return Presynaptic(activity.shape, activity, bits, like.new_empty(0))


def _may_be_sparse(activity: Tensor) -> bool:
    """Tell from one row whether it is worth counting: analogue values give themselves away."""
    if activity.dtype == torch.uint8:
        return True
    row = activity[len(activity) // 2].flatten(0, -2)[0]
    return bool(((row == 0) | (row == 1)).all())


class Product:
    """The currents of a synapse with weight `[N, in]` and bias `[N]`, a few steps at a time."""

    def __init__(self, source: Presynaptic, weight: Tensor, bias: Tensor | None) -> None:
        self.source = source
        self.weight, self.bias = weight.detach(), None if bias is None else bias.detach()

    @cached_property
    def by_input(self) -> Tensor:
        """The weights by columns, `[in, N]`."""
        return self.weight.T.contiguous()

    @cached_property
    def start(self) -> Tensor:
        """What every sum starts from, `[N]`: the bias or zeros."""
        return self.weight.new_zeros(len(self.weight)) if self.bias is None else self.bias.contiguous()

    def write(self, first: int, last: int, out: Tensor) -> None:
        """Write the currents of steps first..last to `out` `[K, B, N]`."""
        flat = out.view(-1, out.shape[-1])
        events, batch = self.source.events, self.source.shape[1]
        if events is not None:
            add_product(events.rows(first * batch, last * batch), self.by_input, self.start, flat)
        elif self.bias is None:
            torch.mm(self.source.rows(first, last), self.weight.T, out=flat)
        else:
            torch.addmm(self.bias, self.source.rows(first, last), self.weight.T, out=flat)


class Gradient:
    """The gradient of a synapse's weight `[N, in]`, summed over stretches of steps in the order in which they come.

    Events add to it by inputs, dense products by units: each has a sum of its own, and they are brought together once.
    """

    def __init__(self) -> None:
        self.by_input: Tensor | None = None
        self.by_unit: Tensor | None = None

    def add(self, source: Presynaptic, gradient: Tensor, first: int = 0, last: int | None = None) -> None:
        """Add sum_t gradient_t x_t^T over steps first..last of what the synapse read; dE/dI `[K, B, N]` of those."""
        flat, events, batch = gradient.flatten(0, -2), source.events, source.shape[1]
        if events is None:
            self.add_outer(flat, source.rows(first, last))
            return
        if self.by_input is None:
            self.by_input = gradient.new_zeros(source.shape[2], gradient.shape[2])
        end = source.shape[0] if last is None else last
        add_gradient(events.rows(first * batch, end * batch), flat, self.by_input)

    def add_outer(self, gradient: Tensor, rows: Tensor) -> None:
        """Add gradient^T rows for `[R, N]` and `[R, in]`."""
        if self.by_unit is None:
            self.by_unit = gradient.T @ rows
        else:
            self.by_unit.addmm_(gradient.T, rows)

    def add_by_input(self, total: Tensor) -> None:
        """Add a gradient that lies as `[in, N]`."""
        self.by_input = total if self.by_input is None else self.by_input.add_(total)

    def add_by_unit(self, total: Tensor) -> None:
        """Add a gradient that lies as `[N, in]`."""
        self.by_unit = total if self.by_unit is None else self.by_unit.add_(total)

    def take(self) -> Tensor | None:
        """Return the sum `[N, in]`, None if nothing was added, and start anew."""
        total, turned = self.by_unit, None if self.by_input is None else self.by_input.T
        self.by_input = self.by_unit = None
        if turned is None:
            return total
        return turned.contiguous() if total is None else total.add_(turned)


def currents(source: Presynaptic, weight: Tensor, bias: Tensor | None) -> Tensor:
    """Return W x + b `[K, B, N]`, without a graph."""
    steps, batch = source.shape[:2]
    out = buffer(weight, steps, batch, len(weight))
    Product(source, weight, bias).write(0, steps, out)
    return out


def weight_gradient(source: Presynaptic, gradient: Tensor) -> Tensor:
    """Return sum_t gradient_t x_t^T `[N, in]` for dE/dI `[K, B, N]`."""
    total = Gradient()
    total.add(source, gradient)
    found = total.take()
    assert found is not None
    return found


class Reader(Protocol):
    """How hardware reads a synapse, without a graph."""

    @property
    def reads_back(self) -> bool:
        """Whether it reads errors backwards too; if not, they meet plain products."""
        ...

    def __call__(self, source: Presynaptic, weight: Tensor, bias: Tensor | None, repeats: int = 1) -> Tensor:
        """Return what a synapse with a weight `[N, in]` and a bias makes of its inputs, `[K, B, N]`.

        A source of one step may be read `repeats` times, which then is K.
        """
        ...

    def back(self, errors: Tensor, weight: Tensor) -> Tensor:
        """Return dE/dx `[K, B, in]` for dE/dI `[K, B, N]`."""
        ...


def product(activity: Tensor, weight: Tensor, bias: Tensor | None, reader: Reader | None = None) -> Tensor:
    """Return W x + b `[K, B, N]` of activity `[K, B, in]`, differentiable once in all three.

    reader: how hardware makes these numbers, and dE/dx; the gradients of weight and bias are those of W x + b
    (straight-through).
    """
    out: Tensor = _Product.apply(activity, weight, bias, reader)
    return out


def disturbance(activity: Tensor, weight: Tensor, reader: Reader, repeats: int = 1) -> Tensor:
    """Return by how much `reader`'s W x `[K, B, N]` of activity `[K, B, in]` differs from the product.

    Differentiable in the activity alone: its gradient is what dE/dx differs by. Activity of one step is read `repeats`
    times.
    """
    out: Tensor = _Disturbance.apply(activity, weight, reader, repeats)
    return out


def carried_back(errors: Tensor, weight: Tensor, reader: Reader | None) -> Tensor:
    """Return dE/dx `[K, B, in]` for dE/dI `[K, B, N]`, as hardware reads it if it does."""
    if reader is None or not reader.reads_back:
        return back_to_activity(errors, weight)
    return reader.back(errors, weight)


def keep(ctx: Any, sources: Sequence[Presynaptic], *others: Tensor | None) -> None:
    """Save sources and other tensors in an autograd context; `kept` returns them."""
    ctx.sources = [replace(source, activity=None, bits=None) for source in sources]
    ctx.bits = [
        None if source.bits is None else (source.bits.inputs, source.bits.binary) for source in sources
    ]
    tensors = [tensor for source in sources for tensor in _tensors(source)]
    ctx.save_for_backward(*tensors, *others)


def _tensors(source: Presynaptic) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    bits = source.bits
    return (source.activity, None, None) if bits is None else (source.activity, bits.words, bits.offsets)


def kept(ctx: Any) -> tuple[list[Presynaptic], list[Any]]:
    """Return what `keep` saved."""
    tensors = list(ctx.saved_tensors)
    sources = []
    for i, (source, known) in enumerate(zip(ctx.sources, ctx.bits, strict=True)):
        activity, words, offsets = tensors[3 * i : 3 * i + 3]
        bits = None if known is None else Bits(known[0], words, offsets, known[1])
        sources.append(replace(source, activity=activity, bits=bits))
    return sources, tensors[3 * len(sources) :]


def back_to_activity(
    gradient: Tensor, weight: Tensor, out: Tensor | None = None, *, add: bool = False
) -> Tensor:
    """Return dE/dx `[K, B, in]` for dE/dI `[K, B, N]`, in `out` if given, added to what stands there if `add`."""
    if out is None:
        out = buffer(gradient, *gradient.shape[:-1], weight.shape[1])
    rows, flat = gradient.flatten(0, -2), out.view(-1, weight.shape[1])
    if add:
        flat.addmm_(rows, weight)
    else:
        torch.mm(rows, weight, out=flat)
    return out


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, activity: Tensor, weight: Tensor, bias: Tensor | None, reader: Reader | None
    ) -> Tensor:
        source = presynaptic(activity, weight)
        out = currents(source, weight, bias) if reader is None else reader(source, weight, bias)
        ctx.biased, ctx.reader = bias is not None, reader
        keep(ctx, [source.spikes_as_bits() if ctx.needs_input_grad[0] else source], weight)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (source,), (weight,) = kept(ctx)
        by_activity = carried_back(gradient, weight, ctx.reader) if ctx.needs_input_grad[0] else None
        by_weight = weight_gradient(source, gradient) if ctx.needs_input_grad[1] else None
        return by_activity, by_weight, gradient.sum((0, 1)) if ctx.biased else None, None


class _Disturbance(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, activity: Tensor, weight: Tensor, reader: Reader, repeats: int) -> Tensor:
        source = presynaptic(activity, weight)
        ctx.reader, ctx.repeats = reader, repeats
        ctx.save_for_backward(weight)
        return reader(source, weight, None, repeats) - currents(source, weight, None)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (weight,) = ctx.saved_tensors
        if not ctx.needs_input_grad[0] or not ctx.reader.reads_back:
            return None, None, None, None
        found = ctx.reader.back(gradient, weight) - back_to_activity(gradient, weight)
        return found if ctx.repeats == 1 else found.sum(0, keepdim=True), None, None, None
