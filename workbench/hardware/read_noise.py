"""How much a conductance fluctuates when it is read.

A coefficient of each device is fixed when it is programmed; the noise itself is drawn at reads, or held for a while.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_module("torch")


class ReadNoise(Protocol):
    """A law of normal read noise."""

    gathers: ClassVar[bool]
    """Whether it grows with the time since programming."""

    def coefficient(self, programmed: Tensor) -> Tensor:
        """Return what the law needs to know of a device `programmed` to a conductance, microsiemens."""
        ...

    def variance(self, coefficient: Tensor, now: Tensor, seconds: Tensor) -> Tensor:
        """Return the variance, microsiemens^2, of a read of the conductances `now`, `seconds` after programming."""
        ...


@dataclass(frozen=True)
class FlickerNoise:
    """1/f noise that has gathered since programming: sigma = |g| Q sqrt(ln((t + t_0 + t_r) / (2 t_r))).

    relative: Q against the programmed conductance, microsiemens. t_0: of the drift law; t_r: duration of a read; both
    in seconds. factor: scales sigma.
    """

    gathers: ClassVar[bool] = True

    relative: Callable[[Tensor], Tensor]
    t_0: float
    t_r: float
    factor: float = 1.0

    def coefficient(self, programmed: Tensor) -> Tensor:
        """Return Q of every device."""
        return self.relative(programmed).mul_(self.factor)

    def variance(self, coefficient: Tensor, now: Tensor, seconds: Tensor) -> Tensor:
        """Return sigma squared."""
        gathered = (seconds + (self.t_0 + self.t_r)).log_().sub_(math.log(2 * self.t_r)).clamp_(min=0)
        return (now * coefficient).square_().mul_(gathered)


@dataclass(frozen=True)
class LogarithmicFlickerNoise:
    """1/f noise of CMO/HfOx: sigma = size log10(g) sqrt(ln((t + t_r) / (2 t_r))), g in microsiemens.

    Zero for t < t_r, and for g <= 1.
    """

    gathers: ClassVar[bool] = True

    size: float
    t_r: float
    factor: float = 1.0

    def coefficient(self, programmed: Tensor) -> Tensor:
        """Return the size, which is that of all devices."""
        return torch.full_like(programmed, self.size * self.factor)

    def variance(self, coefficient: Tensor, now: Tensor, seconds: Tensor) -> Tensor:
        """Return sigma squared."""
        gathered = (seconds + self.t_r).log_().sub_(math.log(2 * self.t_r)).clamp_(min=0)
        return now.clamp(min=1.0).log10_().mul_(coefficient).square_().mul_(gathered)


@dataclass(frozen=True)
class WhiteNoise:
    """Noise whose standard deviation, microsiemens, depends on the programmed conductance alone."""

    gathers: ClassVar[bool] = False

    deviation: Callable[[Tensor], Tensor]
    factor: float = 1.0

    def coefficient(self, programmed: Tensor) -> Tensor:
        """Return sigma."""
        return self.deviation(programmed).clamp_(min=0).mul_(self.factor)

    def variance(self, coefficient: Tensor, now: Tensor, seconds: Tensor) -> Tensor:
        """Return sigma squared."""
        return coefficient.square()
