"""What is evaluated: tasks asked for, prediction of every step, dormant units, hooks of modifiers around it."""

import math

import numpy as np
import pytest
import torch
from fixtures.small import task_stream, trainer

from workbench.backbones.network import ForwardPass
from workbench.evaluation import Evaluation, Tally
from workbench.plugin import Modifier, SequenceBatch
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


def dead_at_first(made, dead):
    """Cut the first `dead` hidden units of a trainer's network off their input."""
    with torch.no_grad():
        made.network.hidden[0].synapse.weight[:dead] = 0.0


@pytest.mark.parametrize("which", ["all", "seen", "current"])
def test_dormant_units_are_those_of_all_tested_sequences(which):
    stream = task_stream(tasks=3, samples=40)
    made = trainer("bptt", stream=stream, evaluate=which)
    dead_at_first(made, 5)
    found = made.evaluate_tasks(1)
    tested = {"all": [0, 1, 2], "seen": [0, 1], "current": [1]}[which]
    rows = np.concatenate([stream.tasks[task].test for task in tested])
    inputs = torch.from_numpy(stream.test_pool.inputs[rows]).transpose(0, 1).contiguous()
    with torch.no_grad():
        spikes = made.network.run(inputs).spikes[0]
    counts = [sum(float(value) for value in spikes[:, :, unit].flatten()) for unit in range(16)]
    expected = sum(count <= 0.025 * sum(counts) / 16 for count in counts) / 16
    assert 5 / 16 <= expected < 1
    assert found.dormant == [expected]
    assert found.spike_rates == pytest.approx([sum(counts) / spikes.numel()])


def test_a_silent_layer_is_all_dormant_and_nothing_tested_says_nothing():
    made = trainer("bptt")
    dead_at_first(made, 16)
    assert made.evaluate_tasks().dormant == [1.0]
    assert Evaluation.empty(2).dormant == []


def test_negative_outputs_are_activity_and_a_complex_unit_counts_once():
    tally = Tally([3])
    # Two numbers a unit, in blocks: unit 0 is silent in both, unit 1 in one of them, unit 2 in none.
    outputs = torch.tensor([[[0.0, 0.0, -3.0, 0.0, 2.0, 3.0]]]).expand(4, 2, 6)
    passed = ForwardPass(torch.zeros(4, 2, 2), [], [outputs])
    for _ in range(2):
        tally.add(passed, SequenceBatch(torch.zeros(4, 2, 1), torch.tensor([0, 1])))
    assert tally.activity[0].tolist() == [0.0, 16.0, 48.0]
    found = Evaluation.empty(1)
    found.record(0, tally)
    assert found.dormant == [1 / 3]
