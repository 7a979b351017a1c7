"""HLOP: Oja's rule against the paper's loop and numpy's SVD, what stays as it was, exact resume, all rules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.small import RULES, batch, learn, network, rule, task_stream, trainer
from pydantic import ValidationError

from learners.hlop import HLOP, HLOPConfig, Lateral
from workbench.errors import ConfigurationError
from workbench.optimisers import build_optimiser
from workbench.plugin import SequenceBatch
from workbench.rules.projection import orthonormal_to, projected_sites

EYE = torch.eye


def vectors(count: int, scales: list[float], mix: int = 0, width: int = 12) -> torch.Tensor:
    """Return vectors `[count, width]` with these standard deviations along directions drawn from `mix`."""
    directions = np.linalg.qr(np.random.default_rng(mix).normal(size=(width, width)))[0][:, : len(scales)]
    drawn = np.random.default_rng(mix + 1).normal(size=(count, len(scales)))
    return torch.from_numpy(drawn * np.array(scales) @ directions.T)


def lateral(width: int = 12, count: int = 4, rate: float | None = None, **settings: object) -> Lateral:
    """Return lateral connections with `count` rows in float64."""
    made = Lateral(HLOPConfig(**settings), torch.zeros(1, width, dtype=torch.float64), rate)
    made.grow(count, torch.Generator().manual_seed(0))
    return made


def distance(rows: torch.Tensor, basis: np.ndarray) -> float:
    """Return the Frobenius distance between the projections on two row spaces."""
    q = np.linalg.qr(rows.numpy().T)[0]
    return float(np.linalg.norm(q @ q.T - basis.T @ basis))


def bound(net, name="bptt", optimiser="sgd", **settings):
    """Return a rule on the network with an optimiser in its context, as the trainer makes it."""
    made = rule(name, net, **({"optimiser": optimiser, "lr": 0.05} | settings))
    made.context.optimiser = build_optimiser(made.config, made.parameter_groups())
    return made


def hlop(**settings):
    """Return the modifier."""
    return HLOP(HLOP.Config(**settings))


@pytest.mark.parametrize("spiking", [False, True])
def test_lateral_connections_find_the_principal_subspace(spiking):
    data = vectors(4000, [3.0, 2.5, 2.0, 1.5, 0.3, 0.2, 0.1])
    basis = np.linalg.svd(data.numpy(), full_matrices=False)[2][:4]
    made = lateral(spiking=spiking)
    before = distance(made.rows, basis)
    for part in range(200):
        made.learn(data.roll(part * 97, 0)[:500])
    assert before > 1
    assert distance(made.rows, basis) < 0.03
    gram = made.rows @ made.rows.T
    torch.testing.assert_close(gram, EYE(4, dtype=torch.float64), rtol=0, atol=0.02)
    assert made.explained == pytest.approx(1 - (0.3**2 + 0.2**2 + 0.1**2) / 18.64, abs=0.01) or not spiking


def test_new_rows_find_what_is_new_while_old_ones_reconstruct():
    first, second = vectors(4000, [2.0, 1.5]), vectors(4000, [1.8, 1.2], mix=5)
    made = lateral(count=2)
    for part in range(100):
        made.learn(first.roll(part * 97, 0)[:500])
    made.merge()
    old = made.rows.clone()
    made.grow(2, torch.Generator().manual_seed(1))
    mixed = first + second
    for part in range(200):
        made.learn(mixed.roll(part * 97, 0)[:500])
    assert torch.equal(made.rows[:2], old)
    made.merge()
    torch.testing.assert_close(made.rows @ made.rows.T, EYE(4, dtype=torch.float64), rtol=0, atol=1e-12)
    assert distance(made.rows, np.linalg.svd(mixed.numpy(), full_matrices=False)[2][:4]) < 0.03


def paper(rows, velocity, frozen, x, rate, momentum, spiking, scale=20.0, steps=1000):
    """One batch of the paper's loop, literally: five iterations, each with y and xhat of all rows."""
    for _ in range(5):
        y = x @ rows.T
        if spiking:
            y = torch.round(torch.clamp(y, -scale, scale) / scale * steps) / steps * scale
        change = torch.clamp(y.T @ (x - y @ rows) / len(x), -10, 10)
        change[:frozen] = 0
        velocity = momentum * velocity + (1 - momentum) * change
        rows = rows + rate * velocity
    return rows, velocity


@pytest.mark.parametrize("spiking", [False, True])
@pytest.mark.parametrize("orthonormal", [False, True])
def test_learning_is_the_paper_s_loop(spiking, orthonormal):
    made = lateral(count=3, rate=0.02, spiking=spiking, orthonormal=orthonormal)
    made.learn(vectors(50, [2.0, 1.0, 0.5]))
    made.merge()
    made.grow(4, torch.Generator().manual_seed(2))
    rows, velocity = made.rows.clone(), torch.zeros_like(made.rows)
    for number in range(3):
        # Far out, so that changes are clamped.
        x = vectors(40, [9.0, 3.0, 1.0, 0.5], mix=number)
        rows, velocity = paper(rows, velocity, 3, x, 0.02, 0.9, spiking)
        made.learn(x)
    torch.testing.assert_close(made.rows, rows, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(made.velocity, velocity[3:], rtol=1e-9, atol=1e-9)
    assert float(velocity.abs().max()) > 0


def test_the_step_is_a_fraction_of_the_stability_limit_whatever_the_scale():
    data = vectors(2000, [3.0, 2.0, 1.0])
    found = []
    for scale in (1e-3, 1.0, 1e3):
        made = lateral(count=2, absolute_lr=None)
        for part in range(50):
            made.learn(scale * data.roll(part * 97, 0)[:300])
        found.append(made)
        largest = float(torch.linalg.eigvalsh(data.T @ data / len(data))[-1])
        assert float(made.scalars[2]) / scale**2 == pytest.approx(largest, rel=0.2)
    # Only the clamp knows the scale.
    torch.testing.assert_close(found[0].rows, found[1].rows, rtol=1e-6, atol=1e-6)


def test_momentum_of_a_loud_stretch_does_not_carry_rows_away_in_a_silent_one():
    """Speech: a few channels are loud for a while, then almost nothing, which holds no row back."""
    generator = torch.Generator().manual_seed(0)
    made = lateral(width=30, count=18)
    for _ in range(60):
        quiet = (torch.rand(400, 30, generator=generator) < 0.02).double()
        first = int(torch.randint(25, (1,), generator=generator))
        loud = torch.zeros(400, 30, dtype=torch.float64)
        loud[:, first : first + 5] = torch.poisson(torch.full((400, 5), 3.0), generator=generator).double()
        for stretch in (quiet, loud, quiet, quiet):
            made.learn(stretch)
            assert made.rows.norm(dim=1).max() <= 1.1
    assert made.explained > 0.1


def test_rows_never_outnumber_the_inputs():
    made = lateral(width=5, count=4)
    assert made.grow(4, torch.Generator()) == 1
    assert made.grow(4, torch.Generator()) == 0
    made.merge()
    torch.testing.assert_close(made.rows @ made.rows.T, EYE(5, dtype=torch.float64), rtol=0, atol=1e-12)
    made.learn(vectors(20, [1.0], width=5))
    assert made.explained == pytest.approx(1.0)


def old_rows(modifier):
    """Return the frozen rows by matrix."""
    return {name: one.rows[: one.frozen].clone() for name, one in modifier._lateral.items()}


@pytest.mark.parametrize("name", list(RULES))
@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_updates_are_orthogonal_to_old_rows_with_every_rule_and_optimiser(name, optimiser):
    modifier = hlop(rows=0.4)
    extra = {"weight_decay": 0.01} | ({"momentum": 0.9} if optimiser == "sgd" else {})
    recurrent = {"recurrent": True, "bias": True, "learn_decay": True}
    net = network(hidden=(7, 6), **recurrent)
    made = bound(net, name, optimiser, **extra)
    modifier.before_task(made, 0)
    learn(made, modifier, [batch(seed=seed) for seed in range(4)])
    modifier.after_task(made, 0)
    modifier.before_task(made, 1)
    before = {key: value.detach().clone() for key, value in net.named_parameters()}
    held = old_rows(modifier)
    learn(made, modifier, [batch(seed=seed) for seed in range(4, 8)])
    sites = {site.name: site for site in projected_sites(net, readout=True)}
    assert held.keys() == sites.keys()
    assert len(sites) == 5
    for key, site in sites.items():
        change = site.weight.detach() - before[f"{key}.weight"]
        assert len(held[key]) == round(0.4 * site.width)
        assert float(change.abs().max()) > 1e-7
        assert float((change @ held[key].T).abs().max()) < 1e-12
    for key, value in net.named_parameters():
        if value.ndim == 1:
            assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", ["osttp", "ottt"])
def test_updates_within_a_sequence_are_projected_and_every_step_is_heard(name):
    modifier = hlop(rows=0.4)
    made = bound(network(hidden=(7,)), name, update="step")
    modifier.before_task(made, 0)
    learn(made, modifier, [batch(seed=0)])
    assert all(one.scalars[0] > 0 for one in modifier._lateral.values())
    modifier.after_task(made, 0)
    before = {key: value.detach().clone() for key, value in made.network.named_parameters()}
    held = old_rows(modifier)
    modifier.before_task(made, 1)
    learn(made, modifier, [batch(seed=1)])
    for key, rows in held.items():
        weight = dict(made.network.named_parameters())[f"{key}.weight"].detach()
        assert float(((weight - before[f"{key}.weight"]) @ rows.T).abs().max()) < 1e-13
        assert not torch.equal(weight, before[f"{key}.weight"])


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_projecting_update_and_gradient_agree_for_plain_sgd(momentum):
    found = []
    for projection in ("update", "gradient"):
        modifier = hlop(rows=0.4, projection=projection)
        made = bound(network(hidden=(7,), bias=True, learn_decay=True), momentum=momentum)
        for task in range(2):
            modifier.before_task(made, task)
            made.context.optimiser.state.clear()
            learn(made, modifier, [batch(seed=10 * task + seed) for seed in range(3)])
            modifier.after_task(made, task)
        found.append({key: value.detach() for key, value in made.network.named_parameters()})
    for key, value in found[0].items():
        torch.testing.assert_close(value, found[1][key], rtol=1e-9, atol=1e-12)


def two_tasks(dtype, learner, **settings):
    """Train two tasks of a few sequences each; return what the first one's activity was."""
    net = network(inputs=12, hidden=(24, 20), recurrent=(True, False), gain=1.2).to(dtype)
    made = bound(net, learner, "adam", lr=0.01, **settings)
    modifier = hlop(rows=[0.5, 0.8, 0.8, 0.8], lr=3.0, iterations=40)
    generator = torch.Generator().manual_seed(0)
    # Four images held still for four steps: activity of rank 4 at the input, at most 16 behind it.
    sequences = (torch.rand(4, 12, generator=generator) < 0.4).to(torch.uint8).expand(4, -1, -1)
    tasks = [
        SequenceBatch(part, torch.tensor(labels))
        for part, labels in ((sequences, [0, 1, 2, 3]), (sequences.flip(2), [3, 2, 1, 0]))
    ]
    heard = {}
    for task, present in enumerate(tasks):
        modifier.before_task(made, task)
        made.context.optimiser = build_optimiser(made.config, made.parameter_groups())
        for count in range(150 if task == 0 else 30):
            for group in made.context.optimiser.param_groups:
                group["lr"] = 0.01 * max(0.0, 1 - count / 100)
            learn(made, modifier, [present])
        modifier.after_task(made, task)
        if task == 0:
            for layer in net.layers:
                layer.listeners.append(heard.__setitem__)
            net(present.inputs)
            for layer in net.layers:
                layer.listeners.remove(heard.__setitem__)
            sites = projected_sites(net, readout=True)
            activity = {site.name: site.presynaptic(heard[site.layer]).clone() for site in sites}
            answers = {site.name: activity[site.name] @ site.weight.detach().T for site in sites}
            outputs = net(present.inputs).detach()
    return net, sites, activity, answers, outputs, tasks


@pytest.mark.parametrize(
    ("learner", "dtype"), [("bptt", torch.float64), ("bptt", torch.float32), ("osttp", torch.float64)]
)
def test_responses_to_the_first_task_stay_as_they_were(learner, dtype):
    net, sites, activity, answers, outputs, tasks = two_tasks(dtype, learner)
    for site in sites:
        after = activity[site.name] @ site.weight.detach().T
        moved = float((after - answers[site.name]).norm() / answers[site.name].norm())
        assert moved < 1e-3, (site.name, moved)
    # And so does what the whole network says, spikes and all.
    torch.testing.assert_close(
        net(tasks[0].inputs).detach(), outputs, rtol=0, atol=2e-3 * float(outputs.abs().max())
    )


def test_without_it_they_move():
    net = network(inputs=12, hidden=(24, 20), recurrent=(True, False), gain=1.2)
    made = bound(net, "bptt", "adam", lr=0.003)
    weight = net.layers[1].synapse.weight
    before = weight.detach().clone()
    for _ in range(20):
        learn(made, hlop(), [batch(inputs=12)])
    assert float((weight.detach() - before).norm() / before.norm()) > 0.02


def test_the_readout_is_left_alone_where_tasks_have_classes_of_their_own():
    for mask, setting, count in (
        (None, "auto", 2),
        (True, "auto", 1),
        (None, "free", 1),
        (True, "project", 2),
    ):
        modifier = hlop(readout=setting)
        made = bound(network())
        modifier.before_task(made, 0)
        present = batch()
        if mask:
            present = SequenceBatch(present.inputs, present.targets % 2, (torch.arange(4) < 2).expand(3, -1))
        learn(made, modifier, [present])
        assert len(modifier._lateral) == count, (mask, setting)


def test_rows_by_matrix_and_by_task():
    modifier = hlop(rows=[2, 3, 0.5], later_rows=[1, [1, 0, 2]])
    made = bound(network(hidden=(8, 8), readout_reads="last"))
    counts = []
    for task in range(4):
        modifier.before_task(made, task)
        learn(made, modifier, [batch(seed=task)])
        modifier.after_task(made, task)
        counts.append([len(one.rows) for one in modifier._lateral.values()])
    assert counts == [[2, 3, 4], [3, 4, 5], [4, 4, 7], [5, 4, 8]]
    assert modifier.metrics()["hlop_rows/readout.synapse"] == 8


def test_rows_are_added_until_the_energy_is_explained():
    modifier = hlop(energy=0.9, rows=2, lr=1.0, iterations=10)
    made = bound(network(inputs=12, hidden=(20,)), lr=1e-4)
    modifier.before_task(made, 0)
    stills = batch(inputs=12, steps=1, size=4).inputs.expand(5, -1, -1)
    few = [SequenceBatch(stills, torch.tensor(labels)) for labels in ([0, 1, 2, 3], [3, 2, 1, 0])]
    learn(made, modifier, [few[count % 2] for count in range(260)])
    modifier.after_task(made, 0)
    for name, one in modifier._lateral.items():
        assert 1 <= one.frozen < one.rows.shape[1], name
    lasting = {name: one.frozen for name, one in modifier._lateral.items()}
    modifier.before_task(made, 1)
    learn(made, modifier, [few[count % 2] for count in range(60)])
    # Nothing is new, so nothing is added.
    assert {name: len(one.rows) for name, one in modifier._lateral.items()} == lasting
    assert all(share > 0.85 for key, share in modifier.metrics().items() if "explained" in key)


def test_lists_of_another_length_are_refused_with_the_order_of_matrices():
    for settings in ({"rows": [1, 2]}, {"later_rows": [1, [1, 2, 3, 4]]}, {"absolute_lr": [0.1]}):
        modifier = hlop(**settings)
        made = bound(network(recurrent=True))
        modifier.before_task(made, 0)
        with pytest.raises(
            ConfigurationError, match=r"hidden\.0\.synapse, hidden\.0\.recurrent, readout\.synapse"
        ):
            modifier.before_batch(made, batch())
    with pytest.raises(ValidationError):
        HLOPConfig(rows=1.5)


def test_adam_with_projected_gradients_is_refused_before_the_first_batch():
    modifier = hlop(projection="gradient")
    with pytest.raises(ConfigurationError, match="learner=hlop, projection=gradient: adam"):
        modifier.before_task(bound(network(), optimiser="adam"), 0)


@pytest.mark.parametrize("where", ["within a task", "between tasks"])
def test_resume_is_exact(where):
    def fresh():
        return bound(network(hidden=(7,), recurrent=True), "osttp"), hlop(rows=0.3, energy=0.95)

    def part(made, modifier, task, seeds, *, begin=True, end=True):
        if begin:
            modifier.before_task(made, task)
        learn(made, modifier, [batch(seed=seed) for seed in seeds])
        if end:
            modifier.after_task(made, task)

    made, modifier = fresh()
    part(made, modifier, 0, range(60))
    part(made, modifier, 1, range(60, 64), end=where == "between tasks")
    state = {name: value.clone() for name, value in modifier.state_dict().items()}
    weights = {name: value.clone() for name, value in made.network.state_dict().items()}
    other, resumed = fresh()
    other.network.load_state_dict(weights)
    resumed.load_state_dict(state, [])
    assert all(torch.equal(value, state[name]) for name, value in resumed.state_dict().items())
    for one, its in ((made, modifier), (other, resumed)):
        if where == "between tasks":
            part(one, its, 2, range(64, 70))
        else:
            part(one, its, 1, range(64, 70), begin=False)
        part(one, its, 3, range(70, 74), end=False)
    for name, value in made.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name
    ours, theirs = modifier.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.parametrize("setting", ["class", "task", "domain"])
def test_the_trainer_runs_it_and_evaluation_is_not_heard(setting):
    modifier = hlop()
    stream = task_stream("task" if setting == "task" else "class")
    made = trainer("bptt", stream, [modifier])
    for task in range(2):
        made.train_task(task)
        state = modifier.state_dict()
        made.evaluate_tasks()
        assert all(torch.equal(value, state[name]) for name, value in modifier.state_dict().items())
    frozen = {name: one.frozen for name, one in modifier._lateral.items()}
    assert frozen["hidden.0.synapse"] == 2 + 1
    assert ("readout.synapse" in frozen) == (setting != "task")


def test_memory_is_that_of_rows_velocities_and_copies():
    modifier = hlop(rows=4, later_rows=2)
    made = bound(network(hidden=(8,)))
    assert modifier.memory(0, 1000, 2).other == 3000
    modifier.before_task(made, 0)
    learn(made, modifier, [batch()])
    # Six and eight inputs wide, float64: rows, velocities, direction, three scalars; one integer.
    first = 8 * sum(4 * width + 4 * width + width + 3 for width in (6, 8)) + 2 * 8
    assert modifier.live_memory(0).other == first
    modifier.after_task(made, 0)
    modifier.before_task(made, 1)
    learn(made, modifier, [batch()])
    rows = 8 * sum(6 * width + 2 * width + width + 3 + 4 * width for width in (6, 8)) + 2 * 8
    completing = 8 * (6 - 4) * 6
    weights = 8 * (6 * 8 + 8 * 4)
    assert modifier.live_memory(0).other == rows + completing + weights


def test_orthonormal_rows_are_left_as_they_are_by_a_merge():
    made = lateral(count=3)
    before = made.rows.clone()
    made.merge()
    torch.testing.assert_close(made.rows.T @ made.rows, before.T @ before, rtol=0, atol=1e-12)
    assert torch.equal(orthonormal_to(made.rows[:0], made.rows), made.rows[:0])
