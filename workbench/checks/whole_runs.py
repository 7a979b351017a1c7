"""Checks of whole runs through the trainer: two tiny tasks, a run folder, checkpoints."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workbench.backbones.lif import LIFConfig
from workbench.checkpoint import Checkpoint
from workbench.checks.subject import (
    STEPS,
    Subject,
    differing,
    expect,
    global_generators_untouched,
    small_network,
    small_stream,
)
from workbench.config import Choice, ExperimentConfig, LearnerChoice
from workbench.events import Observer
from workbench.experiment import Experiment
from workbench.plugin import PluginConfig
from workbench.randomness import RandomStreams
from workbench.run import conduct
from workbench.runfolder import RunFolder
from workbench.sections import TrackConfig, TrainConfig

TOLERANCE = 0.05
"""Relative distance that the memory formula may have from the measurement."""
SLACK = 256
"""Bytes of it that are forgiven besides: counters, scalars."""


def experiment_of(subject: Subject, seed: int = 0, steps: int = STEPS, *, empty: bool = False) -> Experiment:
    """Return a built experiment on the small stream."""
    stream = small_stream(steps, empty=empty)
    rule, modifiers = subject.rule(), subject.modifiers()
    choices = zip(subject.modifier_names, modifiers, strict=True)
    config = ExperimentConfig(
        scenario=Choice("made-up", PluginConfig()),
        learner=LearnerChoice(
            subject.name,
            Choice(subject.rule_name, rule.config),
            tuple(Choice(name, modifier.config) for name, modifier in choices),
        ),
        backbone=Choice("lif", LIFConfig(hidden=(16,), gain=2.0)),
        hardware=Choice("ideal", PluginConfig()),
        train=TrainConfig(epochs=2, batch_size=8),
        track=TrackConfig(mlflow=False),
        seed=seed,
        device="cpu",
    )
    network = small_network(seed, stream.channels, stream.classes)
    streams = RandomStreams(seed)
    chip = subject.attached(network, streams)
    return Experiment(config, stream, network, rule, modifiers, streams, torch.device("cpu"), chip)


def run(
    subject: Subject,
    out: Path,
    observers: Sequence[Observer] = (),
    *,
    resume: bool = False,
    **options: Any,
) -> tuple[Experiment, Mapping[str, Any]]:
    """Run a new experiment; returns it and its results."""
    experiment = experiment_of(subject, **options)
    # A checkpoint after every epoch, however long it takes: what is checked is where an interrupt falls.
    return experiment, conduct(experiment, out, observers, resume=resume, checkpoint_share=math.inf)


def memory_formula(subject: Subject) -> str:
    """The analytic memory is within 5 % of what a run holds, for two lengths of sequences."""
    seen = []
    for steps in (30, 60):
        with tempfile.TemporaryDirectory() as folder:
            _, results = run(subject, Path(folder) / "run", steps=steps)
        formula, measured = results["memory"]["formula"], results["memory"]["measured"]
        expected, found = _comparable(formula), _comparable(measured)
        apart = {key: (expected[key], found[key]) for key in expected if _far(expected[key], found[key])}
        told = ", ".join(f"{key} {one:.0f} against {two:.0f}" for key, (one, two) in apart.items())
        expect(
            "total" not in apart,
            f"memory() must be within {TOLERANCE:.0%} of the bytes measured at T={steps}; "
            f"formula against measured: {told}",
        )
        seen.append(f"T={steps}: {expected['total']:.0f} against {found['total']:.0f} bytes")
    return "; ".join(seen)


def _comparable(memory: Mapping[str, int]) -> dict[str, float]:
    """Leave stored samples out: a formula tells the capacity, and there are few samples here."""
    categories = {key: float(value) for key, value in memory.items() if key not in ("total", "replay")}
    return {**categories, "total": sum(categories.values())}


def _far(expected: float, found: float) -> bool:
    return abs(expected - found) > max(TOLERANCE * found, SLACK)


def two_tasks(subject: Subject) -> str:
    """Two tasks are learned without a fault, and leave finite weights and accuracies."""
    with tempfile.TemporaryDirectory() as folder:
        with global_generators_untouched("a run"):
            experiment, results = run(subject, Path(folder) / "run")
        expect(results["status"] == "finished", f"the run must finish, not be {results['status']}")
    _expect_finite(experiment)
    rows = results["R"]
    expect(len(rows) == 2, f"two tasks must give two rows of accuracies, not {len(rows)}")
    return f"accuracy after the second: {', '.join(f'{accuracy:.2f}' for accuracy in rows[1])}"


def repetition(subject: Subject) -> str:
    """The same seed gives the same accuracies and the same weights, bit for bit."""
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder) / name for name in ("first", "second")]
        results = [run(subject, out)[1] for out in outs]
        expect(results[0]["R"] == results[1]["R"], "the same seed must give the same accuracies")
        names = differing(_tensors(outs[0]), _tensors(outs[1]))
    expect(not names, f"the same seed must give the same run, bit for bit; {', '.join(names)} differ")
    return "bit for bit"


class _Interrupt(Observer):
    """Ends the session after an epoch, or after a task if `epoch` is None."""

    def __init__(self, task: int, epoch: int | None) -> None:
        self.task = task
        self.epoch = epoch

    def batch_done(
        self, task: int, epoch: int, batch: int, batches: int, loss: float | None, accuracy: float | None
    ) -> None:
        """Press Ctrl-C in the epoch after."""
        if self.epoch is not None and (task, epoch) == (self.task, self.epoch + 1):
            raise KeyboardInterrupt

    def task_started(self, task: int) -> None:
        """Press Ctrl-C before the task after."""
        if self.epoch is None and task == self.task + 1:
            raise KeyboardInterrupt


def resume(subject: Subject) -> str:
    """A run interrupted within or after a task and resumed ends as the uninterrupted one, bit for bit."""
    points = {"after the first task": (0, None), "within the second": (1, 0)}
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole"
        _, expected = run(subject, whole)
        for number, (place, point) in enumerate(points.items()):
            out = Path(folder) / str(number)
            _, halted = run(subject, out, [_Interrupt(*point)])
            expect(halted["status"] == "interrupted", f"an interrupt {place} must end the session")
            _, results = run(subject, out, resume=True)
            names = differing(_tensors(out), _tensors(whole))
            expect(
                not names and results["R"] == expected["R"],
                f"a run interrupted {place} must resume bit for bit: state_dict() of rule, modifiers and devices must "
                f"hold all that later steps depend on; {', '.join(names) or 'accuracies'} differ",
            )
    return ", ".join(points)


def empty_task(subject: Subject) -> str:
    """A task without samples is passed over."""
    with tempfile.TemporaryDirectory() as folder:
        experiment, results = run(subject, Path(folder) / "run", empty=True)
    _expect_finite(experiment)
    rows = results["R"]
    expect(len(rows) == 3, "a task without samples must not end the run")
    expect(rows[2][1] is None or math.isnan(rows[2][1]), "an empty task has no accuracy")
    return "passed over"


def _expect_finite(experiment: Experiment) -> None:
    broken = [name for name, p in experiment.network.named_parameters() if not bool(torch.isfinite(p).all())]
    expect(not broken, f"training must leave finite weights; {', '.join(broken)} are not")


def _tensors(folder: Path) -> dict[str, Tensor]:
    """Return weights and the learner's state from a run's checkpoint."""
    checkpoint = Checkpoint.load(RunFolder(folder).checkpoint_file)
    found = dict(checkpoint.network) | {
        f"rule state {name}": value for name, value in checkpoint.rule.items()
    }
    for number, state in enumerate(checkpoint.modifiers):
        found |= {f"modifier {number} {name}": value for name, value in state.items()}
    return found | {f"device state {name}": value for name, value in checkpoint.chip.items()}
