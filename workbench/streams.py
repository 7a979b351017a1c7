"""Task streams as Avalanche benchmarks, and batches as index look-ups: the only module on Avalanche's benchmark side.

Every Avalanche data set made here carries the attribute `sample_index`, the position of each sample in its pool.
Avalanche carries attributes through subsets and concatenations, so a replay buffer, whatever its policy, can be read
back as one array of indices: batches need no per-sample collate, and a buffer is saved as a list of numbers.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from workbench.tasks import Jitter, SequencePool, TaskStream

if TYPE_CHECKING:
    from avalanche.benchmarks import CLScenario

Indices = npt.NDArray[np.int64]


class _PoolDataset(Dataset[tuple[Tensor, int | Tensor]]):
    """Part of a pool, sample by sample, for those Avalanche plug-ins that read their data themselves."""

    def __init__(self, pool: SequencePool, indices: Indices) -> None:
        self.pool = pool
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int | Tensor]:
        index = self.indices[position]
        inputs, target = torch.from_numpy(np.array(self.pool.inputs[index])), self.pool.targets[index]
        return inputs, int(target) if target.ndim == 0 else torch.from_numpy(np.array(target))


def build_benchmark(stream: TaskStream) -> CLScenario:
    """Return an Avalanche benchmark with the streams `train` and `test`, one experience for each task.

    Task labels are the task's number in the task setting (a sample that another task lends keeps that task's number),
    and 0 for all tasks otherwise. Where targets are given for every step, there are no classes: Avalanche sees class 0.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

        train, test = [], []
        for number, task in enumerate(stream.tasks):
            label = number if stream.setting == "task" else 0
            labels = np.full(len(task.train), label)
            if stream.setting == "task" and task.origins is not None:
                labels = task.origins
            train.append(_avalanche_dataset(stream.training_pool, task.train, labels))
            test.append(_avalanche_dataset(stream.test_pool, task.test, np.full(len(task.test), label)))
        return with_task_labels(with_classes_timeline(benchmark_from_datasets(train=train, test=test)))


def _avalanche_dataset(pool: SequencePool, indices: Indices, task_labels: Indices) -> Any:
    from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
    from avalanche.benchmarks.utils.data_attribute import TaskLabels

    classes = pool.targets[indices] if pool.targets.ndim == 1 else np.zeros(len(indices), dtype=np.int64)
    attributes = [
        DataAttribute(classes.tolist(), "targets"),
        TaskLabels(task_labels.tolist()),
        DataAttribute(indices.tolist(), "sample_index"),
    ]
    return TaskAwareSupervisedClassificationDataset([_PoolDataset(pool, indices)], data_attributes=attributes)


def sample_indices(dataset: Any) -> Indices:
    """Return where the samples of an Avalanche data set made here (or derived from one) stand in their pool."""
    return _values(dataset.sample_index.data)


def _values(stored: Any) -> Indices:
    """Return all numbers of an Avalanche attribute's data, in order, at once.

    Asked for one by one, each takes microseconds: as much as a small network takes to test a sample. So the parts that
    subsets and concatenations are made of are read where they are known, and one by one where they are not.
    """
    parts, chosen = getattr(stored, "_datasets", None), getattr(stored, "_indices", None)
    if not parts:
        return np.fromiter(stored, dtype=np.int64, count=len(stored))
    whole = np.concatenate([_values(part) for part in parts])
    return whole if chosen is None else whole[np.fromiter(chosen, dtype=np.int64, count=len(stored))]


@dataclass(frozen=True)
class Source:
    """Samples of a pool that fill `size` places of every batch; task_labels `[n]` goes with indices `[n]`."""

    indices: Indices
    task_labels: Indices
    size: int

    @staticmethod
    def of(dataset: Any, size: int) -> Source:
        """Return the source that an Avalanche data set stands for."""
        return Source(sample_indices(dataset), _values(dataset.targets_task_labels.data), size)


class BatchLoader:
    """Batches `[inputs [B, T, N], targets [B], task labels [B]]` by index look-up.

    Inputs are uint8 or float32. Targets of every step come as `[B, T, C]`. A pool that says which steps are scored
    gives batches of four, `[inputs, targets, scored [B, T] bool, task labels]`, that end with the last step scored in
    any of the batch's sequences.

    The first source sets the length of an epoch; further sources (replay) are drawn alongside and start over when they
    run out. Order and jitter come from `order`, a generator made anew for each epoch; without it, order is as given.
    in_order: the first source is shown in the order given, whatever `order` is: a live stream is not shuffled.
    """

    def __init__(
        self,
        pool: SequencePool,
        sources: Sequence[Source],
        jitter: Jitter | None = None,
        *,
        in_order: bool = False,
    ) -> None:
        self.pool = pool
        self.jitter = jitter
        self.in_order = in_order
        self.sources = [source for source in sources if len(source.indices)]
        self.order: np.random.Generator | None = None

    @property
    def joined(self) -> int:
        """How many sequences of a batch come from further sources."""
        return sum(source.size for source in self.sources[1:])

    def __len__(self) -> int:
        return -(-len(self.sources[0].indices) // self.sources[0].size) if self.sources else 0

    def __iter__(self) -> Iterator[list[Tensor]]:
        # Looked up for the whole epoch at once: at batch 1, a batch costs little more than its own samples.
        rounds = []
        for source in self.sources:
            order = self._rounds(source, len(self))
            rounds.append((source.size, source.indices[order], source.task_labels[order]))
        for batch in range(len(self)):
            picks = [slice(batch * size, (batch + 1) * size) for size, _, _ in rounds]
            indices = [indices[pick] for (_, indices, _), pick in zip(rounds, picks, strict=True)]
            labels = [labels[pick] for (_, _, labels), pick in zip(rounds, picks, strict=True)]
            if len(rounds) == 1:
                yield self._look_up(indices[0], labels[0])
            else:
                yield self._look_up(np.concatenate(indices), np.concatenate(labels))

    def _rounds(self, source: Source, batches: int) -> Indices:
        """Return positions for a whole epoch: the first source once, others as often as it takes."""
        count = len(source.indices)
        first = source is self.sources[0]
        rounds = 1 if first else -(-batches * source.size // count)
        if self.order is None or (first and self.in_order):
            return np.tile(np.arange(count), rounds)
        return np.concatenate([self.order.permutation(count) for _ in range(rounds)])

    def _look_up(self, indices: Indices, labels: Indices) -> list[Tensor]:
        pool = self.pool
        inputs, targets = pool.inputs[indices], pool.targets[indices]
        if self.jitter is not None and self.order is not None:
            inputs = self.jitter.apply(inputs, self.order)
        if pool.scored is None:
            return [as_tensor(inputs), as_tensor(targets), as_tensor(labels)]
        scored = pool.scored[indices]
        steps = max(1, int(np.flatnonzero(scored.any(axis=0)).max(initial=0)) + 1)
        if targets.ndim == 3:
            targets = targets[:, :steps]
        parts = (inputs[:, :steps], targets, scored[:, :steps], labels)
        return [as_tensor(part) for part in parts]


def as_tensor(array: npt.NDArray[Any]) -> Tensor:
    """Return the array as a tensor that shares its memory where torch can, and never writes to a read-only array.

    Axes along which the array only repeats (stride 0: an image shown for T steps) repeat in the tensor as well.
    """
    flags, backwards = array.flags, min(array.strides, default=0) < 0
    if flags.c_contiguous and flags.writeable and not backwards:
        return torch.from_numpy(array)
    repeats = any(stride == 0 and size > 1 for stride, size in zip(array.strides, array.shape, strict=True))
    if repeats:
        once = tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)
        return as_tensor(array[once]).expand(array.shape)
    return torch.from_numpy(array if flags.writeable and not backwards else array.copy())
