"""MACs and ACs of inference against NeuroBench's definition of synaptic operations, where both count the same.

NeuroBench counts, of every connection layer and call, each input that is not zero times each weight that is not zero
(effective), or all inputs times all weights (dense); biases never. A call whose inputs are all 0, 1 or -1 makes ACs,
any other MACs. Here each number tells, not each call, weights of zero count, and a bias is an AC.
"""

from __future__ import annotations

import warnings

import pytest
import torch
from fixtures.small import network
from test_operations import activity_of
from torch import nn

from workbench.cost.counts import MeanActivity, Operations, Signals
from workbench.cost.operations import forward
from workbench.plugin import SequenceBatch

STEPS, SIZE, INPUTS, CLASSES = 6, 3, 5, 4
NETWORKS = {
    "feed-forward": {"hidden": (4, 3), "readout_reads": "last"},
    "reads all": {"hidden": (4, 3), "readout_reads": "all"},
    "recurrent": {"hidden": (4,), "recurrent": True},
    "biases": {"hidden": (4,), "bias": True},
}


class Unrolled(nn.Module):
    """A LIF network in plain modules, one call of each synapse a step: what NeuroBench can watch."""

    def __init__(self, net) -> None:
        super().__init__()
        self.net = [net]
        for index, layer in enumerate(net.layers):
            self.add_module(f"synapse_{index}", layer.synapse)
            if layer.recurrent is not None:
                self.add_module(f"recurrent_{index}", layer.recurrent)

    @torch.no_grad()
    def forward(self, batch):
        """Run `[B, T, N]`; returns the readout's last output."""
        [net] = self.net
        decays = [layer.cell_parameters()["decay"] for layer in net.layers]
        state = [torch.zeros(len(batch), layer.units, dtype=torch.float64) for layer in net.layers]
        sent = [torch.zeros_like(one) for one in state]
        for t in range(batch.shape[1]):
            read = batch[:, t]
            for index, layer in enumerate(net.layers):
                last = layer is net.layers[-1]
                if last and net.reads_all:
                    read = torch.cat(sent[:-1], 1)
                current = self.get_submodule(f"synapse_{index}")(read)
                if layer.recurrent is not None:
                    current = current + self.get_submodule(f"recurrent_{index}")(sent[index])
                kept = state[index] if last else state[index] - layer.cell.threshold * sent[index]
                state[index] = decays[index] * kept + current
                if not last:
                    sent[index] = (state[index] >= layer.cell.threshold).double()
                    read = sent[index]
        return state[-1]


class Counted:
    """NeuroBench's definition, worked out call by call on all linear layers of a module."""

    def __init__(self, module: nn.Module) -> None:
        self.mac = self.ac = self.dense = 0
        for part in module.modules():
            if isinstance(part, nn.Linear):
                part.register_forward_pre_hook(self._seen)

    def _seen(self, layer, inputs) -> None:
        [numbers] = inputs
        effective = int(((numbers != 0).double() @ (layer.weight != 0).double().T).sum())
        self.dense += numbers.numel() * layer.out_features
        if bool(((numbers == 0) | (numbers.abs() == 1)).all()):
            self.ac += effective
        else:
            self.mac += effective


def data(kind: str) -> SequenceBatch:
    generator = torch.Generator().manual_seed(7)
    spikes = torch.rand(STEPS, SIZE, INPUTS, generator=generator)
    numbers = {
        "spikes": (spikes < 0.5).to(torch.uint8),
        "counts": (spikes * 4).to(torch.uint8),
        "real": torch.where(spikes < 0.5, spikes.double() + 0.1, 0.0),
    }
    return SequenceBatch(numbers[kind], torch.zeros(SIZE, dtype=torch.int64))


def ours(net, given) -> tuple[Operations, Operations]:
    """Return a sequence's operations of synapses without biases, effective and dense."""
    biases = sum(layer.synapse.bias.numel() for layer in net.layers if layer.synapse.bias is not None)
    count = forward(net, activity_of(net, given)).synapses + Operations(ac=-biases)
    widths = [Signals(ones=float(layer.width)) for layer in net.layers[:-1]]
    full = MeanActivity(Signals(ones=float(INPUTS)), tuple(widths), tuple(widths))
    dense = forward(net, full).synapses + Operations(ac=-biases)
    return count * STEPS, dense * STEPS


@pytest.mark.parametrize("kind", ["spikes", "counts", "real"])
@pytest.mark.parametrize("name", NETWORKS)
def test_effective_and_dense_operations_are_neurobenchs(name, kind):
    net, given = network(INPUTS, CLASSES, **NETWORKS[name]), data(kind)
    with torch.no_grad():
        expected = net(given.inputs)[-1]
    effective, dense = ours(net, given)
    module = Unrolled(net)
    theirs = Counted(module)
    outputs = module(given.inputs.double().transpose(0, 1))
    torch.testing.assert_close(outputs, expected)
    assert dense.total * SIZE == theirs.dense
    assert effective.total * SIZE == pytest.approx(theirs.mac + theirs.ac)
    # A call with a single number that is no spike makes MACs of all its spikes there.
    assert effective.mac * SIZE <= theirs.mac + 1e-9
    if kind != "counts":
        assert (effective.mac * SIZE, effective.ac * SIZE) == pytest.approx((theirs.mac, theirs.ac))
    assert (theirs.mac > 0) == (kind != "spikes")


@pytest.mark.parametrize("kind", ["spikes", "counts", "real"])
@pytest.mark.parametrize("name", NETWORKS)
def test_neurobench_itself_counts_the_same(name, kind):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        workload = pytest.importorskip("neurobench.metrics.workload")
        models = pytest.importorskip("neurobench.models")
    net, given = network(INPUTS, CLASSES, **NETWORKS[name]), data(kind)
    model, metric = models.TorchModel(Unrolled(net)), workload.SynapticOperations()
    model.register_hooks()
    inputs = given.inputs.double().transpose(0, 1)
    found = metric(model, model(inputs), (inputs, given.targets))
    model.cleanup_hooks()
    effective, dense = ours(net, given)
    assert found["Dense"] == dense.total
    assert found["Effective_MACs"] + found["Effective_ACs"] == pytest.approx(effective.total)
    if kind != "counts":
        told = (found["Effective_MACs"], found["Effective_ACs"])
        assert told == pytest.approx((effective.mac, effective.ac))
