"""The trainer: Avalanche's plug-ins really work with both rules, and the fast loop keeps its promises."""

import itertools
import math
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.small import task_stream, trainer

from learners.ewc import EWC
from learners.replay import Replay
from workbench.errors import PluginError
from workbench.events import Observer
from workbench.optimisers import build_optimiser
from workbench.plugin import LearnerConfig, Modifier
from workbench.streams import sample_indices

BOTH = pytest.mark.parametrize("learner", ["bptt", "osttp"])


def plugin_base():
    from avalanche.training.plugins import SupervisedPlugin

    return SupervisedPlugin


def spy(**hooks):
    """Return an Avalanche plug-in that calls the given functions with the strategy."""
    methods = {name: lambda self, strategy, _h=hook, **kwargs: _h(strategy) for name, hook in hooks.items()}
    return type("Spy", (plugin_base(),), methods)()


def weights(made):
    return torch.cat([p.detach().flatten().clone() for p in made.network.parameters()])


# Replay.


@BOTH
def test_replay_fills_evenly_and_joins_every_later_batch(learner):
    stream = task_stream(tasks=3)
    replay = Replay(Replay.Config(size=12, batch_size=5))
    batches = []
    watch = spy(before_training_iteration=lambda strategy: batches.append(strategy.mb_y.tolist()))
    made = trainer(learner, stream, [replay], plugins=[watch])
    policy = replay.avalanche_plugin().storage_policy
    for task in range(3):
        batches.clear()
        stored = set(sample_indices(policy.buffer).tolist()) if task else set()
        stored_targets = set(stream.training_pool.targets[list(stored)].tolist())
        made.train_task(task)
        parts = [sample_indices(part.buffer) for part in policy.buffer_groups.values()]
        assert [len(part) for part in parts] == [12 // (task + 1)] * (task + 1)
        for number, part in enumerate(parts):
            assert set(part.tolist()) <= set(stream.tasks[number].train.tolist())
        old = [[y for y in batch if y not in stream.tasks[task].classes] for batch in batches]
        # 20 samples in batches of 8, twice over; five stored ones join each, the last one included.
        assert [len(batch) for batch in batches] == [
            8 + 5 * (task > 0),
            8 + 5 * (task > 0),
            4 + 5 * (task > 0),
        ] * 2
        assert all(len(part) == (5 if task else 0) for part in old)
        assert set(itertools.chain(*old)) == stored_targets
    assert replay.live_memory(40).replay == 12 * 40 == replay.memory(40, 0, 3).replay


@BOTH
def test_replay_keeps_the_first_task_alive(learner):
    """What the first task's classes score after the second is better with replay than without."""
    scores = []
    for modifiers in ([], [Replay(Replay.Config(size=20))]):
        made = trainer(learner, modifiers=modifiers, epochs=8, settings={"lr": 0.1})
        made.train_task(0)
        made.train_task(1)
        scores.append(made.evaluate_tasks().accuracies[0])
    assert scores[1] > scores[0] + 0.2


def test_replay_enlarges_the_measured_batch():
    made = trainer("bptt", modifiers=[Replay(Replay.Config(size=12))])
    made.train_task(0)
    plain = made.step_memory.activations
    made.train_task(1)
    assert made.largest_batch == 16
    assert made.step_memory.activations == pytest.approx(2 * plain, rel=0.05)


# Penalties on the weights.


@BOTH
@pytest.mark.parametrize("mode", ["separate", "online"])
def test_the_penalty_of_ewc_adds_its_gradient_to_the_rules_own(learner, mode):
    found = {}
    for strength in (0.0, 50.0):
        ewc = EWC(EWC.Config(strength=strength, mode=mode))
        gradients, penalties = [], []

        def keep(strategy, ewc=ewc, gradients=gradients, penalties=penalties):
            gradients.append({name: p.grad.clone() for name, p in strategy.model.named_parameters()})
            penalties.append(penalty(ewc, strategy.model))

        made = trainer(learner, modifiers=[ewc], epochs=1, plugins=[spy(before_update=keep)])
        made.train_task(0)
        first = weights(made)
        # Away from the old weights, so that the penalty has a slope from the first batch on.
        with torch.no_grad():
            for parameter in made.network.parameters():
                parameter.add_(0.01)
        gradients.clear()
        penalties.clear()
        made.train_task(1)
        found[strength] = (first, gradients[0], penalties[0])
    (first, plain, _), (same, held, slopes) = found[0.0], found[50.0]
    assert torch.equal(first, same)
    for name, slope in slopes.items():
        assert slope.abs().max() > 0, name
        torch.testing.assert_close(held[name] - plain[name], 50.0 * slope, rtol=1e-3, atol=1e-6)


def penalty(ewc, model):
    """Return the gradient of sum F (theta - theta*)^2 by autograd, written out."""
    plugin = ewc.avalanche_plugin()
    parameters = dict(model.named_parameters())
    total = torch.zeros(())
    for task, importances in plugin.importances.items():
        for name, fisher in importances.items():
            total = (
                total + (fisher.data * (parameters[name] - plugin.saved_params[task][name].data) ** 2).sum()
            )
    if not total.requires_grad:
        return {}
    slopes = torch.autograd.grad(total, list(parameters.values()))
    return dict(zip(parameters, slopes, strict=True))


@BOTH
def test_a_strong_penalty_holds_the_weights(learner):
    moves = []
    for strength in (0.0, 1e6):
        made = trainer(learner, modifiers=[EWC(EWC.Config(strength=strength))], epochs=4)
        made.train_task(0)
        before = weights(made)
        made.train_task(1)
        moves.append((weights(made) - before).norm())
    assert moves[1] < 0.7 * moves[0]


@BOTH
def test_reported_loss_is_the_rules_own(learner):
    class Losses(Observer):
        def __init__(self):
            self.found = []

        def epoch_done(self, task, epoch, metrics):
            self.found.append(metrics["train_loss"])

    found = []
    for plugins in ([], [spy(before_backward=lambda strategy: strategy.loss.add_(1000.0))]):
        losses = Losses()
        trainer(learner, observers=[losses], plugins=plugins).train_task(0)
        found.append(losses.found)
    assert found[0] == found[1]


# Other plug-ins of Avalanche.


def test_a_loss_on_the_output_is_refused_with_a_local_rule():
    def distil(strategy):
        strategy.loss += strategy.mb_output.pow(2).mean()

    with pytest.raises(PluginError, match="local rule"):
        trainer("osttp", plugins=[spy(before_backward=distil)]).train_task(0)
    trainer("bptt", plugins=[spy(before_backward=distil)]).train_task(0)


@BOTH
@pytest.mark.parametrize("setting", ["class", "task"])
@pytest.mark.parametrize("name", ["agem", "si", "mas", "lwf"])
def test_other_plugins_of_avalanche_act(name, setting, learner, monkeypatch):
    """Each changes the weights that the second task ends with; LwF's distillation needs a graph rule."""
    from avalanche.training import plugins as known

    if name == "si":
        # On a CPU Avalanche 0.6 keeps views of the weights, not copies, so that no weight ever seems to move.
        monkeypatch.setattr(known.SynapticIntelligencePlugin, "extract_weights", staticmethod(copied_weights))
    make = {
        "agem": lambda: known.AGEMPlugin(patterns_per_experience=10, sample_size=10),
        "si": lambda: known.SynapticIntelligencePlugin(si_lambda=1e4),
        "mas": lambda: known.MASPlugin(lambda_reg=100.0),
        "lwf": lambda: known.LwFPlugin(alpha=10.0, temperature=2.0),
    }[name]
    ends = []
    for plugins in ([], [make()]):
        made = trainer(learner, task_stream(setting), plugins=plugins, settings={"lr": 0.02})
        made.train_task(0)
        if plugins and (name, setting, learner) == ("lwf", "class", "osttp"):
            with pytest.raises(PluginError, match="local rule"):
                made.train_task(1)
            return
        made.train_task(1)
        ends.append(weights(made))
    assert torch.isfinite(ends[1]).all()
    # A-GEM acts only where old and new tasks pull apart, which they do for certain where they share classes' scores.
    if (name, setting) != ("agem", "task"):
        assert not torch.equal(*ends)


def copied_weights(model, target, excluded_parameters):
    for name, parameter in model.named_parameters():
        target[name].data = parameter.detach().flatten().clone()


@BOTH
def test_an_evaluator_reads_the_same_accuracies_as_the_matrix(learner):
    from avalanche.evaluation.metrics import accuracy_metrics
    from avalanche.training.plugins import EvaluationPlugin

    with pytest.warns(UserWarning, match="No loggers"):
        evaluator = EvaluationPlugin(accuracy_metrics(experience=True))
    made = trainer(learner, evaluator=evaluator)
    for task in range(2):
        made.train_task(task)
        row = made.evaluate_tasks().accuracies
        metrics = evaluator.get_last_metrics()
        for column, accuracy in enumerate(row):
            [key] = [one for one in metrics if "Top1_Acc_Exp" in one and one.endswith(f"Exp{column:03d}")]
            assert metrics[key] == pytest.approx(accuracy, abs=1e-12)


CALLBACKS = [
    "before_training",
    "before_train_dataset_adaptation",
    "after_train_dataset_adaptation",
    "before_training_exp",
    "before_training_epoch",
    "before_training_iteration",
    "before_forward",
    "after_forward",
    "before_backward",
    "after_backward",
    "before_update",
    "after_update",
    "after_training_iteration",
    "after_training_epoch",
    "after_training_exp",
    "after_training",
]
EVALUATION = [
    "before_eval",
    "before_eval_dataset_adaptation",
    "after_eval_dataset_adaptation",
    "before_eval_exp",
    "before_eval_iteration",
    "before_eval_forward",
    "after_eval_forward",
    "after_eval_iteration",
    "after_eval_exp",
    "after_eval",
]


@BOTH
def test_a_plugin_gets_every_callback_in_order(learner):
    called = []
    hooks = {name: lambda strategy, n=name: called.append(n) for name in (*CALLBACKS, *EVALUATION)}
    made = trainer(learner, epochs=1, batch_size=20, plugins=[spy(**hooks)])
    made.train_task(0)
    assert called == CALLBACKS
    called.clear()
    made.evaluate_tasks()
    assert called == [EVALUATION[0], *EVALUATION[1:-1] * 2, EVALUATION[-1]]


@BOTH
def test_what_a_plugin_sees_of_a_batch(learner):
    seen = {}

    def look(strategy):
        seen["shape"] = tuple(strategy.mb_x.shape)
        seen["output"] = tuple(strategy.mb_output.shape)
        seen["label"] = set(strategy.mb_task_id.tolist())
        seen["forward"] = tuple(strategy.model(strategy.mb_x, strategy.mb_task_id).shape)

    trainer(learner, task_stream("task"), plugins=[spy(after_forward=look)]).train_task(1)
    assert seen == {"shape": (4, 5, 8), "output": (4, 4), "label": {1}, "forward": (4, 4)}


# The rest of the loop.


@BOTH
def test_task_setting_lets_only_the_tasks_classes_compete(learner):
    outputs = []
    watch = spy(
        after_forward=lambda strategy: outputs.append((strategy.mb_task_id, strategy.mb_output.argmax(1))),
        after_eval_forward=lambda strategy: outputs.append(
            (strategy.mb_task_id, strategy.mb_output.argmax(1))
        ),
    )
    made = trainer(learner, task_stream("task"), plugins=[watch], epochs=6, settings={"lr": 0.02})
    readout = made.network.readout.synapse.weight
    before = readout.detach().clone()
    made.train_task(1)
    assert torch.equal(readout[:2], before[:2])
    assert not torch.equal(readout[2:], before[2:])
    accuracies = made.evaluate_tasks().accuracies
    for labels, chosen in outputs:
        assert torch.equal(chosen // 2, labels)
    assert accuracies[1] > 0.6
    assert made.validation_metrics()["validation_accuracy"] > 0.6


class Recorder(Modifier):
    """Writes down what it is told."""

    def __init__(self):
        super().__init__(self.Config())
        self.calls = []
        self.gradients = []

    def before_task(self, rule, task):
        self.calls.append(f"before {task}")

    def after_gradients(self, rule, batch):
        self.calls.append("gradients")
        self.gradients.append([p.grad is not None for p in rule.network.parameters()])

    def after_update(self, rule, batch):
        self.calls.append("update")
        assert batch.inputs.shape[1] == len(batch.targets)

    def after_task(self, rule, task):
        self.calls.append(f"after {task}")


@pytest.mark.parametrize(
    ("learner", "update", "steps"), [("bptt", None, 1), ("osttp", "sequence", 1), ("osttp", "step", 5)]
)
def test_native_modifiers_are_called_around_every_step(learner, update, steps):
    recorder = Recorder()
    settings = {"update": update} if update else {}
    made = trainer(learner, modifiers=[recorder], epochs=1, batch_size=20, settings=settings)
    made.train_task(0)
    made.train_task(1)
    steps_told = ["gradients", "update"] * steps
    assert recorder.calls == [*["before 0", *steps_told, "after 0"], *["before 1", *steps_told, "after 1"]]
    assert all(all(present) for present in recorder.gradients)


def test_a_modifier_can_change_the_gradients():
    class Nothing(Modifier):
        def after_gradients(self, rule, batch):
            rule.network.zero_grad()

    for learner, settings in (("bptt", {}), ("osttp", {}), ("osttp", {"update": "step"})):
        made = trainer(learner, modifiers=[Nothing(Nothing.Config())], settings=settings)
        before = weights(made)
        made.train_task(0)
        assert torch.equal(weights(made), before)


@BOTH
def test_rate_falls_along_half_a_cosine_within_each_task(learner):
    rates = []
    watch = spy(
        after_update=lambda strategy: rates.append([g["lr"] for g in strategy.optimizer.param_groups])
    )
    made = trainer(learner, plugins=[watch], epochs=2)
    starts = [group["lr"] for group in made.rule.parameter_groups()]
    for task in range(2):
        rates.clear()
        made.train_task(task)
        expected = [0.5 * (1 + math.cos(math.pi * step / 6)) for step in range(6)]
        for found, factor in zip(rates, expected, strict=True):
            assert found == pytest.approx([start * factor for start in starts])
    constant = trainer(learner, plugins=[watch], settings={"schedule": "constant"})
    rates.clear()
    constant.train_task(0)
    assert all(found == starts for found in rates)


@BOTH
def test_optimiser_starts_afresh_with_each_task(learner):
    steps = []

    def look(strategy):
        steps.append({int(state["step"]) for state in strategy.optimizer.state.values()})

    made = trainer(learner, plugins=[spy(after_update=look)], epochs=1)
    made.train_task(0)
    made.train_task(1)
    assert steps == [{1}, {2}, {3}] * 2


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_decay_of_sgd_is_decoupled(momentum):
    """With a zero gradient the weights shrink by 1 - lr * decay a step, whatever the momentum."""
    parameter = torch.nn.Parameter(torch.ones(3, dtype=torch.float64))
    config = LearnerConfig(optimiser="sgd", momentum=momentum, weight_decay=0.5, lr=0.1)
    optimiser = build_optimiser(config, [{"params": [parameter], "lr": 0.1}])
    for _ in range(3):
        parameter.grad = torch.zeros_like(parameter)
        optimiser.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.95**3, dtype=torch.float64))
    parameter.grad = None
    optimiser.step()
    torch.testing.assert_close(parameter.detach(), torch.full((3,), 0.95**3, dtype=torch.float64))


@BOTH
def test_global_random_generators_are_left_alone(learner):
    from avalanche.training.plugins import AGEMPlugin

    def states():
        return torch.get_rng_state(), random.getstate(), np.random.get_state()  # noqa: NPY002

    before = states()
    plugins = [AGEMPlugin(patterns_per_experience=10, sample_size=10)]
    made = trainer(learner, modifiers=[Replay(Replay.Config()), EWC(EWC.Config())], plugins=plugins)
    made.train_task(0)
    made.train_task(1)
    made.evaluate_tasks()
    after = states()
    assert torch.equal(before[0], after[0])
    assert before[1] == after[1]
    assert all(np.array_equal(one, other) for one, other in zip(before[2], after[2], strict=True))


@BOTH
def test_weights_depend_on_the_seed_and_not_on_the_global_generators(learner):
    ends = []
    for seed, disturbance in ((0, 1), (0, 2), (1, 1)):
        torch.manual_seed(disturbance)
        random.seed(disturbance)
        np.random.seed(disturbance)  # noqa: NPY002
        made = trainer(learner, modifiers=[Replay(Replay.Config(size=6))], seed=seed)
        made.train_task(0)
        made.train_task(1)
        ends.append(weights(made))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])


@BOTH
def test_observers_hear_of_every_batch_and_epoch(learner):
    class Listener(Observer):
        def __init__(self):
            self.batches, self.epochs = [], []

        def batch_done(self, task, epoch, batch, batches, loss, accuracy):
            self.batches.append((task, epoch, batch, batches))

        def epoch_done(self, task, epoch, metrics):
            self.epochs.append((task, epoch, sorted(metrics)))

    listener = Listener()
    made = trainer(learner, observers=[listener])
    metrics = made.train_task(0)
    assert listener.batches == [(0, epoch, batch, 3) for epoch in range(2) for batch in range(3)]
    keys = ["train_accuracy", "train_loss", "validation_accuracy", "validation_loss"]
    assert listener.epochs == [(0, 0, keys), (0, 1, keys)]
    assert metrics["seconds"] > 0
    assert metrics["samples_per_second"] == pytest.approx(40 / metrics["seconds"])


@BOTH
def test_a_task_without_samples_passes_without_a_step(learner):
    stream = task_stream(tasks=3)
    nothing = np.empty(0, dtype=np.int64)
    empty = replace(stream.tasks[1], train=nothing, validation=nothing, test=nothing)
    stream = replace(stream, tasks=(stream.tasks[0], empty, stream.tasks[2]))
    made = trainer(learner, stream, [Replay(Replay.Config(size=6)), EWC(EWC.Config())])
    made.train_task(0)
    before = weights(made)
    made.train_task(1)
    assert torch.equal(weights(made), before)
    made.train_task(2)
    found = made.evaluate_tasks()
    row, rates = found.accuracies, found.spike_rates
    assert math.isnan(row[1])
    assert all(0 <= accuracy <= 1 for accuracy in (row[0], row[2]))
    assert all(0 < rate < 1 for rate in rates)
    assert torch.isfinite(weights(made)).all()


def test_spike_rates_are_means_over_samples():
    made = trainer("bptt")
    [rate] = made.evaluate_tasks().spike_rates
    spikes = made.network.run(torch.from_numpy(made.stream.test_pool.inputs).transpose(0, 1)).spikes
    assert rate == pytest.approx(float(spikes[0].detach().mean()), rel=1e-6)
