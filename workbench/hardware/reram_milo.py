"""Multilevel ReRAM of Milo et al. 2021."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import ProgrammedConfig, ProgrammedHardware, check_range
from workbench.hardware.programming_noise import Polynomial, ProgrammingNoise, Scaled
from workbench.hardware.read_noise import WhiteNoise
from workbench.plugin import PluginConfig

LINEAR = (4.782321, -0.009107)
"""Standard deviation of programming against the conductance, microsiemens (CrossSim, `RRAM_Milo.py`)."""


class MiloConfig(ProgrammedConfig):
    """Multilevel ReRAM; Milo et al., IRPS 2021, fig. 4, as Sandia's CrossSim fits it."""

    g_min: float = Field(50.0, ge=0, description="smallest conductance, microsiemens")
    g_max: float = Field(225.0, gt=0, description="largest conductance, microsiemens")
    read_noise: float = Field(
        0.0, ge=0, description="factor of read noise, of which nothing is published for this device; 0: none"
    )
    read_share: float = Field(
        0.01,
        ge=0,
        description="read noise of a weight at factor 1, standard deviation as a share of the largest (assumed)",
    )

    @model_validator(mode="after")
    def _has_range(self) -> MiloConfig:
        check_range(self.g_min, self.g_max)
        return self


class ReRAMMilo(ProgrammedHardware):
    """ReRAM of Milo et al. (IRPS 2021), 50 to 225 microsiemens: programming noise of the IGVVA-100 algorithm.

    Differential pairs. The current is taken to be proportional to the voltage; read noise and drift were not published.
    """

    cell_kind = "rram"
    Config: ClassVar[type[PluginConfig]] = MiloConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: MiloConfig = self.config
        programming = ProgrammingNoise(Polynomial(LINEAR), config.programming_noise)
        share = config.read_share / 2**0.5
        read = WhiteNoise(Scaled(share, "independent", config.g_max - config.g_min), config.read_noise)
        return Device(
            config.g_min,
            config.g_max,
            programming if config.programming_noise else None,
            read=read if config.read_noise else None,
        )
