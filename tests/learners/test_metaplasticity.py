"""Probabilistic metaplasticity: its limits, its probability, where the state grows, what it leaves alone."""

import pytest
import torch
from fixtures.small import RULES, batch, network, rule, task_stream, trainer

from learners.metaplasticity import Metaplasticity, matrices
from workbench.optimisers import build_optimiser


def modifier(**settings):
    return Metaplasticity(Metaplasticity.Config(**settings))


def learn(made, changed, *batches, optimiser=None):
    """Train on batches, in the order of events of the trainer."""
    optimiser = optimiser or build_optimiser(made.config, made.parameter_groups())

    def apply():
        if changed is not None:
            changed.after_gradients(made, present)
        optimiser.step()
        if changed is not None:
            changed.after_update(made, present)
        optimiser.zero_grad()

    made.context.update = apply
    for present in batches:
        optimiser.zero_grad()
        if changed is not None:
            changed.before_batch(made, present)
        made.train_step(present)
        if any(p.grad is not None for p in made.network.parameters()):
            apply()
    return optimiser


def weights(net):
    return {name: p.detach().clone() for name, p in net.named_parameters()}


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize("name", sorted(RULES))
def test_without_a_state_it_is_the_rule_alone(name):
    ends = []
    for changed in (None, modifier(initial=0.0, growth=0.0)):
        net = network(recurrent=True, bias=True)
        made = rule(name, net)
        if changed is not None:
            changed.before_task(made, 0)
        learn(made, changed, batch(), batch(seed=5))
        ends.append(weights(net))
    assert same(*ends)


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_endless_state_freezes_every_weight_and_no_bias(name):
    net = network(recurrent=True, bias=True)
    before = weights(net)
    made, changed = rule(name, net), modifier(initial=1e12, largest=1e12)
    changed.before_task(made, 0)
    learn(made, changed, batch(), batch(seed=5))
    after = weights(net)
    for key, p in net.named_parameters():
        assert torch.equal(after[key], before[key]) == (p.ndim == 2), key
    assert changed.metrics()["metaplasticity/written"] == 0


def test_changes_are_let_through_whole_or_not_at_all_with_the_probability_of_the_formula():
    """Many single updates from the same weights: each entry ends where the rule alone puts it, or where it was."""
    one, draws = batch(steps=3), 200
    plain = network(seed=1)
    learn(rule("bptt", plain, lr=0.1), None, one)
    start, alone = weights(network(seed=1)), weights(plain)
    passed = {name: torch.zeros_like(value) for name, value in start.items()}
    for draw in range(draws):
        net = network(seed=1)
        made, changed = rule("bptt", net, lr=0.1, seed=draw), modifier(initial=2.0, growth=0.0)
        changed.before_task(made, 0)
        learn(made, changed, one)
        for name, value in weights(net).items():
            moved = value == alone[name]
            assert (moved | (value == start[name])).all()
            passed[name] += moved & (alone[name] != start[name])
    for name in matrices(plain):
        wanted = alone[name] != start[name]
        expected = torch.exp(-2.0 * start[name].abs())[wanted]
        found = passed[name][wanted] / draws
        # Five standard errors of a share.
        assert (found - expected).abs().max() < 5 * 0.5 / draws**0.5, name
        assert abs(float((found - expected).mean())) < 5 * 0.5 / (draws * len(found)) ** 0.5, name


def test_the_state_grows_where_both_sides_were_active():
    net = network(hidden=(5, 4), recurrent=True, readout_reads="all")
    made, changed = rule("bptt", net, lr=1e-12), modifier(growth=0.5, largest=0.8, active_input=0.3)
    changed.before_task(made, 0)
    one = batch()
    learn(made, changed, one)
    passed = net.run(one.inputs)
    outputs = [value.detach() for value in [*passed.spikes, passed.outputs]]
    layer_inputs = [one.inputs.double(), outputs[0], torch.cat(outputs[:2], dim=2)]
    for number, layer in enumerate(net.layers):
        post = outputs[number].abs().mean((0, 1)) > 0.05
        pre = layer_inputs[number].mean((0, 1)) > 0.3
        prefix = "readout" if number == 2 else f"hidden.{number}"
        expected = 0.5 * torch.outer(post, pre).double()
        assert torch.equal(changed._state[f"{prefix}.synapse.weight"], expected)
        if layer.recurrent is not None:
            # The output one step earlier: the last step's is never read.
            pre = outputs[number][:-1].sum((0, 1)) / outputs[number][..., 0].numel() > 0.3
            expected = 0.5 * torch.outer(post, pre).double()
            assert torch.equal(changed._state[f"{prefix}.recurrent.weight"], expected)
    assert sum(float(state.sum()) for state in changed._state.values()) > 0
    learn(made, changed, one)
    assert max(float(state.max()) for state in changed._state.values()) == 0.8


@pytest.mark.parametrize("settings", [{"update": "step"}, {"chunk": 4}, {"chunk": 13}])
def test_the_state_grows_once_a_batch_however_often_the_rule_updates(settings):
    net = network()
    made, changed = (
        rule("osttp", net, lr=1e-9, hidden_lr=1e-9, **settings),
        modifier(growth=0.5, active_input=0.0),
    )
    changed.before_task(made, 0)
    learn(made, changed, batch())
    assert set(changed._state["hidden.0.synapse.weight"].unique().tolist()) <= {0.0, 0.5}
    assert float(changed._state["hidden.0.synapse.weight"].max()) == 0.5
    assert not any(layer.listeners for layer in net.layers)


def test_used_weights_end_up_changing_less():
    ends = []
    for growth in (0.0, 1.0):
        changed = modifier(growth=growth, active_input=0.0, active_output=0.0)
        train = trainer("bptt", task_stream(tasks=3), [changed], epochs=4)
        for task in range(3):
            train.train_task(task)
        ends.append(changed.metrics())
    assert ends[0]["metaplasticity/written"] == 1.0
    assert ends[1]["metaplasticity/written"] < 0.9
    assert ends[1]["metaplasticity/mean_state"] > 0


def test_state_round_trip_goes_on_bit_for_bit():
    ends = []
    for interrupted in (False, True):
        net = network(recurrent=True)
        made, changed = rule("bptt", net), modifier(growth=1.0)
        changed.before_task(made, 0)
        optimiser = learn(made, changed, batch(), batch(seed=5))
        if interrupted:
            state = changed.state_dict()
            changed = modifier(growth=1.0)
            changed.load_state_dict(state, [])
        learn(made, changed, batch(seed=6), batch(seed=7), optimiser=optimiser)
        ends.append((weights(net), changed.state_dict()))
    (expected, state), (found, other) = ends
    assert same(expected, found)
    assert state.keys() == other.keys()
    assert same(state, other)


def test_memory_is_two_copies_of_the_weights():
    net = network()
    made, changed = rule("bptt", net), modifier()
    changed.before_task(made, 0)
    learn(made, changed, batch())
    held = sum(p.numel() * p.element_size() for p in matrices(net).values())
    assert changed.live_memory(0).other == 2 * held == changed.memory(0, held, 1).other
