"""Task streams as Avalanche benchmarks, and batches as index look-ups."""

import itertools
import warnings
from dataclasses import replace

import numpy as np
import pytest
import torch
from fixtures.small import task_stream
from hypothesis import given
from hypothesis import strategies as st

from workbench.streams import BatchLoader, Source, as_tensor, build_benchmark, sample_indices
from workbench.tasks import DatasetInfo, Jitter, SequencePool, Task, TaskStream


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


@given(st.data())
def test_numbers_read_at_once_are_those_read_one_by_one(data):
    benchmark = build_benchmark(task_stream("task"))
    kept = [experience.dataset for experience in benchmark.train_stream]
    for _ in range(data.draw(st.integers(1, 6))):
        dataset = data.draw(st.sampled_from(kept))
        if len(dataset) and data.draw(st.booleans()):
            places = st.lists(st.integers(0, len(dataset) - 1), max_size=12)
            kept.append(dataset.subset(data.draw(places)))
        else:
            kept.append(dataset.concat(data.draw(st.sampled_from(kept))))
    dataset = kept[-1]
    source = Source.of(dataset, 1)
    assert source.indices.tolist() == [int(number) for number in dataset.sample_index]
    assert source.task_labels.tolist() == [int(label) for label in dataset.targets_task_labels]
    assert source.indices.dtype == source.task_labels.dtype == np.int64


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


def pool_of_steps(lengths, width: int = 5) -> SequencePool:
    """Return sequences of those lengths in `width` steps; a target of a step is one more than its input."""
    inputs = np.arange(len(lengths) * width * 2, dtype=np.uint8).reshape(len(lengths), width, 2)
    scored = np.arange(width) < np.asarray(lengths)[:, None]
    return SequencePool(inputs, inputs + 1, scored)


def test_batches_with_scored_steps_end_where_the_longest_sequence_ends():
    stored = pool_of_steps([2, 3, 5, 0])
    batches = list(BatchLoader(stored, [source([0, 1, 2, 3, 3, 3], 2, label=1)]))
    assert [inputs.shape[1] for inputs, *_ in batches] == [3, 5, 1]
    for (inputs, targets, scored, labels), rows in zip(batches, ([0, 1], [2, 3], [3, 3]), strict=True):
        steps = inputs.shape[1]
        assert (inputs.numpy() == stored.inputs[rows][:, :steps]).all()
        assert (targets.numpy() == stored.inputs[rows][:, :steps] + 1).all()
        assert (scored.numpy() == stored.scored[rows][:, :steps]).all()
        assert (scored.dtype, labels.tolist()) == (torch.bool, [1, 1])


def test_a_class_may_be_asked_at_scored_steps_alone():
    asked_last = np.zeros((20, 3), dtype=bool)
    asked_last[:10, 1] = asked_last[10:, 2] = True
    asked = SequencePool(pool().inputs, pool().targets, asked_last)
    [[inputs, targets, scored, _]] = BatchLoader(asked, [source([0, 5], 2)])
    assert (inputs.shape, targets.tolist()) == ((2, 2, 2), [0, 1])
    assert scored.tolist() == [[False, True]] * 2


@pytest.mark.parametrize("stored", [0, 3])
def test_a_live_stream_is_not_shuffled_and_what_joins_it_is(stored):
    loader = BatchLoader(
        pool(), [source([5, 3, 9, 1], 2), source([11, 12, 13, 14], stored or 1)][: 1 + bool(stored)]
    )
    loader.in_order, loader.order = True, np.random.default_rng(0)
    batches = picked(loader)
    assert [batch[:2] for batch in batches] == [[5, 3], [9, 1]]
    if stored:
        joined = [number for batch in batches for number in batch[2:]]
        assert len(joined) == 6
        assert joined != [11, 12, 13, 14, 11, 12]


def test_jitter_moves_a_live_stream_too():
    loader = BatchLoader(pool(), [source(range(20), 20)], Jitter(1, 1), in_order=True)
    loader.order = np.random.default_rng(0)
    [[inputs, targets, _]] = loader
    assert (targets.numpy() == pool().targets).all()
    assert (inputs.numpy() != pool().inputs).any()


@given(
    shape=st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(1, 3)),
    repeated=st.sampled_from([(), (1,), (0, 1), (0, 1, 2)]),
    backwards=st.booleans(),
    writeable=st.booleans(),
)
def test_an_array_becomes_the_same_tensor_whatever_its_strides(shape, repeated, backwards, writeable):
    kept = [1 if axis in repeated else size for axis, size in enumerate(shape)]
    base = np.arange(np.prod(kept), dtype=np.uint8).reshape(kept)[:: -1 if backwards else 1]
    base.flags.writeable = writeable
    array = np.broadcast_to(base, shape) if repeated and 0 not in shape else base
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = as_tensor(array)
    assert tensor.shape == array.shape
    assert (tensor.numpy() == array).all()
    if not writeable and not repeated:
        tensor += 1
        assert (base == np.arange(np.prod(kept)).reshape(kept)[:: -1 if backwards else 1]).all()


def test_a_still_image_is_not_copied_for_every_step():
    class Still:
        """Images shown for a thousand steps."""

        shape = (4, 1000, 2)
        images = np.arange(8, dtype=np.float32).reshape(4, 2)

        def __getitem__(self, indices):
            images = self.images[indices]
            return np.broadcast_to(images[..., None, :], (*images.shape[:-1], 1000, 2))

    [[inputs, _, _]] = BatchLoader(SequencePool(Still(), np.zeros(4, dtype=np.int64)), [source([2, 0], 2)])
    assert inputs.shape == (2, 1000, 2)
    assert inputs.stride(1) == 0
    assert inputs[:, 7].tolist() == [[4, 5], [0, 1]]


def test_a_benchmark_of_predictions_has_no_classes_and_keeps_its_targets():
    stored = pool_of_steps([2, 3, 5, 0])
    whole = np.arange(4)
    stream = TaskStream(
        DatasetInfo("steps", True, "0"),
        "domain",
        stored,
        stored,
        (Task("all", (0, 1), whole, whole[:0], whole),),
        "ab",
    )
    benchmark = build_benchmark(stream)
    inputs, targets, label = benchmark.train_stream[0].dataset[1]
    assert (targets.numpy() == inputs.numpy() + 1).all()
    assert label == 0
    assert sample_indices(benchmark.test_stream[0].dataset).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("setting", ["class", "task"])
def test_lent_samples_keep_the_label_of_their_own_task(setting):
    stream = task_stream(setting, tasks=2)
    first, second = stream.tasks
    lent = replace(
        first,
        train=np.concatenate([first.train, second.train[:2]]),
        origins=np.repeat([0, 1], [len(first.train), 2]),
    )
    [experience, _] = build_benchmark(replace(stream, tasks=(lent, second))).train_stream
    labels = Source.of(experience.dataset, 1).task_labels
    assert labels.tolist() == (lent.origins.tolist() if setting == "task" else [0] * len(lent.train))
