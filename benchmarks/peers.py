"""The same workload in neighbouring libraries, if they are installed, with the weights of our network.

Where their functions differ in what a user cannot choose, `PEERS` says how; the work is the same. Hidden layers may be
recurrent, each in the way that its library offers.
"""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.plain_loop import DECAY, SHARPNESS
from workbench.backbones.network import Layer, Network


def _copied(network: Network) -> nn.ModuleList:
    """Return the input synapses as modules of their own."""
    copies = []
    for layer in network.layers:
        copy = deepcopy(layer.synapse)
        assert isinstance(copy, nn.Linear)
        copies.append(copy)
    return nn.ModuleList(copies)


def _recurrent(layer: Layer) -> Tensor | None:
    """Return a copy of the recurrent matrix `[N, N]` (to, from), or None."""
    weight = layer.recurrent_weight()
    return None if weight is None else weight.detach().clone()


class SnnTorch(nn.Module):
    """`snntorch.Leaky` or `RLeaky` layers in the loop that its tutorials show."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        import snntorch

        self.synapses = _copied(network)
        cells = [self._cell(layer) for layer in network.layers[:-1]]
        self.cells = nn.ModuleList([*cells, snntorch.Leaky(beta=DECAY, reset_mechanism="none")])
        self.recurrent = [layer.recurrent is not None for layer in network.layers]
        self.widths = [layer.units for layer in network.layers]

    def _cell(self, layer: Layer) -> nn.Module:
        import snntorch
        from snntorch import surrogate

        slope = surrogate.fast_sigmoid(slope=SHARPNESS)
        weight = _recurrent(layer)
        if weight is None:
            cell: nn.Module = snntorch.Leaky(beta=DECAY, spike_grad=slope)
            return cell
        cell = snntorch.RLeaky(beta=DECAY, linear_features=layer.units, spike_grad=slope)
        assert isinstance(cell.recurrent, nn.Linear)
        cell.recurrent.weight, cell.recurrent.bias = nn.Parameter(weight), None  # type: ignore[assignment]
        return cell

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        batch = inputs.shape[1]
        membranes: list[Any] = [inputs.new_zeros(batch, units) for units in self.widths]
        spikes: list[Any] = [torch.zeros_like(membrane) for membrane in membranes]
        total: Any = 0
        for activity in inputs.unbind(0):
            for number, (synapse, cell) in enumerate(zip(self.synapses, self.cells, strict=True)):
                current = synapse(activity)
                if self.recurrent[number]:
                    activity, membranes[number] = cell(current, spikes[number], membranes[number])
                    spikes[number] = activity
                else:
                    activity, membranes[number] = cell(current, membranes[number])
            total = total + membranes[-1]
        scores: Tensor = total / len(inputs)
        return scores


class SpikingJelly(nn.Module):
    """SpikingJelly's `LIFNode` in multi-step mode, its faster one; recurrent in a `LinearRecurrentContainer`.

    The readout is a plain loop.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        from spikingjelly.activation_based import functional

        self.clear: Callable[[nn.Module], None] = functional.reset_net
        self.synapses = _copied(network)
        self.cells = nn.ModuleList(self._cell(layer) for layer in network.layers[:-1])

    @staticmethod
    def _cell(layer: Layer) -> nn.Module:
        from spikingjelly.activation_based import layer as layers
        from spikingjelly.activation_based import neuron, surrogate

        weight = _recurrent(layer)
        node: nn.Module = neuron.LIFNode(
            tau=1.0 / (1.0 - DECAY),
            decay_input=False,
            v_reset=None,
            detach_reset=True,
            surrogate_function=surrogate.SoftSign(alpha=SHARPNESS),
            # The container takes its node through time step by step.
            step_mode="m" if weight is None else "s",
        )
        if weight is None:
            return node
        around: nn.Module = layers.LinearRecurrentContainer(
            node, in_features=layer.units, out_features=layer.units, bias=False, step_mode="m"
        )
        assert isinstance(around.rc, nn.Linear)
        # One matrix acts on current and spikes side by side: the identity on the current is ours.
        around.rc.weight = nn.Parameter(torch.cat([torch.eye(layer.units), weight], dim=1))
        return around

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
    """Norse's `LIFBoxCell` and `LIBoxCell`, one step at a time; a recurrent synapse is added in the loop."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        import norse.torch as norse

        self.synapses = _copied(network)
        rate = torch.as_tensor((1.0 - DECAY) / 0.001)
        spiking = norse.LIFBoxParameters(tau_mem_inv=rate, alpha=torch.as_tensor(SHARPNESS))
        cells = [norse.LIFBoxCell(spiking) for _ in network.layers[:-1]]
        self.cells = nn.ModuleList([*cells, norse.LIBoxCell(norse.LIBoxParameters(tau_mem_inv=rate))])
        weights = {str(n): _recurrent(layer) for n, layer in enumerate(network.layers)}
        self.recurrent = nn.ParameterDict(
            {number: nn.Parameter(weight) for number, weight in weights.items() if weight is not None}
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        states: list[Any] = [None] * len(self.cells)
        spikes: dict[str, Tensor] = {}
        total: Any = 0
        for activity in inputs.unbind(0):
            for number, (synapse, cell) in enumerate(zip(self.synapses, self.cells, strict=True)):
                current, name = synapse(activity), str(number)
                if name in spikes:
                    current = current + nn.functional.linear(spikes[name], self.recurrent[name])
                # Norse scales the current by dt / tau, so it is scaled up to match.
                activity, states[number] = cell(current / (1.0 - DECAY), states[number])
                if name in self.recurrent:
                    spikes[name] = activity
            total = total + activity
        scores: Tensor = total / len(inputs)
        return scores


@dataclass(frozen=True)
class Peer:
    """A library: the module to look for, the network to build, and in what its function differs from ours."""

    module: str
    build: Callable[[Network], nn.Module]
    difference: str


PEERS: dict[str, Peer] = {
    "snntorch": Peer(
        "snntorch",
        SnnTorch,
        "the reset is subtracted undecayed, u_t = d u_{t-1} - y_{t-1} + I_t; ours is d (u - y)",
    ),
    "spikingjelly": Peer(
        "spikingjelly",
        SpikingJelly,
        "the surrogate's peak is k / 2 instead of 1; its recurrent container is one matrix on current and spikes, so "
        "that it also trains a block [N, N] on the current (the identity at first)",
    ),
    "norse": Peer(
        "norse",
        Norse,
        "the reset is to zero, with its gradient kept; the surrogate is 1 / (1 + |v|)^2, whatever is asked for",
    ),
}


def present_peers(backbone: str) -> list[str]:
    """Return the peers to compare with on a backbone, and tell which are skipped and why."""
    if backbone != "lif":
        print(f"skipping the peers: none of them has the cell of {backbone}")
        return []
    present, absent = installed()
    for name in absent:
        print(f"skipping {name}: not installed (pip install -e '.[peers]')")
    return present


def installed() -> tuple[list[str], list[str]]:
    """Return the names of the peers that are installed and of those that are not."""
    present = [name for name, peer in PEERS.items() if find_spec(peer.module) is not None]
    return present, [name for name in PEERS if name not in present]
