"""Cutting into tasks: every recording in exactly one place, whatever the settings."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.splitting import LabelledSequences, arrange, cut_by_class, cut_by_speaker, deal, slice_strata
from workbench.errors import ConfigurationError, DataError
from workbench.tasks import DatasetInfo, SequencePool, TaskStream

CLASSES = 6


def labelled(
    seed: int = 0, speakers: int = 5, test_speakers: tuple[int, ...] = (0, 1, 7)
) -> LabelledSequences:
    """Return 240 training and 60 test recordings; the input of each is its own number."""
    generator = np.random.default_rng(seed)
    pools, by_speaker = [], []
    for count, voices in ((240, tuple(range(speakers))), (60, test_speakers)):
        targets = generator.permutation(np.arange(count) % CLASSES).astype(np.int64)
        by_speaker.append(generator.permutation(np.resize(voices, count)).astype(np.int64))
        pools.append(SequencePool(np.arange(count, dtype=np.uint8).reshape(-1, 1, 1), targets))
    names = tuple("abcdef")
    return LabelledSequences(
        DatasetInfo("made", True, "0"), pools[0], pools[1], names, by_speaker[0], by_speaker[1]
    )


def joined(stream: TaskStream, split: str) -> list[int]:
    """Return the indices of all tasks, sorted, with repetitions."""
    return sorted(np.concatenate([getattr(task, split) for task in stream.tasks]).tolist())


@given(st.lists(st.integers(), unique=True), st.integers(1, 12))
def test_dealing_keeps_order_and_is_even(values: list[int], tasks: int) -> None:
    groups = deal(values, tasks)
    assert [one for group in groups for one in group] == values
    sizes = [len(group) for group in groups]
    assert len(sizes) == tasks
    assert max(sizes) - min(sizes) <= 1
    assert sizes == sorted(sizes, reverse=True)


def test_orders() -> None:
    assert arrange([3, 1, 2], "label", np.random.default_rng(0)) == (1, 2, 3)
    drawn = {arrange(range(8), "seeded", np.random.default_rng(seed)) for seed in range(5)}
    assert len(drawn) == 5
    assert all(sorted(order) == list(range(8)) for order in drawn)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=80), st.floats(0, 0.5), st.integers(0, 99))
def test_a_slice_is_stratified_and_disjoint(strata: list[int], fraction: float, seed: int) -> None:
    indices = np.arange(len(strata)) * 3 + 1
    kept, taken = slice_strata(indices, np.array(strata), fraction, np.random.default_rng(seed))
    assert sorted([*kept, *taken]) == indices.tolist()
    assert np.all(np.diff(kept) > 0)
    for stratum in set(strata):
        members = indices[np.array(strata) == stratum]
        count = np.isin(members, taken).sum()
        wanted = max(1, round(fraction * len(members))) if fraction > 0 else 0
        assert count == min(wanted, len(members) - 1)


@given(
    st.integers(1, CLASSES),
    st.sampled_from(["label", "seeded"]),
    st.sampled_from([0.0, 0.1, 0.5]),
    st.integers(0, 50),
)
def test_classes_are_shared_out_completely(tasks: int, order: str, validation: float, seed: int) -> None:
    data = labelled()
    stream = cut_by_class(data, "class", tasks, order, validation, seed)  # type: ignore[arg-type]
    assert sorted(one for task in stream.tasks for one in task.classes) == list(range(CLASSES))
    assert sorted(joined(stream, "train") + joined(stream, "validation")) == list(range(240))
    assert joined(stream, "test") == list(range(60))
    for task in stream.tasks:
        for split, pool in (("train", data.training), ("validation", data.training), ("test", data.test)):
            indices = getattr(task, split)
            assert indices.dtype == np.int64
            assert set(pool.targets[indices]) <= set(task.classes)
    assert len(joined(stream, "validation")) == pytest.approx(240 * validation)


def test_the_validation_slice_depends_on_the_seed_alone() -> None:
    data = labelled()
    slices = [
        joined(cut_by_class(data, setting, tasks, order, 0.1, seed=3), "validation")
        for setting, tasks, order in (("class", 1, "label"), ("task", 3, "seeded"), ("class", None, "label"))
    ]
    assert slices[0] == slices[1] == slices[2]
    assert slices[0] != joined(cut_by_class(data, "class", 1, "label", 0.1, seed=4), "validation")


def test_the_same_seed_gives_the_same_tasks() -> None:
    first, second, other = (cut_by_class(labelled(), "class", 3, "seeded", 0.1, seed) for seed in (1, 1, 2))
    assert [task.classes for task in first.tasks] == [task.classes for task in second.tasks]
    assert [task.classes for task in first.tasks] != [task.classes for task in other.tasks]
    for one, two in zip(first.tasks, second.tasks, strict=True):
        np.testing.assert_array_equal(one.train, two.train)


@pytest.mark.parametrize("test_speakers", [(0, 1, 7), (7, 8), (0, 1, 2, 3, 4)])
@pytest.mark.parametrize("tasks", [1, 2, 5, None])
def test_speakers_are_tested_on_themselves_and_never_on_what_they_trained_on(
    tasks: int | None, test_speakers: tuple[int, ...]
) -> None:
    data = labelled(test_speakers=test_speakers)
    assert data.training_speakers is not None
    assert data.test_speakers is not None
    stream = cut_by_speaker(data, tasks, "seeded", 0.1, seed=0)
    assert len(stream.tasks) == (tasks or 5)
    trained = joined(stream, "train") + joined(stream, "validation")
    assert len(set(trained)) == len(trained)
    moved = sorted(set(range(240)) - set(trained))
    # What was moved to the test is, recording by recording, what was taken from the training data.
    np.testing.assert_array_equal(stream.test_pool.inputs[60:], data.training.inputs[moved])
    np.testing.assert_array_equal(stream.test_pool.targets[60:], data.training.targets[moved])
    speakers = np.concatenate([data.test_speakers, data.training_speakers[moved]])
    assert set(data.training_speakers[moved]) == set(range(5)) - set(test_speakers)
    assert len(set(joined(stream, "test"))) == len(joined(stream, "test"))
    assert set(joined(stream, "test")) == set(np.flatnonzero(np.isin(speakers, range(5))))
    for task in stream.tasks:
        assert set(speakers[task.test]) == set(data.training_speakers[task.train])
        assert task.classes == tuple(range(CLASSES))
        assert set(data.training.targets[task.train]) == set(task.classes)


def test_a_speaker_without_tests_gives_up_a_fifth_of_each_class() -> None:
    data = labelled(test_speakers=(0, 1, 2, 3))
    assert data.training_speakers is not None
    stream = cut_by_speaker(data, 5, "label", 0.0, seed=0)
    given_up = stream.test_pool.targets[60:]
    own = data.training.targets[data.training_speakers == 4]
    for label in range(CLASSES):
        assert (given_up == label).sum() == max(1, round(0.2 * (own == label).sum()))


def test_what_cannot_be_cut_is_explained() -> None:
    data = labelled()
    with pytest.raises(
        ConfigurationError, match=r"scenario.tasks=7: the data has 6 classes; allowed: 1 to 6"
    ):
        cut_by_class(data, "class", 7, "label", 0.1, 0)
    with pytest.raises(ConfigurationError, match=r"5 speakers in the training data; allowed: 1 to 5"):
        cut_by_speaker(data, 6, "label", 0.1, 0)
    nameless = LabelledSequences(data.dataset, data.training, data.test, data.class_names)
    with pytest.raises(DataError, match="needs extra/speaker"):
        cut_by_speaker(nameless, 2, "label", 0.1, 0)
    few = SequencePool(data.test.inputs[:1], np.array([0], dtype=np.int64))
    with pytest.raises(DataError, match=r"task 1 \(c, d\) has no test recordings"):
        cut_by_class(
            LabelledSequences(data.dataset, data.training, few, data.class_names), "class", 3, "label", 0, 0
        )


def test_tasks_are_named_for_people() -> None:
    data = labelled()
    assert [task.name for task in cut_by_class(data, "class", 3, "label", 0, 0).tasks] == [
        "a, b",
        "c, d",
        "e, f",
    ]
    assert [task.name for task in cut_by_class(data, "class", 1, "label", 0, 0).tasks] == ["all classes"]
    assert cut_by_class(data, "class", None, "label", 0, 0).tasks[0].name == "a, b"
    assert cut_by_speaker(data, 5, "label", 0, 0).tasks[2].name == "speaker 2"
    assert cut_by_speaker(data, 1, "label", 0, 0).tasks[0].name == "all speakers"
