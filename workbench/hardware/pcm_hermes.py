"""Phase-change memory of IBM's HERMES chip."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.hardware.drift import Curve, PowerLaw, clamped_logarithm
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedHardware
from workbench.hardware.programming_noise import Polynomial, ProgrammingNoise
from workbench.hardware.read_noise import FlickerNoise
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor
else:
    torch = lazy_module("torch")


class HermesConfig(DriftingConfig):
    """The HERMES chip; Le Gallo et al. 2023, Vasilopoulos et al. 2023, as IBM's aihwkit has them."""

    sharing: Literal[1, 2] = Field(
        2,
        description="devices that carry each conductance of a pair: 2 are the chip's four devices a weight, "
        "range 20.7 microsiemens; 1 is two devices a weight, range 10.35 microsiemens",
    )
    t_0: float | None = Field(
        None,
        gt=0,
        description="time after programming from which drift counts, seconds; left out: 300 (2 devices) or 200 (1)",
    )
    read_seconds: float = Field(512e-9, gt=0, description="duration of a read, for 1/f noise, seconds")


class Hermes(ProgrammedHardware):
    """Phase-change memory of the HERMES chip, one or two devices for each conductance of a pair.

    Programming noise, drift and 1/f read noise as fitted by IBM's aihwkit (HermesLikeNoiseModel). The fits are of the
    sum of the two devices; each of them has sqrt(2) times the relative errors.
    """

    cell_kind = "pcm"
    Config: ClassVar[type[PluginConfig]] = HermesConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: HermesConfig = self.config
        fit = FITS[config.sharing]
        t_0 = fit.t_0 if config.t_0 is None else config.t_0
        programming = ProgrammingNoise(fit.programming_deviation(), config.programming_noise)
        drift = PowerLaw(t_0, fit.drift_mean(), fit.drift_spread(), config.drift)
        read = FlickerNoise(fit.read_relative(), t_0, config.read_seconds, config.read_noise)
        return Device(
            0.0,
            fit.g_max,
            programming if config.programming_noise else None,
            drift if config.drift else None,
            read if config.read_noise else None,
            config.sharing,
        )


@dataclass(frozen=True)
class Branches:
    """clamp(slope ln x + offset, least, most) for x = g / g_max below `knee`, a polynomial from there on."""

    knee: float
    slope: float
    offset: float
    least: float
    most: float
    above: tuple[float, ...]

    def curve(self, g_max: float) -> Curve:
        """Return it as a function of the conductance, microsiemens."""
        low: Callable[[Tensor], Tensor] = clamped_logarithm(
            self.slope, self.offset, self.least, self.most, g_max
        )
        high = Polynomial(self.above, g_max)
        return lambda g: torch.where(g < self.knee * g_max, low(g), high(g))


@dataclass(frozen=True)
class HermesFit:
    """Fits of one way of using the unit cell; conductances in microsiemens, times in seconds."""

    g_max: float
    t_0: float
    programming: tuple[float, ...]
    spread: Branches
    relative: Branches

    def programming_deviation(self) -> Polynomial:
        """Return the standard deviation of programming, microsiemens."""
        return Polynomial(self.programming, self.g_max)

    def drift_mean(self) -> Curve:
        """Return the mean exponent of drift, the same for both."""
        branches = Branches(0.0945, -0.0387, -0.0182, 0.0720, 0.13, (0.0736, -0.0126, -0.0436))
        return branches.curve(self.g_max)

    def drift_spread(self) -> Curve:
        """Return the standard deviation of the exponent."""
        return self.spread.curve(self.g_max)

    def read_relative(self) -> Curve:
        """Return Q, the size of 1/f noise relative to the conductance."""
        return self.relative.curve(self.g_max)


FITS = {
    1: HermesFit(
        10.35,
        200.0,
        (0.15781817, 2.32443916, -2.16310839, 0.68841818),
        Branches(0.3039, -0.0120, -0.0023, 0.0124, 0.04, (0.0104, 0.0116, -0.0165)),
        Branches(0.1591, -0.0078, 0.0038, 0.0179, 0.04, (0.0088, 0.0768, -0.1352, 0.0664)),
    ),
    2: HermesFit(
        20.7,
        300.0,
        (0.16603222, 4.71806468, -8.48101252, 4.68961419),
        Branches(0.3055, -0.0117, -0.0057, 0.0091, 0.04, (0.0073, 0.0093, -0.0118)),
        Branches(0.16, -0.0117, -0.0069, 0.015, 0.04, (0.0123, 0.0211, -0.0280, 0.0069)),
    ),
}
"""By the number of devices that carry a conductance (aihwkit, `inference/noise/hermes.py`)."""
