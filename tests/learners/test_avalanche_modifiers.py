"""Avalanche's plug-ins as modifiers: each does what its equation says, local rules included, and resumes exactly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.small import gradients, task_stream, trainer

from learners.agem import AGEM
from learners.avalanche_modifier import unheard
from learners.cwr_star import CWRStar
from learners.ewc import EWC
from learners.gdumb import GDumb
from learners.gem import GEM
from learners.lwf import LwF
from learners.mas import MAS
from learners.rwalk import RWalk
from workbench.checks import whole_runs
from workbench.checks.subject import Subject
from workbench.errors import PluginError
from workbench.plugin import Modifier
from workbench.registry import Registry
from workbench.streams import sample_indices

BOTH = pytest.mark.parametrize("learner", ["bptt", "osttp"])


def new(kind, **settings):
    return kind(kind.Config(**settings))


def spy(**hooks):
    """Return an Avalanche plug-in that calls the given functions with the strategy."""
    from avalanche.training.plugins import SupervisedPlugin

    methods = {name: lambda self, strategy, _h=hook, **kwargs: _h(strategy) for name, hook in hooks.items()}
    return type("Spy", (SupervisedPlugin,), methods)()


def flat(made):
    return torch.cat([p.detach().flatten().clone() for p in made.network.parameters()])


def flat_gradient(made):
    return torch.cat([p.grad.flatten().clone() for p in made.network.parameters()])


# What they have in common.


@pytest.mark.parametrize("name", ["mas", "rwalk", "lwf", "agem", "gem", "gdumb", "cwr-star", "osttp+agem"])
def test_an_interrupted_run_resumes_bit_for_bit_and_memory_is_as_told(name):
    subject = Subject.find(name, Registry.discover())
    assert whole_runs.resume(subject)
    assert whole_runs.memory_formula(subject)


@pytest.mark.parametrize("kind", [EWC, RWalk, LwF, GDumb, CWRStar])
def test_prediction_is_refused_where_classes_are_needed(kind):
    stream = task_stream()

    def predicting(pool):
        return replace(pool, targets=np.zeros((*pool.inputs.shape[:2], 4), dtype=np.uint8))

    pools = {name: predicting(getattr(stream, name)) for name in ("training_pool", "test_pool")}
    with pytest.raises(PluginError, match="a target for every step"):
        trainer("bptt", replace(stream, **pools), [new(kind)]).train_task(0)


def test_unheard_passes_reach_no_listener_and_listeners_come_back():
    heard = []
    made = trainer("bptt")
    layer = made.network.hidden[0]
    layer.listeners.append(lambda layer, activity: heard.append(activity))
    with unheard(made.network):
        made.network(torch.ones(3, 2, 8))
    with pytest.raises(ValueError, match="fault"), unheard(made.network):
        raise ValueError("fault")
    assert heard == []
    made.network(torch.ones(3, 2, 8))
    assert len(heard) == 1


@pytest.mark.parametrize("kind", [MAS, RWalk, LwF, AGEM, GEM, EWC])
def test_their_own_passes_are_not_taken_for_training(kind):
    """A modifier that listens to the layers hears each batch once and nothing else but evaluations."""
    heard = []
    made = trainer("bptt", task_stream("task"), [new(kind)], epochs=1)
    made.network.hidden[0].listeners.append(lambda layer, activity: heard.append(activity.inputs.shape[1]))
    made.train_task(0)
    made.train_task(1)
    # 20 sequences in batches of 8, and 10 to validate.
    assert heard == [8, 8, 4, 10] * 2


# Penalties on the weights.


@BOTH
def test_mas_adds_the_slope_of_its_penalty(learner):
    found = {}
    for strength in (0.0, 2.0):
        mas, seen = new(MAS, strength=strength), []
        made = trainer(
            learner,
            modifiers=[mas],
            epochs=1,
            plugins=[spy(before_update=lambda s, k=seen: k.append(flat_gradient(s)))],
        )
        made.train_task(0)
        with torch.no_grad():
            for parameter in made.network.parameters():
                parameter.add_(0.01)
        plugin = mas.avalanche_plugin()
        importance = torch.cat([entry.data.flatten().clone() for entry in plugin.importance.values()])
        seen.clear()
        made.train_task(1)
        found[strength] = (seen[0], importance)
    (plain, importance), (held, _) = found[0.0], found[2.0]
    assert importance.max() > 0
    torch.testing.assert_close(held - plain, 2.0 * 2 * importance * 0.01, rtol=1e-2, atol=1e-5)


def test_mas_takes_a_loss_of_zero_for_a_loss():
    mas = new(MAS)
    perfect = spy(before_backward=lambda strategy: strategy.loss.data.zero_())
    made = trainer("bptt", plugins=[perfect, mas.avalanche_plugin()], epochs=1)
    made.train_task(0)
    made.train_task(1)
    assert torch.isfinite(flat(made)).all()


def test_rwalk_survives_tasks_of_fewer_batches_than_a_score_takes():
    from avalanche.training.plugins import RWalkPlugin

    ends = []
    for plugins, modifiers in (([RWalkPlugin()], []), ([], [new(RWalk, every=10)])):
        made = trainer("bptt", modifiers=modifiers, plugins=plugins, epochs=2)
        made.train_task(0)
        made.train_task(1)
        ends.append(flat(made))
    assert ends[0].isnan().any(), "Avalanche has been mended; take the correction out"
    assert torch.isfinite(ends[1]).all()


@BOTH
def test_rwalk_holds_the_weights(learner):
    moves = []
    for strength in (0.0, 1e3):
        made = trainer(learner, modifiers=[new(RWalk, strength=strength, every=2)], epochs=4)
        made.train_task(0)
        before = flat(made)
        made.train_task(1)
        moves.append((flat(made) - before).norm())
    assert moves[1] < 0.7 * moves[0]


# Distillation.


def test_lwf_adds_the_slope_of_its_distillation():
    lwf, seen = new(LwF, strength=3.0, temperature=2.0), []

    def look(strategy):
        teacher = lwf.avalanche_plugin().lwf.prev_model
        given = (strategy.mb_x, teacher, flat_gradient(strategy), strategy._sequence_batch)
        seen.append(given)

    made = trainer("bptt", modifiers=[lwf], epochs=1, plugins=[spy(before_update=look)])
    made.train_task(0)
    before = flat(made)
    teacher = lwf.avalanche_plugin().lwf.prev_model
    assert torch.equal(torch.cat([p.flatten() for p in teacher.parameters()]), before)
    with torch.no_grad():
        for parameter in made.network.parameters():
            parameter.add_(0.05)
    second = {name: p.detach().clone() for name, p in made.network.named_parameters()}
    seen.clear()
    made.train_task(1)
    assert torch.equal(torch.cat([p.flatten() for p in seen[0][1].parameters()]), before)
    inputs, teacher, found, batch = seen[0]
    made.network.load_state_dict(second, strict=False)
    made.network.zero_grad()
    old = torch.softmax(teacher(inputs)[:, :2] / 2.0, 1)
    new_ones = torch.log_softmax(made.model(inputs)[:, :2] / 2.0, 1)
    distance = torch.nn.functional.kl_div(new_ones, old, reduction="batchmean")
    (made.rule.forward(batch).loss + 3.0 * distance).backward()
    torch.testing.assert_close(found, flat_gradient(made), rtol=1e-4, atol=1e-6)


def test_lwf_is_refused_before_a_local_rule_has_learned_anything():
    made = trainer("osttp", modifiers=[new(LwF)])
    with pytest.raises(PluginError, match="cannot carry that loss back"):
        made.train_task(0)


# Gradient episodic memory.


def conflicts(kind, learner="bptt", **options):
    """Train the second task; return the modifier and, for its batches, gradients before and after projection."""
    modifier = new(kind, **options)
    pairs = []

    class Before(Modifier):
        def after_gradients(self, rule, batch):
            pairs.append([torch.cat([p.grad.flatten().clone() for p in rule.network.parameters()])])

    def after(strategy):
        plugin = modifier.avalanche_plugin()
        rows = plugin.G if kind is GEM else plugin.reference_gradients[None]
        pairs[-1] += [flat_gradient(strategy), rows.clone()]

    made = trainer(
        learner, task_stream(tasks=3), [modifier, Before(Before.Config())], plugins=[spy(before_update=after)]
    )
    for task in range(3):
        pairs.clear()
        made.train_task(task)
    return modifier, pairs


@BOTH
def test_agem_projects_what_would_raise_the_loss_on_stored_samples(learner):
    _, pairs = conflicts(AGEM, learner, size=6, sample=8)
    projected = 0
    for plain, found, [reference] in pairs:
        along = plain @ reference
        expected = plain if along >= 0 else plain - along / (reference @ reference) * reference
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)
        projected += bool(along < 0)
    assert projected > 0


@BOTH
def test_gem_projects_what_would_raise_the_loss_on_any_past_task(learner):
    _, pairs = conflicts(GEM, learner, size=6, margin=0.0)
    projected = 0
    for plain, found, rows in pairs:
        assert len(rows) == 2
        if bool((rows @ plain < 0).any()):
            projected += 1
            # The ridge on the dual lets a constraint give way by 1e-3 times its multiplier.
            weights = torch.linalg.lstsq(rows.T, (found - plain)[:, None]).solution
            assert (rows @ found >= -2e-3 * weights.abs().max() - 1e-5).all()
        else:
            assert torch.equal(found, plain)
    assert projected > 0


@BOTH
def test_memories_hold_samples_of_every_past_task_and_use_the_rules_own_gradient(learner):
    stream = task_stream(tasks=3)
    agem = new(AGEM, size=6)
    made = trainer(learner, stream, [agem])
    for task in range(2):
        made.train_task(task)
    memory = agem.stored
    assert [len(places) for places, _ in memory.parts] == [6, 6]
    for number, (places, _) in enumerate(memory.parts):
        assert set(places.tolist()) <= set(stream.tasks[number].train.tolist())
        assert len(set(places.tolist())) == 6
    places, labels = memory.parts[0]
    found = memory.gradient(made, places, labels)
    assert all(p.grad is None for p in made.network.parameters())
    inputs = torch.from_numpy(stream.training_pool.inputs[places]).transpose(0, 1)
    from workbench.plugin import SequenceBatch

    made.rule.train_step(SequenceBatch(inputs, torch.from_numpy(stream.training_pool.targets[places])))
    own = gradients(made.network)
    torch.testing.assert_close(
        found, torch.cat([own[name].flatten() for name, _ in made.network.named_parameters()])
    )
    drawn, _ = memory.draw(4)
    assert len(drawn) == 4
    assert all(len(set(drawn.tolist()) & set(part.tolist())) == 2 for part, _ in memory.parts)


@pytest.mark.parametrize("kind", [AGEM, GEM])
def test_rules_that_update_within_a_sequence_are_refused_at_once(kind):
    made = trainer("osttp", modifiers=[new(kind)], settings={"update": "step"})
    with pytest.raises(PluginError, match=r"learner\.update=sequence"):
        made.train_task(0)


# GDumb.


@BOTH
def test_gdumb_learns_anew_from_a_buffer_balanced_over_classes(learner):
    stream = task_stream()
    gdumb = new(GDumb, size=12)
    first, shown = [], []
    watch = spy(
        before_training_epoch=lambda strategy: first.append(flat(strategy)),
        before_forward=lambda strategy: shown.extend(strategy.mb_y.tolist()),
    )
    made = trainer(learner, stream, [gdumb], epochs=1, plugins=[watch])
    network, untrained = made.network, flat(made)
    for task, share in ((0, 6), (1, 3)):
        shown.clear()
        made.train_task(task)
        assert made.network is network is made.rule.network is made.model.network
        assert torch.equal(first[-1], untrained)
        assert not torch.equal(flat(made), untrained)
        classes = range(2 * (task + 1))
        assert sorted(shown) == sorted([*classes] * share)
    policy = gdumb.avalanche_plugin().storage_policy
    for number, task in enumerate(stream.tasks):
        for label in task.classes:
            stored = sample_indices(policy.buffer_groups[label].buffer)
            assert set(stored.tolist()) <= set(stream.tasks[number].train.tolist())


# CWR*.


@pytest.mark.parametrize(
    ("learner", "settings"), [("bptt", {}), ("osttp", {"weight_decay": 0.1}), ("osttp", {"update": "step"})]
)
def test_cwr_star_freezes_below_the_readout_and_keeps_its_rows(learner, settings):
    cwr = new(CWRStar)
    made = trainer(learner, modifiers=[cwr], settings=settings)
    hidden, readout = made.network.hidden[0].synapse.weight, made.network.readout.synapse.weight
    start = hidden.detach().clone()
    made.train_task(0)
    after_first, rows = hidden.detach().clone(), readout.detach().clone()
    assert not torch.equal(after_first, start)
    # Consolidated rows stand as learned less the mean over both, which brings their own mean to zero.
    assert abs(float(rows[:2].mean())) < 1e-6
    made.train_task(1)
    assert torch.equal(hidden, after_first)
    assert torch.equal(readout[:2], rows[:2])
    assert not torch.equal(readout[2:], rows[2:])


def test_cwr_star_can_let_the_layers_below_learn_on():
    made = trainer("bptt", modifiers=[new(CWRStar, freeze=False)])
    made.train_task(0)
    before = made.network.hidden[0].synapse.weight.detach().clone()
    made.train_task(1)
    assert not torch.equal(made.network.hidden[0].synapse.weight, before)
