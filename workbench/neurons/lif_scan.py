"""Scans of LIF and leaky layers over time: one entry, two implementations that tests hold equal.

Numba kernels on a CPU in float32 or float64; plain torch anywhere else, or when `WORKBENCH_KERNELS=reference` is set.
`scan` and `leaky_scan` are differentiable with a hand-written adjoint: they keep the membranes, not a graph of T steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from workbench.neurons import lif_reference
from workbench.neurons.events import Bits
from workbench.neurons.native import buffer, fast_kernels_apply, one_thread, share
from workbench.neurons.presynaptic import Product
from workbench.neurons.surrogate import SURROGATES

if TYPE_CHECKING:
    from workbench.neurons.lif import LIF


def forward(
    cell: LIF, decay: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return membranes and spikes, both `[T, B, N]`, without a graph."""
    if not fast_kernels_apply(currents):
        return lif_reference.forward(cell, decay, start, currents, recurrent)
    membrane, spikes = buffer(currents, *currents.shape), buffer(currents, *currents.shape)
    membrane.copy_(currents)
    write(cell, decay, start, None, recurrent, membrane, spikes, None)
    return membrane, spikes


def write(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    product: Product | None,
    recurrent: Tensor | None,
    membrane: Tensor,
    spikes: Tensor | None,
    bits: Bits | None,
) -> None:
    """Write membranes over the currents that stand there, or those of a product with bits; kernels must apply.

    membrane `[T, B, N]`; recurrent `[N, N]`; spikes `[T, B, N]` and bits, of which `offsets[r + 1]` becomes the number
    of spikes in row r, not yet summed up: the spikes as numbers and as bits, unless None.
    """
    from workbench.neurons import kernels

    no_matrix, no_words, no_counts = decay.new_empty(0, 0), np.empty((0, 0), np.int64), np.empty(0, np.int64)
    reads, by_input, bias = no_words, no_matrix, decay[:0]
    if product is not None:
        assert product.source.bits is not None
        reads, by_input, bias = product.source.bits.words.numpy(), product.by_input, product.start
    words, counts = (no_words, no_counts) if bits is None else (bits.words.numpy(), bits.offsets.numpy()[1:])
    among = no_matrix if recurrent is None else recurrent.T.contiguous()
    share(
        kernels.forward,
        membrane.shape[1],
        membrane.numel(),
        reads.view(np.uint64),
        *(array.numpy() for array in (by_input, bias, among, decay.contiguous(), start.contiguous())),
        cell.threshold,
        cell.reset == "hard",
        membrane.numpy(),
        (membrane[:0] if spikes is None else spikes).numpy(),
        words.view(np.uint64),
        counts,
    )


def adjoint(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    membrane: Tensor,
    signal: Tensor,
    own: Tensor | None = None,
    final: Tensor | None = None,
    out: Tensor | None = None,
    *,
    by_decay: bool = True,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dE/dI `[T, B, N]`, dE/du_0 `[B, N]` and each sample's decay gradient `[B, N]`.

    signal `[T, B, N]` is dE/dy, final `[B, N]` dE/du_T besides. `own` `[N]` is the weight of each unit on itself: the
    diagonal form of recurrence. out: where the kernels write dE/dI. by_decay: whether the last is wanted, else zeros.
    """
    if final is None:
        final = torch.zeros_like(start)
    if not fast_kernels_apply(membrane):
        return lif_reference.adjoint(cell, decay, start, membrane, signal, own, final)
    from workbench.neurons import kernels

    if signal.stride(0) == 0:
        # One signal for all steps, as target projection has it: the kernel reads the first over again.
        signal = signal[:1]
    gradient = buffer(membrane, *membrane.shape) if out is None else out
    by_start, decays = torch.empty_like(final), torch.zeros_like(final)
    weight = decay[:0] if own is None else own
    share(
        kernels.adjoint,
        membrane.shape[1],
        membrane.numel(),
        *(array.contiguous().numpy() for array in (membrane, start, signal, final, decay)),
        *kernel_settings(cell),
        weight.contiguous().numpy(),
        gradient.numpy(),
        by_start.numpy(),
        (decays if by_decay else decays[:0]).numpy(),
    )
    return gradient, by_start, decays


def recurrent_adjoint(
    cell: LIF,
    decay: Tensor,
    start: Tensor,
    membrane: Tensor,
    signal: Tensor,
    recurrent: Tensor,
    final: Tensor,
    out: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """As `adjoint` with the whole recurrent matrix `[N, N]` (to, from): exact, one matrix product per step."""
    if not fast_kernels_apply(membrane):
        return lif_reference.recurrent_adjoint(cell, decay, start, membrane, signal, recurrent, final)
    from workbench.neurons import kernels

    signal, start, final = signal.contiguous(), start.contiguous(), final.contiguous()
    gradient = buffer(membrane, *membrane.shape) if out is None else out
    by_decay, feedback = torch.zeros_like(final), torch.zeros_like(final)
    arrays = [array.numpy() for array in (membrane, start, signal, final, feedback, decay.contiguous())]
    arguments: tuple[Any, ...] = (*arrays, *kernel_settings(cell), gradient.numpy(), by_decay.numpy())
    rows = gradient.unbind(0)
    with one_thread():
        for t in reversed(range(membrane.shape[0])):
            kernels.adjoint_step(t, *arguments)
            torch.mm(rows[t], recurrent, out=feedback)
    later = rows[0]
    by_start = feedback.mul_(lif_reference.slope_at(cell, start)) + decay * cell.pass_through(start) * later
    return gradient, by_start, by_decay


def kernel_settings(cell: LIF) -> tuple[float, bool, bool, int, float]:
    """Return the cell's settings in the order in which the kernels take them."""
    kind = SURROGATES.index(cell.surrogate)
    return cell.threshold, cell.reset == "hard", cell.reset_gradient == "cut", kind, cell.sharpness


def weighed_by_slope(cell: LIF, membrane: Tensor, signal: Tensor) -> Tensor:
    """Return signal times the surrogate slope at the membrane, all `[T, B, N]`."""
    if not fast_kernels_apply(membrane):
        return signal * lif_reference.slope_at(cell, membrane)
    from workbench.neurons import local_kernels

    out = buffer(membrane, *membrane.shape)
    arrays = (membrane.contiguous().numpy(), signal.contiguous().numpy())
    threshold, _, _, kind, sharpness = kernel_settings(cell)
    rest = (threshold, kind, sharpness, out.numpy())
    share(local_kernels.weigh_by_slope, membrane.shape[1], membrane.numel(), *arrays, *rest)
    return out


def transport(
    cell: LIF, decay: Tensor, start: Tensor, membrane: Tensor, own: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the product of the transitions after each step `[T, B, N]`, and of all of them `[B, N]`."""
    if not fast_kernels_apply(membrane):
        return lif_reference.transport(cell, decay, start, membrane, own)
    from workbench.neurons import local_kernels

    suffix, product = buffer(membrane, *membrane.shape), torch.empty_like(start)
    weight = torch.zeros_like(decay) if own is None else own
    arrays = (array.contiguous().numpy() for array in (membrane, start, decay))
    results = (weight.contiguous().numpy(), suffix.numpy(), product.numpy())
    share(
        local_kernels.transport,
        membrane.shape[1],
        membrane.numel(),
        *arrays,
        *kernel_settings(cell),
        *results,
    )
    return suffix, product


class _LIFScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, cell: LIF, decay: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        membrane, spikes = forward(cell, decay, start, currents, recurrent)
        ctx.cell = cell
        if recurrent is None:
            ctx.save_for_backward(decay, start, membrane)
        else:
            ctx.save_for_backward(decay, start, membrane, recurrent, spikes)
        # A copy, so that handing the last membrane over does not keep the whole stretch alive.
        return membrane[-1].clone(), spikes

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, final: Tensor, signal: Tensor) -> tuple[Tensor | None, ...]:
        decay, start, membrane, *rest = ctx.saved_tensors
        if not rest:
            gradient, by_start, by_decay = adjoint(ctx.cell, decay, start, membrane, signal, None, final)
            return None, by_decay.sum(0), by_start, gradient, None
        recurrent, spikes = rest
        gradient, by_start, by_decay = recurrent_adjoint(
            ctx.cell, decay, start, membrane, signal, recurrent, final
        )
        by_recurrent = gradient[1:].flatten(0, 1).T @ spikes[:-1].flatten(0, 1)
        by_recurrent += gradient[0].T @ ctx.cell.output({}, start[None])
        return None, by_decay.sum(0), by_start, gradient, by_recurrent


def scan(
    cell: LIF, decay: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the last membrane `[B, N]` and the spikes `[T, B, N]`; differentiable once."""
    last, spikes = _LIFScan.apply(cell, decay, start, currents, recurrent)
    return last, spikes


def leaky_forward(decay: Tensor, start: Tensor, currents: Tensor) -> Tensor:
    """Return the integrators' values `[T, B, N]`, without a graph."""
    if not fast_kernels_apply(currents):
        return lif_reference.leaky_forward(decay, start, currents)
    from workbench.neurons import kernels

    out = buffer(currents, *currents.shape)
    arrays = (array.contiguous().numpy() for array in (currents, decay, start))
    share(kernels.leaky_forward, currents.shape[1], currents.numel(), *arrays, out.numpy())
    return out


def leaky_adjoint(decay: Tensor, start: Tensor, out: Tensor, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return dE/dI `[T, B, N]`, dE/do_0 `[B, N]` and each sample's decay gradient `[B, N]`."""
    if not fast_kernels_apply(out):
        return lif_reference.leaky_adjoint(decay, start, out, signal)
    from workbench.neurons import kernels

    gradient = buffer(out, *out.shape)
    by_start = torch.zeros(start.shape, dtype=out.dtype)
    by_decay = torch.zeros_like(by_start)
    arrays = (array.contiguous().numpy() for array in (out, start, signal, decay))
    results = (gradient.numpy(), by_start.numpy(), by_decay.numpy())
    share(kernels.leaky_adjoint, out.shape[1], out.numel(), *arrays, *results)
    return gradient, by_start, by_decay


def leaky_owed(decay: Tensor, signal: Tensor) -> Tensor:
    """Return sum over s >= t of decay^(s - t) signal_s, `[T, B, N]`: what each step owes to all later ones.

    It is the integrator run backwards; `decay` `[N]`.
    """
    if not fast_kernels_apply(signal):
        return lif_reference.leaky_forward(decay, torch.zeros_like(signal[0]), signal.flip(0)).flip(0)
    from workbench.neurons import local_kernels

    out = buffer(signal, *signal.shape)
    arrays = (signal.contiguous().numpy(), decay.contiguous().numpy(), out.numpy())
    share(local_kernels.owed, signal.shape[1], signal.numel(), *arrays)
    return out


class _LeakyScan(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, decay: Tensor, start: Tensor, currents: Tensor) -> Tensor:
        out = leaky_forward(decay, start, currents)
        ctx.save_for_backward(decay, start, out)
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, signal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        decay, start, out = ctx.saved_tensors
        gradient, by_start, by_decay = leaky_adjoint(decay, start, out, signal)
        return by_decay.sum(0), by_start, gradient


def leaky_scan(decay: Tensor, start: Tensor, currents: Tensor) -> Tensor:
    """Return the integrators' values `[T, B, N]`; differentiable once."""
    out: Tensor = _LeakyScan.apply(decay, start, currents)
    return out
