"""Surrogate slopes: what stands in for the derivative of a spike.

A spike is `y = H(v)` with `v = u - threshold` and H the Heaviside step (H(0) = 1). Its derivative is zero almost
everywhere, so learning rules put a slope psi(v) in its place. `k` is the sharpness. Sources: fast sigmoid, Zenke and
Ganguli 2018 (SuperSpike); sigmoid, as in OTTT (Xiao et al. 2022); triangle, Bellec et al. 2018 and SLTT (Meng et al.
2023); arctan, Fang et al. 2021; tanh, the spiking neural unit of Wozniak et al. 2020.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from torch import Tensor

SurrogateName = Literal["fast-sigmoid", "sigmoid", "triangle", "arctan", "tanh"]
SURROGATES: tuple[SurrogateName, ...] = get_args(SurrogateName)


def fast_sigmoid(v: Tensor, k: float) -> Tensor:
    """Psi = 1 / (1 + k |v|)^2."""
    return 1.0 / (1.0 + k * v.abs()) ** 2


def sigmoid(v: Tensor, k: float) -> Tensor:
    """Psi = k s (1 - s) with s = 1 / (1 + exp(-k v))."""
    s = torch.sigmoid(k * v)
    return k * s * (1.0 - s)


def triangle(v: Tensor, k: float) -> Tensor:
    """Psi = max(0, 1 - k |v|)."""
    return (1.0 - k * v.abs()).clamp_min(0.0)


def arctan(v: Tensor, k: float) -> Tensor:
    """Psi = (k / 2) / (1 + (pi k v / 2)^2)."""
    return 0.5 * k / (1.0 + (0.5 * math.pi * k * v) ** 2)


def tanh(v: Tensor, k: float) -> Tensor:
    """Psi = 1 - tanh^2(k v)."""
    return 1.0 - torch.tanh(k * v) ** 2


_SLOPES: dict[SurrogateName, Callable[[Tensor, float], Tensor]] = {
    "fast-sigmoid": fast_sigmoid,
    "sigmoid": sigmoid,
    "triangle": triangle,
    "arctan": arctan,
    "tanh": tanh,
}


def slope(name: SurrogateName, v: Tensor, k: float) -> Tensor:
    """Return the slope psi at `v`, same shape.

    >>> slope("triangle", torch.tensor([0.0, 0.5, 2.0]), 1.0)
    tensor([1.0000, 0.5000, 0.0000])
    """
    return _SLOPES[name](v, k)


class _Spike(torch.autograd.Function):
    """Heaviside step forward, surrogate slope in reverse."""

    @staticmethod
    def forward(ctx: Any, v: Tensor, name: SurrogateName, k: float) -> Tensor:
        ctx.surrogate, ctx.sharpness = name, k
        ctx.save_for_backward(v)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (v,) = ctx.saved_tensors
        return grad * slope(ctx.surrogate, v, ctx.sharpness), None, None


def spike(v: Tensor, name: SurrogateName, k: float) -> Tensor:
    """Return `H(v)` as 0/1 of the dtype of `v`; its derivative is the surrogate slope.

    >>> spike(torch.tensor([-1.0, 0.0, 1.0]), "fast-sigmoid", 25.0)
    tensor([0., 1., 1.])
    """
    output: Tensor = _Spike.apply(v, name, k)
    return output
