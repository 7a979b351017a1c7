"""A generic device that is written and verified, every number of it a setting."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from workbench.hardware.drift import Curve, PowerLaw
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedHardware, check_range
from workbench.hardware.programming_noise import ProgrammingNoise, Scaled, Scaling
from workbench.hardware.read_noise import WhiteNoise
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig

if TYPE_CHECKING:
    import torch
else:
    torch = lazy_module("torch")


class GenericConfig(DriftingConfig):
    """A generic device; the range is CrossSim's default, 1 to 10 kOhm, the noise is no particular device's."""

    g_min: float = Field(100.0, ge=0, description="smallest conductance, microsiemens")
    g_max: float = Field(1000.0, gt=0, description="largest conductance, microsiemens")
    sharing: Literal[1, 2, 4] = Field(
        1, description="devices that carry each conductance of a pair between them"
    )
    programming_share: float = Field(
        0.02, ge=0, description="programming noise, standard deviation as a share of g_max (see `scaling`)"
    )
    scaling: Scaling = Field(
        "independent",
        description="programming noise: share of g_max, share of g (proportional), or share of g_max^2 / g (inverse)",
    )
    distribution: Literal["normal", "uniform"] = Field(
        "normal", description="distribution of programming noise, with the same standard deviation"
    )
    read_share: float = Field(
        0.01,
        ge=0,
        description="read noise of a device, standard deviation as a share of g_max (see `read_scaling`)",
    )
    read_scaling: Scaling = Field("independent", description="how read noise depends on g, as in `scaling`")
    nu_mean: float = Field(0.05, ge=0, description="mean exponent of power-law drift, when `drift` is not 0")
    nu_spread: float = Field(0.01, ge=0, description="device-to-device standard deviation of the exponent")
    t_0: float = Field(20.0, gt=0, description="time after programming from which drift counts, seconds")
    drift: float = Field(0.0, ge=0, description="factor of the device's drift; 0: none")

    @model_validator(mode="after")
    def _has_range(self) -> GenericConfig:
        check_range(self.g_min, self.g_max)
        return self


class Generic(ProgrammedHardware):
    """A generic device that is written and verified; normal or uniform noise, power-law drift if wanted.

    Noise that is independent of the conductance, proportional to it, or inverse, as CrossSim's generic devices.
    """

    Config: ClassVar[type[PluginConfig]] = GenericConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: GenericConfig = self.config
        deviation = Scaled(config.programming_share, config.scaling, config.g_max)
        programming = ProgrammingNoise(deviation, config.programming_noise, config.distribution == "uniform")
        read = WhiteNoise(Scaled(config.read_share, config.read_scaling, config.g_max), config.read_noise)
        drift = PowerLaw(config.t_0, constant(config.nu_mean), constant(config.nu_spread), config.drift)
        return Device(
            config.g_min,
            config.g_max,
            programming if config.programming_noise * config.programming_share else None,
            drift if config.drift else None,
            read if config.read_noise * config.read_share else None,
            config.sharing,
        )


def constant(value: float) -> Curve:
    """Return the curve that is `value` everywhere."""
    return lambda g: torch.full_like(g, value)
