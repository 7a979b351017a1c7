"""Scan of linear recurrent units over time and its adjoint; equations in `lru.py`.

With L_t = dE/dRe z_t + i dE/dIm z_t the signal, as one complex number,

    g_t = L_t + conj(lambda) g_{t+1}              dE/dI_t = gamma g_t
    dE/dlambda = sum_t conj(z_{t-1}) g_t          dE/dgamma = sum_t Re(conj(I_t) g_t),  gamma I_t = z_t - lambda z_{t-1}

so that only the outputs are kept. Numba kernels on a CPU in float32 or float64; elsewhere a scan by doubling, log2(T)
passes over the whole sequence, since lambda is the same at every step. The tests hold the two equal.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from workbench.neurons.linear_scan import linear_scan
from workbench.neurons.native import fast_kernels_apply, share


class Gradients(NamedTuple):
    """currents `[T, B, 2 N]` dE/dI; start `[2, B, N]`; re, im, scale `[B, N]`, each sample's."""

    currents: Tensor
    start: Tensor
    re: Tensor
    im: Tensor
    scale: Tensor


def forward(re: Tensor, im: Tensor, scale: Tensor, start: Tensor, currents: Tensor) -> Tensor:
    """Return z `[T, B, 2 N]`, real parts then imaginary parts, without a graph."""
    if not fast_kernels_apply(currents):
        return _plain_forward(re, im, scale, start, currents)
    from workbench.neurons import lru_kernels

    out = torch.empty(currents.shape, dtype=currents.dtype)
    arrays = (array.contiguous().numpy() for array in (currents, re, im, scale, start))
    share(lru_kernels.forward, currents.shape[1], currents.numel(), *arrays, out.numpy())
    return out


def adjoint(
    re: Tensor,
    im: Tensor,
    scale: Tensor,
    start: Tensor,
    out: Tensor,
    signal: Tensor,
    final: Tensor | None = None,
) -> Gradients:
    """Return the gradients under dE/dz = `signal` `[T, B, 2 N]`, and `final` `[2, B, N]` on the last step besides."""
    if final is None:
        final = torch.zeros_like(start)
    if not fast_kernels_apply(out):
        return _plain_adjoint(re, im, scale, start, out, signal, final)
    from workbench.neurons import lru_kernels

    gradient = torch.empty(out.shape, dtype=out.dtype)
    by_start = torch.empty(start.shape, dtype=out.dtype)
    by_re, by_im, dot = (torch.empty(start.shape[1:], dtype=out.dtype) for _ in range(3))
    arrays = (array.contiguous().numpy() for array in (out, start, signal, final, re, im))
    results = (array.numpy() for array in (gradient, by_start, by_re, by_im, dot))
    share(lru_kernels.adjoint, out.shape[1], out.numel(), *arrays, *results)
    by_scale = (dot - re * by_re - im * by_im) / scale
    return Gradients(gradient.mul_(scale.repeat(2)), by_start, by_re, by_im, by_scale)


def _complex(blocks: Tensor) -> Tensor:
    """Return `[..., 2 N]` in blocks of real and imaginary parts as complex `[..., N]`."""
    return torch.complex(*blocks.chunk(2, dim=-1))


def _blocks(values: Tensor) -> Tensor:
    return torch.cat([values.real, values.imag], dim=-1)


def _plain_forward(re: Tensor, im: Tensor, scale: Tensor, start: Tensor, currents: Tensor) -> Tensor:
    turn = torch.complex(re, im)
    values = scale * _complex(currents)
    values[0] += turn * torch.complex(start[0], start[1])
    return _blocks(linear_scan(turn, values))


def _plain_adjoint(
    re: Tensor, im: Tensor, scale: Tensor, start: Tensor, out: Tensor, signal: Tensor, final: Tensor
) -> Gradients:
    turn = torch.complex(re, im)
    values = _complex(signal).flip(0)
    values[0] += torch.complex(final[0], final[1])
    gradient = linear_scan(turn.conj(), values).flip(0)
    after = _complex(out)
    before = torch.cat([torch.complex(start[0], start[1])[None], after[:-1]])
    by_turn = (before.conj() * gradient).sum(0)
    driven = (after - turn * before) / scale
    by_start = turn.conj() * gradient[0]
    return Gradients(
        _blocks(scale * gradient),
        torch.stack([by_start.real, by_start.imag]),
        by_turn.real,
        by_turn.imag,
        (driven.conj() * gradient).real.sum(0),
    )


class _LRUScan(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, re: Tensor, im: Tensor, scale: Tensor, start: Tensor, currents: Tensor
    ) -> tuple[Tensor, Tensor]:
        out = forward(re, im, scale, start, currents)
        ctx.save_for_backward(re, im, scale, start, out)
        return torch.stack(out[-1].chunk(2, dim=-1)), out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, final: Tensor, signal: Tensor) -> tuple[Tensor, ...]:
        re, im, scale, start, out = ctx.saved_tensors
        found = adjoint(re, im, scale, start, out, signal, final)
        return found.re.sum(0), found.im.sum(0), found.scale.sum(0), found.start, found.currents


def scan(re: Tensor, im: Tensor, scale: Tensor, start: Tensor, currents: Tensor) -> tuple[Tensor, Tensor]:
    """Return the last state `[2, B, N]` and z `[T, B, 2 N]`; differentiable once."""
    last, outputs = _LRUScan.apply(re, im, scale, start, currents)
    return last, outputs
