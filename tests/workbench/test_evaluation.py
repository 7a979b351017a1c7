"""What is evaluated: tasks asked for, prediction of every step, hooks of modifiers around it."""

import math

import numpy as np
import pytest
import torch
from fixtures.small import task_stream, trainer

from workbench.plugin import Modifier
from workbench.tasks import DatasetInfo, SequencePool, Task, TaskStream


def prediction_stream(samples=12, steps=6, channels=8, seed=0):
    """Return one task: predict the next step of a rotating pattern, sequences of several lengths."""
    generator = np.random.default_rng(seed)
    start = generator.integers(channels, size=samples)
    where = (start[:, None] + np.arange(steps + 1)) % channels
    rolls = np.eye(channels, dtype=np.uint8)[where]
    scored = np.arange(steps) < generator.integers(2, steps + 1, size=samples)[:, None]
    pool = SequencePool(rolls[:, :-1], rolls[:, 1:], scored)
    part = np.arange(samples)
    task = Task("rotation", tuple(range(channels)), part[:8], part[8:10], part[10:])
    names = tuple(f"note {note}" for note in range(channels))
    return TaskStream(DatasetInfo("rotation", True, "0"), "domain", pool, pool, (task,), names)


@pytest.mark.parametrize(("which", "rows"), [("all", [4, 4, 4]), ("seen", [1, 2, 3]), ("current", [1, 1, 1])])
def test_tasks_tested_after_each(which, rows):
    made = trainer("bptt", stream=task_stream(tasks=4, samples=4), evaluate=which, epochs=1)
    assert not any(math.isnan(a) for a in made.evaluate_tasks().accuracies)
    for task, tested in enumerate(rows):
        found = made.evaluate_tasks(task)
        known = [j for j, accuracy in enumerate(found.accuracies) if not math.isnan(accuracy)]
        assert len(known) == tested
        assert task in known
        assert [j for j, loss in enumerate(found.losses) if not math.isnan(loss)] == known


@pytest.mark.parametrize("rule", ["bptt", "sltt", "ottt", "ostl", "eprop", "osttp"])
def test_every_rule_learns_to_predict(rule):
    settings = {"lr": 0.02} | ({"hidden_lr": 0.001} if rule == "osttp" else {})
    made = trainer(rule, stream=prediction_stream(), epochs=120, settings=settings)
    before = made.evaluate_tasks()
    assert before.losses[0] > 3.0
    made.train_task(0)
    after = made.evaluate_tasks(0)
    assert after.losses[0] < 0.75 * before.losses[0]
    assert 0.0 <= after.accuracies[0] <= 1.0
    assert made.validation_metrics()["validation_loss"] < before.losses[0]


class Lender(Modifier):
    """Lends the network zero weights for evaluation, and notes what it is called for."""

    def __init__(self):
        super().__init__(None)
        self.calls = []

    def before_batch(self, rule, batch):
        self.calls.append("batch")

    def before_evaluation(self, rule, task):
        self.calls.append(("before", task))
        self.kept = rule.network.readout.synapse.weight.detach().clone()
        with torch.no_grad():
            rule.network.readout.synapse.weight.zero_()

    def after_evaluation(self, rule, task):
        self.calls.append(("after", task))
        with torch.no_grad():
            rule.network.readout.synapse.weight.copy_(self.kept)


def test_modifiers_hear_of_batches_and_of_evaluations_by_task():
    lender = Lender()
    made = trainer("bptt", stream=task_stream(tasks=2, samples=4), modifiers=[lender], epochs=1, batch_size=4)
    made.train_task(0)
    assert [call for call in lender.calls if call == "batch"] == ["batch", "batch"]
    assert lender.calls[-2:] == [("before", 0), ("after", 0)]
    lender.calls.clear()
    found = made.evaluate_tasks(0)
    assert lender.calls == [("before", 0), ("after", 0), ("before", 1), ("after", 1)]
    # All scores are equal, so that the first class wins everywhere.
    assert found.accuracies == [0.5, 0.0]
    assert found.losses[0] == pytest.approx(math.log(4))
    assert made.network.readout.synapse.weight.abs().max() > 0


def test_the_rule_gets_the_optimiser():
    made = trainer("osttp")
    assert made.rule.context.optimiser is made.optimizer
