"""e-prop: exact for one feed-forward layer, feedback as said, adaptive feedback that comes to align."""

import pytest
import torch
from fixtures.backbones import build
from fixtures.small import CLASSES, STEPS, batch, gradients, network, rule
from torch.nn.functional import cosine_similarity

from workbench.rules.loss import sequence_loss


def learned(net, given, **settings):
    rule("eprop", net, **settings).train_step(given)
    return gradients(net)


def assert_same(found, expected, tolerance=1e-9):
    assert set(found) == set(expected)
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("chunk", [1, 4, STEPS])
@pytest.mark.parametrize("readout_decay", [0.0, 0.9])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_symmetric_feedback_equals_bptt_for_one_feed_forward_layer(chunk, readout_decay, reset):
    net = network(hidden=(5,), readout_decay=readout_decay, reset=reset, reset_gradient="keep", bias=True)
    sequence_loss(net(batch().inputs.double()), batch(), "step").backward()
    expected = gradients(net)
    assert all(value.abs().max() > 0 for value in expected.values())
    assert_same(learned(net, batch(), chunk=chunk), expected)


@pytest.mark.parametrize("reads", ["last", "all"])
def test_symmetric_feedback_is_the_way_to_the_readout(reads):
    net = network(hidden=(5, 4), readout_reads=reads)
    low, top = rule("eprop", net).matrices()
    weight, above = net.readout.synapse.weight, net.hidden[1].synapse.weight
    if reads == "all":
        assert torch.equal(low, weight[:, :5].T)
        assert torch.equal(top, weight[:, 5:].T)
    else:
        assert torch.equal(top, weight.T)
        torch.testing.assert_close(low, above.T @ weight.T)


def test_random_feedback_ignores_the_readout_except_for_its_errors():
    net = network(hidden=(5,), readout_decay=0.0)
    with torch.no_grad():
        net.readout.synapse.weight.zero_()
    found = learned(net, batch(), feedback="random")
    assert found["hidden.0.synapse.weight"].abs().max() > 0
    assert learned(net, batch())["hidden.0.synapse.weight"].abs().max() == 0
    first, second = (rule("eprop", net, feedback="random", seed=seed).feedback[0] for seed in (0, 1))
    assert first.shape == (5, CLASSES)
    assert not torch.allclose(first, second)


def test_adaptive_feedback_follows_every_change_of_the_readout():
    net = network(hidden=(5, 4), readout_reads="all")
    bound = rule("eprop", net, feedback="adaptive", feedback_decay=0.0)
    start = [matrix.clone() for matrix in bound.feedback]
    change = torch.randn(
        net.readout.synapse.weight.shape, generator=torch.Generator().manual_seed(0)
    ).double()
    with torch.no_grad():
        net.readout.synapse.weight.add_(change)
    bound.train_step(batch())
    torch.testing.assert_close(bound.feedback[0] - start[0], change[:, :5].T)
    torch.testing.assert_close(bound.feedback[1] - start[1], change[:, 5:].T)
    bound.train_step(batch())
    torch.testing.assert_close(bound.feedback[0] - start[0], change[:, :5].T)


def test_adaptive_feedback_aligns_with_the_readout():
    net = network(hidden=(5,))
    bound = rule("eprop", net, feedback="adaptive", feedback_decay=0.05)
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3, weight_decay=0.05)

    def alignment():
        return float(
            cosine_similarity(
                bound.feedback[0].T.flatten(), net.readout.synapse.weight.detach().flatten(), dim=0
            )
        )

    before = alignment()
    for seed in range(200):
        bound.train_step(batch(seed=seed))
        optimiser.step()
        optimiser.zero_grad()
    assert alignment() > max(before, 0.99)


def test_adaptive_feedback_resumes():
    net = network()
    first = rule("eprop", net, feedback="adaptive")
    first.train_step(batch())
    gradients(net)
    second = rule("eprop", net, feedback="adaptive", seed=5)
    second.load_state_dict(first.state_dict())
    with torch.no_grad():
        net.readout.synapse.weight.add_(0.1)
    first.train_step(batch())
    expected = gradients(net)
    second.train_step(batch())
    assert_same(gradients(net), expected)


@pytest.mark.parametrize("feedback", ["symmetric", "random", "adaptive"])
@pytest.mark.parametrize("readout_filter", [False, True])
def test_memory_is_the_formula(feedback, readout_filter):
    net = network(hidden=(5, 4), readout_reads="all", recurrent=True)
    bound = rule("eprop", net, chunk=5, feedback=feedback, readout_filter=readout_filter)
    bound.train_step(batch(20))
    assert bound.live_memory().traces == bound.memory(20, 3).traces == bound.memory(500, 3).traces


@pytest.mark.parametrize("reads", ["last", "all"])
def test_gradient_does_not_depend_on_the_chunk(reads):
    # One decay for all units: the traces would be presynaptic, did the readout's filter not follow them.
    net = network(hidden=(5, 4), decay=0.9, readout_reads=reads)
    expected = learned(net, batch(), chunk=STEPS)
    for chunk in (1, 4):
        assert_same(learned(net, batch(), chunk=chunk), expected)


@pytest.mark.parametrize("setting", [{}, {"nonlinearity": "identity", "hidden": (5, 4)}])
def test_complex_units_are_trained_through_a_leaky_readout(setting):
    net = build("lru", readout_decay=0.9, **setting)
    expected = learned(net, batch(), chunk=STEPS)
    assert all(value.abs().max() > 0 for value in expected.values())
    for chunk in (1, 4):
        assert_same(learned(net, batch(), chunk=chunk), expected)


def test_a_linear_block_of_complex_units_is_exact_under_a_leaky_readout():
    """Without a slope on the way the broadcast error is the whole signal of the complex units."""
    net = build("lru", readout_decay=0.9, nonlinearity="identity")
    sequence_loss(net(batch().inputs.double()), batch(), "step").backward()
    expected = gradients(net)
    for chunk in (1, 4, STEPS):
        assert_same(learned(net, batch(), chunk=chunk), expected)
