"""ReRAM of Wan et al. 2022 (NeuRRAM)."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import ProgrammedConfig, ProgrammedHardware
from workbench.hardware.programming_noise import Polynomial, ProgrammingNoise, Scaled
from workbench.hardware.read_noise import WhiteNoise
from workbench.plugin import PluginConfig

Relaxed = Literal["1s", "1day", "2days"]
REFERENCE = 40.0
"""Largest conductance of the devices that were measured, microsiemens."""
QUARTIC: dict[Relaxed, tuple[float, ...]] = {
    "1s": (0.348, 16.030, -43.853, 45.393, -16.815),
    "1day": (0.701, 22.086, -50.773, 47.095, -16.458),
    "2days": (0.782, 20.274, -43.507, 37.062, -11.934),
}
"""Standard deviation, microsiemens, against g / g_max for g_max = 40, lowest first (aihwkit, `noise/reram.py`)."""
CUBIC = (1.053, 0.2374, -0.01167, 1.536e-4)
"""The same against g, microsiemens, up to 39.26 (CrossSim, `RRAM_Wan.py`)."""


class WanConfig(ProgrammedConfig):
    """ReRAM of Wan et al., Nature 2022."""

    fit: Literal["quartic", "cubic"] = Field(
        "quartic",
        description="fit of programming noise: aihwkit's (quartic) or CrossSim's (cubic, one time); they differ by up "
        "to 0.7 microsiemens, so publish with both",
    )
    relaxed: Relaxed = Field(
        "1s",
        description="time since programming at which the quartic fit was measured; it does not pass in the run",
    )
    g_max: float = Field(REFERENCE, gt=0, description="largest conductance, microsiemens")
    read_share: float = Field(
        0.01,
        ge=0,
        description="read noise of a weight, standard deviation as a share of the largest (about 0.01 in aihwkit's "
        "notes)",
    )


class ReRAMWan(ProgrammedHardware):
    """ReRAM of Wan et al. (Nature 2022): programming noise after relaxation, read noise, no drift law.

    Differential pairs. Two simulators fitted the same figures differently; `fit` chooses. Noise follows the 40
    microsiemens that were measured whatever `g_max`: relative noise stays as it was.
    """

    cell_kind = "rram"
    Config: ClassVar[type[PluginConfig]] = WanConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: WanConfig = self.config
        deviation = programming_deviation(config.fit, config.relaxed, config.g_max)
        # The noise of a weight is that of two devices.
        read = WhiteNoise(Scaled(config.read_share / 2**0.5, "independent", config.g_max), config.read_noise)
        return Device(
            0.0,
            config.g_max,
            ProgrammingNoise(deviation, config.programming_noise) if config.programming_noise else None,
            read=read if config.read_noise else None,
        )


def programming_deviation(
    fit: Literal["quartic", "cubic"], relaxed: Relaxed = "1s", g_max: float = REFERENCE
) -> Polynomial:
    """Return the standard deviation of programming, microsiemens, against the conductance aimed at.

    Both scale with g_max: sigma / g_max is a function of g / g_max.
    """
    if fit == "cubic":
        return Polynomial(CUBIC, g_max / REFERENCE, g_max / REFERENCE)
    return Polynomial(QUARTIC[relaxed], g_max, g_max / REFERENCE)
