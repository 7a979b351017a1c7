"""Noise of single reads comes from the chip's named streams: repeatable, resumable, and nobody else's numbers."""

import copy

import pytest
import torch
from fixtures import small
from fixtures.arrays import PlainArray

from learners.dormancy import Dormancy
from workbench.diagnose import GradientDiagnosis
from workbench.hardware.chip import Chip
from workbench.hardware.settings import CrossbarConfig
from workbench.optimisers import build_optimiser
from workbench.randomness import RandomStreams

SETTINGS = CrossbarConfig(rows=5, columns=3, adc_bits=8, output_noise=0.05, t_read=10.0)


class Flickering(PlainArray):
    """Each read adds noise of its own, besides the one that is held."""

    def read_deviation(self):
        return torch.full_like(self.weights, 0.02)


def on_chip(net, streams):
    return Chip(net, streams, SETTINGS, lambda w, g: Flickering(w, g, SETTINGS, noise=0.01))


class Learner:
    """A rule on a noisy chip, which takes one batch after the other."""

    def __init__(self, rule, **network):
        self.net = small.network(**network)
        self.chip = on_chip(self.net, RandomStreams(0))
        self.rule = small.rule(rule, self.net, apply=self.apply)
        self.optimiser = build_optimiser(self.rule.config, self.rule.parameter_groups())

    def apply(self):
        self.optimiser.step()
        self.chip.update()
        self.optimiser.zero_grad()

    def learn(self, seed):
        batch = small.batch(seed=seed)
        self.chip.before_batch(batch.size)
        result = self.rule.train_step(batch)
        self.apply()
        return result.loss.detach()

    def state(self):
        return {name: value.clone() for name, value in self.net.state_dict().items()}


def differing(one, other):
    return [name for name, value in one.items() if not torch.equal(value, other[name])]


RULES = ["bptt", "sltt", "osttp"]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("rule", RULES)
def test_a_test_between_two_batches_leaves_training_as_it_is(rule, recurrent):
    tested, alone = (Learner(rule, recurrent=recurrent) for _ in range(2))
    batch = small.batch(seed=9)
    for learner in (tested, alone):
        learner.chip.begin("task-0/epoch-0")
        learner.learn(1)
    before = tested.state()
    with tested.chip.tested("one"), torch.no_grad():
        one = tested.net.run(batch.inputs).outputs
        more = tested.net.run(batch.inputs).outputs
    assert not differing(before, tested.state())
    with tested.chip.tested("two"), torch.no_grad():
        two = tested.net.run(batch.inputs).outputs
    with tested.chip.tested("one"), torch.no_grad():
        again = tested.net.run(batch.inputs).outputs
    assert torch.equal(one, again)
    assert not torch.equal(one, more), "each read draws anew"
    assert not torch.equal(one, two)
    assert torch.equal(tested.learn(2), alone.learn(2))
    assert not differing(tested.state(), alone.state())


@pytest.mark.parametrize("rule", RULES)
def test_an_epoch_begun_anew_from_a_saved_state_repeats_to_the_last_bit(rule):
    whole = Learner(rule, recurrent=True)
    whole.chip.begin("task-0/epoch-0")
    whole.learn(1)
    parts = (whole.net, whole.optimiser, whole.chip, whole.rule)
    network, optimiser, chip, own = (copy.deepcopy(part.state_dict()) for part in parts)
    resumed = Learner(rule, recurrent=True)
    resumed.chip.begin("something-else")
    resumed.learn(7)
    resumed.net.load_state_dict(network)
    resumed.optimiser.load_state_dict(optimiser)
    resumed.rule.load_state_dict(own)
    resumed.chip.load_state_dict(chip)
    losses = []
    for learner in (whole, resumed):
        learner.chip.begin("task-0/epoch-1")
        losses.append([learner.learn(2), learner.learn(3)])
    assert losses[0] == losses[1]
    assert not differing(whole.state(), resumed.state())


def test_noise_of_reads_is_new_from_batch_to_batch_and_from_epoch_to_epoch():
    def first(name):
        learner = Learner("osttp")
        learner.chip.begin(name)
        return learner.learn(1)

    assert first("task-0/epoch-0") == first("task-0/epoch-0")
    assert first("task-0/epoch-0") != first("task-0/epoch-1")


def trained(learner="osttp", modifiers=(), **options):
    made = small.trainer(learner, modifiers=modifiers, epochs=1, chip=on_chip, **options)
    made.train_task(0)
    return {name: value.clone() for name, value in made.network.state_dict().items()}


def test_runs_repeat_and_the_noise_is_of_the_seed():
    assert not differing(trained(), trained())
    assert differing(trained(), trained(seed=1))


def test_a_diagnosis_of_gradients_draws_none_of_trainings_noise():
    assert not differing(trained(diagnosis=GradientDiagnosis(1)), trained())


def test_measuring_the_support_of_surrogates_draws_none_of_trainings_noise():
    measured = trained(modifiers=[Dormancy(Dormancy.Config(score="support", reset="none"))])
    assert not differing(measured, trained())
