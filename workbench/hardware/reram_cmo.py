"""CMO/HfOx ReRAM of IBM Research Zurich."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from workbench.hardware.drift import LogarithmicRelaxation
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedHardware, check_range
from workbench.hardware.programming_noise import Polynomial, ProgrammingNoise
from workbench.hardware.read_noise import LogarithmicFlickerNoise
from workbench.plugin import PluginConfig

Acceptance = Literal["0.2%", "2%"]
LINEAR: dict[Acceptance, tuple[float, float]] = {
    "0.2%": (0.00081107, 0.00106879),
    "2%": (0.0112185391, 0.01129027418),
}
"""Standard deviation of programming against the conductance, both in microsiemens (aihwkit, `noise/reram.py`)."""


class CMOConfig(DriftingConfig):
    """CMO/HfOx ReRAM; Falcone et al., Lombardo et al. 2024, as IBM's aihwkit has them."""

    acceptance: Acceptance = Field(
        "0.2%", description="deviation from the target at which the write-and-verify loop stops"
    )
    g_min: float = Field(9.0, ge=0, description="smallest conductance, microsiemens")
    g_max: float = Field(88.2, gt=0, description="largest conductance, microsiemens")
    read_seconds: float = Field(1e-6, gt=0, description="duration of a read, for 1/f noise, seconds")
    compensation: Literal["tile", "column", "off"] = Field(
        "off",
        description="global drift compensation; off: relaxation shifts both devices of a pair alike and cancels",
    )

    @model_validator(mode="after")
    def _has_range(self) -> CMOConfig:
        check_range(self.g_min, self.g_max)
        return self


class ReRAMCMO(ProgrammedHardware):
    """CMO/HfOx ReRAM: exact programming, then relaxation that soon is larger; 1/f read noise.

    Differential pairs between 9 and 88.2 microsiemens (aihwkit's ReRamCMONoiseModel puts a weight on one device).
    Relaxation shows from one second after programming on; each device keeps its own course.
    """

    cell_kind = "rram"
    Config: ClassVar[type[PluginConfig]] = CMOConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: CMOConfig = self.config
        programming = ProgrammingNoise(Polynomial(LINEAR[config.acceptance]), config.programming_noise)
        drift = LogarithmicRelaxation(-0.08900206, 0.41183342, 0.04201137, config.drift)
        read = LogarithmicFlickerNoise(0.0277316483, config.read_seconds, config.read_noise)
        return Device(
            config.g_min,
            config.g_max,
            programming if config.programming_noise else None,
            drift if config.drift else None,
            read if config.read_noise else None,
        )
