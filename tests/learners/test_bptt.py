"""BPTT against autograd through the plain fold of every cell's step, in float64."""

import itertools

import pytest
import torch
from fixtures.small import CLASSES, batch, gradients, network, rule
from torch.nn import functional

from workbench.neurons.cell import fold
from workbench.plugin import SequenceBatch

SETTINGS = [
    {"hidden": hidden, "recurrent": recurrent, "reset": reset, "learn_decay": learned, "bias": learned}
    for hidden, recurrent, reset, learned in itertools.product(
        ((5,), (5, 4)), (False, True), ("soft", "hard"), (False, True)
    )
]


def plain_outputs(net, inputs, reads):
    """Return the readout `[T, B, C]` by the plain loop over time, layer by layer."""
    activity, spikes = inputs.double(), []
    for layer in net.layers:
        if layer is net.readout:
            activity = torch.cat(spikes, dim=2) if reads == "all" else spikes[-1]
        currents = layer.synapse(activity)
        state = layer.initial_state(currents.shape[1], currents)
        _, activity = fold(layer.cell, layer.cell_parameters(), state, currents, layer.recurrent_weight())
        spikes.append(activity)
    return activity


def plain_loss(outputs, targets, mask, kind):
    """Return the loss and the decision scores, written out step by step."""
    if mask is not None:
        outputs = outputs.masked_fill(~mask, -1e30)
    scores = torch.stack(list(outputs)).mean(0)
    if kind == "sum":
        return functional.cross_entropy(scores, targets), scores
    steps = [functional.cross_entropy(output, targets) for output in outputs]
    return torch.stack(steps).mean(), scores


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reads", ["last", "all"])
@pytest.mark.parametrize("loss", ["step", "sum"])
@pytest.mark.parametrize("setting", SETTINGS, ids=lambda s: "-".join(map(str, s.values())))
def test_gradient_is_that_of_the_plain_loop(setting, loss, reads, masked):
    net = network(learn_readout_decay=setting["learn_decay"], readout_reads=reads, **setting)
    given = batch()
    mask = None
    if masked:
        mask = torch.ones(len(given.targets), CLASSES, dtype=torch.bool)
        mask[torch.arange(3), (given.targets + 1) % CLASSES] = False
    result = rule("bptt", net, loss=loss).train_step(SequenceBatch(given.inputs, given.targets, mask))
    found = gradients(net)
    expected, scores = plain_loss(plain_outputs(net, given.inputs, reads), given.targets, mask, loss)
    expected.backward()
    torch.testing.assert_close(result.loss, expected, rtol=1e-10, atol=1e-12)
    inside = slice(None) if mask is None else mask
    torch.testing.assert_close(result.logits[inside], scores[inside], rtol=1e-10, atol=1e-12)
    assert set(found) == {name for name, _ in net.named_parameters()}
    for name, gradient in gradients(net).items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(
            found[name], gradient, rtol=1e-9, atol=1e-12, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_masked_classes_are_neither_chosen_nor_taught():
    net = network(bias=True)
    given = batch(classes=2)
    mask = torch.zeros(len(given.targets), CLASSES, dtype=torch.bool)
    mask[:, :2] = True
    for loss in ("step", "sum"):
        result = rule("bptt", net, loss=loss).train_step(SequenceBatch(given.inputs, given.targets, mask))
        readout = gradients(net)["readout.synapse.weight"]
        assert torch.isfinite(result.loss)
        assert result.logits.argmax(1).max() < 2
        assert readout[2:].abs().max() == 0
        assert readout[:2].abs().max() > 0


@pytest.mark.parametrize(("steps", "size"), [(1, 3), (7, 1), (1, 1)])
def test_one_step_and_one_sequence(steps, size):
    net = network(recurrent=True)
    for loss in ("step", "sum"):
        result = rule("bptt", net, loss=loss).train_step(batch(steps, size))
        assert result.logits.shape == (size, CLASSES)
        found = gradients(net)
        assert all(torch.isfinite(gradient).all() for gradient in found.values())
        assert found["hidden.0.synapse.weight"].abs().max() > 0


def test_the_caller_runs_the_backward_pass():
    net = network()
    result = rule("bptt", net).forward(batch())
    assert result.loss.requires_grad
    assert not gradients(net)
