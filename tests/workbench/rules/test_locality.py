"""Facts of locality against what happens when that very thing is changed: weights, other layers, length, traces."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fixtures.small import RULES, batch, gradients, network, rule

from workbench.plugin import Rule
from workbench.rules.online import OnlinePass

KEYS = ["weight_transport", "future", "other_layers", "per_synapse_memory"]
NETWORKS = {
    "one layer": {"hidden": (5,), "decay": 0.9},
    "one layer, several decays": {"hidden": (5,), "decay": (0.7, 0.95), "decay_values": 8},
    "last read": {"hidden": (5, 4), "readout_reads": "last", "decay": 0.9},
    "all read": {"hidden": (5, 4), "readout_reads": "all", "decay": 0.9},
    "recurrent": {"hidden": (5,), "recurrent": True, "decay": 0.9},
    "no memory in the readout": {"hidden": (5,), "readout_decay": 0.0, "decay": 0.9},
}
LEARNERS = {
    "bptt": ("bptt", {"loss": "step"}),
    "sltt": ("sltt", {}),
    "ottt": ("ottt", {}),
    "ostl": ("ostl", {}),
    "ostl full": ("ostl", {"traces": "full"}),
    "eprop": ("eprop", {}),
    "eprop random": ("eprop", {"feedback": "random"}),
    "eprop adaptive": ("eprop", {"feedback": "adaptive", "feedback_decay": 0.0}),
    "osttp": ("osttp", {}),
}
cases = pytest.mark.parametrize(
    ("learner", "net"), [(learner, net) for learner in LEARNERS for net in NETWORKS]
)

online_cases = pytest.mark.parametrize(
    ("learner", "net"), [(learner, net) for learner in LEARNERS for net in NETWORKS if learner != "bptt"]
)


def made(learner: str, net: str):
    name, settings = LEARNERS[learner]
    built = network(**NETWORKS[net])
    return built, rule(name, built, **settings)


def of_lowest(net, bound, given) -> torch.Tensor:
    """Return the gradient of the lowest layer's weights."""
    bound.train_step(given)
    return gradients(net)["hidden.0.synapse.weight"]


def test_every_rule_says_why():
    for name in RULES:
        found = rule(name, network()).locality()
        assert list(found.needs()) == sorted(found.why, key=KEYS.index) == KEYS
        assert all(len(reason) > 15 for reason in found.why.values())
    assert Rule(None).locality() is None


@cases
def test_transport_is_what_makes_the_lowest_gradient_depend_on_readout_weights(learner, net):
    """Weights on units that never fire change no output, so that only what carries errors back can notice."""
    built, bound = made(learner, net)
    with torch.no_grad():
        for layer in built.hidden:
            layer.synapse.weight[0] = -5.0
    if learner == "eprop adaptive":
        bound.seen = built.readout.synapse.weight.detach().clone()
    given = batch()
    outputs, before = built.run(given.inputs).outputs, of_lowest(built, bound, given)
    read = (
        torch.cat(built.run(given.inputs).spikes, -1)
        if built.reads_all
        else built.run(given.inputs).spikes[-1]
    )
    silent = read.sum((0, 1)) == 0
    assert silent.any()
    with torch.no_grad():
        built.readout.synapse.weight[:, silent] += 1.0
    if learner == "eprop adaptive":
        # Of the weights' values it uses nothing; of their changes, it does.
        bound.seen = built.readout.synapse.weight.detach().clone()
    torch.testing.assert_close(built.run(given.inputs).outputs, outputs, rtol=0, atol=0)
    after = of_lowest(built, bound, given)
    assert bound.locality().weight_transport == (not torch.equal(before, after))


@cases
def test_other_layers_are_what_makes_the_lowest_gradient_depend_on_the_slopes_of_those_above(learner, net):
    built, bound = made(learner, net)
    given = batch()
    before = of_lowest(built, bound, given)
    for layer in built.hidden[1:]:
        layer.cell = replace(layer.cell, sharpness=7.0)
    after = of_lowest(built, bound, given)
    assert bound.locality().other_layers == (not torch.equal(before, after))


@cases
def test_future_is_what_makes_memory_grow_with_the_sequence(learner, net):
    name, settings = LEARNERS[learner]
    built = network(**NETWORKS[net])
    bound = rule(name, built, **settings, **({} if name == "bptt" else {"chunk": 10}))
    assert bound.locality().future == (bound.memory(2000, 1).total > bound.memory(1000, 1).total)


@online_cases
def test_memory_of_a_synapse_is_a_trace_held_as_often_as_there_are_synapses(monkeypatch, learner, net):
    name, settings = LEARNERS[learner]
    built = network(**NETWORKS[net])
    bound = rule(name, built, **settings, chunk=4)
    chunk, held = OnlinePass._chunk, []

    def watched(self, *arguments):
        result = chunk(self, *arguments)
        held.append([credit.bytes() for credit in self.credits])
        return result

    monkeypatch.setattr(OnlinePass, "_chunk", watched)
    given = batch()
    bound.train_step(given)
    synapses = [sum(p.numel() for name, p in layer.named_parameters()) for layer in built.layers]
    numbers = [max(each) / 8 / given.size for each in zip(*held, strict=True)]
    found = any(carried >= count for carried, count in zip(numbers, synapses, strict=True))
    assert bound.locality().per_synapse_memory == found


def test_a_leaky_readout_is_what_makes_traces_a_synapse_each():
    for decay, expected in ((0.0, False), (0.9, True)):
        built = network(hidden=(5,), decay=0.9, readout_decay=decay)
        assert rule("eprop", built).locality().per_synapse_memory is expected
        assert rule("osttp", built).locality().local
