"""Backbone of linear recurrent units: complex diagonal state-space layers, each read by static nonlinear units.

A block is a layer of N complex units z (`workbench/neurons/lru.py`; its synapse is the complex matrix B) and a layer of
M units y = g(Re(C z) + bias) (`workbench/neurons/memoryless.py`; its synapse is C). As in Orvieto et al. 2023 Re B and
Im B are drawn from N(0, gain^2 / (2 fan-in)), Re C and Im C from N(0, 1 / N); without their skip connections and
normalisation layers.
The recurrence is linear within a unit, so online gradients are exact: for one block, for all parameters.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from workbench.lazy import lazy_module
from workbench.plugin import Backbone, PluginConfig

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Network
else:
    torch = lazy_module("torch")


class LRUConfig(PluginConfig):
    """Settings of the LRU backbone."""

    hidden: tuple[PositiveInt, ...] = Field((128,), min_length=1, description="complex units of each block")
    features: tuple[PositiveInt, ...] | None = Field(
        None, description="nonlinear units of each block; as many as complex ones by default"
    )
    min_radius: float = Field(0.9, ge=0, lt=1, description="smallest |lambda| at the start")
    max_radius: float = Field(0.999, gt=0, lt=1, description="largest |lambda| at the start")
    max_phase: float = Field(
        math.pi / 10, gt=0, le=2 * math.pi, description="largest angle of lambda at the start"
    )
    normalisation: Literal["learned", "derived"] = Field(
        "learned", description="gamma: learned from sqrt(1 - |lambda|^2), or always that"
    )
    nonlinearity: Literal["tanh", "relu", "gelu", "identity"] = Field(
        "gelu", description="function of the units that read the complex ones"
    )
    gain: float = Field(1.0, gt=0, description="standard deviation of input weights times sqrt(2 fan-in)")
    bias: bool = Field(True, description="biases of the nonlinear units and of the readout")
    readout_gain: float = Field(
        1.0, gt=0, description="standard deviation of readout weights times sqrt(fan-in)"
    )
    readout_decay: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the readout; 0: a readout without memory"
    )
    learn_readout_decay: bool = Field(False, description="learn the readout's decay of each class")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.min_radius >= self.max_radius:
            raise ValueError(f"min_radius ({self.min_radius}) must lie below max_radius ({self.max_radius})")
        if self.features is not None and len(self.features) != len(self.hidden):
            raise ValueError(
                f"features has {len(self.features)} values for {len(self.hidden)} blocks; give one a block"
            )
        if self.learn_readout_decay and self.readout_decay == 0:
            raise ValueError("learn_readout_decay needs a readout_decay above 0 to start from")
        return self


class LRUBackbone(Backbone):
    """Blocks of linear recurrent units and nonlinear units without memory, and a dense readout."""

    Config: ClassVar[type[PluginConfig]] = LRUConfig
    config: LRUConfig

    def build(self, inputs: int, outputs: int, generator: torch.Generator) -> Network:
        """Return the network, initialised from `generator` alone."""
        from workbench.backbones.network import Layer, Network
        from workbench.neurons.leaky import LeakyIntegrator
        from workbench.neurons.lru import LRU
        from workbench.neurons.memoryless import Memoryless

        config = self.config
        recurrent = LRU(config.min_radius, config.max_radius, config.max_phase, config.normalisation)
        static = Memoryless(config.nonlinearity)
        hidden: list[Layer] = []
        width = inputs
        for units, features in zip(config.hidden, config.features or config.hidden, strict=True):
            turning = Layer(width, units, recurrent, recurrent=False, bias=False)
            turning.initialise(torch.tensor(config.gain / math.sqrt(2.0)), 0.0, generator)
            reading = Layer(turning.width, features, static, recurrent=False, bias=config.bias)
            reading.initialise(torch.tensor(math.sqrt(2.0)), 0.0, generator)
            hidden += [turning, reading]
            width = features
        cell = LeakyIntegrator(config.readout_decay, config.learn_readout_decay)
        readout = Layer(width, outputs, cell, recurrent=False, bias=config.bias)
        readout.initialise(torch.tensor(config.readout_gain), 0.0, generator)
        return Network(hidden, readout)
