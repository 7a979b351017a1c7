"""Phase-change memory, statistics of a million devices."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.hardware.drift import Curve, PowerLaw, clamped_logarithm
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedHardware
from workbench.hardware.programming_noise import Polynomial, ProgrammingNoise
from workbench.hardware.read_noise import FlickerNoise
from workbench.plugin import PluginConfig

if TYPE_CHECKING:
    from torch import Tensor

Fit = Literal["nandakumar", "joshi"]
REFERENCE = 25.0
"""Largest conductance of the devices that were measured, microsiemens."""


class PCMConfig(DriftingConfig):
    """Phase-change memory; defaults of Nandakumar et al., ICECS 2019, as IBM's aihwkit has them."""

    fit: Fit = Field(
        "nandakumar",
        description="programming noise after Nandakumar et al. 2019 (aihwkit) or Joshi et al. 2020, fig. 3b (CrossSim)",
    )
    g_max: float = Field(REFERENCE, gt=0, description="largest conductance, microsiemens")
    t_0: float = Field(20.0, gt=0, description="time after programming from which drift counts, seconds")
    read_seconds: float = Field(250e-9, gt=0, description="duration of a read, for 1/f noise, seconds")


class PCM(ProgrammedHardware):
    """Phase-change memory that is written and verified: programming noise, drift, 1/f read noise.

    Differential pairs; what a tile has drifted after learning is compensated by one digital factor. Nandakumar et al.,
    ICECS 2019; the same device as aihwkit's PCMLikeNoiseModel. The exponent of each device's drift is drawn at each of
    its programmings.
    """

    cell_kind = "pcm"
    Config: ClassVar[type[PluginConfig]] = PCMConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: PCMConfig = self.config
        g_max = config.g_max
        programming = ProgrammingNoise(programming_deviation(config.fit, g_max), config.programming_noise)
        drift = PowerLaw(config.t_0, drift_mean(g_max), drift_spread(g_max), config.drift)
        read = FlickerNoise(read_relative(g_max), config.t_0, config.read_seconds, config.read_noise)
        return Device(
            0.0,
            g_max,
            programming if config.programming_noise else None,
            drift if config.drift else None,
            read if config.read_noise else None,
        )


def programming_deviation(fit: Fit, g_max: float = REFERENCE) -> Polynomial:
    """Return the standard deviation of programming, microsiemens, against the conductance aimed at.

    nandakumar: of g / g_max, scaled with g_max. joshi: of g itself, up to 25 microsiemens.
    """
    if fit == "joshi":
        return Polynomial((0.28638599, 0.07585724, -0.00178767))
    return Polynomial((0.26348, 1.9650, -1.1731), g_max, g_max / REFERENCE)


def drift_mean(g_max: float = REFERENCE) -> Curve:
    """Return the mean exponent of drift against the conductance aimed at."""
    return clamped_logarithm(-0.0155, 0.0244, 0.049, 0.1, g_max)


def drift_spread(g_max: float = REFERENCE) -> Curve:
    """Return the standard deviation of the exponent from device to device."""
    return clamped_logarithm(-0.0125, -0.0059, 0.008, 0.045, g_max)


def read_relative(g_max: float = REFERENCE) -> Curve:
    """Return Q, the size of 1/f noise relative to the conductance, against the programmed conductance."""

    def relative(g: Tensor) -> Tensor:
        power = (g.abs() / g_max).pow_(0.65).clamp_(min=1e-3)
        return power.reciprocal_().mul_(0.0088).clamp_(max=0.2)

    return relative
