"""Every backbone: what is drawn, what is refused, and that a gradient reaches everything."""

import itertools
import math

import pytest
import torch
from fixtures.backbones import BACKBONES, build
from pydantic import ValidationError
from torch.nn import functional

from workbench.backbones.network import Layer
from workbench.neurons.lru import LRU
from workbench.neurons.memoryless import Memoryless


@pytest.mark.parametrize("name", BACKBONES)
def test_default_backbone_is_drawn_from_its_generator_alone(name):
    torch.manual_seed(0)
    state = torch.get_rng_state()
    kind = BACKBONES[name]
    one, same, other = (
        kind(kind.Config()).build(7, 3, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(zip(one.parameters(), same.parameters(), other.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_gets_a_gradient_and_states_hand_over(name):
    network = build(name, hidden=(5, 4))
    inputs = (torch.rand(13, 3, 6, generator=torch.Generator().manual_seed(1)) < 0.5).double()
    whole = network.run(inputs)
    first = network.run(inputs[:6])
    second = network.run(inputs[6:], first.states)
    torch.testing.assert_close(torch.cat([first.outputs, second.outputs]), whole.outputs)
    functional.cross_entropy(whole.outputs.flatten(0, 1), torch.zeros(39, dtype=torch.long)).backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert parameter.grad.abs().sum() > 0, parameter_name


@pytest.mark.parametrize("name", ["snu", "ssnu"])
def test_snu_is_drawn_as_in_the_original_code(name):
    kind = BACKBONES[name]
    network = kind(kind.Config(hidden=(150,))).build(88, 88, torch.Generator().manual_seed(0))
    hidden, readout = network.layers
    for weight in (hidden.synapse.weight, hidden.recurrent.weight, readout.synapse.weight):
        edge = math.sqrt(6.0 / sum(weight.shape))
        assert weight.abs().max() <= edge
        assert weight.abs().max() > 0.99 * edge
        assert abs(weight.var().item() / (edge**2 / 3.0) - 1.0) < 0.05
    assert hidden.synapse.bias is None
    assert torch.equal(hidden.threshold, torch.ones(150))
    assert torch.equal(readout.synapse.bias, torch.zeros(88))
    assert isinstance(hidden.threshold, torch.nn.Parameter)


@pytest.mark.parametrize("name", ["snu", "ssnu"])
def test_readout_reads_the_last_layer_or_all(name):
    for reads, width in (("last", 4), ("all", 9)):
        network = build(name, hidden=(5, 4), readout_reads=reads)
        assert network.readout.inputs == width
        assert network.reads_all == (reads == "all")


def test_eigenvalues_start_on_their_ring_and_gamma_normalises():
    kind = BACKBONES["lru"]
    for normalisation in ("learned", "derived"):
        config = kind.Config(
            hidden=(400,), min_radius=0.6, max_radius=0.9, max_phase=1.0, normalisation=normalisation
        )
        network = kind(config).build(5, 3, torch.Generator().manual_seed(0))
        parameters = network.layers[0].cell_parameters()
        turn = torch.complex(parameters["eigenvalue_re"], parameters["eigenvalue_im"])
        assert 0.6 <= turn.abs().min() < 0.62
        assert 0.88 < turn.abs().max() <= 0.9
        assert turn.angle().min() > 0.0
        assert 0.95 < turn.angle().max() <= 1.0
        torch.testing.assert_close(parameters["scale"], torch.sqrt(1.0 - turn.abs() ** 2))


def test_lru_block_computes_with_complex_numbers():
    """The block's outputs against the textbook form in complex arithmetic."""
    network = build("lru", hidden=(5,), nonlinearity="tanh")
    turning, reading = network.layers[:2]
    inputs = torch.randn(11, 2, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    b = torch.complex(*turning.synapse.weight.chunk(2, dim=0))
    c = torch.complex(reading.synapse.weight[:, :5], -reading.synapse.weight[:, 5:])
    radius, phase = torch.exp(-torch.exp(turning.nu_log)), torch.exp(turning.theta_log)
    eigenvalue, gamma = torch.polar(radius, phase), torch.exp(turning.gamma_log)
    z = torch.zeros(2, 5, dtype=torch.complex128)
    expected = []
    for x in inputs:
        z = eigenvalue * z + gamma * (x.to(b.dtype) @ b.T)
        expected.append(torch.tanh((z @ c.T).real + reading.synapse.bias))
    torch.testing.assert_close(network.run(inputs).spikes[1], torch.stack(expected))


@pytest.mark.parametrize(
    ("name", "settings", "reason"),
    [
        ("snu", {"recurrent": (True, False)}, "recurrent has 2 values"),
        ("snu", {"learn_readout_decay": True}, "readout_decay above 0"),
        ("ssnu", {"learn_decay": True, "decay": 0.0}, "decay above 0"),
        ("lru", {"min_radius": 0.9, "max_radius": 0.5}, "must lie below"),
        ("lru", {"features": (3, 4)}, "give one a block"),
        ("lru", {"learn_readout_decay": True}, "readout_decay above 0"),
        ("lif", {"learn_readout_decay": True, "readout_decay": 0.0}, "readout_decay above 0"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(name, settings, reason):
    with pytest.raises(ValidationError, match=reason):
        BACKBONES[name].Config(**{"hidden": (5,), **settings})


@pytest.mark.parametrize("cell", [LRU(), Memoryless()])
def test_cells_that_cannot_be_recurrent_are_refused(cell):
    with pytest.raises(ValueError, match="cannot have a recurrent synapse"):
        Layer(3, 4, cell, recurrent=True, bias=False)


def test_features_may_differ_from_complex_units():
    network = build("lru", hidden=(5, 7), features=(4, 3))
    shapes = [tuple(layer.synapse.weight.shape) for layer in network.layers]
    assert shapes == [(10, 6), (4, 10), (14, 4), (3, 14), (4, 3)]
    assert [layer.width for layer in network.layers] == [10, 4, 14, 3, 4]
    assert all(not one.requires_grad for one in itertools.chain(network.buffers()))
