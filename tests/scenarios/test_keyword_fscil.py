"""NeuroBench's few-shot protocol on files like SHD's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.small import trainer
from fixtures.spike_files import random_split, write_split
from hypothesis import given
from hypothesis import strategies as st

from learners.replay import Replay
from scenarios.keyword_fscil import KeywordFSCIL, session_classes
from workbench.errors import ConfigurationError, DataError
from workbench.plugin import SequenceBatch, StepResult
from workbench.tasks import ScenarioContext, TaskStream


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six classes: 20 training and 7 test recordings each."""
    folder = tmp_path_factory.mktemp("files")
    write_split(folder / "shd_train.h5", random_split(120, classes=6, seed=0))
    write_split(folder / "shd_test.h5", random_split(42, classes=6, seed=1))
    return folder


def build(folder: Path, seed: int = 0, **settings: Any) -> TaskStream:
    config = KeywordFSCIL.Config(**{"path": folder, "bins": 10, "shots": 3, "ways": 1} | settings)
    return KeywordFSCIL(config).build(ScenarioContext(seed, folder / "cache", progress=False))


def test_sessions_add_classes_with_few_shots_and_test_all_so_far(folder: Path) -> None:
    stream = build(folder, queries=4)
    targets, tested = stream.training_pool.targets, stream.test_pool.targets
    assert [len(task.classes) for task in stream.tasks] == [3, 4, 5, 6]
    base, *later = stream.tasks
    assert np.bincount(targets[base.train], minlength=6)[list(base.classes)].tolist() == [18] * 3
    assert np.bincount(targets[base.validation], minlength=6)[list(base.classes)].tolist() == [2] * 3
    assert np.bincount(tested[base.test], minlength=6)[list(base.classes)].tolist() == [7] * 3
    for before, task in zip(stream.tasks, later, strict=False):
        [new] = set(task.classes) - set(before.classes)
        assert task.classes[: len(before.classes)] == before.classes
        assert targets[task.train].tolist() == [new] * 3
        assert len(set(task.train.tolist())) == 3
        assert len(task.validation) == 0
        assert tested[task.test].tolist() == [*tested[before.test], *[new] * 4]


def test_the_masks_of_a_session_leave_out_classes_yet_unseen(folder: Path) -> None:
    from workbench.avalanche_model import class_masks

    stream = build(folder, class_order="label")
    masks = class_masks(stream)
    assert masks is not None
    assert masks.int().tolist() == [[1] * seen + [0] * (6 - seen) for seen in (3, 4, 5, 6)]


def test_stored_samples_compete_with_all_classes_so_far(folder: Path) -> None:
    stream = build(folder, class_order="label", sessions=2)
    trained = trainer("bptt", stream, [Replay(Replay.Config(size=30))], epochs=1)
    sizes: list[tuple[int, int]] = []
    forward = trained.rule.forward

    def noting(batch: SequenceBatch) -> StepResult:
        assert batch.class_mask is not None
        sizes.extend((trained.task, int(row.sum())) for row in batch.class_mask)
        return forward(batch)

    trained.rule.forward = noting  # type: ignore[method-assign]
    for task in range(3):
        trained.train_task(task)
    # Three base classes, one more in each session; replayed base recordings are among the batches of both.
    assert set(sizes) == {(0, 3), (1, 4), (2, 5)}
    assert sum(task == 2 for task, _ in sizes) > len(stream.tasks[2].train)


def test_the_seed_draws_classes_shots_and_queries(folder: Path) -> None:
    first, again, other = build(folder), build(folder), build(folder, seed=1)
    for mine, same in zip(first.tasks, again.tasks, strict=True):
        assert mine.classes == same.classes
        np.testing.assert_array_equal(mine.train, same.train)
        np.testing.assert_array_equal(mine.test, same.test)
    assert first.tasks[-1].classes != other.tasks[-1].classes
    by_label = [build(folder, seed, class_order="label", queries=4) for seed in (0, 1)]
    assert [stream.tasks[-1].classes for stream in by_label] == [(0, 1, 2, 3, 4, 5)] * 2
    assert by_label[0].tasks[1].train.tolist() != by_label[1].tasks[1].train.tolist()
    assert by_label[0].tasks[-1].test.tolist() != by_label[1].tasks[-1].test.tolist()


def test_fewer_sessions_keep_the_shots_of_the_rest(folder: Path) -> None:
    whole, short = build(folder), build(folder, sessions=1)
    assert len(short.tasks) == 2
    np.testing.assert_array_equal(whole.tasks[1].train, short.tasks[1].train)


@given(
    classes=st.integers(1, 40),
    base=st.none() | st.integers(1, 30),
    ways=st.integers(1, 10),
    sessions=st.none() | st.integers(1, 6),
)
def test_sessions_share_out_the_classes(
    classes: int, base: int | None, ways: int, sessions: int | None
) -> None:
    first = base or (classes + 1) // 2
    if first + ways * (sessions or 1) > classes:
        with pytest.raises(ConfigurationError, match=f"the data has {classes}"):
            session_classes(range(classes), base, ways, sessions)
        return
    groups = session_classes(range(classes), base, ways, sessions)
    assert [one for group in groups for one in group] == list(range(sum(map(len, groups))))
    assert len(groups[0]) == first
    assert {len(group) for group in groups[1:]} == {ways}
    assert len(groups) - 1 == (sessions or (classes - first) // ways)


def test_too_few_recordings_are_named(folder: Path) -> None:
    with pytest.raises(DataError, match=r"has 20 training recordings; scenario\.shots=21"):
        build(folder, shots=21)
