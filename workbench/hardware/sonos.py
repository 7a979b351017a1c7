"""SONOS charge-trapping memory."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import ProgrammedConfig, ProgrammedHardware
from workbench.hardware.programming_noise import ProgrammingNoise, Saturating
from workbench.hardware.read_noise import WhiteNoise
from workbench.plugin import PluginConfig

PER_NANOAMPERE = 0.01
"""Microsiemens: the measured 0 to 1600 nA are 0 to 16 microsiemens."""
SPREAD = {
    0: (19.88665, 176.3115),
    1: (25.59102, 186.85544),
    2: (28.72753, 193.56834),
    3: (31.04318, 198.90332),
    4: (33.76214, 204.77023),
    5: (34.57909, 207.34309),
}
"""A and B, nanoampere, of sigma = A (1 - exp(-I / B)) by days since programming (CrossSim, `SONOS.py`)."""
READ = (12.58037, 215.36557)
"""A and B, nanoampere, of read noise."""


class SONOSConfig(ProgrammedConfig):
    """SONOS; Agrawal et al., IEDM 2022, figs. 10a and 11b, as Sandia's CrossSim fits them."""

    days: Literal[0, 1, 2, 3, 4, 5] = Field(
        0, description="days since programming at which the spread was measured; they do not pass in the run"
    )
    g_max: float = Field(16.0, gt=0, le=16, description="largest conductance, microsiemens")
    read_noise_redrawn: Literal["batch", "read"] = Field(
        "read", description="read noise is white and new in each read, or held for a batch"
    )


class SONOS(ProgrammedHardware):
    """SONOS charge-trapping memory, 40 nm, read below threshold: spread of programming, white read noise.

    Differential pairs. The mean drift of the currents over days is not modelled, only their growing spread.
    """

    cell_kind = "eflash"
    Config: ClassVar[type[PluginConfig]] = SONOSConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        config: SONOSConfig = self.config
        programming = ProgrammingNoise(saturating(*SPREAD[config.days]), config.programming_noise)
        read = WhiteNoise(saturating(*READ), config.read_noise)
        return Device(
            0.0,
            config.g_max,
            programming if config.programming_noise else None,
            read=read if config.read_noise else None,
        )


def saturating(most: float, unit: float) -> Saturating:
    """Return A (1 - exp(-I / B)) as a function of the conductance, given A and B in nanoampere."""
    return Saturating(most * PER_NANOAMPERE, unit * PER_NANOAMPERE)
