"""What a PyTorch user writes by hand: one time step after the other, the gradient left to autograd; the reference.

`PlainLoop` is the `lif` backbone written out:

    u_t = d (u_{t-1} - y_{t-1}) + W x_t [+ V y_{t-1}]       y_t = H(u_t - 1), the reset without a gradient
    o_t = d o_{t-1} + W_K y_t                               E = cross-entropy of mean_t o_t

`CellLoop` is the same loop over the `step` of any cell; `HoistedLoop` computes a layer's input product for all steps at
once and loops over the rest, layer by layer.
"""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.backbones.network import Network
from workbench.neurons.cell import fold

DECAY = 0.95
SHARPNESS = 25.0


class FastSigmoidSpike(torch.autograd.Function):
    """Heaviside step; slope 1 / (1 + 25 |v|)^2 in reverse."""

    @staticmethod
    def forward(ctx: Any, v: Tensor) -> Tensor:
        """Return 1 where v >= 0, else 0."""
        ctx.save_for_backward(v)
        return (v >= 0).to(v.dtype)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        """Return the gradient times the slope."""
        (v,) = ctx.saved_tensors
        slope: Tensor = 1.0 / (SHARPNESS * v.abs() + 1.0) ** 2
        return grad * slope


class PlainLoop(nn.Module):
    """The hand-written network, with copies of the weights of a workbench network: `[T, B, N]` -> scores `[B, C]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.inputs = nn.ParameterList(layer.synapse.weight.detach().clone() for layer in network.layers)
        self.recurrent = nn.ParameterDict(
            {
                str(number): nn.Parameter(weight.detach().clone())
                for number, layer in enumerate(network.layers)
                if (weight := layer.recurrent_weight()) is not None
            }
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        steps, batch = inputs.shape[:2]
        membranes = [inputs.new_zeros(batch, weight.shape[0]) for weight in self.inputs]
        spikes = [torch.zeros_like(membrane) for membrane in membranes[:-1]]
        total = torch.zeros_like(membranes[-1])
        for t in range(steps):
            activity = inputs[t]
            for layer in range(len(spikes)):
                current = functional.linear(activity, self.inputs[layer])
                if str(layer) in self.recurrent:
                    current = current + functional.linear(spikes[layer], self.recurrent[str(layer)])
                kept = membranes[layer] - spikes[layer].detach()
                membranes[layer] = DECAY * kept + current
                spikes[layer] = activity = FastSigmoidSpike.apply(membranes[layer] - 1.0)
            membranes[-1] = DECAY * membranes[-1] + functional.linear(activity, self.inputs[-1])
            total = total + membranes[-1]
        return total / steps


class CellLoop(nn.Module):
    """A copy of any of our networks, looped over time by hand: `[T, B, N]` -> scores `[B, C]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = deepcopy(network)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        network, layers = self.network, self.network.layers
        parameters = [layer.cell_parameters() for layer in layers]
        states = network.initial_states(inputs.shape[1])
        outputs = [
            layer.cell.output(own, state)
            for layer, own, state in zip(layers, parameters, states, strict=True)
        ]
        total = torch.zeros_like(outputs[-1])
        for activity in inputs.unbind(0):
            for number, layer in enumerate(layers):
                if layer is network.readout:
                    activity = network.readout_input(outputs[:-1])
                current = layer.synapse(activity)
                if layer.recurrent is not None:
                    current = current + layer.recurrent(outputs[number])
                states[number], outputs[number] = layer.cell.step(parameters[number], states[number], current)
                activity = outputs[number]
            total = total + outputs[-1]
        return total / len(inputs)


class HoistedLoop(nn.Module):
    """As `CellLoop`, each layer's input product outside its loop over time."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = deepcopy(network)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        network, activities = self.network, [inputs]
        states = network.initial_states(inputs.shape[1])
        for layer, state in zip(network.layers, states, strict=True):
            last = layer is network.readout
            currents = layer.synapse(network.readout_input(activities[1:]) if last else activities[-1])
            weight = layer.recurrent_weight()
            activities.append(fold(layer.cell, layer.cell_parameters(), state, currents, weight)[1])
        return activities[-1].mean(0)


class PlainStep:
    """One training step of any `[T, B, N] -> [B, C]` module: cross-entropy, backward, Adam at 1e-3."""

    def __init__(self, module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        self.module, self.inputs, self.targets = module, inputs, targets
        self.optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)

    def set_inputs(self, inputs: Tensor) -> None:
        """Train on other inputs `[T, B, N]` from now on."""
        self.inputs = inputs

    def __call__(self) -> float:
        """Return the loss before the update."""
        self.optimiser.zero_grad()
        loss = functional.cross_entropy(self.module(self.inputs), self.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())
