"""Task streams as Avalanche benchmarks, and batches as index look-ups."""

import itertools
import warnings

import numpy as np
import pytest
import torch
from fixtures.small import task_stream
from hypothesis import given
from hypothesis import strategies as st

from workbench.streams import BatchLoader, Source, build_benchmark, sample_indices
from workbench.tasks import SequencePool, TaskStream


def pool(count: int = 20) -> SequencePool:
    """Return a pool in which every sample is full of its own number."""
    inputs = np.tile(np.arange(count, dtype=np.uint8)[:, None, None], (1, 3, 2))
    return SequencePool(inputs, np.arange(count, dtype=np.int64) % 4)


def source(indices, size, label=0):
    indices = np.asarray(indices, dtype=np.int64)
    return Source(indices, np.full(len(indices), label, dtype=np.int64), size)


def picked(loader):
    """Return the numbers of the samples in each batch."""
    return [inputs[:, 0, 0].tolist() for inputs, _, _ in loader]


@given(count=st.integers(1, 20), size=st.integers(1, 9), seed=st.integers(0, 5))
def test_every_sample_comes_once_an_epoch(count, size, seed):
    loader = BatchLoader(pool(), [source(range(count), size)])
    loader.order = np.random.default_rng(seed)
    batches = picked(loader)
    assert len(batches) == len(loader) == -(-count // size)
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    assert sorted(itertools.chain(*batches)) == list(range(count))


def test_order_is_given_or_drawn_from_the_generator():
    loader = BatchLoader(pool(), [source([7, 3, 5, 1], 2)])
    assert picked(loader) == [[7, 3], [5, 1]]
    drawn = []
    for seed in (0, 0, 1):
        loader.order = np.random.default_rng(seed)
        drawn.append([picked(loader), picked(loader)])
    assert drawn[0] == drawn[1] != drawn[2]
    assert drawn[0][0] != drawn[0][1]


@given(new=st.integers(1, 12), stored=st.integers(1, 8), size=st.integers(1, 5), share=st.integers(1, 12))
def test_stored_samples_join_every_batch_and_start_over_when_they_run_out(new, stored, size, share):
    loader = BatchLoader(pool(), [source(range(new), size), source(range(12, 12 + stored), share, label=3)])
    loader.order = np.random.default_rng(0)
    seen = dict.fromkeys(range(12, 12 + stored), 0)
    fresh = []
    for inputs, targets, labels in loader:
        numbers = inputs[:, 0, 0].numpy()
        old = numbers >= 12
        assert old.sum() == share
        assert (labels.numpy() == np.where(old, 3, 0)).all()
        assert (targets.numpy() == numbers % 4).all()
        fresh += numbers[~old].tolist()
        for number in numbers[old]:
            seen[number] += 1
    assert sorted(fresh) == list(range(new))
    # Evenly: nobody is drawn twice more often than another.
    assert max(seen.values()) - min(seen.values()) <= 1


def test_a_source_without_samples_gives_no_batches():
    assert picked(BatchLoader(pool(), [source([], 4)])) == []
    assert picked(BatchLoader(pool(), [source([1], 4), source([], 4)])) == [[1]]


@pytest.mark.parametrize("setting", ["class", "task", "domain"])
def test_benchmark_has_the_tasks_of_the_stream(setting):
    stream = task_stream(setting, tasks=3)
    benchmark = build_benchmark(stream)
    assert len(benchmark.train_stream) == len(benchmark.test_stream) == 3
    for number, task in enumerate(stream.tasks):
        experience = benchmark.train_stream[number]
        label = number if setting == "task" else 0
        assert experience.current_experience == number
        assert experience.task_labels == [label]
        assert sorted(experience.classes_in_this_experience) == list(task.classes)
        assert (sample_indices(experience.dataset) == task.train).all()
        assert (sample_indices(benchmark.test_stream[number].dataset) == task.test).all()
        inputs, target, task_label = experience.dataset[1]
        assert (inputs.numpy() == stream.training_pool.inputs[task.train[1]]).all()
        assert (target, task_label) == (stream.training_pool.targets[task.train[1]], label)


def test_sample_numbers_survive_subsets_and_concatenations():
    stream = task_stream("task", tasks=2)
    first, second = (experience.dataset for experience in build_benchmark(stream).train_stream)
    mixed = second.subset([3, 1, 1]).concat(first.subset(torch.tensor([0, 5])))
    taken = [*stream.tasks[1].train[[3, 1, 1]], *stream.tasks[0].train[[0, 5]]]
    assert sample_indices(mixed).tolist() == taken
    made = Source.of(mixed.subset([4, 0]), 2)
    assert made.indices.tolist() == [taken[4], taken[0]]
    assert made.task_labels.tolist() == [0, 1]
    [[inputs, targets, labels]] = BatchLoader(stream.training_pool, [made])
    assert (inputs.numpy() == stream.training_pool.inputs[made.indices]).all()
    assert (targets.numpy() == stream.training_pool.targets[made.indices]).all()
    assert labels.tolist() == [0, 1]


def test_a_memory_mapped_pool_is_read_without_a_warning_and_left_alone(tmp_path):
    whole = task_stream()
    file = tmp_path / "inputs.npy"
    np.save(file, whole.training_pool.inputs)
    mapped = np.load(file, mmap_mode="r")
    assert not mapped.flags.writeable
    stream = TaskStream(
        whole.dataset,
        whole.setting,
        SequencePool(mapped, whole.training_pool.targets),
        whole.test_pool,
        whole.tasks,
        whole.class_names,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        [experience, _] = build_benchmark(stream).train_stream
        loader = BatchLoader(stream.training_pool, [Source.of(experience.dataset, 7)])
        for inputs, _, _ in loader:
            inputs.add_(1)
        experience.dataset[0][0].add_(1)
    assert (np.load(file) == whole.training_pool.inputs).all()
