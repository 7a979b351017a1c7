"""What a PyTorch user writes by hand: the same network as the `lif` backbone, one step at a time; the reference.

    u_t = d (u_{t-1} - y_{t-1}) + W x_t [+ V y_{t-1}]       y_t = H(u_t - 1), the reset without a gradient
    o_t = d o_{t-1} + W_K y_t                               E = cross-entropy of mean_t o_t

Also the per-synapse trace recursion written out, which OSTTP's chunks replace.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workbench.backbones.network import Network

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


class PlainStep:
    """One training step of any `[T, B, N] -> [B, C]` module: cross-entropy, backward, Adam at 1e-3."""

    def __init__(self, module: nn.Module, inputs: Tensor, targets: Tensor) -> None:
        self.module, self.inputs, self.targets = module, inputs, targets
        self.optimiser = torch.optim.Adam(module.parameters(), lr=1e-3)

    def __call__(self) -> float:
        """Return the loss before the update."""
        self.optimiser.zero_grad()
        loss = functional.cross_entropy(self.module(self.inputs), self.targets)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        return float(loss.detach())


@torch.no_grad()
def naive_trace_gradients(
    network: Network, feedback: list[Tensor], inputs: Tensor, targets: Tensor
) -> list[Tensor]:
    """Return OSTTP's gradient `[N, in]` of each layer, every trace `[B, N, in]` renewed at every step.

    Feed-forward networks with soft reset and cut reset gradient. feedback: `[N, C]` per hidden layer.
    """
    steps, batch = inputs.shape[:2]
    weights = [layer.synapse.weight for layer in network.layers]
    membranes = [inputs.new_zeros(batch, weight.shape[0]) for weight in weights]
    spikes = [torch.zeros_like(membrane) for membrane in membranes[:-1]]
    traces = [inputs.new_zeros(batch, *weight.shape) for weight in weights]
    gradients = [torch.zeros_like(weight) for weight in weights]
    target = functional.one_hot(targets, network.classes).to(inputs.dtype)
    for t in range(steps):
        activity = inputs[t]
        for layer, weight in enumerate(weights):
            traces[layer] = DECAY * traces[layer] + activity[:, None, :]
            current = functional.linear(activity, weight)
            if layer < len(spikes):
                membranes[layer] = DECAY * (membranes[layer] - spikes[layer]) + current
                spikes[layer] = activity = (membranes[layer] >= 1.0).to(inputs.dtype)
                slope = 1.0 / (1.0 + SHARPNESS * (membranes[layer] - 1.0).abs()) ** 2
                signal = slope * (target @ feedback[layer].T)
            else:
                membranes[layer] = DECAY * membranes[layer] + current
                signal = torch.softmax(membranes[layer], dim=1) - target
            gradients[layer] += (signal[:, :, None] * traces[layer]).sum(0) / (steps * batch)
    return gradients
