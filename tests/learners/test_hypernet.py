"""The hypernetwork: its derivatives are autograd's, old tasks' weights are held, the network is only lent others."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.small import batch, gradients, network, rule, task_stream, trainer

from learners.ewc import EWC
from learners.hypernet import Hypernet
from workbench.checks import whole_runs
from workbench.checks.subject import Subject
from workbench.errors import PluginError
from workbench.registry import Registry
from workbench.rules.loss import sequence_loss
from workbench.tasks import Task

GENERATORS = pytest.mark.parametrize("generator", ["mlp", "recurrent"])


def hypernet(**settings):
    return Hypernet(Hypernet.Config(**settings))


def bound(name="bptt", generator="mlp", **settings):
    """Return a rule, and a hypernetwork of its small float64 network that has left its starting point."""
    made = rule(name, network(recurrent=True))
    hyper = hypernet(generator=generator, hidden=6, **settings)
    hyper.before_task(made, 0)
    stir(hyper, 1)
    hyper.after_update(made, None)
    return made, hyper


def stir(hyper, seed, size=0.3):
    draws = torch.Generator().manual_seed(seed)
    hyper.theta += size * torch.randn(hyper.theta.shape, generator=draws, dtype=hyper.theta.dtype)


def weights_of(hyper, theta, embedding):
    """W = W_0 + s h(e, Theta), written out; differentiable."""
    made, place, found = hyper.generator(theta, embedding), 0, {}
    for (name, start), scale in zip(hyper.initial.items(), hyper._scales, strict=True):
        found[name] = start + scale * made[place : place + start.numel()].view_as(start)
        place += start.numel()
    return found


def flat(net):
    return torch.cat([p.detach().flatten() for p in net.parameters()])


# Generated weights.


@GENERATORS
def test_the_network_begins_as_the_backbone_made_it(generator):
    made = rule("bptt", network(recurrent=True))
    before = flat(made.network)
    hypernet(generator=generator).before_task(made, 0)
    assert torch.equal(flat(made.network), before)


@pytest.mark.parametrize("cells", [False, True])
def test_what_is_generated(cells):
    made = rule("bptt", network(recurrent=True, bias=True, learn_readout_decay=True))
    hyper = hypernet(cells=cells)
    hyper.before_task(made, 0)
    stir(hyper, 2)
    before = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    hyper.after_update(made, None)
    moved = {name for name, p in made.network.named_parameters() if not torch.equal(p, before[name])}
    synaptic = {name for name in before if "synapse" in name or "recurrent" in name}
    assert moved == (set(before) if cells else synaptic)
    assert {"hidden.0.synapse.bias", "hidden.0.recurrent.weight", "readout.synapse.weight"} <= synaptic
    assert set(before) > synaptic


@GENERATORS
def test_generated_weights_fill_the_network(generator):
    made, hyper = bound(generator=generator)
    for name, value in weights_of(hyper, hyper.theta, hyper.embeddings[0]).items():
        torch.testing.assert_close(made.network.get_parameter(name).detach(), value, rtol=1e-12, atol=1e-14)
        assert not torch.equal(value, hyper.initial[name]), name


def test_the_generator_is_about_half_as_large_as_the_network():
    made = rule("bptt", network(inputs=200, hidden=(100,)))
    hyper = hypernet()
    hyper.before_task(made, 0)
    ratio = hyper.generator.size / flat(made.network).numel()
    assert 0.5 < ratio < 0.65


# Gradients.


@GENERATORS
def test_the_pull_back_is_autograds_gradient_through_the_whole(generator):
    made, hyper = bound(generator=generator)
    given = batch()
    made.train_step(given)
    found = hyper._pulled_back(made)
    theta = hyper.theta.clone().requires_grad_()
    embedding = hyper.embeddings[0].clone().requires_grad_()
    outputs = torch.func.functional_call(made.network, weights_of(hyper, theta, embedding), (given.inputs,))
    loss = sequence_loss(outputs, given, made.config.loss)
    expected = torch.cat(torch.autograd.grad(loss, [theta, embedding]))
    assert (expected != 0).float().mean() > 0.5
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_a_local_rules_gradients_enter_with_the_ratio_of_its_rates():
    made, hyper = bound("osttp")
    ratio = made.config.hidden_lr / made.config.lr
    made.train_step(batch())
    found = hyper._pulled_back(made)
    by_name = gradients(made.network)
    theta = hyper.theta.clone().requires_grad_()
    total = sum(
        ((1.0 if name.startswith("readout") else ratio) * by_name[name] * value).sum()
        for name, value in weights_of(hyper, theta, hyper.embeddings[0]).items()
    )
    [expected] = torch.autograd.grad(total, theta)
    torch.testing.assert_close(found[: len(theta)], expected, rtol=1e-9, atol=1e-14)


@GENERATORS
@pytest.mark.parametrize("lookahead", [False, True])
def test_the_penalty_is_its_formula(generator, lookahead):
    made, hyper = bound(generator=generator, beta=0.7)
    hyper.learned = [0]
    hyper.before_task(made, 1)
    hyper.learned = [0, 1]
    hyper.before_task(made, 2)
    before = hyper.theta.clone()
    assert torch.equal(hyper.snapshot, before)
    stir(hyper, 3)
    ahead = torch.full_like(hyper.theta, 0.01) if lookahead else None
    theta = hyper.theta.clone().requires_grad_()
    there = theta if ahead is None else theta + ahead
    total = 0.0
    for task in (0, 1):
        old = weights_of(hyper, before, hyper.embeddings[task])
        now = weights_of(hyper, there, hyper.embeddings[task])
        total = total + 0.7 / 2 * sum((now[name] - old[name]).square().sum() for name in old)
    [expected] = torch.autograd.grad(total, theta)
    torch.testing.assert_close(hyper.penalty_gradient([0, 1], ahead), expected, rtol=1e-9, atol=1e-14)
    assert hyper.metrics()["hypernet_penalty"] == pytest.approx(total.item())
    assert total.item() > 0


def test_the_step_is_adams():
    made, hyper = bound(lr=0.02)
    joined = torch.nn.Parameter(torch.cat([hyper.theta, hyper.embeddings[0]]))
    reference = torch.optim.Adam([joined], lr=0.02)
    for seed in range(4):
        made.train_step(batch(seed=seed))
        joined.grad = hyper._pulled_back(made)
        reference.step()
        hyper.after_gradients(made, batch())
        hyper.after_update(made, batch())
        assert all(p.grad is None for p in made.network.parameters())
        found = torch.cat([hyper.theta, hyper.embeddings[0]])
        torch.testing.assert_close(found, joined.detach(), rtol=1e-7, atol=1e-9)


def test_lookahead_takes_the_penalty_where_the_loss_alone_would_lead(monkeypatch):
    made, hyper = bound(lookahead=True)
    hyper.learned = [0]
    hyper.before_task(made, 1)
    seen = []
    monkeypatch.setattr(
        hyper,
        "penalty_gradient",
        lambda old, ahead: seen.append((old, ahead)) or torch.zeros_like(hyper.theta),
    )
    made.train_step(batch())
    before = hyper.theta.clone()
    hyper.after_gradients(made, batch())
    [(old, ahead)] = seen
    assert old == [0]
    # The penalty's own gradient was zero, so the step made is the one looked ahead to.
    torch.testing.assert_close(hyper.theta, before + ahead)


def test_a_subset_of_old_tasks_is_drawn_anew_for_each_update():
    made, hyper = bound(old_tasks=2)
    hyper.learned, hyper.task = [0, 1, 2, 3], 3
    drawn = []
    for update in range(30):
        hyper.updates = update
        drawn.append(tuple(hyper._drawn(made)))
    assert set(drawn) == {(0, 1), (0, 2), (1, 2)}
    hyper.config = hyper.config.model_copy(update={"old_tasks": None})
    assert hyper._drawn(made) == [0, 1, 2]


def test_the_rate_follows_the_rules_schedule():
    rates = []
    hyper = hypernet(lr=0.5)
    made = trainer("bptt", task_stream("task"), [hyper], epochs=1)
    step = hyper._step
    hyper._step = lambda gradient, rate: rates.append(rate) or step(gradient, rate)
    made.train_task(0)
    assert rates == pytest.approx([0.5, 0.375, 0.125])


# With the trainer.


def conflict():
    """Two tasks on the same inputs and the same two classes, labels exchanged: they cannot share weights."""
    stream = task_stream("task", tasks=1, samples=16, steps=8, channels=12)

    def doubled(pool):
        return replace(
            pool,
            inputs=np.concatenate([pool.inputs, pool.inputs]),
            targets=np.concatenate([pool.targets, 1 - pool.targets]),
        )

    [first] = stream.tasks
    many, tests = len(stream.training_pool.targets), len(stream.test_pool.targets)
    second = Task("exchanged", (0, 1), first.train + many, first.validation + many, first.test + tests)
    return replace(
        stream,
        training_pool=doubled(stream.training_pool),
        test_pool=doubled(stream.test_pool),
        tasks=(first, second),
    )


def matrix(modifiers, learner="bptt", **settings):
    made = trainer(learner, conflict(), modifiers, epochs=12, batch_size=16, settings=settings)
    rows = []
    for task in range(2):
        made.train_task(task)
        rows.append(made.evaluate_tasks(task).accuracies)
    return rows


@GENERATORS
def test_tasks_that_conflict_are_both_kept_where_the_rule_alone_forgets(generator):
    alone = matrix([], lr=0.05)
    assert alone[0][0] > 0.9
    assert alone[1][0] < 0.2
    rows = matrix([hypernet(generator=generator, lr=0.02, hidden=16)])
    assert rows[0][0] > 0.9
    assert rows[1][0] > 0.85
    assert rows[1][1] > 0.85


def test_without_the_tasks_identity_the_present_weights_serve_for_all():
    rows = matrix([hypernet(lr=0.02, hidden=16, identity="present")])
    assert rows[1][1] > 0.85
    assert rows[1][0] < 0.2


def test_a_large_beta_holds_the_weights_of_old_tasks():
    away = {}
    for beta in (0.0, 1e4):
        hyper = hypernet(beta=beta)
        made = trainer("bptt", conflict(), [hyper], epochs=4, batch_size=16)
        made.train_task(0)
        old = torch.cat([value.flatten() for value in hyper.weights(0)])
        made.train_task(1)
        now = torch.cat([value.flatten() for value in hyper.weights(0)])
        away[beta] = float((now - old).norm() / old.norm())
    assert away[0.0] > 0.1
    assert away[1e4] < 0.2 * away[0.0]


def test_evaluation_borrows_the_old_weights_and_gives_them_back_bit_for_bit():
    hyper = hypernet()
    made = trainer("bptt", conflict(), [hyper], epochs=2, batch_size=16)
    made.train_task(0)
    made.train_task(1)
    before = flat(made.network).clone()
    hyper.before_evaluation(made.rule, 0)
    lent = flat(made.network).clone()
    assert torch.equal(lent, torch.cat([value.flatten() for value in hyper.weights(0)]))
    assert not torch.equal(lent, before)
    hyper.after_evaluation(made.rule, 0)
    assert torch.equal(flat(made.network), before)
    for task in (1, 7):  # The present task, and one not seen yet.
        hyper.before_evaluation(made.rule, task)
        assert torch.equal(flat(made.network), before)
        hyper.after_evaluation(made.rule, task)
    made.evaluate_tasks(1)
    assert torch.equal(flat(made.network), before)


@pytest.mark.parametrize(("identity", "setting", "lends"), [
    ("auto", "task", True),
    ("auto", "class", False),
    ("given", "class", True),
    ("present", "task", False),
])  # fmt: skip
def test_who_knows_the_task(identity, setting, lends):
    hyper = hypernet(identity=identity)
    made = trainer("bptt", task_stream(setting), [hyper], epochs=1)
    made.train_task(0)
    made.train_task(1)
    before = flat(made.network).clone()
    hyper.before_evaluation(made.rule, 0)
    assert torch.equal(flat(made.network), before) != lends


@pytest.mark.parametrize("optimiser", ["adam", "sgd"])
def test_the_trainers_optimiser_leaves_generated_weights_alone(optimiser):
    hyper = hypernet()
    settings = {"optimiser": optimiser, "weight_decay": 0.1}
    made = trainer("bptt", task_stream("task"), [hyper], epochs=2, settings=settings)
    made.train_task(0)
    assert not made.optimizer.state
    assert torch.equal(flat(made.network), torch.cat([value.flatten() for value in hyper.weights(0)]))
    held = hyper.live_memory(0).other
    # Theta, two moments, one embedding, W_0; Theta* is empty in the first task.
    expected = 3 * hyper.generator.size + 3 * 8 + flat(made.network).numel()
    assert held == 4 * expected == hyper.memory(0, 4 * flat(made.network).numel(), 1).other


@pytest.mark.parametrize("update", ["sequence", "step"])
def test_local_rules_work_within_a_sequence_too(update):
    hyper = hypernet()
    made = trainer("osttp", task_stream("task"), [hyper], epochs=1, settings={"update": update})
    before = flat(made.network).clone()
    made.train_task(0)
    assert hyper.updates == (3 if update == "sequence" else 15)
    assert not torch.equal(flat(made.network), before)


def test_company_is_refused():
    made = trainer("bptt", task_stream("task"), [hypernet(), EWC(EWC.Config())])
    with pytest.raises(PluginError, match="undo what EWC does"):
        made.train_task(0)


def test_an_interrupted_run_resumes_bit_for_bit():
    subject = Subject.find("bptt+hypernet", Registry.discover())
    assert whole_runs.resume(subject)


def test_state_survives_a_round_trip():
    hyper = hypernet(old_tasks=1)
    made = trainer("bptt", task_stream("task", tasks=3), [hyper], epochs=1)
    made.train_task(0)
    made.train_task(1)
    state = {name: value.clone() for name, value in hyper.state_dict().items()}
    other = hypernet(old_tasks=1)
    other.load_state_dict(state, [])
    second = copy.deepcopy(made.network)
    for one, net in ((hyper, made.network), (other, second)):
        bound_rule = rule("bptt", net)
        one.before_task(bound_rule, 2)
        bound_rule.train_step(batch(inputs=8))
        one.after_gradients(bound_rule, batch())
        one.after_update(bound_rule, batch())
    assert torch.equal(flat(made.network), flat(second))
    assert hyper.state_dict().keys() == other.state_dict().keys()
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in hyper.state_dict().items())
