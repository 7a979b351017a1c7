"""Dormancy: scores against brute force, resets that change exactly what they should, bit-exact resume, all rules."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.small import RULES, batch, learn, network, rule, task_stream, trainer
from hypothesis import given
from hypothesis import strategies as some

from learners.dormancy import Dormancy, clear_moments, dormant_units, initial_law, interpolate, recycle
from workbench.backbones.lru import LRUBackbone, LRUConfig
from workbench.errors import ConfigurationError
from workbench.neurons.surrogate import slope
from workbench.optimisers import build_optimiser

SILENT = (1, 3)
OTHERS = [(name, score) for name in ("bptt", "osttp") for score in ("gradient", "support")]
"""Rule and score, besides the rate with every rule: one of each kind is enough."""


def silenced(**settings):
    """Return a network in which units 1 and 3 of every hidden layer never fire, whatever comes in."""
    net = network(**({"hidden": (5, 5), "recurrent": True} | settings))
    with torch.no_grad():
        for layer in net.hidden:
            for weight in (layer.synapse.weight, layer.recurrent.weight if layer.recurrent else None):
                if weight is not None:
                    weight[list(SILENT)] = -weight[list(SILENT)].abs()
    return net


def bound(net, name="bptt", optimiser="adam", **settings):
    """Return a rule on the network with an optimiser in its context, as the trainer makes it."""
    made = rule(name, net, optimiser=optimiser, momentum=0.9 if optimiser == "sgd" else 0.0, **settings)
    made.context.optimiser = build_optimiser(made.config, made.parameter_groups())
    return made


def modifier(**settings):
    return Dormancy(Dormancy.Config(**settings))


def weights(net):
    return {name: p.detach().clone() for name, p in net.named_parameters()}


# What counts as dormant.


@given(
    some.lists(some.floats(0, 1e6, allow_subnormal=False), min_size=1, max_size=30),
    some.floats(0, 1, allow_subnormal=False),
)
def test_dormant_units_are_those_at_or_below_the_threshold(values, threshold):
    mean = sum(values) / len(values)
    found = dormant_units(torch.tensor(values, dtype=torch.float64), threshold).tolist()
    for value, dormant in zip(values, found, strict=True):
        if not math.isclose(value, threshold * mean, rel_tol=1e-9):
            assert dormant == (value <= threshold * mean)


def test_a_silent_layer_is_all_dormant_and_at_threshold_0_nothing_else_is():
    assert dormant_units(torch.zeros(4), 0.0).all()
    assert dormant_units(torch.tensor([1e-6, 1.0, 0.0]), 0.0).tolist() == [False, False, True]


def brute_force(net, batches, score):
    """Return v of each hidden layer over batches, with frozen weights, by plain loops over `step`."""
    values = []
    for number, layer in enumerate(net.hidden):
        total, count = torch.zeros(layer.units, dtype=torch.float64), 0
        for given_batch in batches:
            activity = given_batch.inputs.double()
            for below in list(net.hidden)[: number + 1]:
                state, spikes, membranes = below.initial_state(activity.shape[1], activity), [], []
                output = torch.zeros(activity.shape[1], below.units, dtype=torch.float64)
                for step in activity:
                    current = below.synapse(step)
                    if below.recurrent is not None:
                        current = current + output @ below.recurrent.weight.T
                    state, output = below.cell.step(below.cell_parameters(), state, current)
                    spikes.append(output)
                    membranes.append(state[0])
                activity = torch.stack(spikes).detach()
            cell = layer.cell
            if score == "support":
                membrane = torch.stack(membranes).detach()
                activity = slope(cell.surrogate, membrane - cell.threshold, cell.sharpness)
            total += activity.abs().sum((0, 1))
            count += activity.shape[0] * activity.shape[1]
        values.append(total / count)
    return values


@pytest.mark.parametrize("name", ["bptt", "osttp"])
@pytest.mark.parametrize("score", ["rate", "support"])
@pytest.mark.parametrize("recurrent", [False, True])
def test_dormant_ratios_are_those_of_a_brute_force_count(name, score, recurrent):
    net = network(hidden=(12, 9), recurrent=recurrent, surrogate="triangle", sharpness=1.0)
    batches = [batch(seed=seed, size=2 + seed) for seed in range(3)]
    counted = modifier(score=score, reset="none", threshold=0.8)
    made = bound(net, name)
    counted.before_task(made, 0)
    for group in made.context.optimiser.param_groups:
        group["lr"] = 0.0  # Weights stand still, so that all batches meet the same network.
    learn(made, counted, batches)
    net(batch(seed=9).inputs)  # An evaluation in between is not heard.
    expected = [dormant_units(v, 0.8) for v in brute_force(net, batches, score)]
    ratios = counted.metrics()
    assert [ratios[f"dormant_ratio/layer_{number}"] for number in range(2)] == [
        float(mask.double().mean()) for mask in expected
    ]
    assert 0 < sum(int(mask.sum()) for mask in expected) < 21
    for found, value in zip(counted._means(), brute_force(net, batches, score), strict=True):
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("recurrent", [False, True])
def test_gradient_score_is_the_mean_norm_of_incoming_gradients(recurrent):
    net = network(hidden=(6, 5), recurrent=recurrent)
    counted = modifier(score="gradient", reset="none")
    made = bound(net)
    counted.before_task(made, 0)
    for group in made.context.optimiser.param_groups:
        group["lr"] = 0.0
    batches = [batch(seed=seed) for seed in range(2)]
    learn(made, counted, batches)
    sums = [torch.zeros(layer.units, dtype=torch.float64) for layer in net.hidden]
    for one in batches:
        net.zero_grad()
        made.train_step(one)
        for total, layer in zip(sums, net.hidden, strict=True):
            for unit in range(layer.units):
                rows = [layer.synapse.weight.grad[unit]]
                if layer.recurrent is not None:
                    rows.append(layer.recurrent.weight.grad[unit])
                total[unit] += torch.cat(rows).norm()
    for found, total in zip(counted._means(), sums, strict=True):
        torch.testing.assert_close(found, total / 2, rtol=1e-10, atol=1e-15)


def test_support_finds_the_unit_that_always_fires_and_rate_does_not():
    """Its membrane is far above the threshold at every step: a triangle's slope is 0 there, its rate is 1."""
    net = network(hidden=(5,), surrogate="triangle", sharpness=1.0, bias=True, reset="hard")
    with torch.no_grad():
        net.hidden[0].synapse.bias[2] = 50.0
        net.hidden[0].synapse.bias[4] = -50.0
    found = {}
    for score in ("rate", "support"):
        counted = modifier(score=score, reset="none", threshold=0.0)
        made = bound(net)
        counted.before_task(made, 0)
        learn(made, counted, [batch()])
        found[score] = dormant_units(counted._means()[0], 0.0).nonzero()[:, 0].tolist()
    assert found == {"rate": [4], "support": [2, 4]}


# Recycling units.


@pytest.mark.parametrize("norm", ["initial", "live"])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("reads", ["last", "all"])
@pytest.mark.parametrize("recurrent", [False, True, (True, False)])
def test_recycling_silent_units_leaves_the_function_as_it_is(recurrent, reads, bias, norm):
    net = silenced(recurrent=recurrent, readout_reads=reads, bias=bias, learn_decay=True)
    law = initial_law(net)
    one = batch(size=20)
    passed = net.run(one.inputs)
    masks = [dormant_units(spikes.mean((0, 1)), 0.0) for spikes in passed.spikes]
    assert all(set(SILENT) <= set(mask.nonzero()[:, 0].tolist()) for mask in masks)
    assert not any(mask.all() for mask in masks)
    before = weights(net)
    recycle(net, masks, law, norm, torch.Generator().manual_seed(0))
    after = net.run(one.inputs)
    assert torch.equal(after.outputs, passed.outputs)
    for mask, old, new in zip(masks, passed.spikes, after.spikes, strict=True):
        assert torch.equal(old[..., ~mask], new[..., ~mask])
    assert not torch.equal(net.hidden[0].synapse.weight, before["hidden.0.synapse.weight"])
    # The recycled units live: some of them fire now.
    assert any(bool(spikes[..., list(SILENT)].any()) for spikes in after.spikes)


def complex_network():
    """Return two blocks of complex units (two rows, two columns each) and units without memory."""
    config = LRUConfig(hidden=(5, 4), features=(6, 3))
    return LRUBackbone(config).build(6, 4, torch.Generator().manual_seed(0)).double()


def test_a_complex_unit_has_two_rows_and_two_columns():
    net = complex_network()
    law, before = initial_law(net), weights(net)
    masks = [torch.arange(layer.units) == 1 for layer in net.hidden]
    touched = recycle(net, masks, law, "initial", torch.Generator().manual_seed(0))
    first, reading = net.hidden[0].synapse.weight, net.hidden[1].synapse.weight
    assert touched[first].any(1).nonzero()[:, 0].tolist() == [1, 6]
    assert (reading[:, [1, 6]] == 0).all()
    assert touched[reading].all(0).nonzero()[:, 0].tolist() == [1, 6]
    assert touched[reading].all(1).nonzero()[:, 0].tolist() == [1]
    assert torch.equal(net.hidden[0].nu_log, before["hidden.0.nu_log"])  # It never moved from where it began.
    changed = {name for name, p in net.named_parameters() if not torch.equal(p, before[name])}
    assert {name for name in changed if not name.endswith("weight")} == set()


def test_a_complex_unit_whose_outgoing_weights_are_0_is_recycled_without_a_trace():
    net = complex_network()
    one = batch()
    with torch.no_grad():
        net.hidden[1].synapse.weight[:, [1, 6]] = 0.0
    before = net(one.inputs)
    masks = [
        torch.arange(layer.units) == (1 if number == 0 else -1) for number, layer in enumerate(net.hidden)
    ]
    recycle(net, masks, initial_law(net), "initial", torch.Generator().manual_seed(0))
    assert torch.equal(net(one.inputs), before)


@pytest.mark.parametrize("score", ["rate", "gradient", "support"])
def test_scores_of_complex_units_are_counted_by_unit(score):
    net = complex_network()
    made, counted = bound(net), modifier(score=score, reset="unit", period=1)
    counted.before_task(made, 0)
    learn(made, counted, [batch()])
    assert [len(mean) for mean in counted._means()] == [5, 6, 4, 3]
    if score == "rate":
        made.context.optimiser.param_groups[0]["lr"] = 0.0
        counted.before_batch(made, batch())
        outputs = net.hidden[0](batch().inputs.double())[1].detach().abs().mean((0, 1))
        learn(made, counted, [batch()])
        torch.testing.assert_close(counted._means()[0], (outputs[:5] + outputs[5:]) / 2)
    else:
        learn(made, counted, [batch(), batch()])


def test_recycling_through_training_leaves_the_function_as_it_is():
    """The whole path: statistics of a batch, a check at threshold 0, the next batch begins with the same function."""
    net = silenced()
    recycled = modifier(threshold=0.0, period=1)
    made = bound(net, optimiser="sgd", lr=1e-9)
    recycled.before_task(made, 0)
    one = batch(size=10)
    learn(made, recycled, [one])
    before = net(one.inputs)
    recycled.before_batch(made, one)
    assert recycled.metrics()["dormancy/recycled_units"] >= 4
    assert torch.equal(net(one.inputs), before)


def test_only_rows_and_columns_of_the_units_change():
    net = network(hidden=(5, 4), recurrent=True, readout_reads="all", bias=True)
    law = initial_law(net)
    before = weights(net)
    masks = [torch.tensor([False, True, False, True, False]), torch.tensor([True, False, False, False])]
    touched = recycle(net, masks, law, "initial", torch.Generator().manual_seed(0))
    columns = {
        "hidden.0.recurrent.weight": masks[0],
        "hidden.1.synapse.weight": masks[0],
        "hidden.1.recurrent.weight": masks[1],
        "readout.synapse.weight": torch.cat(masks),
    }
    rows = {
        f"hidden.{number}.{part}": masks[number] for number in range(2) for part in ("synapse", "recurrent")
    }
    for name, p in net.named_parameters():
        row = rows.get(name.rpartition(".")[0], torch.zeros(len(p), dtype=torch.bool))
        column = columns.get(name)
        expected = row.clone() if p.ndim == 1 else row[:, None].expand_as(p).clone()
        if column is not None:
            expected |= column
            assert (p[:, column] == 0).all(), name
        assert torch.equal(touched[p], expected), name
        assert torch.equal(p[~expected], before[name][~expected]), name
        if p.ndim == 2 and row.any():
            fresh = row[:, None] & ~(
                column if column is not None else torch.zeros(p.shape[1], dtype=torch.bool)
            )
            assert (p[fresh] != before[name][fresh]).all(), name
    assert (net.hidden[0].synapse.bias[masks[0]] == 0).all()


def test_fresh_weights_follow_the_law_of_the_first_ones():
    net = network(hidden=(400,), inputs=500)
    law = initial_law(net)
    first = net.hidden[0].synapse.weight.detach().clone()
    with torch.no_grad():
        net.hidden[0].synapse.weight.mul_(7.0)
    everyone = [torch.ones(400, dtype=torch.bool)]
    recycle(net, everyone, law, "initial", torch.Generator().manual_seed(0))
    fresh = net.hidden[0].synapse.weight
    torch.testing.assert_close(fresh.std(1).mean(), first.std(1).mean(), rtol=0.01, atol=0)
    # Each unit keeps its own deviation: those of slow and fast units differ.
    assert torch.corrcoef(torch.stack([fresh.detach().std(1), first.std(1)]))[0, 1] > 0.9


def test_live_norm_is_the_mean_norm_of_live_units():
    net = network(hidden=(5,))
    law = initial_law(net)
    weight = net.hidden[0].synapse.weight
    with torch.no_grad():
        weight.mul_(3.0)
    mask = torch.tensor([True, False, False, True, False])
    expected = weight[~mask].norm(dim=1).mean()
    recycle(net, [mask], law, "live", torch.Generator().manual_seed(0))
    torch.testing.assert_close(weight[mask].norm(dim=1), expected.expand(2), rtol=1e-10, atol=0)


# The optimiser.


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_moments_are_cleared_where_entries_were_touched_and_nowhere_else(optimiser):
    net = network(hidden=(5, 4), recurrent=True, bias=True)
    made = bound(net, optimiser=optimiser)
    for seed in range(3):
        made.context.optimiser.zero_grad()
        made.train_step(batch(seed=seed))
        made.context.optimiser.step()
    state = made.context.optimiser.state
    names = {"adam": ("exp_avg", "exp_avg_sq"), "sgd": ("momentum_buffer",)}[optimiser]
    before = {(p, name): state[p][name].clone() for p in net.parameters() for name in names}
    masks = [torch.arange(5) == 2, torch.arange(4) == 1]
    touched = recycle(net, masks, initial_law(net), "initial", torch.Generator().manual_seed(0))
    clear_moments(made.context.optimiser, touched)
    cleared = 0
    for (p, name), old in before.items():
        new = state[p][name]
        assert (new[touched[p]] == 0).all()
        assert torch.equal(new[~touched[p]], old[~touched[p]])
        cleared += int((old[touched[p]] != 0).sum())
        if "step" in state[p]:
            assert float(state[p]["step"]) == 3
    assert cleared > 0


def test_a_network_reset_clears_the_whole_state():
    net = network(hidden=(5,))
    made = bound(net)
    pulled = modifier(reset="network", period=1)
    pulled.before_task(made, 0)
    learn(made, pulled, [batch()])
    assert made.context.optimiser.state
    pulled.before_batch(made, batch())
    assert not made.context.optimiser.state


# Interpolation.


@pytest.mark.parametrize("f", [0.0, 0.2, 0.65, 1.0])
def test_interpolation_is_the_formula_and_1_leaves_all_as_it_is(f):
    net = network(hidden=(5, 4), recurrent=True, bias=True, learn_decay=True, learn_readout_decay=True)
    law = initial_law(net)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.3)
    before = weights(net)
    interpolate(net, 0.0, law, torch.Generator().manual_seed(1))
    phi = weights(net)
    net.load_state_dict(before, strict=False)
    interpolate(net, f, law, torch.Generator().manual_seed(1))
    for name, p in net.named_parameters():
        torch.testing.assert_close(p.detach(), f * before[name] + (1 - f) * phi[name], rtol=1e-14, atol=1e-15)
        if f == 1.0:
            assert torch.equal(p, before[name]), name
        elif p.ndim == 1:
            # Biases and decays are pulled to where they began.
            torch.testing.assert_close(phi[name], before[name] - 0.3, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    ("sensitivity", "most", "expected"), [(1.0, 0.9, 0.6), (2.0, 0.9, 0.2), (0.5, 0.7, 0.7), (9.0, 1.0, 0.2)]
)
def test_what_is_kept_follows_the_dormant_ratio(sensitivity, most, expected):
    """Four of ten hidden units are silent: f = clip(1 - k 0.4, 0.2, most)."""
    net = silenced()
    made = bound(net, optimiser="sgd", lr=1e-12)
    pulled = modifier(reset="network", period=1, threshold=0.0, sensitivity=sensitivity, keep_most=most)
    pulled.before_task(made, 0)
    learn(made, pulled, [batch(size=20)])
    before = net.hidden[0].synapse.weight.detach().clone()
    pulled.before_batch(made, batch())
    assert pulled.metrics()["dormancy/kept"] == pytest.approx(expected)
    # The drawn part has the deviation of the first weights; regression on the old ones gives f.
    assert not torch.equal(net.hidden[0].synapse.weight, before)


# When.


@pytest.mark.parametrize("schedule", ["threshold", "cosine"])
def test_a_frozen_layer_is_left_alone(schedule):
    net = network(hidden=(5, 4))
    made = bound(net)
    recycled = modifier(score="gradient", period=1, threshold=0.9, schedule=schedule, fraction=0.9)
    net.hidden[0].requires_grad_(False)
    recycled.before_task(made, 0)
    before = weights(net)
    learn(made, recycled, [batch(), batch()])
    assert recycled.metrics()["dormancy/recycled_units"] > 0
    assert recycled.metrics()["dormant_ratio/layer_0"] == 0
    assert torch.equal(net.hidden[0].synapse.weight, before["hidden.0.synapse.weight"])


def test_a_check_waits_for_the_next_batch():
    net = silenced()
    made = bound(net, "osttp", update="step")
    recycled = modifier(period=5)
    recycled.before_task(made, 0)
    learn(made, recycled, [batch()])  # 13 updates: a check falls due in the midst of the sequence.
    assert recycled._checks == 0
    recycled.before_batch(made, batch())
    assert recycled._checks == 1


def test_period_task_checks_as_a_new_task_begins():
    net = silenced(hidden=(20, 20))
    made = bound(net)
    recycled = modifier(threshold=0.0)
    recycled.before_task(made, 0)
    learn(made, recycled, [batch(), batch(seed=5)])
    before = recycled.metrics()
    assert before["dormancy/recycled_units"] == 0
    recycled.after_task(made, 0)
    recycled.before_task(made, 1)
    learn(made, recycled, [batch(), batch(seed=5)])
    after = recycled.metrics()
    units = 20 * (before["dormant_ratio/layer_0"] + before["dormant_ratio/layer_1"])
    assert after["dormancy/recycled_units"] == pytest.approx(units)
    assert after["dormant_ratio/layer_0"] < before["dormant_ratio/layer_0"]  # Recycled units are alive.


def test_cosine_recycles_a_falling_fraction():
    net = network(hidden=(20,))
    made = bound(net, optimiser="sgd", lr=1e-9)
    recycled = modifier(schedule="cosine", fraction=0.5, horizon=4, period=1)
    recycled.before_task(made, 0)
    counts = []
    for seed in range(6):
        learn(made, recycled, [batch(seed=seed)])
        counts.append(recycled._recycled)
    expected, total = [0], 0
    for update in range(1, 6):
        total += int(0.5 * math.cos(math.pi / 2 * min(1.0, update / 4)) * 20 + 1e-12)
        expected.append(total)
    assert counts == expected


def test_listeners_do_not_outlive_a_batch():
    for name, settings in (("bptt", {}), ("osttp", {"update": "step"}), ("osttp", {"chunk": 4})):
        net = network(hidden=(5, 4))
        made = bound(net, name, **settings)
        counted = modifier()
        counted.before_task(made, 0)
        learn(made, counted, [batch()])
        assert not any(layer.listeners for layer in net.layers)
        assert counted._counts == [13 * 3, 13 * 3]


def test_one_step_and_one_sequence():
    net = network(recurrent=True)
    for score in ("rate", "gradient", "support"):
        for reset in ("unit", "network"):
            made = bound(net)
            recycled = modifier(score=score, reset=reset, period=1)
            recycled.before_task(made, 0)
            learn(made, recycled, [batch(1, 1), batch(1, 1), batch(2, 1)])
            assert all(torch.isfinite(p).all() for p in net.parameters())


# Whole runs.


def run(name, settings=None, tasks=3, **options):
    modifiers = [] if settings is None else [modifier(**settings)]
    train = trainer(name, task_stream(tasks=tasks, samples=4), modifiers, epochs=2, **options)
    for task in range(tasks):
        train.train_task(task)
    return train


@pytest.mark.parametrize(("name", "score"), [*((name, "rate") for name in sorted(RULES)), *OTHERS])
def test_measuring_changes_nothing(name, score):
    plain, measured = run(name), run(name, {"score": score, "reset": "none", "period": 3})
    for one, other in zip(plain.network.parameters(), measured.network.parameters(), strict=True):
        assert torch.equal(one, other)
    ratios = measured.modifiers[0].metrics()
    assert set(ratios) == {"dormant_ratio/layer_0"}
    assert 0 <= ratios["dormant_ratio/layer_0"] <= 1


@pytest.mark.parametrize("reset", ["unit", "network"])
@pytest.mark.parametrize(("name", "score"), [*((name, "rate") for name in sorted(RULES)), *OTHERS])
def test_every_rule_goes_on_learning(name, score, reset):
    train = run(name, {"score": score, "reset": reset, "period": 2, "threshold": 0.3})
    found = train.modifiers[0]
    assert found._checks == train.modifiers[0]._updates // 2 - int(found._due)
    assert all(torch.isfinite(p).all() for p in train.network.parameters())
    plain = run(name)
    assert not torch.equal(train.network.hidden[0].synapse.weight, plain.network.hidden[0].synapse.weight)


@pytest.mark.parametrize("period", ["task", 3])
@pytest.mark.parametrize("reset", ["unit", "network"])
@pytest.mark.parametrize("score", ["rate", "gradient", "support"])
def test_state_round_trip_goes_on_bit_for_bit(score, reset, period):
    """Copied after an odd number of batches into new objects, training goes on as if nothing had happened."""
    settings = {"score": score, "reset": reset, "period": period, "threshold": 0.5}
    ends = []
    for interrupted in (False, True):
        net = silenced()
        made, changed = bound(net), modifier(**settings)
        changed.before_task(made, 0)
        for seed in range(8):
            if seed in (3, 6) and interrupted:
                fresh = silenced()
                fresh.load_state_dict(net.state_dict())
                again, other = bound(fresh), modifier(**settings)
                again.context.optimiser.load_state_dict(made.context.optimiser.state_dict())
                other.load_state_dict(changed.state_dict(), [])
                net, made, changed = fresh, again, other
            if seed == 4:
                changed.before_task(made, 1)
            learn(made, changed, [batch(seed=seed)])
        ends.append((weights(net), changed.state_dict(), changed.metrics()))
    (expected, state, metrics), (found, other_state, other_metrics) = ends
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert state.keys() == other_state.keys()
    assert all(torch.equal(state[name], other_state[name]) for name in state)
    assert metrics == other_metrics
    assert int(state["counters"][1]) > 0


def test_settings_that_contradict_each_other_are_refused():
    for settings in ({"keep_least": 0.5, "keep_most": 0.4}, {"schedule": "cosine", "reset": "network"}):
        with pytest.raises(ValueError, match=r"keep_least|reset=unit"):
            modifier(**settings)


def test_settings_are_read_from_the_command_line():
    from workbench.config import resolve

    base = ("scenario=split-digits", "learner=osttp+dormancy", "learner.dormancy.reset=network")
    assert resolve((*base, "learner.dormancy.period=100")).learner.modifiers[0].config.period == 100
    assert resolve(base).learner.modifiers[0].config.period == "task"
    with pytest.raises(ConfigurationError, match="period"):
        resolve((*base, "learner.dormancy.period=never"))
