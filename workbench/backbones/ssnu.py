"""Backbone of soft spiking neural units (sSNU), recurrent, and a dense readout.

Cell equations: `workbench/neurons/snu.py` with a sigmoid output. Defaults are those of IBM's notebook for OSTL on the
JSB chorales (`ostl`, Bohnstingl et al. 2022): 150 recurrent units, decay 0.4, thresholds that start at 1, no rectifier.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.backbones.snu import SNULayersConfig, snu_cell, snu_network
from workbench.plugin import Backbone, PluginConfig

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Network


class SSNUConfig(SNULayersConfig):
    """Settings of the backbone of soft spiking neural units."""

    decay: float = Field(0.4, ge=0, lt=1, description="decay of the state per step")
    state_function: Literal["identity", "relu", "leaky-relu"] = Field(
        "identity", description="rectifier of the state; leaky-relu has slope 0.1 below zero"
    )


class SSNUBackbone(Backbone):
    """Layers of soft spiking neural units, whose output is a sigmoid, and a dense readout."""

    Config: ClassVar[type[PluginConfig]] = SSNUConfig
    config: SSNUConfig

    def build(self, inputs: int, outputs: int, generator: torch.Generator) -> Network:
        """Return the network, initialised from `generator` alone."""
        cell = snu_cell(self.config, "sigmoid")
        return snu_network(self.config, cell, inputs, outputs, generator)
