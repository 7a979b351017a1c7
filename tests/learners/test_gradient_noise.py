"""Gradient noise: its law, its annealing, nothing else touched, bit-exact resume."""

import pytest
import torch
from fixtures.small import BATCH, CLASSES, RULES, batch, gradients, network, rule, task_stream, trainer
from hypothesis import given
from hypothesis import strategies as some

from learners.gradient_noise import GradientNoise
from workbench.plugin import SequenceBatch


def modifier(**settings):
    return GradientNoise(GradientNoise.Config(**settings))


def noise_of(noisy, made, one):
    """Return what the modifier adds to each gradient of one batch."""
    made.train_step(one)
    before = {name: p.grad.clone() for name, p in made.network.named_parameters() if p.grad is not None}
    noisy.after_gradients(made, one)
    return {name: value - before[name] for name, value in gradients(made.network).items()}


@given(some.floats(0, 10), some.floats(0, 3), some.integers(0, 10**6))
def test_variance_is_the_formula(eta, gamma, update):
    assert modifier(eta=eta, gamma=gamma).deviation(update) ** 2 == pytest.approx(eta / (1 + update) ** gamma)


def test_noise_has_the_variance_of_the_formula_at_every_update():
    net = network(hidden=(200,), inputs=100)
    made, noisy = rule("bptt", net), modifier(eta=0.5, gamma=0.7)
    noisy.before_task(made, 0)
    one = batch(inputs=100)
    seen = []
    for update in range(3):
        noise = noise_of(noisy, made, one)["hidden.0.synapse.weight"]
        seen.append(noise)
        assert float(noise.var()) == pytest.approx(0.5 / (1 + update) ** 0.7, rel=0.03)
        assert abs(float(noise.mean())) < 0.03
    assert abs(float(torch.corrcoef(torch.stack([seen[0].flatten(), seen[1].flatten()]))[0, 1])) < 0.03


def test_no_noise_is_the_rule_alone():
    net = network()
    made, noisy = rule("bptt", net), modifier(eta=0.0)
    noisy.before_task(made, 0)
    assert all((noise == 0).all() for noise in noise_of(noisy, made, batch()).values())


def test_classes_that_do_not_compete_get_no_noise():
    made, noisy = rule("bptt", network(bias=True)), modifier()
    noisy.before_task(made, 0)
    mask = (torch.arange(CLASSES) < 2).expand(BATCH, -1)
    noise = noise_of(noisy, made, SequenceBatch(batch(classes=2).inputs, batch(classes=2).targets, mask))
    for name in ("readout.synapse.weight", "readout.synapse.bias"):
        assert (noise[name][2:] == 0).all()
        assert (noise[name][:2] != 0).all()
    assert (noise["hidden.0.synapse.weight"] != 0).all()


@pytest.mark.parametrize(("restart", "again"), [("task", True), ("never", False)])
def test_counting_starts_again_with_a_task_or_never(restart, again):
    made, noisy = rule("bptt", network()), modifier(restart=restart)
    noisy.before_task(made, 0)
    first = noisy.metrics()["gradient_noise/deviation"]
    for _ in range(4):
        noise_of(noisy, made, batch())
    faded = noisy.metrics()["gradient_noise/deviation"]
    assert faded < first
    noisy.before_task(made, 1)
    assert noisy.metrics()["gradient_noise/deviation"] == (first if again else faded)


def test_noise_follows_the_seed_and_the_count():
    def draws(seed):
        noisy, made = modifier(), rule("bptt", network(), seed=seed)
        noisy.before_task(made, 0)
        return [noise_of(noisy, made, batch())["readout.synapse.weight"] for _ in range(2)]

    (one, two), (same, _), (other, _) = draws(0), draws(0), draws(1)
    assert torch.equal(one, same)
    assert not torch.allclose(one, other)
    assert not torch.allclose(one, two)


def test_state_round_trip_goes_on_with_the_same_noise():
    made, noisy = rule("bptt", network()), modifier()
    noisy.before_task(made, 0)
    for task in range(2):
        noisy.before_task(made, task)
        for _ in range(3):
            noise_of(noisy, made, batch())
    restored = modifier()
    restored.load_state_dict(noisy.state_dict(), [])
    expected, found = noise_of(noisy, made, batch()), noise_of(restored, made, batch())
    assert all(torch.equal(expected[name], found[name]) for name in expected)


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_rule_goes_on_learning(name):
    noisy = modifier(eta=1e-4)
    train = trainer(name, task_stream(), [noisy])
    for task in range(2):
        train.train_task(task)
    assert noisy._drawn == 2 * 2 * 3  # tasks, epochs, batches of 8 of 20 samples
    assert all(torch.isfinite(p).all() for p in train.network.parameters())
