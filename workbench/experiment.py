"""Build one experiment from a configuration, run it, resume it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from workbench.backbones.network import Network
from workbench.config import ExperimentConfig
from workbench.errors import ConfigurationError
from workbench.events import Observer, RunPlan
from workbench.plugin import MemoryCost, Modifier, Rule, RuleContext
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.tasks import ScenarioContext, TaskStream

if TYPE_CHECKING:
    from workbench.runfolder import RunFolder
    from workbench.trainer import Trainer


@dataclass
class Experiment:
    """The parts of one run, built and ready: stream of tasks, network, rule, modifiers."""

    config: ExperimentConfig
    stream: TaskStream
    network: Network
    rule: Rule
    modifiers: list[Modifier]
    streams: RandomStreams
    device: torch.device

    @property
    def epochs(self) -> int:
        """Passes over each task."""
        assert self.config.train.epochs is not None
        return self.config.train.epochs

    @property
    def batch_size(self) -> int:
        """Sequences per training step."""
        assert self.config.train.batch_size is not None
        return self.config.train.batch_size

    def plan(self) -> RunPlan:
        """Return what is about to run, for observers and results."""
        config, dataset = self.config, self.stream.dataset
        return RunPlan(
            scenario=config.scenario.name,
            learner=config.learner.name,
            backbone=config.backbone.name,
            hardware=config.hardware.name,
            seed=config.seed,
            dataset={
                "name": dataset.name,
                "synthetic": dataset.synthetic,
                "digest": dataset.digest,
                "notice": dataset.notice,
            },
            task_names=[task.name for task in self.stream.tasks],
            samples=[len(task.train) for task in self.stream.tasks],
            epochs=self.epochs,
            config=config.to_dict(),
        )

    def memory_formula(self) -> MemoryCost:
        """Return the analytic memory cost of a full batch, modifiers at the end of the last task included."""
        cost = self.rule.memory(self.stream.steps, self.batch_size)
        parameters = cost.parameters
        for modifier in self.modifiers:
            cost += modifier.memory(self.sample_bytes, parameters, len(self.stream.tasks))
        return cost

    @property
    def sample_bytes(self) -> int:
        """Bytes of one stored sequence."""
        return self.stream.steps * self.stream.channels


def build_experiment(
    config: ExperimentConfig, registry: Registry | None = None, *, progress: bool = True
) -> Experiment:
    """Return the experiment of a configuration; `progress` lets a download draw its bar.

    Raises DataError when the data is missing or damaged, ConfigurationError when the device is not there, PluginError
    when a plug-in breaks its contract.
    """
    from workbench.data.catalogue import cache_folder

    registry = registry or Registry.discover()
    streams = RandomStreams(config.seed)
    device = choose_device(config.device)
    scenario = registry.load("scenario", config.scenario.name)(config.scenario.config)
    stream: TaskStream = scenario.build(ScenarioContext(config.seed, cache_folder(), progress))  # type: ignore[attr-defined]
    backbone = registry.load("backbone", config.backbone.name)(config.backbone.config)
    network: Network = backbone.build(  # type: ignore[attr-defined]
        stream.channels, stream.classes, streams.torch("initialisation")
    )
    hardware = registry.load("hardware", config.hardware.name)(config.hardware.config)
    hardware.attach(network, streams)  # type: ignore[attr-defined]
    rule = registry.load("learner", config.learner.rule.name)(config.learner.rule.config)
    modifiers = [registry.load("learner", choice.name)(choice.config) for choice in config.learner.modifiers]
    return Experiment(config, stream, network.to(device), rule, modifiers, streams, device)  # type: ignore[arg-type]


def choose_device(name: str) -> torch.device:
    """Return the torch device; `auto` takes a GPU if there is one. Raises ConfigurationError if it is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    present = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if not present[device.type]:
        raise ConfigurationError(
            f"device={name}: this machine or this build of torch has none; use device=auto"
        )
    return device


def plan_experiment(config: ExperimentConfig, *, progress: bool = True) -> dict[str, Any]:
    """Return what `run` would do, without training: configuration, expected memory (bytes) and cost."""
    experiment = build_experiment(config, progress=progress)
    experiment.rule.setup(
        experiment.network, RuleContext(experiment.streams, experiment.stream.classes, update=lambda: None)
    )
    samples = [len(task.train) for task in experiment.stream.tasks]
    steps = sum(-(-count // experiment.batch_size) for count in samples) * experiment.epochs
    memory = experiment.memory_formula()
    return {
        "configuration": config.to_dict(),
        "data": {
            "name": experiment.stream.dataset.name,
            "synthetic": experiment.stream.dataset.synthetic,
            "notice": experiment.stream.dataset.notice,
            "tasks": {task.name: len(task.train) for task in experiment.stream.tasks},
            "time_steps": experiment.stream.steps,
            "channels": experiment.stream.channels,
        },
        "cost": {
            "parameters": sum(p.numel() for p in experiment.network.parameters()),
            "training_steps": steps,
            "sequences_seen": sum(samples) * experiment.epochs,
            "multiply_accumulates_per_sequence_forward": experiment.stream.steps
            * _synapses(experiment.network),
        },
        "memory": {**memory.by_category(), "total": memory.total},
    }


def _synapses(network: Network) -> int:
    return sum(
        layer.units * (layer.inputs + (layer.units if layer.recurrent is not None else 0))
        for layer in network.layers
    )


class _Journal(Observer):
    """Remembers what observers were told, so that a resumed run can tell it again."""

    def __init__(self) -> None:
        self.entries: list[list[Any]] = []

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        self.entries.append(["epoch_done", task, epoch, dict(metrics)])

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        self.entries.append(["task_done", task, list(accuracies), dict(metrics)])

    def retell(self, observers: Sequence[Observer]) -> None:
        """Tell others everything so far."""
        for name, *arguments in self.entries:
            for observer in observers:
                getattr(observer, name)(*arguments)


@dataclass
class _Progress:
    """What a run has found so far; plain data, stored in the checkpoint's record."""

    matrix: list[list[float]] = field(default_factory=list)
    baseline: list[float] | None = None
    spike_rates: list[list[float]] = field(default_factory=list)
    throughput: list[float] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    measured: MemoryCost | None = None


def run_experiment(
    config: ExperimentConfig,
    out: Path,
    observers: Sequence[Observer] = (),
    *,
    resume: bool = False,
    progress: bool = True,
) -> dict[str, Any]:
    """Run (or resume) an experiment into the run folder `out`; returns the content of results.json.

    `progress` lets a download draw its bar on standard error.

    An interrupt or an error leaves a valid folder with status `interrupted` or `failed`; an error is raised again after
    the folder is written, an interrupt is not.
    """
    begun = time.perf_counter()
    with _threads(config.threads):
        from workbench.trainer import Trainer

        imported = time.perf_counter()
        experiment = build_experiment(config, progress=progress)
        from workbench.streams import build_benchmark

        benchmark = build_benchmark(experiment.stream)
        built = time.perf_counter()
        run = _Run(experiment, out, observers, resume)
        run.progress.seconds |= {"imports": imported - begun, "data": built - imported}
        run.trainer = Trainer(
            experiment.rule,
            experiment.modifiers,
            experiment.network,
            experiment.stream,
            benchmark,
            experiment.streams,
            epochs=experiment.epochs,
            batch_size=experiment.batch_size,
            device=experiment.device,
            observers=run.observers,
        )
        return run.execute(begun)


class _Run:
    """One run in progress: folder, observers, checkpoints, results."""

    trainer: Trainer

    def __init__(
        self, experiment: Experiment, out: Path, observers: Sequence[Observer], resume: bool
    ) -> None:
        from workbench import environment
        from workbench.runfolder import MetricsRecorder, RunFolder

        self.experiment = experiment
        self.resume = resume
        self.plan = experiment.plan()
        captured = environment.capture(device=str(experiment.device), threads=torch.get_num_threads())
        self.folder = RunFolder(out) if resume else RunFolder.create(out, self.plan.config, captured)
        self.versions = {"packages": captured["packages"], "code": captured["code"]}
        self.journal = _Journal()
        # Files first: trackers upload them when the run is over.
        self.observers: list[Observer] = [self.journal, MetricsRecorder(self.folder)]
        self.observers += _trackers(experiment.config, self.folder)
        self.observers += observers
        self.progress = _Progress()

    def execute(self, begun: float) -> dict[str, Any]:
        """Run all tasks; write results whatever happens."""
        self.begun = begun
        status, error = "finished", None
        try:
            first_task, first_epoch = self._start()
            for task in range(first_task, len(self.plan.task_names)):
                self._task(task, first_epoch if task == first_task else 0)
        except KeyboardInterrupt:
            status = "interrupted"
        except Exception as caught:
            status, error = "failed", caught
        results = self._results(status, error)
        self.folder.write_results(results)
        for observer in self.observers:
            observer.run_finished(results)
        if error is not None:
            raise error
        return results

    def _start(self) -> tuple[int, int]:
        """Tell observers, evaluate the untrained network or restore a checkpoint; returns where to go on."""
        for observer in self.observers:
            observer.run_started(self.plan)
        self.trainer.after_epoch = self._save
        if self.resume and self.folder.checkpoint_file.exists():
            return self._restore()
        self.progress.baseline, _ = self.trainer.evaluate_tasks()
        return 0, 0

    def _task(self, task: int, first_epoch: int) -> None:
        for observer in self.observers:
            observer.task_started(task)
        metrics = self.trainer.train_task(task, first_epoch)
        accuracies, rates = self.trainer.evaluate_tasks()
        progress = self.progress
        progress.matrix.append(accuracies)
        progress.spike_rates.append(rates)
        progress.throughput.append(metrics["samples_per_second"])
        self._measure()
        metrics |= {f"spike_rate/layer_{layer}": rate for layer, rate in enumerate(rates)}
        for observer in self.observers:
            observer.task_done(task, accuracies, metrics)
        self._save(task, self.experiment.epochs)

    def _measure(self) -> None:
        from workbench.cost.measure import measured_cost

        experiment, trainer = self.experiment, self.trainer
        self.progress.measured = measured_cost(
            trainer.rule,
            trainer.network,
            trainer.optimizer,
            trainer.modifiers,
            trainer.saved_bytes or 0,
            experiment.sample_bytes,
        )

    def _save(self, task: int, epoch: int) -> None:
        """Write a checkpoint; `epoch` equal to the number of epochs says that the task is over and evaluated."""
        from workbench.checkpoint import Checkpoint

        trainer = self.trainer
        measured = self.progress.measured
        record = {
            **vars(self.progress),
            "measured": None if measured is None else measured.by_category(),
            "seconds": dict(trainer.seconds),
            "journal": self.journal.entries,
            "saved_bytes": trainer.saved_bytes,
        }
        Checkpoint(
            task=task,
            epoch=epoch,
            network=trainer.network.state_dict(),
            optimiser=trainer.optimizer.state_dict(),
            rule=trainer.rule.state_dict(),
            modifiers=[modifier.state_dict() for modifier in trainer.modifiers],
            record=record,
        ).save(self.folder.checkpoint_file)

    def _restore(self) -> tuple[int, int]:
        from workbench.checkpoint import Checkpoint

        trainer, checkpoint = self.trainer, Checkpoint.load(self.folder.checkpoint_file)
        over = checkpoint.epoch == self.experiment.epochs
        tasks_over = checkpoint.task + (1 if over else 0)
        trainer.network.load_state_dict(checkpoint.network)
        trainer.optimizer.load_state_dict(checkpoint.optimiser)
        trainer.rule.load_state_dict(checkpoint.rule)
        past = list(trainer.benchmark.train_stream)[:tasks_over]
        for modifier, state in zip(trainer.modifiers, checkpoint.modifiers, strict=True):
            modifier.load_state_dict(state, past)
        trainer.clock.train_exp_counter = tasks_over
        record = dict(checkpoint.record)
        self.journal.entries = record.pop("journal")
        self.journal.retell([observer for observer in self.observers if observer is not self.journal])
        trainer.saved_bytes = record.pop("saved_bytes")
        trainer.seconds = record.pop("seconds")
        measured = record.pop("measured")
        self.progress = _Progress(
            **record,
            seconds=self.progress.seconds,
            measured=None if measured is None else MemoryCost(**measured),
        )
        return (tasks_over, 0) if over else (checkpoint.task, checkpoint.epoch + 1)

    def _results(self, status: str, error: Exception | None) -> dict[str, Any]:
        from workbench.results import build_results

        progress = self.progress
        formula = (
            self.experiment.memory_formula().by_category() if hasattr(self.experiment.rule, "network") else {}
        )
        measured = progress.measured.by_category() if progress.measured is not None else {}
        seconds = {**progress.seconds, **self.trainer.seconds}
        seconds["other"] = max(0.0, time.perf_counter() - self.begun - sum(seconds.values()))
        extra: dict[str, Any] = {
            "throughput": progress.throughput,
            "spike_rates": progress.spike_rates,
            "versions": self.versions,
        }
        if error is not None:
            extra["error"] = f"{type(error).__name__}: {error}"
        return build_results(
            self.plan,
            progress.matrix,
            progress.baseline,
            {"formula": formula, "measured": measured},
            seconds,
            status,
            extra,
        )


def _trackers(config: ExperimentConfig, folder: RunFolder) -> list[Observer]:
    if not config.track.mlflow:
        return []
    from workbench.tracking import MlflowObserver, default_uri

    experiment = config.track.experiment or config.scenario.name
    return [
        MlflowObserver(config.track.uri or default_uri(), experiment, folder.path.resolve().name, folder.path)
    ]


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with `count` threads inside this context, all cores if None."""
    before = torch.get_num_threads()
    if count is not None:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
