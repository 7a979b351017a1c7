"""What a run says it cost, against counts taken by standing beside it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from fixtures.small import task_stream, trainer

from learners.replay import Replay
from workbench.config import resolve
from workbench.cost.activity import data_activity, mean_activity
from workbench.cost.counts import Signals
from workbench.cost.learning import (
    LENGTHS,
    learning_costs,
    locality,
    memory_at_batch_1,
    memory_by_steps,
)
from workbench.cost.prices import load_table
from workbench.cost.sample import moments, optimiser_macs
from workbench.cost.writes import TrainingWork
from workbench.experiment import build_experiment, plan_experiment, run_experiment
from workbench.plugin import LearnerConfig, Rule, RuleContext
from workbench.tasks import DatasetInfo, SequencePool, Task, TaskStream

SMALL = (
    "scenario=split-digits",
    "scenario.tasks=2",
    "backbone.hidden=[6]",
    "train.epochs=1",
    "device=cpu",
    "threads=1",
    "track.mlflow=false",
)


def settings(*overrides):
    return resolve([*SMALL, *overrides])


def watch(made):
    """Count every call of the optimiser that changes a weight, and the weights it changes, by comparing them."""
    step, seen = made.optimizer.step, {"updates": 0, "writes": 0}

    def watched(*arguments, **named):
        before = [p.detach().clone() for p in made.network.parameters()]
        result = step(*arguments, **named)
        pairs = list(zip(made.network.parameters(), before, strict=True))
        changed = [p.numel() for p, old in pairs if not torch.equal(p, old)]
        seen["updates"] += bool(changed)
        seen["writes"] += sum(changed)
        return result

    made.optimizer.step = watched
    return seen


@pytest.mark.parametrize(
    ("learner", "given"),
    [("bptt", {}), ("osttp", {}), ("osttp", {"update": "step"}), ("eprop", {"update": "step"})],
)
def test_updates_and_writes_are_those_of_the_optimiser(learner, given):
    # A constant rate: a cosine would end in updates too small to see.
    made = trainer(learner, settings={"schedule": "constant", **given})
    seen = watch(made)
    for task in range(2):
        made.train_task(task)
    weights = sum(p.numel() for p in made.network.parameters())
    samples = sum(len(task.train) for task in made.stream.tasks) * 2
    batches = sum(-(-len(task.train) // 8) for task in made.stream.tasks) * 2
    assert (made.work.updates, made.work.writes) == (seen["updates"], seen["writes"])
    assert made.work.updates == batches * (made.stream.steps if given else 1)
    assert made.work.writes == made.work.updates * weights
    assert (made.work.samples, made.work.sequences, made.work.batches) == (samples, samples, batches)
    assert made.work.steps == samples * made.stream.steps
    found = made.work.summary(weights)
    assert found["per_parameter"] == made.work.updates
    assert found["per_sample"] == made.work.writes / samples


def test_stored_sequences_that_join_are_shown_and_no_new_samples():
    shown = []
    made = trainer("bptt", modifiers=[Replay(Replay.Config(size=8))])
    forward = made.rule.forward
    made.rule.forward = lambda batch: (shown.append(batch.size), forward(batch))[1]
    for task in range(2):
        made.train_task(task)
    assert made.work.sequences == sum(shown)
    assert made.work.samples == sum(len(task.train) for task in made.stream.tasks) * 2
    assert made.work.sequences > made.work.samples


def test_what_is_not_whole_is_not_told():
    work = TrainingWork(whole=False)
    work.shown(8, 0, 5)
    assert work.summary(10) is None
    assert TrainingWork().summary(10) is None
    counted = TrainingWork(1, 2, 3, 4, 5, 6)
    assert TrainingWork(**counted.state()) == counted


def test_activity_of_data_is_counted_number_by_number_up_to_the_last_scored_step():
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 3, (6, 4, 5)).astype(np.uint8)
    targets = generator.integers(0, 2, (6, 4, 3)).astype(np.uint8)
    scored = np.zeros((6, 4), dtype=np.bool_)
    lengths = [4, 2, 3, 1, 4, 2]
    for row, length in enumerate(lengths):
        scored[row, max(0, length - 2) : length] = True
    pool = SequencePool(inputs, targets, scored)
    order = np.array([5, 0, 3, 1])
    task = Task("all", (0,), order, order[:0], order)
    stream = TaskStream(DatasetInfo("x", False, "0"), "domain", pool, pool, (task,), ("a", "b", "c"))
    found = data_activity(stream)
    read = [inputs[row, t, n] for row in order for t in range(lengths[row]) for n in range(5)]
    wanted = [targets[row, t, c] for row in order for t in range(4) if scored[row, t] for c in range(3)]
    steps = sum(lengths[row] for row in order)
    assert found.inputs == Signals(
        pytest.approx(sum(value == 1 for value in read) / steps),
        pytest.approx(sum(value > 1 for value in read) / steps),
    )
    assert found.targets == Signals(pytest.approx(sum(wanted) / 4), 0.0)
    assert found.steps == steps / 4


@pytest.mark.parametrize(
    ("numbers", "bits"),
    [
        (np.array([[[0, 0], [1, 0], [1, 2], [3, 1]]], dtype=np.uint8), (1 + 1 + 2 + 2) / 4),
        (np.array([[[0, 4], [255, 0], [0, 0], [7, 8]]], dtype=np.uint8), (3 + 8 + 1 + 4) / 4),
        (np.array([[[0.0, 1.0], [1.0, 1.0]]], dtype=np.float32), 1.0),
        (np.array([[[0.0, 0.5], [1.0, 1.0]]], dtype=np.float32), None),
    ],
)
def test_digits_of_inputs_are_those_of_the_largest_of_a_step(numbers, bits):
    pool, one = SequencePool(numbers, np.zeros(1, np.int64)), np.zeros(1, np.int64)
    task = Task("all", (0,), one, one[:0], one)
    stream = TaskStream(DatasetInfo("x", False, "0"), "domain", pool, pool, (task,), ("a",))
    assert data_activity(stream).input_bits == bits


def test_activity_of_many_sequences_comes_from_some_and_none_of_none():
    stream = task_stream(samples=400)
    found = data_activity(stream)
    rows = np.concatenate([task.train for task in stream.tasks])
    density = np.count_nonzero(stream.training_pool.inputs[rows]) / len(rows) / stream.steps
    assert found.inputs.ones == pytest.approx(density, rel=0.05)
    empty = [
        Task(task.name, task.classes, task.train[:0], task.validation, task.test) for task in stream.tasks
    ]
    nothing = TaskStream(
        stream.dataset, "class", stream.training_pool, stream.test_pool, tuple(empty), stream.class_names
    )
    assert data_activity(nothing) is None


def test_rates_are_averaged_over_evaluations_and_what_does_not_spike_counts_in_full():
    made = trainer("bptt")
    data = data_activity(made.stream)
    found = mean_activity(made.network, data, [[0.1], [0.3]], 10)
    assert found.hidden[0].ones == pytest.approx(0.2 * 16)
    assert found.earlier[0].ones == pytest.approx(0.2 * 16 * 0.9)
    assert mean_activity(made.network, data, [], 10) is None


@pytest.mark.parametrize(
    ("given", "macs", "kept"),
    [
        ({"optimiser": "sgd"}, 1, 0),
        ({"optimiser": "sgd", "momentum": 0.9, "weight_decay": 0.1}, 3, 1),
        ({}, 6, 2),
        ({"weight_decay": 0.1}, 7, 2),
    ],
)
def test_a_weights_update_by_kind_of_optimiser(given, macs, kept):
    assert optimiser_macs(LearnerConfig(**given)) == macs
    assert moments(LearnerConfig(**given)) == kept


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost") / "run"
    return run_experiment(settings("learner=osttp"), folder, progress=False), folder


def test_results_hold_the_formula_at_the_measured_activity(finished):
    results, folder = finished
    assert json.loads((folder / "results.json").read_text())["operations"] == results["operations"]
    experiment = build_experiment(settings("learner=osttp"), progress=False)
    weights = sum(p.numel() for p in experiment.network.parameters())
    steps, channels, classes, units = experiment.stream.steps, 64, 10, 6
    operations, writes = results["operations"], results["writes"]
    updates = sum(-(-count // results["config"]["train"]["batch_size"]) for count in results["samples"])
    assert writes["updates"] == updates
    assert writes["total"] == updates * weights
    rate = sum(rates[0] for rates in results["spike_rates"]) / len(results["spike_rates"])
    inputs = operations["activity"]["inputs"] * channels
    assert operations["activity"]["hidden"] == [pytest.approx(rate)]
    assert operations["parts"]["synapses"]["ac"] == pytest.approx(
        steps * (inputs * units + rate * units * classes), rel=1e-6
    )
    assert operations["parts"]["cells"]["mac"] == steps * (units + classes)
    # Eight decays for six units: a trace a synapse; one decay for the readout: a trace an input.
    assert operations["parts"]["traces"]["mac"] == steps * (units * channels + units)
    assert operations["parts"]["gradients"] == {
        "mac": steps * (units * channels + units * classes),
        "ac": 0.0,
    }
    assert operations["parts"]["errors"] == {"mac": steps * units, "ac": units}
    assert operations["parts"]["optimiser"]["mac"] == pytest.approx(6 * writes["per_sample"])
    parts = operations["parts"].values()
    assert operations["total"] == pytest.approx(sum(part["mac"] + part["ac"] for part in parts))
    assert operations["modifiers"] is None
    energy = results["energy"]
    mac, ac = (operations["forward"][kind] + operations["learning"][kind] for kind in ("mac", "ac"))
    assert energy["arithmetic"] == pytest.approx(1e-12 * (4.6 * mac + 0.9 * ac))
    assert energy["total"] == energy["digital"] == pytest.approx(energy["arithmetic"] + energy["words"])
    assert (energy["cells"], energy["periphery"], operations["reads"]) == (None, None, None)
    words = operations["words"]
    optimiser = {"reads": 3 * writes["per_sample"], "writes": 3 * writes["per_sample"], "held": 3 * weights}
    assert words["parts"]["optimiser"] == pytest.approx(optimiser)
    assert words["parts"]["traces"]["reads"] == steps * (units * channels + units)
    moved = sum(part["reads"] + part["writes"] for part in words["parts"].values())
    assert words["total"] == words["forward"] + words["learning"] == pytest.approx(moved)
    price = load_table("horowitz-45nm").word
    joules = [
        price.energy_pj(4 * part["held"]) * (part["reads"] + part["writes"])
        for part in words["parts"].values()
    ]
    assert energy["words"] == pytest.approx(1e-12 * sum(joules))
    assert "costs_error" not in results


def test_memory_at_other_lengths_is_the_formula(finished):
    results, _ = finished
    made = trainer("osttp")
    found = memory_by_steps(made.rule)
    assert found["steps"] == list(LENGTHS) == results["memory_by_steps"]["steps"]
    assert found["total"] == [made.rule.memory(steps, 1).total for steps in LENGTHS]
    flat = results["memory_by_steps"]["total"]
    assert flat[0] < flat[-1] == flat[-2]


def test_a_plan_tells_the_same_as_far_as_it_can_know(finished):
    results, _ = finished
    plan = plan_experiment(settings("learner=osttp"), progress=False)["a_training_sample"]
    told = results["operations"]
    assert plan["operations"]["learning"]["mac"] == pytest.approx(told["learning"]["mac"], rel=0.02)
    assert plan["operations"]["forward"]["mac"] == told["forward"]["mac"]
    assert plan["words"]["learning"] == pytest.approx(told["words"]["learning"], rel=0.02)
    assert plan["joules"]["table"] == "horowitz-45nm"
    assert plan["joules"]["learning"] == pytest.approx(results["energy"]["learning"], rel=0.02)
    assert set(plan["joules"]) == {"table", "forward", "learning"}
    assert "untrained" in plan["assumes"]


def test_a_rule_that_does_not_say_leaves_operations_unknown_and_writes_known():
    made = trainer("osttp")
    made.train_task(0)
    experiment = build_experiment(settings("learner=osttp"), progress=False)
    experiment.rule.network = experiment.network
    experiment.rule.memory = made.rule.memory
    experiment.rule.operations = lambda *_: None
    found = learning_costs(experiment, made.work, [[0.1]])
    assert (found["operations"], found["energy"]) == (None, None)
    assert found["writes"]["updates"] == made.work.updates


def test_a_formula_that_fails_costs_no_results():
    experiment = build_experiment(settings("learner=osttp"), progress=False)

    def broken(steps, batch):
        raise RuntimeError("no such length")

    experiment.rule.memory = broken
    found = learning_costs(experiment, TrainingWork(), [])
    assert found["operations"] is None
    assert found["costs_error"] == "RuntimeError: no such length"


def set_up(*overrides):
    made = build_experiment(settings(*overrides))
    made.rule.setup(made.network, RuleContext(made.streams, made.stream.classes, update=lambda: None))
    return made


def test_memory_of_one_sequence_at_a_time_with_a_store():
    made = set_up("learner=osttp+replay", "learner.replay.size=7")
    found, alone = memory_at_batch_1(made), made.rule.memory(made.stream.steps, 1)
    stored = made.modifiers[0].memory(made.sample_bytes, alone.parameters, len(made.stream.tasks))
    assert found["replay"] == stored.replay > 0
    assert found["total"] == alone.total + stored.total == sum(found.values()) - found["total"]


def test_locality_is_the_rules_own_as_plain_data():
    made = set_up("learner=bptt")
    found = locality(made.rule)
    assert found["future"] is True
    assert found["why"] == dict(made.rule.locality().why)
    assert locality(Rule(made.rule.config)) is None
