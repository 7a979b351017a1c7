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


class _PoolDataset(Dataset[tuple[Tensor, int]]):
    """Part of a pool, sample by sample, for those Avalanche plug-ins that read their data themselves."""

    def __init__(self, pool: SequencePool, indices: Indices) -> None:
        self.pool = pool
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        index = self.indices[position]
        return torch.from_numpy(np.array(self.pool.inputs[index])), int(self.pool.targets[index])


def build_benchmark(stream: TaskStream) -> CLScenario:
    """Return an Avalanche benchmark with the streams `train` and `test`, one experience for each task.

    Task labels are the task's number in the task setting, and 0 for all tasks otherwise.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from avalanche.benchmarks import benchmark_from_datasets, with_classes_timeline, with_task_labels

        train, test = [], []
        for number, task in enumerate(stream.tasks):
            label = number if stream.setting == "task" else 0
            train.append(_avalanche_dataset(stream.training_pool, task.train, label))
            test.append(_avalanche_dataset(stream.test_pool, task.test, label))
        return with_task_labels(with_classes_timeline(benchmark_from_datasets(train=train, test=test)))


def _avalanche_dataset(pool: SequencePool, indices: Indices, task_label: int) -> Any:
    from avalanche.benchmarks.utils import DataAttribute, TaskAwareSupervisedClassificationDataset
    from avalanche.benchmarks.utils.data_attribute import TaskLabels

    attributes = [
        DataAttribute(pool.targets[indices].tolist(), "targets"),
        TaskLabels([task_label] * len(indices)),
        DataAttribute(indices.tolist(), "sample_index"),
    ]
    return TaskAwareSupervisedClassificationDataset([_PoolDataset(pool, indices)], data_attributes=attributes)


def sample_indices(dataset: Any) -> Indices:
    """Return where the samples of an Avalanche data set made here (or derived from one) stand in their pool."""
    return np.fromiter(dataset.sample_index, dtype=np.int64, count=len(dataset))


@dataclass(frozen=True)
class Source:
    """Samples of a pool that fill `size` places of every batch; task_labels `[n]` goes with indices `[n]`."""

    indices: Indices
    task_labels: Indices
    size: int

    @staticmethod
    def of(dataset: Any, size: int) -> Source:
        """Return the source that an Avalanche data set stands for."""
        labels = np.fromiter(dataset.targets_task_labels, dtype=np.int64, count=len(dataset))
        return Source(sample_indices(dataset), labels, size)


class BatchLoader:
    """Batches `[inputs [B, T, N] uint8, targets [B], task labels [B]]` by index look-up.

    The first source sets the length of an epoch; further sources (replay) are drawn alongside and start over when they
    run out. Order and jitter come from `order`, a generator made anew for each epoch; without it, order is as given.
    """

    def __init__(self, pool: SequencePool, sources: Sequence[Source], jitter: Jitter | None = None) -> None:
        self.pool = pool
        self.jitter = jitter
        self.sources = [source for source in sources if len(source.indices)]
        self.order: np.random.Generator | None = None

    def __len__(self) -> int:
        return -(-len(self.sources[0].indices) // self.sources[0].size) if self.sources else 0

    def __iter__(self) -> Iterator[list[Tensor]]:
        orders = [self._rounds(source, len(self)) for source in self.sources]
        for batch in range(len(self)):
            picks = []
            for source, order in zip(self.sources, orders, strict=True):
                picks.append(order[batch * source.size : (batch + 1) * source.size])
            yield self._look_up(picks)

    def _rounds(self, source: Source, batches: int) -> Indices:
        """Return positions for a whole epoch: the first source once, others as often as it takes."""
        count = len(source.indices)
        rounds = 1 if source is self.sources[0] else -(-batches * source.size // count)
        if self.order is None:
            return np.tile(np.arange(count), rounds)
        return np.concatenate([self.order.permutation(count) for _ in range(rounds)])

    def _look_up(self, picks: Sequence[Indices]) -> list[Tensor]:
        pairs = list(zip(self.sources, picks, strict=True))
        indices = np.concatenate([source.indices[pick] for source, pick in pairs])
        labels = np.concatenate([source.task_labels[pick] for source, pick in pairs])
        inputs = self.pool.inputs[indices]
        if self.jitter is not None and self.order is not None:
            inputs = self.jitter.apply(inputs, self.order)
        return [
            torch.from_numpy(inputs),
            torch.from_numpy(self.pool.targets[indices]),
            torch.from_numpy(labels),
        ]
