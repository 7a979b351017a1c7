"""The same workload in neighbouring libraries, if they are installed; feed-forward, with the weights of our network.

Their functions differ where a user cannot choose: snnTorch subtracts the reset undecayed, Norse resets to zero,
SpikingJelly's slope is ours times k / 2. The work is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_loop import DECAY, SHARPNESS
from workbench.backbones.network import Network


def _copied(network: Network) -> nn.ModuleList:
    """Return the input synapses as modules of their own."""
    copies = []
    for layer in network.layers:
        copy = deepcopy(layer.synapse)
        assert isinstance(copy, nn.Linear)
        copies.append(copy)
    return nn.ModuleList(copies)


class SnnTorch(nn.Module):
    """`snntorch.Leaky` layers in the loop that its tutorials show."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        import snntorch
        from snntorch import surrogate

        self.synapses = _copied(network)
        slope = surrogate.fast_sigmoid(slope=SHARPNESS)
        cells = [snntorch.Leaky(beta=DECAY, spike_grad=slope) for _ in network.layers[:-1]]
        self.cells = nn.ModuleList([*cells, snntorch.Leaky(beta=DECAY, reset_mechanism="none")])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        membranes: list[Any] = [cell.init_leaky() for cell in self.cells]  # type: ignore[operator]
        total: Any = 0
        for activity in inputs.unbind(0):
            for number, (synapse, cell) in enumerate(zip(self.synapses, self.cells, strict=True)):
                activity, membranes[number] = cell(synapse(activity), membranes[number])
            total = total + membranes[-1]
        scores: Tensor = total / len(inputs)
        return scores


class SpikingJelly(nn.Module):
    """SpikingJelly's `LIFNode` in multi-step mode, its faster one; the readout is a plain loop."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional, neuron, surrogate

        self.clear: Callable[[nn.Module], None] = functional.reset_net
        self.synapses = _copied(network)
        self.cells = nn.ModuleList(
            neuron.LIFNode(
                tau=1.0 / (1.0 - DECAY),
                decay_input=False,
                v_reset=None,
                detach_reset=True,
                surrogate_function=surrogate.SoftSign(alpha=SHARPNESS),
                step_mode="m",
            )
            for _ in network.layers[:-1]
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        self.clear(self)
        activity = inputs
        for synapse, cell in zip(self.synapses, self.cells, strict=False):
            activity = cell(synapse(activity))
        currents: Tensor = self.synapses[-1](activity)
        value = total = torch.zeros_like(currents[0])
        for current in currents.unbind(0):
            value = DECAY * value + current
            total = total + value
        return total / len(inputs)


class Norse(nn.Module):
    """Norse's `LIFBoxCell` and `LIBoxCell`, one step at a time."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        import norse.torch as norse

        self.synapses = _copied(network)
        rate = torch.as_tensor((1.0 - DECAY) / 0.001)
        spiking = norse.LIFBoxParameters(tau_mem_inv=rate, alpha=torch.as_tensor(SHARPNESS))
        cells = [norse.LIFBoxCell(spiking) for _ in network.layers[:-1]]
        self.cells = nn.ModuleList([*cells, norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=rate))])

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        states: list[Any] = [None] * len(self.cells)
        total: Any = 0
        for activity in inputs.unbind(0):
            for number, (synapse, cell) in enumerate(zip(self.synapses, self.cells, strict=True)):
                # Norse scales the current by dt / tau, so it is scaled up to match.
                activity, states[number] = cell(synapse(activity) / (1.0 - DECAY), states[number])
            total = total + activity
        scores: Tensor = total / len(inputs)
        return scores


PEERS: dict[str, tuple[str, Callable[[Network], nn.Module]]] = {
    "snntorch": ("snntorch", SnnTorch),
    "spikingjelly": ("spikingjelly", SpikingJelly),
    "norse": ("norse", Norse),
}
"""Module to look for and network to build, by name."""


def installed() -> tuple[list[str], list[str]]:
    """Return the names of the peers that are installed and of those that are not."""
    present = [name for name, (module, _) in PEERS.items() if find_spec(module) is not None]
    return present, [name for name in PEERS if name not in present]
