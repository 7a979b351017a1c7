"""Settings of arrays whose devices are written and verified, and how such an array is put under a network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workbench.hardware.settings import CrossbarConfig
from workbench.plugin import Hardware, PluginConfig

if TYPE_CHECKING:
    from workbench.backbones.network import Network
    from workbench.hardware.chip import Chip
    from workbench.hardware.programmed_device import Device
    from workbench.randomness import RandomStreams


class ProgrammedConfig(CrossbarConfig):
    """Settings of devices that are written and verified; conductances in microsiemens."""

    update: Literal["mixed-precision", "program"] = Field(
        "mixed-precision",
        description="how updates are written: collected digitally until they make a `granularity` (Nandakumar 2020), "
        "or every weight that changes is programmed at every update",
    )
    granularity: float = Field(
        0.02,
        gt=0,
        le=1,
        description="smallest change that mixed precision writes, as a fraction of the range of a weight",
    )
    tolerance: float = Field(
        0.0,
        ge=0,
        le=1,
        description="update=program leaves changes of at most this fraction of the range of a weight",
    )
    programming_noise: float = Field(
        1.0, ge=0, description="factor of the device's programming noise; 0: exact"
    )
    read_noise: float = Field(1.0, ge=0, description="factor of the device's read noise; 0: none")
    read_noise_redrawn: Literal["batch", "read"] = Field(
        "batch",
        description="how long read noise is held: for a batch (1/f noise is slow), or it is white and new in each read",
    )
    stuck_at: Literal["random", "g_min", "g_max"] = Field(
        "random",
        description="conductance of devices that never change: uniform over the range, or an end of it",
    )


class DriftingConfig(ProgrammedConfig):
    """Settings of devices whose conductance changes by itself."""

    drift: float = Field(1.0, ge=0, description="factor of the device's drift; 0: none")
    compensation: Literal["tile", "column", "off"] = Field(
        "tile",
        description="global drift compensation of weights that are read `t_read` after learning: a digital factor for "
        "each tile, for each output of a tile, or none; a network that learns reads what has drifted",
    )
    reference: Literal["verified", "exact"] = Field(
        "verified",
        description="what drift is compensated to: what was read when learning stopped, or what was last wanted",
    )


class ProgrammedHardware(Hardware):
    """Devices that are written and verified."""

    Config: ClassVar[type[PluginConfig]] = ProgrammedConfig

    def device(self) -> Device:
        """Return the device that the settings describe."""
        raise NotImplementedError

    def attach(self, network: Network, streams: RandomStreams) -> Chip:
        """Program the network's weights into arrays of the device."""
        from workbench.hardware.chip import Chip
        from workbench.hardware.programmed_array import ProgrammedArray

        device = self.device()

        def make(weights: Any, generator: Any) -> ProgrammedArray:
            return ProgrammedArray(weights, device, self.config, generator)

        return Chip(network, streams, self.config, make)


def check_range(g_min: float, g_max: float) -> None:
    """Raise ValueError, as validators do, unless there is a range between two conductances, microsiemens."""
    if g_min >= g_max:
        raise ValueError(
            f"g_min={g_min:g} leaves no range of conductance below g_max={g_max:g}; both are in microsiemens"
        )
