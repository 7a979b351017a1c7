"""One run in progress: its folder, observers, checkpoints and results."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from workbench import environment
from workbench.checkpoint import Checkpoint
from workbench.config import ExperimentConfig
from workbench.cost.learning import learning_costs
from workbench.cost.measure import measured_cost
from workbench.cost.writes import TrainingWork
from workbench.diagnose import GradientDiagnosis
from workbench.errors import DataError
from workbench.events import Observer
from workbench.experiment import Experiment
from workbench.journal import Journal, TimedObservers, retell, stopwatch
from workbench.plugin import MemoryCost
from workbench.results import build_results
from workbench.runfolder import MetricsRecorder, RunFolder
from workbench.streams import build_benchmark
from workbench.trainer import Trainer

SPIKE_RATE, DORMANT, TEST_LOSS = "spike_rate/layer_", "dormant/layer_", "test_loss/task_"
CHECKPOINT_SHARE = 0.01
"""Largest share of a run's time that checkpoints may take.

One is written after an epoch if, since the last one, a hundred times as long has passed as that took to write. A crash
or an interrupt thus costs at most the epoch under way and a hundred times the time of a checkpoint.
"""


@dataclass
class Progress:
    """What a run has found so far; all but `baseline` and `measured` follows from the journal."""

    matrix: list[list[float]] = field(default_factory=list)
    baseline: list[float] | None = None
    losses: list[list[float]] = field(default_factory=list)
    """As `matrix`: test loss a sequence, or a scored step in prediction."""
    spike_rates: list[list[float]] = field(default_factory=list)
    dormant: list[list[float]] = field(default_factory=list)
    """Share of dormant units of each hidden layer, by task."""
    throughput: list[float] = field(default_factory=list)
    measured: dict[str, int] = field(default_factory=dict)

    def task_done(self, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Add what observers are told of a task."""
        self.matrix.append(list(accuracies))
        self.losses.append([metrics.get(f"{TEST_LOSS}{task}", math.nan) for task in range(len(accuracies))])
        # In the order of the layers, in which they were entered.
        self.spike_rates.append([value for key, value in metrics.items() if key.startswith(SPIKE_RATE)])
        self.dormant.append([value for key, value in metrics.items() if key.startswith(DORMANT)])
        self.throughput.append(metrics["samples_per_second"])


def conduct(
    experiment: Experiment,
    out: Path,
    observers: Sequence[Observer] = (),
    *,
    resume: bool = False,
    begun: float | None = None,
    seconds: Mapping[str, float] | None = None,
    checkpoint_share: float | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run (or resume) a built experiment into the run folder `out`; returns the content of results.json.

    begun: when the session began, by `time.perf_counter`. seconds: what it took until now, by phase. checkpoint_share:
    see CHECKPOINT_SHARE, which None stands for; infinity: a checkpoint after every epoch. command: the words that give
    this run, if they are not those this process was called with.
    """
    entered = time.perf_counter()
    benchmark = build_benchmark(experiment.stream)
    share = CHECKPOINT_SHARE if checkpoint_share is None else checkpoint_share
    run = Run(experiment, out, observers, resume=resume, checkpoint_share=share, command=command)
    run.seconds.update(seconds or {})
    run.seconds["data"] = run.seconds.get("data", 0.0) + time.perf_counter() - entered
    every = experiment.config.diagnose.gradient
    trainer = Trainer(
        rule=experiment.rule,
        modifiers=experiment.modifiers,
        network=experiment.network,
        stream=experiment.stream,
        benchmark=benchmark,
        streams=experiment.streams,
        epochs=experiment.epochs,
        batch_size=experiment.batch_size,
        device=experiment.device,
        observers=run.observers,
        evaluate=experiment.config.train.evaluate,
        diagnosis=None if every is None else GradientDiagnosis(every),
        chip=experiment.chip,
    )
    return run.execute(trainer, entered if begun is None else begun)


class Run:
    """Runs the tasks of an experiment, new or resumed, and keeps the run folder up to date.

    Raises DataError when there is a checkpoint to resume from and it is damaged; the folder is left as it was.
    """

    trainer: Trainer

    def __init__(
        self,
        experiment: Experiment,
        out: Path,
        observers: Sequence[Observer],
        *,
        resume: bool,
        checkpoint_share: float,
        command: Sequence[str] | None = None,
    ) -> None:
        self.experiment = experiment
        self.checkpoint_share = checkpoint_share
        self.plan = experiment.plan()
        captured = environment.capture(
            device=str(experiment.device), threads=torch.get_num_threads(), command=command
        )
        self.versions = {"packages": captured["packages"], "code": captured["code"]}
        self.folder = RunFolder(out) if resume else RunFolder.create(out, self.plan.config, captured)
        self.checkpoint: Checkpoint | None = None
        if resume and self.folder.checkpoint_file.exists():
            self.checkpoint = Checkpoint.load(self.folder.checkpoint_file)
        self.seconds = {"train": 0.0, "evaluate": 0.0, "track": 0.0}
        """Time of this session by phase; `track` is what keeping record costs: metrics, checkpoints, MLflow."""
        self.earlier: dict[str, float] = {}
        """The same of the sessions before an interrupt."""
        self.journal = Journal(self.folder.journal_file)
        self.entries: list[list[Any]] = []
        """What the journal holds of the sessions before an interrupt."""
        self.saved, self.saving = -math.inf, 0.0
        """When the last checkpoint was written, by `time.perf_counter`, and the seconds that took."""
        self.place: tuple[int, int] | None = None
        """The task and epoch it stands for."""
        # Files first: trackers upload them when the run is over.
        record = [MetricsRecorder(self.folder), *_trackers(experiment.config, self.folder)]
        self.observers: list[Observer] = [self.journal, TimedObservers(record, self.seconds), *observers]
        self.progress = Progress()

    def execute(self, trainer: Trainer, begun: float) -> dict[str, Any]:
        """Run all tasks; write results whatever happens. `begun`: when the session began, by `time.perf_counter`."""
        self.trainer, self.begun = trainer, begun
        trainer.seconds = self.seconds
        trainer.after_epoch = self._save_if_due
        first_task, first_epoch = self._restored()
        status, error = "finished", None
        try:
            self._start()
            for task in range(first_task, len(self.plan.task_names)):
                self._task(task, first_epoch if task == first_task else 0)
            self._save(len(self.plan.task_names) - 1, self.experiment.epochs)
        except KeyboardInterrupt:
            status = "interrupted"
            self._measure()
        except Exception as caught:
            status, error = "failed", caught
        results = self._results(status, error)
        self.folder.write_results(results)
        for observer in self.observers:
            observer.run_finished(results)
        if error is not None:
            raise error
        return results

    def _start(self) -> None:
        """Tell observers what runs and, if resumed, what happened so far; else evaluate the untrained network."""
        for observer in self.observers:
            observer.run_started(self.plan)
        if self.checkpoint is not None:
            retell(self.entries, [observer for observer in self.observers if observer is not self.journal])
        else:
            self.progress.baseline = self.trainer.evaluate_tasks().accuracies

    def _task(self, task: int, first_epoch: int) -> None:
        for observer in self.observers:
            observer.task_started(task)
        metrics = self.trainer.train_task(task, first_epoch)
        found = self.trainer.evaluate_tasks(task)
        metrics |= {f"{SPIKE_RATE}{layer}": rate for layer, rate in enumerate(found.spike_rates)}
        metrics |= {f"{DORMANT}{layer}": share for layer, share in enumerate(found.dormant)}
        metrics |= {f"{TEST_LOSS}{j}": loss for j, loss in enumerate(found.losses) if not math.isnan(loss)}
        self.progress.task_done(found.accuracies, metrics)
        self._measure()
        for observer in self.observers:
            observer.task_done(task, found.accuracies, metrics)
        self._save_if_due(task, self.experiment.epochs)

    def _measure(self) -> None:
        trainer = self.trainer
        if trainer.largest_batch:
            cost = measured_cost(
                trainer.rule,
                trainer.network,
                trainer.optimizer,
                trainer.modifiers,
                trainer.step_memory,
                self.experiment.sample_bytes,
            )
            self.progress.measured = cost.by_category()

    def _save_if_due(self, task: int, epoch: int) -> None:
        """Write a checkpoint unless that would take more than its share of the time."""
        if (time.perf_counter() - self.saved) * self.checkpoint_share >= self.saving:
            self._save(task, epoch)

    def _save(self, task: int, epoch: int) -> None:
        """Write a checkpoint; `epoch` equal to the number of epochs says that the task is over and evaluated."""
        if self.place == (task, epoch):
            return
        trainer, begun = self.trainer, time.perf_counter()
        with stopwatch(self.seconds, "track"):
            Checkpoint(
                task=task,
                epoch=epoch,
                network=trainer.network.state_dict(),
                optimiser=trainer.optimizer.state_dict(),
                rule=trainer.rule.state_dict(),
                modifiers=[modifier.state_dict() for modifier in trainer.modifiers],
                chip={} if trainer.chip is None else trainer.chip.state_dict(),
                record={
                    "baseline": self.progress.baseline,
                    "measured": self.progress.measured,
                    "seconds": self._seconds(),
                    "journal": self.journal.commit(),
                    "largest_batch": trainer.largest_batch,
                    "step_memory": trainer.step_memory.by_category(),
                    "work": trainer.work.state(),
                },
            ).save(self.folder.checkpoint_file)
        self.saved = time.perf_counter()
        self.saving = self.saved - begun
        self.place = (task, epoch)

    def _restored(self) -> tuple[int, int]:
        """Bring back the state of the checkpoint, if there is one; returns the task and epoch to go on with."""
        if self.checkpoint is None:
            return 0, 0
        try:
            return self._restore(self.checkpoint)
        except (KeyError, RuntimeError, TypeError, ValueError) as error:
            reason = (str(error).splitlines() or [type(error).__name__])[0]
            raise DataError(
                f"{self.folder.checkpoint_file}: does not fit this run's configuration ({reason})"
            ) from error

    def _restore(self, checkpoint: Checkpoint) -> tuple[int, int]:
        trainer, record, device = self.trainer, checkpoint.record, self.experiment.device
        over = checkpoint.epoch == self.experiment.epochs
        tasks_over = checkpoint.task + (1 if over else 0)
        trainer.network.load_state_dict(checkpoint.network)
        trainer.optimizer.load_state_dict(checkpoint.optimiser)
        trainer.rule.load_state_dict(checkpoint.rule)
        past = trainer.experiences(tasks_over)
        for modifier, state in zip(trainer.modifiers, checkpoint.modifiers, strict=True):
            modifier.load_state_dict({name: value.to(device) for name, value in state.items()}, past)
        if trainer.chip is not None:
            trainer.chip.load_state_dict(checkpoint.chip)
        trainer.clock.train_exp_counter = len(past)
        trainer.largest_batch = record["largest_batch"]
        trainer.step_memory = MemoryCost(**record["step_memory"])
        # Checkpoints of before learning's work was counted lack it.
        trainer.work = TrainingWork(**record.get("work", {"whole": False}))
        self.place = (checkpoint.task, checkpoint.epoch)
        self.earlier = record["seconds"]
        self.entries = self.journal.take_up(record["journal"])
        self.progress = Progress(baseline=record["baseline"], measured=record["measured"])
        for name, _, *arguments in self.entries:
            if name == "task_done":
                self.progress.task_done(*arguments)
        return (tasks_over, 0) if over else (checkpoint.task, checkpoint.epoch + 1)

    def _seconds(self) -> dict[str, float]:
        """Return the time by phase over all sessions; `other` is what no phase claims."""
        session = {**self.seconds, "other": time.perf_counter() - self.begun - sum(self.seconds.values())}
        return {phase: session[phase] + self.earlier.get(phase, 0.0) for phase in session}

    def _results(self, status: str, error: Exception | None) -> dict[str, Any]:
        progress = self.progress
        extra: dict[str, Any] = {
            "throughput": progress.throughput,
            "spike_rates": progress.spike_rates,
            "dormant": progress.dormant,
            "test_loss": progress.losses,
            "learned": [row[task] for task, row in enumerate(progress.matrix)],
            "predicts_steps": self.experiment.stream.predicts_steps,
            "versions": self.versions,
            "devices": None
            if self.trainer.chip is None
            else self.trainer.chip.report(self.trainer.work.samples),
            **learning_costs(self.experiment, self.trainer.work, progress.spike_rates),
        }
        if error is not None:
            extra["error"] = f"{type(error).__name__}: {error}"
        return build_results(
            self.plan,
            progress.matrix,
            progress.baseline,
            {"formula": self.experiment.memory_formula().by_category(), "measured": progress.measured},
            self._seconds(),
            status,
            extra,
        )


def _trackers(config: ExperimentConfig, folder: RunFolder) -> list[Observer]:
    if not config.track.mlflow:
        return []
    from workbench.tracking import default_uri
    from workbench.tracking_process import TrackingProcess

    experiment = config.track.experiment or config.scenario.name
    uri, name = config.track.uri or default_uri(), folder.path.resolve().name
    return [TrackingProcess(uri, experiment, name, folder.path)]
