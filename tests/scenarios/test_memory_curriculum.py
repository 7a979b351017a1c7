"""N-parity and N-delayed match-to-sample: answers, lengths, curricula."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenarios.memory_curriculum import CurriculumConfig
from scenarios.n_dms import NDMS
from scenarios.n_parity import NParity
from workbench.tasks import ScenarioContext, SequencePool, TaskStream

SMALL = {"start": 2, "stop": 4, "train": 30, "validation": 5, "test": 12}


def build(kind: type[NParity] | type[NDMS], seed: int = 0, **settings: Any) -> TaskStream:
    return kind(CurriculumConfig(**(SMALL | settings))).build(ScenarioContext(seed, Path("unused")))


def stream_of(pool: SequencePool, index: int) -> list[int]:
    """Return the bits of a sequence up to the step that is scored, which must be its only one."""
    assert pool.scored is not None
    [last] = np.flatnonzero(pool.scored[index])
    assert not pool.inputs[index][last + 1 :].any()
    bits = pool.inputs[index][: last + 1]
    return [int(step[-1]) for step in bits]


def answer(kind: type[NParity] | type[NDMS], bits: list[int], reach: int) -> int:
    """Return what their code's `get_parity` and `get_match` define."""
    return sum(bits[-reach:]) % 2 if kind is NParity else int(bits[-reach] == bits[-1])


@pytest.mark.parametrize("kind", [NParity, NDMS])
@pytest.mark.parametrize("curriculum", ["single-head", "multi-head"])
@pytest.mark.parametrize("encoding", ["binary", "one-hot"])
def test_every_target_is_the_answer(kind: type[NParity] | type[NDMS], curriculum: str, encoding: str) -> None:
    stream = build(kind, curriculum=curriculum, encoding=encoding)
    heads = curriculum == "multi-head"
    for number, task in enumerate(stream.tasks):
        origins = [number] * len(task.train) if task.origins is None else task.origins.tolist()
        parts = [(stream.training_pool, index, head) for index, head in zip(task.train, origins, strict=True)]
        parts += [(stream.training_pool, index, number) for index in task.validation]
        parts += [(stream.test_pool, index, number) for index in task.test]
        for pool, index, head in parts:
            bits = stream_of(pool, index)
            assert number + 2 + 2 <= len(bits) <= 4 * (number + 2) + 1
            wanted = answer(kind, bits, head + 2) + (2 * head if heads else 0)
            assert pool.targets[index] == wanted


@pytest.mark.parametrize("kind", [NParity, NDMS])
def test_single_head_tasks_train_their_own_n_alone(kind: type[NParity] | type[NDMS]) -> None:
    stream = build(kind)
    assert (stream.setting, stream.class_names) == ("domain", ("0", "1"))
    assert [task.name for task in stream.tasks] == ["N = 2", "N = 3", "N = 4"]
    assert [(len(t.train), len(t.validation), len(t.test)) for t in stream.tasks] == [(30, 5, 12)] * 3
    used = np.concatenate([np.concatenate([t.train, t.validation]) for t in stream.tasks])
    assert sorted(used.tolist()) == list(range(3 * 35))
    assert (stream.steps, stream.channels) == (17, 1)


@pytest.mark.parametrize("kind", [NParity, NDMS])
def test_multi_head_tasks_train_all_n_so_far_each_on_its_head(kind: type[NParity] | type[NDMS]) -> None:
    stream = build(kind, curriculum="multi-head")
    assert (stream.setting, stream.classes) == ("task", 6)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5)]
    for number, task in enumerate(stream.tasks):
        assert task.origins is not None
        assert np.bincount(task.origins).tolist() == [30] * (number + 1)
        assert (stream.training_pool.targets[task.train] // 2 == task.origins).all()
        assert (stream.test_pool.targets[task.test] // 2 == number).all()
    # Every task draws anew.
    assert not set(stream.tasks[1].train) & set(stream.tasks[2].train)


@pytest.mark.parametrize("kind", [NParity, NDMS])
def test_guessing_gives_one_half_and_lengths_cover_their_range(kind: type[NParity] | type[NDMS]) -> None:
    stream = build(kind, stop=3, test=4000)
    for number, task in enumerate(stream.tasks):
        assert abs(stream.test_pool.targets[task.test].mean() - 0.5) < 0.03
        assert stream.test_pool.scored is not None
        lengths = stream.test_pool.scored[task.test].argmax(axis=1) + 1
        assert set(lengths.tolist()) == set(range(number + 4, 4 * (number + 2) + 2))
    rates = [np.mean(stream_of(stream.test_pool, index)) for index in stream.tasks[1].test]
    # Rates of ones vary for parity, and are fair for matching: sd of a uniform rate against that of coin flips.
    assert (np.std(rates) > 0.25) == (kind is NParity)


@given(seed=st.integers(0, 3), stop=st.integers(2, 5))
def test_a_seed_gives_the_same_streams_however_many_tasks_follow(seed: int, stop: int) -> None:
    one, other = build(NParity, seed, stop=stop), build(NParity, seed, stop=stop + 1)
    for mine, theirs in zip(one.tasks, other.tasks, strict=False):
        for a, b in zip(mine.train, theirs.train, strict=True):
            assert stream_of(one.training_pool, a) == stream_of(other.training_pool, b)
    again = build(NParity, seed, stop=stop)
    np.testing.assert_array_equal(one.training_pool.inputs, again.training_pool.inputs)
    assert one.dataset == again.dataset
    assert one.dataset.digest != build(NParity, seed + 1, stop=stop).dataset.digest
    assert not np.array_equal(
        one.training_pool.inputs, build(NParity, seed + 1, stop=stop).training_pool.inputs
    )


def test_one_hot_streams_end_in_silence() -> None:
    stream = build(NDMS, encoding="one-hot")
    assert stream.channels == 2
    assert stream.training_pool.scored is not None
    lengths = stream.training_pool.scored.argmax(axis=1) + 1
    events = stream.training_pool.inputs.sum(axis=2)
    assert (events == (np.arange(stream.steps) < lengths[:, None])).all()


def test_n_must_grow() -> None:
    with pytest.raises(ValidationError, match="stop=3 is below start=4"):
        CurriculumConfig(start=4, stop=3)
