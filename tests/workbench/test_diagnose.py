"""Gradient alignment: one for exact rules, less for others, and without a trace in the network."""

import pytest
import torch
from fixtures.small import batch, network, rule, trainer

from workbench.diagnose import GradientDiagnosis, alignment, exact_gradients
from workbench.events import Observer


class Epochs(Observer):
    def __init__(self):
        self.metrics = []

    def epoch_done(self, task, epoch, metrics):
        self.metrics.append(dict(metrics))


@pytest.mark.parametrize(
    ("name", "settings"), [("bptt", {"loss": "sum"}), ("bptt", {"loss": "step"}), ("eprop", {})]
)
def test_exact_rules_have_a_cosine_of_one(name, settings):
    net = network(hidden=(5,))
    bound = rule(name, net, **settings)
    bound.train_step(batch())
    found = alignment(net, exact_gradients(bound, batch()))
    assert found == pytest.approx({"hidden_0": 1.0, "readout": 1.0})


def test_target_projection_is_exact_in_the_readout_alone():
    net = network(hidden=(5,))
    bound = rule("osttp", net)
    bound.train_step(batch())
    found = alignment(net, exact_gradients(bound, batch()))
    assert found["readout"] == pytest.approx(1.0)
    assert found["hidden_0"] < 0.9


def test_looking_changes_nothing():
    net = network()
    bound = rule("sltt", net)
    bound.train_step(batch())
    before = [p.grad.clone() for p in net.parameters()]
    heard = []
    for layer in net.layers:
        layer.listeners.append(lambda layer, activity: heard.append(layer))
    exact_gradients(bound, batch())
    assert not heard
    assert all(len(layer.listeners) == 1 for layer in net.layers)
    assert all(torch.equal(old, p.grad) for old, p in zip(before, net.parameters(), strict=True))


def test_a_layer_without_gradient_is_left_out():
    net = network()
    bound = rule("bptt", net)
    net.zero_grad()
    assert alignment(net, exact_gradients(bound, batch())) == {}


def test_the_trainer_reports_means_by_epoch():
    seen = Epochs()
    made = trainer("osttp", observers=[seen], diagnosis=GradientDiagnosis(2), epochs=2)
    made.train_task(0)
    assert len(seen.metrics) == 2
    for metrics in seen.metrics:
        assert metrics["gradient_cosine/readout"] == pytest.approx(1.0)
        assert -1.0 <= metrics["gradient_cosine/hidden_0"] < 1.0


def test_diagnosing_does_not_change_what_is_learned():
    weights = []
    for diagnosis in (None, GradientDiagnosis(1)):
        made = trainer("osttp", diagnosis=diagnosis)
        made.train_task(0)
        weights.append([p.detach().clone() for p in made.network.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))
