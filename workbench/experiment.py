"""Build one experiment from a configuration, run it, resume it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workbench.backbones.network import Network
from workbench.config import ExperimentConfig
from workbench.cost.learning import planned_costs
from workbench.errors import ConfigurationError
from workbench.events import Observer, RunPlan
from workbench.hardware.chip import Chip
from workbench.online_stream import online
from workbench.plugin import Hardware, MemoryCost, Modifier, Rule, RuleContext
from workbench.randomness import RandomStreams
from workbench.registry import Registry
from workbench.tasks import ScenarioContext, TaskStream


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
    chip: Chip | None = None
    """What the weights are stored in; None: they are exact numbers."""
    cell_kind: str | None = None
    """Kind of its memory cells; see `Hardware`."""

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

    @property
    def largest_batch(self) -> int:
        """Sequences in the largest training batch, those that modifiers add included."""
        largest = 0
        for number, task in enumerate(self.stream.tasks):
            joined = sum(modifier.joined(self.batch_size) for modifier in self.modifiers) if number else 0
            largest = max(largest, min(self.batch_size, len(task.train)) + joined)
        return largest

    def memory_formula(self) -> MemoryCost:
        """Return the analytic memory cost of the largest batch, modifiers at the end of the last task included."""
        cost = self.rule.memory(self.stream.steps, self.largest_batch)
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
    if config.stream.mode == "online":
        order = streams.numpy("online-stream")
        stream = online(stream, order, config.stream.boundaries, config.stream.blur)
    backbone = registry.load("backbone", config.backbone.name)(config.backbone.config)
    network: Network = backbone.build(  # type: ignore[attr-defined]
        stream.channels, stream.classes, streams.torch("initialisation")
    )
    network.input_bytes = stream.training_pool.number_bytes
    hardware: Hardware = registry.load("hardware", config.hardware.name)(config.hardware.config)  # type: ignore[assignment]
    chip = hardware.attach(network.to(device), streams)
    rule = registry.load("learner", config.learner.rule.name)(config.learner.rule.config)
    modifiers = [registry.load("learner", choice.name)(choice.config) for choice in config.learner.modifiers]
    # Once more: hardware may have put modules of its own in.
    network = network.to(device)
    return Experiment(config, stream, network, rule, modifiers, streams, device, chip, hardware.cell_kind)  # type: ignore[arg-type]


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
        "a_training_sample": planned_costs(experiment),
        "memory": {**memory.by_category(), "total": memory.total},
    }


def _synapses(network: Network) -> int:
    return sum(
        layer.units * (layer.inputs + (layer.units if layer.recurrent is not None else 0))
        for layer in network.layers
    )


def import_all() -> None:
    """Import what a run needs besides this module, Avalanche above all; takes seconds the first time."""
    import workbench.run  # noqa: F401


def run_experiment(
    config: ExperimentConfig,
    out: Path,
    observers: Sequence[Observer] = (),
    *,
    resume: bool = False,
    progress: bool = True,
    begun: float | None = None,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Run (or resume) an experiment into the run folder `out`; returns the content of results.json.

    `progress` lets a download draw its bar on standard error. `begun`: when the session began, by `time.perf_counter`,
    if imports came before this call. `command`: the words that give this run, if they are not those this process was
    called with.

    An interrupt or an error leaves a valid folder with status `interrupted` or `failed`; an error is raised again after
    the folder is written, an interrupt is not.
    """
    begun = time.perf_counter() if begun is None else begun
    with _threads(config.threads):
        from workbench.run import conduct

        imported = time.perf_counter()
        experiment = build_experiment(config, progress=progress)
        seconds = {"imports": imported - begun, "data": time.perf_counter() - imported}
        return conduct(
            experiment, out, observers, resume=resume, begun=begun, seconds=seconds, command=command
        )


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
