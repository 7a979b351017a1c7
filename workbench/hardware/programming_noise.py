"""What is left between the conductance that a write-and-verify loop aims at and the one it reaches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import sqrt
from typing import TYPE_CHECKING, Literal

from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_module("torch")

Deviation = Callable[["Tensor"], "Tensor"]
"""From a conductance, microsiemens, to a standard deviation, microsiemens, of the same shape."""
Scaling = Literal["independent", "proportional", "inverse"]


@dataclass(frozen=True)
class ProgrammingNoise:
    """A random error of zero mean whose standard deviation depends on the conductance aimed at.

    factor: scales the error. uniform: uniform instead of normal, with the same standard deviation.
    """

    deviation: Deviation
    factor: float = 1.0
    uniform: bool = False

    def error(self, target: Tensor, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """Draw the error of every device, microsiemens, given what it aims at; `spread` widens it further."""
        draw = torch.rand if self.uniform else torch.randn
        drawn = draw(target.shape, generator=generator, dtype=target.dtype).to(target.device)
        if self.uniform:
            drawn.sub_(0.5).mul_(sqrt(12))
        return drawn.mul_(self.deviation(target).clamp_(min=0)).mul_(self.factor * spread)


@dataclass(frozen=True)
class Polynomial:
    """`scale` times a polynomial of g / `unit`, lowest coefficient first."""

    coefficients: tuple[float, ...]
    unit: float = 1.0
    scale: float = 1.0

    def __call__(self, g: Tensor) -> Tensor:
        x = g / self.unit
        found = torch.full_like(x, self.coefficients[-1])
        for coefficient in reversed(self.coefficients[:-1]):
            found.mul_(x).add_(coefficient)
        return found.mul_(self.scale)


@dataclass(frozen=True)
class Scaled:
    """A share of the largest conductance, of the conductance itself, or falling with it (CrossSim's generic devices).

    independent: share g_max. proportional: share g. inverse: share g_max^2 / g, at most g_max and zero for g = 0.
    """

    share: float
    scaling: Scaling
    g_max: float

    def __call__(self, g: Tensor) -> Tensor:
        if self.scaling == "independent":
            return torch.full_like(g, self.share * self.g_max)
        if self.scaling == "proportional":
            return g * self.share
        falling = (self.share * self.g_max**2 / g.abs()).clamp_(max=self.g_max)
        return falling.masked_fill_(g == 0, 0.0)


@dataclass(frozen=True)
class Saturating:
    """`most` (1 - exp(-g / `unit`)), both in microsiemens."""

    most: float
    unit: float

    def __call__(self, g: Tensor) -> Tensor:
        return torch.expm1(g / -self.unit).mul_(-self.most)
