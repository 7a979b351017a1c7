"""Cutting a labelled data set into tasks: by class or by speaker, with a validation slice. Pure functions.

Setting `class`: each task brings new classes, one readout for all. `task`: the same, and the task is known
when classes are predicted. `domain`: each task holds all classes, spoken by other speakers. Terms: van de
Ven and Tolias 2019, Three scenarios for continual learning.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

from workbench.errors import ConfigurationError, DataError
from workbench.lazy import lazy_module
from workbench.tasks import DatasetInfo, SequencePool, Setting, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]
else:
    np = lazy_module("numpy")

Order = Literal["label", "seeded"]

DEFAULT_TASKS = 5
HELD_OUT = 0.2
"""Part of a speaker's training recordings that becomes the test of a speaker who has no test recordings."""


@dataclass(frozen=True)
class LabelledSequences:
    """A data set before it is cut; speakers `[n]` int64, or None where unknown."""

    dataset: DatasetInfo
    training: SequencePool
    test: SequencePool
    class_names: tuple[str, ...]
    training_speakers: Indices | None = None
    test_speakers: Indices | None = None


def arrange(values: Sequence[int], order: Order, generator: np.random.Generator) -> tuple[int, ...]:
    """Return the values in ascending order, or shuffled by the generator.

    >>> arrange([2, 0, 1], "label", np.random.default_rng(0))
    (0, 1, 2)
    """
    ascending = sorted(values)
    return (
        tuple(ascending) if order == "label" else tuple(int(one) for one in generator.permutation(ascending))
    )


def deal(values: Sequence[int], tasks: int) -> tuple[tuple[int, ...], ...]:
    """Return consecutive groups, as even as possible; where that is not quite even, the first ones are
    larger.

    >>> deal(range(7), 3)
    ((0, 1, 2), (3, 4), (5, 6))
    """
    size, larger = divmod(len(values), tasks)
    starts = [group * size + min(group, larger) for group in range(tasks + 1)]
    return tuple(tuple(values[first:last]) for first, last in pairwise(starts))


def slice_strata(
    indices: Indices, strata: npt.NDArray[np.integer], fraction: float, generator: np.random.Generator
) -> tuple[Indices, Indices]:
    """Return `indices` as (rest, slice), both ascending: of each stratum a `fraction`, rounded, drawn at
    random.

    strata: `[len(indices)]`. A stratum of two or more gives at least one if fraction > 0, and never its last.
    """
    taken = np.zeros(len(indices), dtype=bool)
    for stratum in np.unique(strata):
        members = generator.permutation(np.flatnonzero(strata == stratum))
        count = max(1, round(fraction * len(members))) if fraction > 0 else 0
        taken[members[: min(count, len(members) - 1)]] = True
    return np.sort(indices[~taken]), np.sort(indices[taken])


def cut_by_class(
    data: LabelledSequences, setting: Setting, tasks: int | None, order: Order, validation: float, seed: int
) -> TaskStream:
    """Return tasks of disjoint classes. Raises ConfigurationError if there are more tasks than classes.

    tasks: None for 5, or as many as there are classes. validation: fraction of each class's training
    recordings; the same recordings whatever the number of tasks.
    """
    from workbench.randomness import RandomStreams

    count = _task_count(tasks, len(data.class_names), "classes")
    streams = RandomStreams(seed)
    groups = deal(arrange(range(len(data.class_names)), order, streams.numpy("class-order")), count)
    everything = np.arange(len(data.training.targets), dtype=np.int64)
    train, held = slice_strata(everything, data.training.targets, validation, streams.numpy("validation"))

    def of(classes: tuple[int, ...], indices: Indices, targets: Indices) -> Indices:
        return indices[np.isin(targets[indices], classes)]

    every_test = np.arange(len(data.test.targets), dtype=np.int64)
    cut = tuple(
        Task(
            "all classes" if count == 1 else _listed([data.class_names[one] for one in classes]),
            classes,
            of(classes, train, data.training.targets),
            of(classes, held, data.training.targets),
            of(classes, every_test, data.test.targets),
        )
        for classes in groups
    )
    return _stream(data, setting, data.test, cut)


def cut_by_speaker(
    data: LabelledSequences, tasks: int | None, order: Order, validation: float, seed: int
) -> TaskStream:
    """Return tasks of disjoint groups of the speakers in the training data, each with all classes.

    A task is tested on its own speakers. A speaker without test recordings gives up a fifth of the training
    recordings (`HELD_OUT`, stratified by class, drawn from the seed), which then are not trained on. Test
    recordings of speakers that nobody trains on belong to no task.

    tasks: None for 5, or as many as there are speakers. Raises ConfigurationError if there are more tasks
    than speakers, DataError if the data names no speakers.
    """
    from workbench.randomness import RandomStreams

    if data.training_speakers is None or data.test_speakers is None:
        raise DataError(f"{data.dataset.name}: setting=domain needs extra/speaker in both files")
    speakers = sorted(set(data.training_speakers.tolist()))
    count = _task_count(tasks, len(speakers), "speakers in the training data")
    streams = RandomStreams(seed)
    groups = deal(arrange(speakers, order, streams.numpy("class-order")), count)
    task_of = {speaker: number for number, group in enumerate(groups) for speaker in group}
    task = np.array([task_of[speaker] for speaker in data.training_speakers.tolist()], dtype=np.int64)
    targets, classes = data.training.targets, len(data.class_names)

    untested = np.setdiff1d(speakers, data.test_speakers)
    lent = np.flatnonzero(np.isin(data.training_speakers, untested))
    _, moved = slice_strata(
        lent, data.training_speakers[lent] * classes + targets[lent], HELD_OUT, streams.numpy("domain-test")
    )
    usable = np.setdiff1d(np.arange(len(targets), dtype=np.int64), moved)
    train, held = slice_strata(
        usable, task[usable] * classes + targets[usable], validation, streams.numpy("validation")
    )
    test_pool = _extended(data.test, data.training, moved)
    test_task = np.concatenate([[task_of.get(one, -1) for one in data.test_speakers.tolist()], task[moved]])
    cut = tuple(
        Task(
            "all speakers" if count == 1 else _listed([f"speaker {one}" for one in group]),
            tuple(range(classes)),
            train[task[train] == number],
            held[task[held] == number],
            np.flatnonzero(test_task == number).astype(np.int64),
        )
        for number, group in enumerate(groups)
    )
    return _stream(data, "domain", test_pool, cut)


def _extended(test: SequencePool, training: SequencePool, moved: Indices) -> SequencePool:
    if not len(moved):
        return test
    return SequencePool(
        np.concatenate([test.inputs, training.inputs[moved]]),
        np.concatenate([test.targets, training.targets[moved]]),
    )


def _task_count(tasks: int | None, parts: int, what: str) -> int:
    if tasks is None:
        return min(DEFAULT_TASKS, parts)
    if not 1 <= tasks <= parts:
        raise ConfigurationError(
            f"scenario.tasks={tasks}: the data has {parts} {what}; allowed: 1 to {parts}"
        )
    return tasks


def _listed(names: Sequence[str]) -> str:
    """Return names joined by commas, the middle left out where there are more than four.

    >>> _listed(["a", "b", "c", "d", "e"])
    'a, b, ..., e'
    """
    shown = list(names) if len(names) <= 4 else [*names[:2], "...", names[-1]]
    return ", ".join(shown)


def _stream(
    data: LabelledSequences, setting: Setting, test: SequencePool, tasks: tuple[Task, ...]
) -> TaskStream:
    for number, task in enumerate(tasks):
        for split, indices in (("training", task.train), ("test", task.test)):
            if not len(indices):
                raise DataError(f"{data.dataset.name}: task {number} ({task.name}) has no {split} recordings")
    return TaskStream(data.dataset, setting, data.training, test, tasks, data.class_names)
