"""Scan of spiking neural units over time and its adjoint; equations in `snu.py`.

With a_t = dE/dI_t, G_t = dE/dy_t, L_t the signal from outside and H the recurrent matrix,

    G_t = L_t + H^T a_{t+1} - d s_t a_{t+1}                 (the last term is the reset's own gradient)
    a_t = q_t (p_t G_t + d (1 - y_t) a_{t+1})
    dE/dv = - sum_t p_t G_t                                  dE/dd = sum_t a_t s_{t-1} (1 - y_{t-1})

Numba kernels on a CPU in float32 or float64, plain torch anywhere else; the tests hold the two equal. Only states and
outputs are kept, no graph of T steps.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from workbench.neurons.native import fast_kernels_apply, one_thread, share
from workbench.neurons.surrogate import SURROGATES

if TYPE_CHECKING:
    from workbench.neurons.snu import SNU


class Gradients(NamedTuple):
    """currents `[T, B, N]` dE/dI; start `[2, B, N]`; decay and threshold `[B, N]`, each sample's."""

    currents: Tensor
    start: Tensor
    decay: Tensor
    threshold: Tensor


def forward(
    cell: SNU, decay: Tensor, threshold: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return states s and outputs y, both `[T, B, N]`, from `start` `[2, B, N]`, without a graph."""
    if not fast_kernels_apply(currents):
        return _plain_forward(cell, decay, threshold, start, currents, recurrent)
    from workbench.neurons import snu_kernels

    values, outputs = currents.clone(memory_format=torch.contiguous_format), torch.empty_like(currents)
    outputs = outputs.contiguous()
    numbers = [value.contiguous().numpy() for value in (start, decay, threshold)]
    arguments: tuple[Any, ...] = (*numbers, cell.output_function == "sigmoid", cell.below_zero)
    results = (values.numpy(), outputs.numpy())
    if recurrent is None:
        share(snu_kernels.forward, currents.shape[1], currents.numel(), *arguments, *results)
        return values, outputs
    output, onto = start[1], recurrent.T
    stepping = (*arguments, *results)
    with one_thread():
        for t, (here, fired) in enumerate(zip(values.unbind(0), outputs.unbind(0), strict=True)):
            here.addmm_(output, onto)
            snu_kernels.forward_step(t, *stepping)
            output = fired
    return values, outputs


def adjoint(
    cell: SNU,
    decay: Tensor,
    threshold: Tensor,
    start: Tensor,
    values: Tensor,
    outputs: Tensor,
    signal: Tensor,
    own: Tensor | None = None,
    final: Tensor | None = None,
) -> Gradients:
    """Return the gradients under dE/dy = `signal` `[T, B, N]`, and `final` `[2, B, N]` dE/d(s_T, y_T) besides.

    `own` `[N]` is the weight of each unit on itself: the diagonal form of recurrence.
    """
    if final is None:
        final = torch.zeros_like(start)
    if not fast_kernels_apply(values):
        matrix = None if own is None else torch.diag(own)
        return _plain_adjoint(cell, decay, threshold, start, values, outputs, signal, matrix, final)
    from workbench.neurons import snu_kernels

    weight = torch.zeros_like(decay) if own is None else own
    arrays = (values, outputs, start, signal, final, decay, threshold, weight)
    found = _empty_gradients(values, start)
    share(
        snu_kernels.adjoint,
        values.shape[1],
        values.numel(),
        *(array.contiguous().numpy() for array in arrays),
        *_settings(cell),
        *(gradient.numpy() for gradient in found),
    )
    return found


def recurrent_adjoint(
    cell: SNU,
    decay: Tensor,
    threshold: Tensor,
    start: Tensor,
    values: Tensor,
    outputs: Tensor,
    signal: Tensor,
    recurrent: Tensor,
    final: Tensor,
) -> Gradients:
    """As `adjoint` with the whole recurrent matrix `[N, N]` (to, from): exact, one matrix product per step."""
    if not fast_kernels_apply(values):
        return _plain_adjoint(cell, decay, threshold, start, values, outputs, signal, recurrent, final)
    from workbench.neurons import snu_kernels

    found = _empty_gradients(values, start)
    found.decay.zero_()
    found.threshold.zero_()
    onto = (signal[-1] + final[1]).contiguous()
    arrays = (values, outputs, start, onto, final, decay, threshold)
    arguments: tuple[Any, ...] = (*(array.contiguous().numpy() for array in arrays), *_settings(cell))
    arguments += (found.currents.numpy(), found.decay.numpy(), found.threshold.numpy())
    rows, signals = found.currents.unbind(0), signal.unbind(0)
    with one_thread():
        for t in reversed(range(values.shape[0])):
            snu_kernels.adjoint_step(t, *arguments)
            if t > 0:
                torch.addmm(signals[t - 1], rows[t], recurrent, out=onto)
    torch.mul(decay * (1.0 - start[1]), rows[0], out=found.start[0])
    torch.mul(reset_coupling(cell, decay, start[0]), rows[0], out=found.start[1])
    found.start[1].addmm_(rows[0], recurrent)
    return found


def _empty_gradients(values: Tensor, start: Tensor) -> Gradients:
    by_sample = torch.empty(start.shape[1:], dtype=values.dtype)
    shapes = torch.empty(values.shape, dtype=values.dtype), torch.empty(start.shape, dtype=values.dtype)
    return Gradients(*shapes, by_sample, torch.empty_like(by_sample))


def _settings(cell: SNU) -> tuple[bool, float, float, int, float]:
    """Return the cell's settings in the order in which the adjoint kernels take them."""
    keep = 1.0 if cell.reset_gradient == "keep" else 0.0
    soft = cell.output_function == "sigmoid"
    return soft, cell.below_zero, keep, SURROGATES.index(cell.surrogate), cell.sharpness


def reset_coupling(cell: SNU, decay: Tensor, value: Tensor) -> Tensor:
    """Return how the output wipes the state, -d s, or zeros where that gradient is cut; shape of `value`."""
    return -decay * value if cell.reset_gradient == "keep" else torch.zeros_like(value)


def _plain_forward(
    cell: SNU, decay: Tensor, threshold: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    values, outputs = torch.empty_like(currents), torch.empty_like(currents)
    value, output = start.unbind(0)
    for t, current in enumerate(currents.unbind(0)):
        total = current if recurrent is None else current + output @ recurrent.T
        value = cell.rectify(total + decay * value * (1.0 - output))
        output = cell.fire(value - threshold)
        values[t], outputs[t] = value, output
    return values, outputs


def _plain_adjoint(
    cell: SNU,
    decay: Tensor,
    threshold: Tensor,
    start: Tensor,
    values: Tensor,
    outputs: Tensor,
    signal: Tensor,
    recurrent: Tensor | None,
    final: Tensor,
) -> Gradients:
    """As `recurrent_adjoint`, in torch; None for no recurrence."""
    gradient = torch.empty_like(values)
    by_decay, by_threshold = torch.zeros_like(start[0]), torch.zeros_like(start[0])
    by_value, by_output = final.unbind(0)
    for t in reversed(range(values.shape[0])):
        value, output = values[t], outputs[t]
        before, fired = (values[t - 1], outputs[t - 1]) if t > 0 else start.unbind(0)
        onto = cell.output_slope(value - threshold, output) * (signal[t] + by_output)
        here = gradient[t] = cell.rectifier_slope(value) * (onto + by_value)
        by_threshold -= onto
        by_decay += here * before * (1.0 - fired)
        by_value = decay * (1.0 - fired) * here
        by_output = reset_coupling(cell, decay, before) * here
        if recurrent is not None:
            by_output = by_output + here @ recurrent
    return Gradients(gradient, torch.stack([by_value, by_output]), by_decay, by_threshold)


class _SNUScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        cell: SNU,
        decay: Tensor,
        threshold: Tensor,
        start: Tensor,
        currents: Tensor,
        recurrent: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        values, outputs = forward(cell, decay, threshold, start, currents, recurrent)
        ctx.cell = cell
        kept = [decay, threshold, start, values, outputs]
        ctx.save_for_backward(*kept, *([] if recurrent is None else [recurrent]))
        return torch.stack([values[-1], outputs[-1]]), outputs

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, final: Tensor, signal: Tensor) -> tuple[Tensor | None, ...]:
        decay, threshold, start, values, outputs, *rest = ctx.saved_tensors
        kept = (ctx.cell, decay, threshold, start, values, outputs, signal)
        by_recurrent = None
        if rest:
            found = recurrent_adjoint(*kept, rest[0], final)
            by_recurrent = found.currents[1:].flatten(0, 1).T @ outputs[:-1].flatten(0, 1)
            by_recurrent += found.currents[0].T @ start[1]
        else:
            found = adjoint(*kept, None, final)
        sums = found.decay.sum(0), found.threshold.sum(0)
        return None, *sums, found.start, found.currents, by_recurrent


def scan(
    cell: SNU, decay: Tensor, threshold: Tensor, start: Tensor, currents: Tensor, recurrent: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the last state `[2, B, N]` and the outputs `[T, B, N]`; differentiable once."""
    last, outputs = _SNUScan.apply(cell, decay, threshold, start, currents, recurrent)
    return last, outputs
