"""OSTL: equal to BPTT for one recurrent layer with full traces, for one feed-forward layer always."""

import pytest
import torch
from fixtures.small import STEPS, batch, gradients, network, rule

from workbench.plugin import SequenceBatch
from workbench.rules.loss import sequence_loss

CHUNKS = [1, 4, STEPS]


def learned(net, given, **settings):
    rule("ostl", net, **settings).train_step(given)
    return gradients(net)


def exact(net, given, reduction="mean"):
    sequence_loss(net(given.inputs.double()), given, "step", reduction).backward()
    return gradients(net)


def assert_same(found, expected, tolerance=1e-9):
    assert set(found) == set(expected)
    for name, value in expected.items():
        assert value.abs().max() > 0, name
        torch.testing.assert_close(
            found[name], value, rtol=tolerance, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("readout_decay", [0.0, 0.9])
@pytest.mark.parametrize("reset", ["soft", "hard"])
@pytest.mark.parametrize("learn_decay", [False, True])
def test_full_traces_equal_bptt_for_one_recurrent_layer(chunk, readout_decay, reset, learn_decay):
    net = network(
        hidden=(5,),
        recurrent=True,
        recurrent_gain=1.5,
        reset=reset,
        reset_gradient="keep",
        readout_decay=readout_decay,
        learn_decay=learn_decay,
        bias=True,
    )
    expected = exact(net, batch())
    assert_same(learned(net, batch(), traces="full", chunk=chunk), expected)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("readout_decay", [0.0, 0.9])
@pytest.mark.parametrize("reset_gradient", ["cut", "keep"])
def test_diagonal_traces_equal_bptt_for_one_feed_forward_layer(chunk, readout_decay, reset_gradient):
    net = network(hidden=(5,), reset_gradient=reset_gradient, readout_decay=readout_decay, bias=True)
    assert_same(learned(net, batch(), chunk=chunk), exact(net, batch()))


def test_two_layers_side_by_side_with_static_path_between_are_not_exact_but_close():
    net = network(hidden=(5, 4), readout_reads="all")
    expected, found = exact(net, batch()), learned(net, batch())
    top = "hidden.1.synapse.weight"
    torch.testing.assert_close(found[top], expected[top], rtol=1e-9, atol=1e-12)
    low = "hidden.0.synapse.weight"
    assert not torch.allclose(found[low], expected[low])
    assert torch.nn.functional.cosine_similarity(found[low].flatten(), expected[low].flatten(), dim=0) > 0.5


def test_without_the_filter_a_leaky_readout_costs_exactness():
    net = network(hidden=(5,), readout_decay=0.9)
    found = learned(net, batch(), readout_filter=False)["hidden.0.synapse.weight"]
    assert not torch.allclose(found, exact(net, batch())["hidden.0.synapse.weight"])


@pytest.mark.parametrize("traces", ["diagonal", "full"])
def test_gradient_does_not_depend_on_the_chunk(traces):
    net = network(hidden=(5, 4), recurrent=True, learn_decay=True, bias=True)
    expected = learned(net, batch(), chunk=STEPS, traces=traces)
    for chunk in (1, 4):
        assert_same(learned(net, batch(), chunk=chunk, traces=traces), expected, 1e-9)


def prediction(steps=STEPS, size=3, inputs=6, classes=4, seed=9):
    generator = torch.Generator().manual_seed(seed)
    given = batch(steps, size, inputs, classes)
    targets = (torch.rand(steps, size, classes, generator=generator) < 0.4).to(torch.uint8)
    scored = torch.arange(steps)[:, None] < torch.tensor([steps, steps - 4, 3])[:size]
    return SequenceBatch(given.inputs, targets, None, scored)


@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_predictions_of_every_step_over_sequences_of_several_lengths(chunk, reduction):
    net = network(hidden=(5,), recurrent=True, readout_decay=0.0, bias=True)
    given = prediction()
    expected = exact(net, given, reduction)
    assert_same(learned(net, given, traces="full", chunk=chunk, reduction=reduction), expected)
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(
        net(given.inputs.double()), given.targets.double(), reduction="none"
    ).sum(-1)[given.scored]
    loss = rule("ostl", net, reduction=reduction).train_step(given).loss
    divisor = given.scored.sum() if reduction == "mean" else 3
    torch.testing.assert_close(loss, by_hand.sum().detach() / divisor)


@pytest.mark.parametrize("traces", ["diagonal", "full"])
@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("learn_decay", [False, True])
def test_memory_of_the_traces_is_the_formula(traces, recurrent, learn_decay):
    net = network(hidden=(5, 4), recurrent=recurrent, learn_decay=learn_decay, readout_reads="all")
    bound = rule("ostl", net, chunk=5, traces=traces)
    bound.train_step(batch(20))
    assert bound.live_memory().traces == bound.memory(20, 3).traces == bound.memory(500, 3).traces
