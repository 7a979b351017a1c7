"""GPM: the fewest directions, by numpy's SVD; what stays as it was, exact resume."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures.small import RULES, batch, network, rule, task_stream, trainer

from learners.gpm import GPM, new_directions
from workbench.errors import ConfigurationError
from workbench.optimisers import build_optimiser
from workbench.plugin import SequenceBatch
from workbench.rules.projection import projected_sites


def learn(made, modifier, batches):
    """Train on batches, in the order of events of the trainer."""
    optimiser = made.context.optimiser
    for present in batches:
        optimiser.zero_grad()
        modifier.before_batch(made, present)
        made.train_step(present)
        modifier.after_gradients(made, present)
        optimiser.step()
        modifier.after_update(made, present)


def bound(net, name="bptt", **settings):
    """Return a rule on the network with an optimiser in its context."""
    made = rule(name, net, **({"lr": 0.01} | settings))
    made.context.optimiser = build_optimiser(made.config, made.parameter_groups())
    return made


def gpm(**settings):
    """Return the modifier."""
    return GPM(GPM.Config(**settings))


@pytest.mark.parametrize("share", [0.5, 0.9, 0.99, 1.0])
def test_directions_are_the_paper_s(share):
    """Equation 9 on activity R `[N, n]` by the singular values of R - H^T H R."""
    generator = np.random.default_rng(0)
    activity = np.diag(np.arange(1.0, 9.0)) @ generator.normal(size=(8, 40))
    old = np.linalg.qr(generator.normal(size=(8, 2)))[0].T
    left = activity - old.T @ old @ activity
    u, s, _ = np.linalg.svd(left, full_matrices=False)
    total = np.linalg.norm(activity) ** 2
    spanned = total - np.linalg.norm(left) ** 2
    # Two directions are spanned already: six are left.
    count = next((k for k in range(7) if spanned + (s[:k] ** 2).sum() >= share * total * (1 - 1e-12)), 6)
    found, explained = new_directions(
        torch.from_numpy(activity @ activity.T / 40), torch.from_numpy(old), share
    )
    assert len(found) == count
    np.testing.assert_allclose(found.numpy().T @ found.numpy(), u[:, :count] @ u[:, :count].T, atol=1e-9)
    assert explained == pytest.approx((spanned + (s[:count] ** 2).sum()) / total)


def test_activity_that_is_spanned_adds_nothing():
    rows = torch.eye(5, dtype=torch.float64)[:3]
    found, explained = new_directions(rows.T @ rows, rows, 0.99)
    assert (len(found), explained) == (0, pytest.approx(1.0))
    assert len(new_directions(torch.zeros(5, 5), rows[:0].float(), 0.9)[0]) == 0


@pytest.mark.parametrize("name", list(RULES))
def test_responses_to_the_first_task_stay_as_they_were(name):
    net = network(inputs=12, hidden=(24, 20), recurrent=(True, False), bias=True, gain=1.2)
    made = bound(net, name)
    modifier = gpm(energy=1 - 1e-9, every=1, window=1)
    stills = batch(inputs=12, steps=1, size=3).inputs.expand(4, -1, -1)
    first = SequenceBatch(stills, torch.tensor([0, 1, 2]))
    modifier.before_task(made, 0)
    learn(made, modifier, [first] * 20)
    for group in made.context.optimiser.param_groups:
        group["lr"] = 0.0
    learn(made, modifier, [first])
    modifier.after_task(made, 0)
    outputs = net(first.inputs).detach()
    before = {site.name: site.weight.detach().clone() for site in projected_sites(net, readout=True)}
    made = bound(net, name)
    modifier.before_task(made, 1)
    learn(made, modifier, [batch(inputs=12, seed=seed) for seed in range(5)])
    for site in projected_sites(net, readout=True):
        assert float((site.weight.detach() - before[site.name]).abs().max()) > 1e-4
    torch.testing.assert_close(
        net(first.inputs).detach(), outputs, rtol=0, atol=1e-3 * float(outputs.abs().max())
    )


def test_the_running_mean_is_that_of_the_last_batches():
    modifier = gpm(every=2, window=3)
    made = bound(network(hidden=(7,)), lr=1e-12)
    modifier.before_task(made, 0)
    batches = [batch(seed=seed) for seed in range(9)]
    learn(made, modifier, batches)
    wanted = None
    for number, present in enumerate(batches[::2]):
        x = present.inputs.double().flatten(0, 1)
        moment = x.T @ x / len(x)
        weight = 1 / min(number + 1, 3)
        wanted = moment if wanted is None else (1 - weight) * wanted + weight * moment
    torch.testing.assert_close(modifier._moment["hidden.0.synapse"], wanted, rtol=1e-12, atol=0)


@pytest.mark.parametrize("where", ["within a task", "between tasks"])
def test_resume_is_exact(where):
    def fresh():
        return bound(network(hidden=(7,), recurrent=True), "osttp", optimiser="sgd"), gpm(energy=0.8, every=2)

    made, modifier = fresh()
    modifier.before_task(made, 0)
    learn(made, modifier, [batch(seed=seed) for seed in range(5)])
    modifier.after_task(made, 0)
    modifier.before_task(made, 1)
    learn(made, modifier, [batch(seed=seed) for seed in range(5, 8)])
    if where == "between tasks":
        modifier.after_task(made, 1)
    state = {name: value.clone() for name, value in modifier.state_dict().items()}
    other, resumed = fresh()
    other.network.load_state_dict(made.network.state_dict())
    resumed.load_state_dict(state, [])
    assert all(torch.equal(value, state[name]) for name, value in resumed.state_dict().items())
    for one, its in ((made, modifier), (other, resumed)):
        if where == "between tasks":
            its.before_task(one, 2)
        learn(one, its, [batch(seed=seed) for seed in range(8, 12)])
        its.after_task(one, 2)
    for name, value in made.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name
    ours, theirs = modifier.state_dict(), resumed.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_trainer_runs_it():
    modifier = gpm(energy=[0.9, 0.8])
    made = trainer("bptt", task_stream(), [modifier])
    for task in range(2):
        made.train_task(task)
        made.evaluate_tasks()
    metrics = modifier.metrics()
    assert 0 < metrics["gpm_rows/hidden.0.synapse"] <= 8
    assert metrics["gpm_explained/readout.synapse"] >= 0.8
    assert modifier.live_memory(0).other > 0


def test_what_does_not_fit_is_refused():
    made = bound(network())
    with pytest.raises(ConfigurationError, match=r"energy of gpm has 3 values for 2 matrices"):
        gpm(energy=[0.9, 0.9, 0.9]).before_batch(made, batch())
    with pytest.raises(ConfigurationError, match="learner=gpm, projection=gradient: adam"):
        gpm(projection="gradient").before_task(bound(network(), optimiser="adam"), 0)
