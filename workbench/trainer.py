"""The trainer: an Avalanche strategy outwards, a fast loop inside; the only module on Avalanche's training side.

Avalanche's plug-ins see a `SupervisedTemplate`: every callback is triggered, `mb_x` is batch-first `[B, T, N]`,
`mb_output` is `[B, C]`, `loss` and `model` are what they expect. Inside, batches are index look-ups and a rule computes
the gradients. A plug-in's penalty on the loss is differentiated on its own and adds up in `.grad`, so that it acts on
local rules as well.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor

from workbench.avalanche_model import MaskedClassifier, SequenceClassifier, class_masks, quiet
from workbench.backbones.network import Network
from workbench.cost.measure import SavedTensors, storage_bytes
from workbench.cost.writes import TrainingWork
from workbench.diagnose import GradientDiagnosis
from workbench.errors import PluginError
from workbench.evaluation import Evaluation, Tally
from workbench.events import Observer
from workbench.hardware.chip import Chip
from workbench.optimisers import build_optimiser
from workbench.plugin import MemoryCost, Modifier, Rule, RuleContext, SequenceBatch, StepResult
from workbench.randomness import RandomStreams
from workbench.rules.loss import decision
from workbench.running import RunningScore
from workbench.sequences import SequenceMaker
from workbench.streams import BatchLoader, Source
from workbench.tasks import TaskStream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.benchmarks.utils.data_loader import ReplayDataLoader
    from avalanche.training.plugins import EvaluationPlugin
    from avalanche.training.templates import SupervisedTemplate

if TYPE_CHECKING:
    from avalanche.benchmarks import CLScenario

EVALUATION_BATCH = 128
TOLD_EVERY = 10
"""Batches between two readings of the running loss: a reading waits for the device."""


class Trainer(SupervisedTemplate):  # type: ignore[misc]
    """Trains one rule and its modifiers on a stream of tasks."""

    def __init__(
        self,
        *,
        rule: Rule,
        modifiers: Sequence[Modifier],
        network: Network,
        stream: TaskStream,
        benchmark: CLScenario,
        streams: RandomStreams,
        epochs: int,
        batch_size: int,
        device: torch.device,
        observers: Sequence[Observer] = (),
        plugins: Sequence[Any] = (),
        evaluator: EvaluationPlugin | None = None,
        evaluate: Literal["all", "seen", "current"] = "all",
        diagnosis: GradientDiagnosis | None = None,
        chip: Chip | None = None,
    ) -> None:
        """`evaluate`: which tasks to test after each; `diagnosis`: compares gradients with exact ones now and then.

        `chip`: the devices that hold the weights, None if they are exact numbers.
        """
        self.rule = rule
        self.modifiers = list(modifiers)
        self.network = network.to(device)
        self.stream = stream
        self.benchmark = benchmark
        self.streams = streams
        self.observers = list(observers)
        self.evaluate = evaluate
        self.diagnosis = diagnosis
        self.chip = chip
        self.masks = class_masks(stream)
        self.sequences = SequenceMaker(self.masks, device)
        rule.setup(self.network, RuleContext(streams, stream.classes, self._update_within))
        groups = rule.parameter_groups()
        self.rates = [group["lr"] for group in groups]
        taken = [plugin for m in self.modifiers if (plugin := m.avalanche_plugin()) is not None]
        model = SequenceClassifier(network) if self.masks is None else MaskedClassifier(network, self.masks)
        with quiet():
            super().__init__(
                model=model,
                optimizer=build_optimiser(rule.config, groups),
                train_mb_size=batch_size,
                train_epochs=epochs,
                eval_mb_size=EVALUATION_BATCH,
                device=device,
                plugins=[*taken, *plugins],
                evaluator=evaluator or EvaluationPlugin(),
            )
        if evaluator is None:
            # It measures nothing, and would copy the experience at each of a step's eight callbacks.
            self.plugins.remove(self.evaluator)
        rule.context.optimiser = self.optimizer
        self.task = 0
        self.first_epoch = 0
        self.after_epoch: Callable[[int, int], None] = lambda task, epoch: None
        self.largest_batch = 0
        """Sequences in the largest training batch so far, the one that `step_memory` belongs to."""
        self.step_memory = MemoryCost()
        """What the largest batch held at its peak, see `workbench.cost.measure.measured_cost`."""
        self.work = TrainingWork()
        """What training took so far: sequences, steps, updates, writes."""
        self._weights = [(p, p.numel()) for group in groups for p in group["params"]]
        self.seconds = {"train": 0.0, "evaluate": 0.0, "track": 0.0}
        """Time by phase; `track` is what observers and checkpoints claim for themselves, inside of training."""
        self._result: StepResult | None = None
        self._measuring = False
        self._stop_training: bool = False

    # What the experiment calls.

    def train_task(self, task: int, first_epoch: int = 0) -> dict[str, float]:
        """Train on one task, from `first_epoch` on; returns its metrics.

        `first_epoch` above 0 goes on with a task begun earlier. A task without samples passes without a step.
        """
        self.task, self.first_epoch = task, first_epoch
        begun = time.perf_counter()
        before = self.seconds["evaluate"] + self.seconds["track"]
        if self.chip is not None:
            self.chip.begin(f"task-{task}")
        if first_epoch == 0:
            for modifier in self.modifiers:
                modifier.before_task(self.rule, task)
        if len(self.stream.tasks[task].train):
            with self.streams.lent_to_globals(f"avalanche/task-{task}"), quiet():
                self.train(self.benchmark.train_stream[task], eval_streams=[])
        if self.chip is not None:
            self.chip.begin(f"task-{task}/end")
        for modifier in self.modifiers:
            modifier.after_task(self.rule, task)
        if self.chip is not None:
            self.chip.after_task()
        aside = self.seconds["evaluate"] + self.seconds["track"] - before
        seconds = time.perf_counter() - begun - aside
        self.seconds["train"] += seconds
        samples = len(self.stream.tasks[task].train) * (self.train_epochs - first_epoch)
        return {"seconds": seconds, "samples_per_second": samples / max(seconds, 1e-9)}

    def evaluate_tasks(self, task: int | None = None) -> Evaluation:
        """Test the network after `task`, or before the first one (None), on the tasks that `evaluate` asks for."""
        begun = time.perf_counter()
        self._evaluation = Evaluation.empty(len(self.stream.tasks))
        tested = range(len(self.stream.tasks))
        if task is not None and self.evaluate != "all":
            tested = range(0 if self.evaluate == "seen" else task, task + 1)
        with self.streams.lent_to_globals("avalanche/evaluation"), quiet(), self._read_anew(f"test-{task}"):
            self.eval([self.benchmark.test_stream[number] for number in tested])
        self.seconds["evaluate"] += time.perf_counter() - begun
        return self._evaluation

    def validation_metrics(self) -> dict[str, float]:
        """Return accuracy and loss on the present task's validation slice, nothing if it is empty."""
        indices = self.stream.tasks[self.task].validation
        if not len(indices):
            return {}
        begun = time.perf_counter()
        labels = np.full(len(indices), self.task if self.masks is not None else 0)
        loader = BatchLoader(self.stream.training_pool, [Source(indices, labels, EVALUATION_BATCH)])
        tally = Tally()
        validated = f"validation-{self.task}-{self.epoch}"
        with torch.no_grad(), self._read_anew(validated), self._evaluating(self.task):
            for parts in loader:
                batch = self.sequences.make(parts)
                tally.add(self.network.run(batch.inputs), batch)
        self.seconds["evaluate"] += time.perf_counter() - begun
        return {"validation_accuracy": tally.accuracy, "validation_loss": tally.loss}

    def experiences(self, tasks: int) -> list[Any]:
        """Return the training experiences of the first `tasks` tasks that Avalanche counts: those with samples."""
        past = list(self.benchmark.train_stream)[:tasks]
        return [experience for experience in past if len(experience.dataset)]

    # Avalanche's template, with the rule inside.

    def make_train_dataloader(self, **_: Any) -> None:
        """Batches by index look-up instead of a DataLoader."""
        source = Source.of(self.adapted_dataset, self.train_mb_size)
        self.dataloader = self._training_loader([source])

    def make_eval_dataloader(self, **_: Any) -> None:
        """Batches by index look-up, in order."""
        source = Source.of(self.adapted_dataset, self.eval_mb_size)
        self.dataloader = BatchLoader(self.stream.test_pool, [source])

    def _before_training_exp(self, **kwargs: Any) -> None:
        super()._before_training_exp(**kwargs)
        loader: Any = self.dataloader
        if type(loader) is ReplayDataLoader:
            # The same mix of new and stored samples as Avalanche's, by index look-up.
            mixed = zip(loader.datasets, loader.batch_sizes, strict=True)
            self.dataloader = self._training_loader([Source.of(data, size) for data, size in mixed])

    def _training_loader(self, sources: list[Source]) -> BatchLoader:
        stream = self.stream
        return BatchLoader(stream.training_pool, sources, stream.jitter, in_order=stream.in_order)

    def check_model_and_optimizer(self, **kwargs: Any) -> None:
        """Start every task with a fresh optimiser state."""
        self.model = self.model_adaptation()
        if self.first_epoch == 0:
            self.optimizer.state.clear()

    def _train_exp(self, experience: Any, eval_streams: Any = None, **kwargs: Any) -> None:
        for epoch in range(self.first_epoch, self.train_epochs):
            if self._stop_training:
                self._stop_training = False
                break
            self.epoch = epoch
            self._running, self._batch = RunningScore(), 0
            if isinstance(self.dataloader, BatchLoader):
                self.dataloader.order = self.streams.numpy(f"data-order/{self.task}/{epoch}")
            # Drawn afresh, so that a task resumed at this epoch sees the numbers it would have seen.
            self.streams.seed_globals(f"avalanche/task-{self.task}/epoch-{epoch}")
            if self.chip is not None:
                self.chip.begin(f"task-{self.task}/epoch-{epoch}")
            self._before_training_epoch(**kwargs)
            self.training_epoch(**kwargs)
            self._after_training_epoch(**kwargs)
            self._tell_epoch(epoch)
        self.streams.seed_globals(f"avalanche/task-{self.task}/end")

    def _tell_epoch(self, epoch: int) -> None:
        metrics = {"train_loss": self._running.loss()}
        accuracy = self._running.accuracy()
        if accuracy is not None:
            metrics["train_accuracy"] = accuracy
        metrics |= self.validation_metrics()
        for modifier in self.modifiers:
            metrics |= modifier.metrics()
        if self.diagnosis is not None:
            metrics |= self.diagnosis.take()
        for observer in self.observers:
            observer.epoch_done(self.task, epoch, metrics)
        self.after_epoch(self.task, epoch)

    def forward(self) -> Tensor:
        """Run the rule in training; the bare network in evaluation."""
        batch = self.sequences.make(self.mbatch, self.task if self.is_training else None)
        if not self.is_training:
            passed = self.network.run(batch.inputs)
            self._tally.add(passed, batch)
            return decision(passed.outputs, batch.class_mask, batch.scored)
        self._set_rate()
        self.work.shown(batch.size, getattr(self.dataloader, "joined", 0), len(batch.inputs))
        for modifier in self.modifiers:
            modifier.before_batch(self.rule, batch)
        if self.chip is not None:
            self.chip.before_batch(batch.size)
        self._sequence_batch = batch
        self._updated_within = False
        self._measuring = batch.size > self.largest_batch
        self._result = self._measured_forward(batch) if self._measuring else self.rule.forward(batch)
        logits = self._result.logits
        if not logits.requires_grad:
            # A leaf, so that `backward` sees whether a plug-in's loss went through it.
            logits = logits.detach().requires_grad_()
        return logits

    def _measured_forward(self, batch: SequenceBatch) -> StepResult:
        """Run the rule and note what the step holds; gradients are added once they stand."""
        self.largest_batch = batch.size
        self.step_memory = MemoryCost()
        saved = SavedTensors([*self.network.parameters(), *self.network.buffers()])
        with saved.watching():
            result = self.rule.forward(batch)
        self.step_memory += MemoryCost(activations=saved.take()) + self.rule.live_memory()
        return result

    def _measure_gradients(self) -> None:
        """Add the gradient buffers to the measurement, once for each measured step."""
        if self._measuring:
            held = storage_bytes(p.grad for p in self.network.parameters() if p.grad is not None)
            self.step_memory += MemoryCost(gradients=held - self.step_memory.gradients)

    def criterion(self) -> Tensor:
        """Return the rule's own loss in training, that of the last batch tested in evaluation."""
        if self.is_training and self._result is not None:
            return self._result.loss
        return self._tally.last_loss

    def backward(self) -> None:
        """Differentiate what carries a graph: the loss of a graph rule, the penalty of a plug-in, or both.

        Raises PluginError when a plug-in's loss depends on the output of a rule that keeps no graph: its gradient would
        be lost without a word.
        """
        if self.loss.requires_grad:
            self.loss.backward(retain_graph=self.retain_graph)  # type: ignore[no-untyped-call]
        if self.mb_output.is_leaf and self.mb_output.grad is not None:
            raise PluginError(
                "a plug-in adds a loss on the network's output (distillation does), which a local rule cannot "
                "carry back to the weights; use it with learner=bptt, or take one that acts on weights or data "
                "(ewc, replay)"
            )
        if not self._updated_within:
            self._gradients_stand()

    def optimizer_step(self) -> None:
        """Apply the gradients, then tell modifiers and observers."""
        self._step()
        if not self._updated_within:
            self._updated()
        self._tell_batch()

    def _step(self) -> None:
        """Let the optimiser ask for new weights and the chip, if there is one, do what its devices can."""
        self.work.updated(self._weights)
        self.optimizer.step()
        if self.chip is not None:
            self.chip.update()

    def _gradients_stand(self) -> None:
        self._measure_gradients()
        if self.diagnosis is not None:
            self.diagnosis.compare(self.rule, self._sequence_batch)
        for modifier in self.modifiers:
            modifier.after_gradients(self.rule, self._sequence_batch)

    def _updated(self) -> None:
        for modifier in self.modifiers:
            modifier.after_update(self.rule, self._sequence_batch)
        if self.chip is not None and self.modifiers:
            self.chip.rewrite()

    def _read_anew(self, name: str) -> AbstractContextManager[None]:
        """Read the weights off the chip as a test does, with noise of that name."""
        return nullcontext() if self.chip is None else self.chip.tested(name)

    def _update_within(self) -> None:
        """Update within a sequence; what is left to `optimizer_step` then is a plug-in's penalty, if there is one."""
        self._updated_within = True
        self._gradients_stand()
        self._step()
        self._updated()
        self.optimizer.zero_grad()

    def _tell_batch(self) -> None:
        assert self._result is not None
        logits = None if self.stream.predicts_steps else self._result.logits
        self._running.add(self._result.loss, len(self.mb_y), logits, self.mb_y)
        loss = accuracy = None
        if (self._batch + 1) % TOLD_EVERY == 0:
            loss, accuracy = self._running.loss(), self._running.accuracy()
        for observer in self.observers:
            observer.batch_done(self.task, self.epoch, self._batch, len(self.dataloader), loss, accuracy)
        self._batch += 1

    def _set_rate(self) -> None:
        """Set the learning rate of this step: constant, or half a cosine from the task's start to its end."""
        if self.rule.config.schedule == "constant":
            return
        steps = len(self.dataloader) * self.train_epochs
        done = self.epoch * len(self.dataloader) + self._batch
        factor = 0.5 * (1.0 + math.cos(math.pi * done / steps))
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * factor

    def eval_epoch(self, **kwargs: Any) -> None:
        """Evaluate one experience: accuracy, loss and spike rates."""
        task = self.experience.current_experience
        self._tally = Tally([layer.units for layer in self.network.layers[:-1]])
        with self._evaluating(task):
            for batch in self.dataloader:
                self.mbatch = batch
                self._unpack_minibatch()
                self._before_eval_iteration(**kwargs)
                self._before_eval_forward(**kwargs)
                self.mb_output = self.forward()
                self._after_eval_forward(**kwargs)
                self.loss = self.criterion()
                self._after_eval_iteration(**kwargs)
        self._evaluation.record(task, self._tally)

    @contextmanager
    def _evaluating(self, task: int) -> Iterator[None]:
        """Let modifiers lend the network what it needs for one task's data, and take it back."""
        for modifier in self.modifiers:
            modifier.before_evaluation(self.rule, task)
        yield
        for modifier in self.modifiers:
            modifier.after_evaluation(self.rule, task)
