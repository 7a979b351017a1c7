"""Backbone of leaky integrate-and-fire layers with a leaky, non-spiking readout.

Cell equations: `workbench/neurons/lif.py`. Weights are drawn from N(0, (gain / sqrt(fan-in))^2); a unit's gain is
scaled by sqrt((1 - d^2) / (1 - 0.95^2)), d its decay, so that membranes of fast and slow units vary alike.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from workbench.backbones.recurrence import recurrent_by_layer
from workbench.lazy import lazy_module
from workbench.plugin import Backbone, PluginConfig

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Layer, Network
else:
    torch = lazy_module("torch")

Decay = float | tuple[float, float]


class LIFConfig(PluginConfig):
    """Settings of the LIF backbone."""

    hidden: tuple[PositiveInt, ...] = Field(
        (512, 256), min_length=1, description="units of each hidden layer"
    )
    recurrent: bool | tuple[bool, ...] = Field(
        False, description="recurrent synapses: for all hidden layers, or one value a layer"
    )
    decay: Decay = Field(
        (0.7, 0.98),
        description="membrane decay per step, in (0, 1); a pair spreads the units between two values",
    )
    decay_values: int = Field(8, ge=1, description="how many distinct decays a pair is spread over")
    learn_decay: bool = Field(False, description="learn the decay of each unit")
    reset: Literal["soft", "hard"] = Field("soft", description="subtract the threshold, or set to zero")
    reset_gradient: Literal["cut", "keep"] = Field("cut", description="derivative of the reset by the spike")
    surrogate: Literal["fast-sigmoid", "sigmoid", "triangle", "arctan", "tanh"] = Field(
        "triangle", description="slope that stands in for the derivative of the spike"
    )
    sharpness: float = Field(1.0, gt=0, description="sharpness k of the surrogate slope")
    threshold: float = Field(1.0, gt=0, description="firing threshold")
    gain: float = Field(0.4, gt=0, description="standard deviation of input weights times sqrt(fan-in)")
    recurrent_gain: float = Field(0.5, ge=0, description="the same for recurrent weights")
    readout_reads: Literal["last", "all"] = Field(
        "all", description="the readout reads the last hidden layer, or all of them side by side"
    )
    readout_gain: float = Field(
        0.1, gt=0, description="the same for readout weights; small, since the readout adds up many steps"
    )
    readout_decay: float = Field(
        0.98, ge=0, lt=1, description="decay per step of the leaky readout; 0: a readout without memory"
    )
    learn_readout_decay: bool = Field(False, description="learn the readout's decay of each class")
    bias: bool = Field(False, description="bias currents in all layers")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        low, high = self.decays
        if not 0 < low <= high < 1:
            raise ValueError(f"decay must lie in (0, 1), lowest first; got {self.decay}")
        recurrent_by_layer(self.recurrent, len(self.hidden))
        if self.learn_readout_decay and self.readout_decay == 0:
            raise ValueError("learn_readout_decay needs a readout_decay above 0 to start from")
        return self

    @property
    def decays(self) -> tuple[float, float]:
        """Lowest and highest decay."""
        return self.decay if isinstance(self.decay, tuple) else (self.decay, self.decay)

    @property
    def recurrent_layers(self) -> tuple[bool, ...]:
        """Whether each hidden layer is recurrent."""
        return recurrent_by_layer(self.recurrent, len(self.hidden))


class LIFBackbone(Backbone):
    """Layers of leaky integrate-and-fire units, each optionally recurrent, and a leaky readout."""

    Config: ClassVar[type[PluginConfig]] = LIFConfig
    config: LIFConfig

    def build(self, inputs: int, outputs: int, generator: torch.Generator) -> Network:
        """Return the network, initialised from `generator` alone."""
        from workbench.backbones.network import Layer, Network
        from workbench.neurons.leaky import LeakyIntegrator
        from workbench.neurons.lif import LIF

        config = self.config
        cell = LIF(
            decay=config.decays,
            decay_values=config.decay_values if config.decays[0] < config.decays[1] else 1,
            learn_decay=config.learn_decay,
            threshold=config.threshold,
            reset=config.reset,
            reset_gradient=config.reset_gradient,
            surrogate=config.surrogate,
            sharpness=config.sharpness,
        )
        hidden: list[Layer] = []
        width = inputs
        for units, recurrent in zip(config.hidden, config.recurrent_layers, strict=True):
            layer = Layer(width, units, cell, recurrent=recurrent, bias=config.bias)
            decay = cell.constrain(cell.initial_parameters(units, generator))["decay"]
            layer.initialise(config.gain * _variance_match(decay), config.recurrent_gain, generator)
            hidden.append(layer)
            width = units
        if config.readout_reads == "all":
            width = sum(config.hidden)
        readout_cell = LeakyIntegrator(config.readout_decay, config.learn_readout_decay)
        readout = Layer(width, outputs, readout_cell, recurrent=False, bias=config.bias)
        readout.initialise(torch.tensor(config.readout_gain), 0.0, generator)
        return Network(hidden, readout)


def _variance_match(decay: Any) -> Any:
    """Return the gain `[N]` that gives a membrane of this decay the variance of one with decay 0.95."""
    return torch.sqrt((1.0 - decay**2) / (1.0 - 0.95**2))
