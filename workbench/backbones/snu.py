"""Backbone of spiking neural units, recurrent, and a dense readout.

Cell equations: `workbench/neurons/snu.py`. As in IBM's code (`neuroaikit`, Wozniak et al. 2020): weights from
U(-a, a), a = sqrt(6 / (fan-in + fan-out)), thresholds that start at 1 and learn in the place of biases, and a readout
with biases and without memory. Decay 0.8 and the leaky rectifier are those of its example on the JSB chorales.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from workbench.backbones.recurrence import recurrent_by_layer
from workbench.plugin import Backbone, PluginConfig

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Network
    from workbench.neurons.snu import SNU


class SNULayersConfig(PluginConfig):
    """Settings that spiking and soft units share."""

    hidden: tuple[PositiveInt, ...] = Field((150,), min_length=1, description="units of each hidden layer")
    recurrent: bool | tuple[bool, ...] = Field(
        True, description="recurrent synapses: for all hidden layers, or one value a layer"
    )
    decay: float = Field(0.8, ge=0, lt=1, description="decay of the state per step")
    learn_decay: bool = Field(False, description="learn the decay of each unit")
    state_function: Literal["identity", "relu", "leaky-relu"] = Field(
        "leaky-relu", description="rectifier of the state; leaky-relu has slope 0.1 below zero"
    )
    threshold: float = Field(1.0, description="threshold at the start")
    learn_threshold: bool = Field(True, description="learn the threshold of each unit")
    reset_gradient: Literal["cut", "keep"] = Field(
        "keep", description="derivative of the reset by the output"
    )
    gain: float = Field(1.0, gt=0, description="factor on the range of input weights")
    recurrent_gain: float = Field(1.0, ge=0, description="factor on the range of recurrent weights")
    readout_reads: Literal["last", "all"] = Field(
        "last", description="the readout reads the last hidden layer, or all of them side by side"
    )
    readout_gain: float = Field(1.0, gt=0, description="factor on the range of readout weights")
    readout_decay: float = Field(
        0.0, ge=0, lt=1, description="decay per step of the readout; 0: a readout without memory"
    )
    learn_readout_decay: bool = Field(False, description="learn the readout's decay of each class")
    readout_bias: bool = Field(True, description="biases of the readout")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        recurrent_by_layer(self.recurrent, len(self.hidden))
        for learn, decay in (("learn_decay", "decay"), ("learn_readout_decay", "readout_decay")):
            if getattr(self, learn) and getattr(self, decay) == 0:
                raise ValueError(f"{learn} needs a {decay} above 0 to start from")
        return self

    @property
    def recurrent_layers(self) -> tuple[bool, ...]:
        """Whether each hidden layer is recurrent."""
        return recurrent_by_layer(self.recurrent, len(self.hidden))


class SNUConfig(SNULayersConfig):
    """Settings of the backbone of spiking neural units."""

    surrogate: Literal["fast-sigmoid", "sigmoid", "triangle", "arctan", "tanh"] = Field(
        "tanh", description="slope that stands in for the derivative of the spike"
    )
    sharpness: float = Field(1.0, gt=0, description="sharpness k of the surrogate slope")


class SNUBackbone(Backbone):
    """Layers of spiking neural units, recurrent by default, and a dense readout."""

    Config: ClassVar[type[PluginConfig]] = SNUConfig
    config: SNUConfig

    def build(self, inputs: int, outputs: int, generator: torch.Generator) -> Network:
        """Return the network, initialised from `generator` alone."""
        config = self.config
        slope = {"surrogate": config.surrogate, "sharpness": config.sharpness}
        return snu_network(config, snu_cell(config, "step", **slope), inputs, outputs, generator)


def snu_cell(config: SNULayersConfig, output_function: Literal["step", "sigmoid"], **slope: Any) -> SNU:
    """Return the units that `config` describes; `slope`: surrogate and sharpness of a step."""
    from workbench.neurons.snu import SNU

    return SNU(
        decay=config.decay,
        learn_decay=config.learn_decay,
        threshold=config.threshold,
        learn_threshold=config.learn_threshold,
        output_function=output_function,
        state_function=config.state_function,
        reset_gradient=config.reset_gradient,
        **slope,
    )


def snu_network(
    config: SNULayersConfig, cell: SNU, inputs: int, outputs: int, generator: torch.Generator
) -> Network:
    """Return layers of `cell` and a readout as `config` says, initialised from `generator` alone."""
    from workbench.backbones.network import Layer, Network
    from workbench.neurons.leaky import LeakyIntegrator

    hidden: list[Layer] = []
    width = inputs
    for units, recurrent in zip(config.hidden, config.recurrent_layers, strict=True):
        layer = Layer(width, units, cell, recurrent=recurrent, bias=False)
        layer.initialise_uniform(config.gain, config.recurrent_gain, generator)
        hidden.append(layer)
        width = units
    if config.readout_reads == "all":
        width = sum(config.hidden)
    readout_cell = LeakyIntegrator(config.readout_decay, config.learn_readout_decay)
    readout = Layer(width, outputs, readout_cell, recurrent=False, bias=config.readout_bias)
    readout.initialise_uniform(config.readout_gain, 0.0, generator)
    return Network(hidden, readout)
