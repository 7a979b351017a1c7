"""Single steps in fused calls against the general pass in chunks of one step, updates in between included."""

import pytest
import torch
from fixtures.small import RULES, batch, network, rule

from workbench.plugin import SequenceBatch
from workbench.rules import online, stepwise

SETTINGS = {
    "plain": {},
    "two layers": {"hidden": (5, 4), "readout_reads": "last"},
    "side by side": {"hidden": (5, 4), "readout_reads": "all"},
    "hard": {"reset": "hard"},
    "kept": {"reset": "hard", "reset_gradient": "keep", "hidden": (5, 4)},
    "one decay": {"decay": 0.9},
    "a decay a unit": {"decay": (0.7, 0.95), "decay_values": 5},
    "readout without memory": {"readout_decay": 0.0},
}


def train(name, size, monkeypatch, setting, *, fused, present=None, **settings):
    """Train with an update at every step; returns the network, the result and what the rule held."""
    taken = []
    original = stepwise.StepwisePass._backward

    def backward(self, *arguments):
        taken.append(1)
        return original(self, *arguments)

    monkeypatch.setattr(stepwise.StepwisePass, "_backward", backward)
    monkeypatch.setattr(online, "serves", stepwise.serves if fused else lambda *_: False)
    net = network(**SETTINGS[setting])
    optimiser = torch.optim.SGD(net.parameters(), lr=0.3)

    def apply():
        optimiser.step()
        optimiser.zero_grad()

    bound = rule(name, net, apply=apply, update="step", **settings)
    present = present or batch(size=size)
    results = [bound.train_step(present) for _ in range(2)]
    assert len(taken) == (2 * len(present.inputs) if fused else 0)
    return net, results, bound


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", [name for name in RULES if name != "bptt"])
def test_equals_the_general_pass(name, setting, size, monkeypatch):
    slow, expected, _ = train(name, size, monkeypatch, setting, fused=False)
    fast, found, bound = train(name, size, monkeypatch, setting, fused=True)
    for one, other in zip(slow.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(other.loss, one.loss, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(other.logits, one.logits, rtol=1e-9, atol=1e-12)
    monkeypatch.undo()
    formula = bound.memory(len(batch().inputs), size)
    assert bound.live_memory().traces == formula.traces
    assert bound.live_memory().activations == formula.activations


def test_masks_and_scored_steps_are_respected(monkeypatch):
    plain = batch(size=2)
    scored = torch.rand(plain.inputs.shape[:2], generator=torch.Generator().manual_seed(0)) < 0.5
    mask = torch.tensor([[True, True, False, True]]).expand(2, -1)
    targets = torch.tensor([0, 3])
    present = SequenceBatch(plain.inputs.double(), targets, mask, scored)
    slow, _, _ = train("eprop", 2, monkeypatch, "plain", fused=False, present=present)
    fast, _, _ = train("eprop", 2, monkeypatch, "plain", fused=True, present=present)
    for one, other in zip(slow.parameters(), fast.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-9, atol=1e-12)


def test_a_gradient_that_is_there_is_added_to():
    found = []
    for there in (0.0, 0.5):
        net = network()
        bound = rule("osttp", net, apply=lambda: None, update="step")
        for parameter in net.parameters():
            parameter.grad = torch.full_like(parameter, there)
        bound.train_step(batch(size=1))
        found.append([parameter.grad for parameter in net.parameters()])
    for alone, added in zip(*found, strict=True):
        assert float(alone.abs().max()) > 0
        torch.testing.assert_close(added, alone + 0.5, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("settings", "size"),
    [({"recurrent": True}, 1), ({"bias": True}, 1), ({"learn_decay": True}, 1), ({}, 5)],
    ids=["recurrent", "bias", "learned", "batch"],
)
def test_what_it_does_not_serve_is_told(settings, size):
    assert not stepwise.serves_network(network(**settings), size)


def test_listeners_and_hooks_take_the_general_pass():
    net = network()
    assert stepwise.serves_network(net, 1)
    net.hidden[0].listeners.append(lambda *_: None)
    assert not stepwise.serves_network(net, 1)
    net.hidden[0].listeners.clear()
    net.hidden[0].synapse.register_forward_hook(lambda *_: None)
    assert not stepwise.serves_network(net, 1)


def test_memory_does_not_grow_with_steps():
    held = []
    for steps in (5, 50):
        net = network()
        bound = rule("ostl", net, apply=net.zero_grad, update="step")
        bound.train_step(batch(steps=steps, size=1))
        held.append(bound.live_memory())
    assert held[0] == held[1]
