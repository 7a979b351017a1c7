"""How a conductance changes by itself after it was programmed.

Every programming draws a device's coefficient anew; from then on its course is determined.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_module("torch")

Curve = Callable[["Tensor"], "Tensor"]


class Drift(Protocol):
    """A law of change with one coefficient for each device."""

    def draw(self, target: Tensor, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """Draw the coefficients of devices programmed to `target`, microsiemens; `spread` widens them."""
        ...

    def after(self, programmed: Tensor, coefficient: Tensor, seconds: Tensor) -> Tensor:
        """Return the conductances, microsiemens, `seconds` after they were `programmed`; all of one shape."""
        ...


@dataclass(frozen=True)
class PowerLaw:
    """g(t) = g ((t + t_0) / t_0)^(-nu), nu = |mean(g) + spread(g) xi|, as of phase-change memory.

    t_0: time after programming at which the device is first read, seconds. mean, spread: of nu, against the target
    conductance in microsiemens. factor: scales nu.
    """

    t_0: float
    mean: Curve
    spread: Curve
    factor: float = 1.0

    def draw(self, target: Tensor, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """Draw nu of every device."""
        drawn = torch.randn(target.shape, generator=generator, dtype=target.dtype).to(target.device)
        drawn.mul_(self.spread(target)).mul_(spread).add_(self.mean(target))
        return drawn.abs_().mul_(self.factor)

    def after(self, programmed: Tensor, coefficient: Tensor, seconds: Tensor) -> Tensor:
        """Return what is left of the conductances; exactly `programmed` at zero seconds."""
        return power_law(seconds, self.t_0, coefficient).mul_(programmed)


def power_law(seconds: Tensor, t_0: float, nu: Tensor) -> Tensor:
    """Return the drift factor ((t + t_0) / t_0)^(-nu).

    >>> import torch
    >>> day = power_law(torch.tensor([86400.0]), 20.0, torch.tensor([0.049]))
    >>> round(day.item(), 3)
    0.664
    """
    return (seconds / t_0).add_(1.0).log_().mul_(nu).neg_().exp_()


@dataclass(frozen=True)
class LogarithmicRelaxation:
    """From one second on the conductance is off by shift ln t + (spread + spread_growth ln t) xi, microsiemens.

    Before that the fit says nothing, and nothing shows. xi is the device's own and stays until it is programmed anew.
    """

    shift: float
    spread: float
    spread_growth: float
    factor: float = 1.0

    def draw(self, target: Tensor, generator: torch.Generator, spread: float = 1.0) -> Tensor:
        """Draw xi of every device."""
        drawn = torch.randn(target.shape, generator=generator, dtype=target.dtype).to(target.device)
        return drawn.mul_(spread)

    def after(self, programmed: Tensor, coefficient: Tensor, seconds: Tensor) -> Tensor:
        """Return the relaxed conductances, not below zero."""
        logarithm = seconds.clamp(min=1.0).log_()
        change = (logarithm * self.spread_growth).add_(self.spread).mul_(coefficient)
        change.add_(logarithm, alpha=self.shift).mul_(self.factor).masked_fill_(seconds < 1.0, 0.0)
        return change.add_(programmed).clamp_(min=0.0)


def clamped_logarithm(slope: float, offset: float, least: float, most: float, g_max: float) -> Curve:
    """Return the curve clamp(slope ln(g / g_max) + offset, least, most), which fits of drift are made of."""

    def curve(g: Tensor) -> Tensor:
        relative = (g / g_max).clamp_(min=math.ulp(0.0) if g.dtype == torch.float64 else 1e-30)
        return relative.log_().mul_(slope).add_(offset).clamp_(least, most)

    return curve
