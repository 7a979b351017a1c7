"""Next-step prediction of chorales, in one task or by mode or key."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scenarios import chorale_corpus, jsb
from scenarios.jsb import JSB, estimate_key, fifths, next_step_pool
from scenarios.piano_rolls import Resolution, roll_of
from workbench.errors import ConfigurationError, DataError
from workbench.tasks import ScenarioContext, TaskStream

ROOT = Path(__file__).parents[2]
MAJOR, MINOR = (0, 4, 7, 5, 9, 0, 7, 11, 2), (0, 3, 7, 5, 8, 0, 7, 11, 2)


def real_file(resolution: Resolution) -> Path:
    """Return the official split: beside the repository, or where WORKBENCH_TEST_DATA says."""
    data = Path(os.environ.get("WORKBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    path = data / f"jsb_{resolution}.npz"
    if not path.is_file():
        pytest.skip(f"{path} is not here")
    return path


def tune(key: int, steps: int = 9) -> list[list[int]]:
    """Return the triads' notes of a key, one a step; keys as `estimate_key` numbers them."""
    notes = MAJOR if key < 12 else MINOR
    return [[60 + key % 12 + notes[step % 9]] for step in range(steps)]


def write(path: Path, train: list[Any], valid: list[Any], test: list[Any]) -> Path:
    path.write_text(json.dumps({"train": train, "valid": valid, "test": test}))
    return path


def build(cache: Path, **settings: Any) -> TaskStream:
    return JSB(JSB.Config(**settings)).build(ScenarioContext(0, cache, progress=False))


def test_inputs_are_all_steps_but_the_last_and_targets_the_next() -> None:
    rolls = [roll_of([[60], [61, 65], [62], []]), roll_of([[21], [108]])]
    pool = next_step_pool(rolls)
    assert pool.inputs.shape == pool.targets.shape == (2, 3, 88)
    assert (pool.inputs.dtype, pool.targets.dtype) == (np.uint8, np.uint8)
    assert pool.scored is not None
    assert pool.scored.tolist() == [[True] * 3, [True, False, False]]
    for place, roll in enumerate(rolls):
        kept = pool.scored[place]
        np.testing.assert_array_equal(pool.inputs[place][kept], roll[:-1])
        np.testing.assert_array_equal(pool.targets[place][kept], roll[1:])
        assert not pool.inputs[place][~kept].any()
        assert not pool.targets[place][~kept].any()


def test_validation_chorales_stand_in_the_training_pool_behind_the_others(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [tune(0), tune(1, 4)], [tune(2, 12)], [tune(3), tune(4)])
    stream = build(tmp_path, path=path)
    [task] = stream.tasks
    assert (task.train.tolist(), task.validation.tolist(), task.test.tolist()) == ([0, 1], [2], [0, 1])
    assert (stream.setting, stream.predicts_steps, stream.channels, stream.classes) == (
        "domain",
        True,
        88,
        88,
    )
    assert (stream.steps, stream.class_names[0], stream.class_names[39], stream.class_names[-1]) == (
        11,
        "A0",
        "C4",
        "C8",
    )
    assert "Not the official JSB split: 2, 1 and 2 chorales" in stream.dataset.notice


@given(key=st.integers(0, 23), steps=st.integers(9, 30))
def test_the_key_of_a_tune_is_found_and_moves_with_it(key: int, steps: int) -> None:
    assert estimate_key(roll_of(tune(key, steps))) == key


@given(st.lists(st.lists(st.integers(30, 90), max_size=4), min_size=1, max_size=20), st.integers(1, 11))
def test_transposing_the_notes_transposes_the_key(steps: list[list[int]], up: int) -> None:
    key = estimate_key(roll_of(steps))
    higher = estimate_key(roll_of([[note + up for note in step] for step in steps]))
    weights = np.bincount([note % 12 for step in steps for note in set(step)], minlength=12)
    # Where keys tie (silence, one note of everything), any of them is right.
    if len(set(weights.tolist())) > 3:
        assert higher == (key + up) % 12 + 12 * (key >= 12)


def test_the_circle_of_fifths_holds_every_signature_twice() -> None:
    assert (
        sorted(fifths(key) for key in range(12))
        == sorted(fifths(key) for key in range(12, 24))
        == list(range(-5, 7))
    )


def test_tasks_by_mode(tmp_path: Path) -> None:
    path = write(tmp_path / "a.json", [tune(0), tune(14), tune(5)], [tune(12)], [tune(13), tune(7)])
    stream = build(tmp_path, path=path, tasks_by="mode")
    assert [task.name for task in stream.tasks] == ["major", "minor"]
    assert [task.train.tolist() for task in stream.tasks] == [[0, 2], [1]]
    assert [task.validation.tolist() for task in stream.tasks] == [[], [3]]
    assert [task.test.tolist() for task in stream.tasks] == [[1], [0]]
    with pytest.raises(DataError, match="task 'minor' has 1 training and 0 test chorales"):
        build(
            tmp_path,
            path=write(tmp_path / "b.json", [tune(0), tune(14)], [tune(12)], [tune(1)]),
            tasks_by="mode",
        )


def test_tasks_by_key_are_neighbours_on_the_circle_of_fifths(tmp_path: Path) -> None:
    # F major and D minor; C major and A minor; G major and E minor.
    keys = [5, 14, 0, 21, 7, 16]
    path = write(tmp_path / "a.json", [tune(key) for key in keys], [tune(0)], [tune(key) for key in keys])
    stream = build(tmp_path, path=path, tasks_by="key-group", tasks=3)
    assert [task.name for task in stream.tasks] == ["F major", "C major", "G major"]
    assert [task.train.tolist() for task in stream.tasks] == [[0, 1], [2, 3], [4, 5]]
    two = build(tmp_path, path=path, tasks_by="key-group", tasks=2)
    assert sorted(index for task in two.tasks for index in task.train.tolist()) == list(range(6))
    with pytest.raises(ConfigurationError, match=r"scenario\.tasks=4.*3 key signatures"):
        build(tmp_path, path=path, tasks_by="key-group", tasks=4)


def test_key_groups_of_transposed_chorales_are_refused(tmp_path: Path) -> None:
    keys = [0] * 9 + [12] * 9 + [7]
    path = write(tmp_path / "a.json", [tune(key) for key in keys], [tune(0)], [tune(key) for key in keys])
    with pytest.raises(ConfigurationError, match="transposed to C major and C minor"):
        build(tmp_path, path=path, tasks_by="key-group", tasks=3)


def test_without_a_file_and_without_music21_both_ways_out_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chorale_corpus, "is_installed", lambda: False)
    with pytest.raises(DataError, match=r"scenario\.path=FILE.*pip install music21"):
        build(tmp_path)
    with pytest.raises(ValidationError, match="exclude each other"):
        JSB.Config(path=tmp_path, source="music21")
    with pytest.raises(ValidationError, match="source=file wants a path"):
        JSB.Config(source="file")


@pytest.mark.parametrize("resolution", ["quarter", "8th", "16th"])
def test_the_official_split(tmp_path: Path, resolution: Resolution) -> None:
    stream = build(tmp_path, path=real_file(resolution), resolution=resolution)
    [task] = stream.tasks
    assert (len(task.train), len(task.validation), len(task.test)) == (229, 76, 77)
    assert (stream.dataset.notice, stream.dataset.synthetic) == ("", False)
    assert stream.test_pool.scored is not None
    steps = {"quarter": 4725, "8th": 9450, "16th": 18900}
    assert stream.test_pool.scored.sum() == steps[resolution] - 77
    by_mode = build(tmp_path, path=real_file(resolution), resolution=resolution, tasks_by="mode")
    # Known of this split: 121 major and 108 minor training chorales; the estimate errs on a few.
    assert abs(len(by_mode.tasks[0].train) - 121) <= 6


def test_another_resolution_than_asked_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"scenario\.resolution=8th.*steps of quarter notes"):
        build(tmp_path, path=real_file("quarter"), resolution="8th")


def test_a_chorale_of_music21_s_corpus() -> None:
    pytest.importorskip("music21")
    quarter, sixteenth = (chorale_corpus.chorale_roll("bach/bwv66.6", one) for one in ("quarter", "16th"))
    assert quarter.shape == (36, 88)
    # The upbeat of bwv 66.6: F# minor's relative A major, then its dominant.
    assert [(np.flatnonzero(row) + 21).tolist() for row in quarter[:2]] == [[57, 64, 73], [54, 61, 66, 69]]
    np.testing.assert_array_equal(sixteenth[::4], quarter)
    assert chorale_corpus.chorale_names() == sorted(set(chorale_corpus.chorale_names()))
    assert jsb._problems(jsb._corpus_location()) == []


def test_the_corpus_is_converted_once_and_split_without_the_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[str] = []

    def roll(name: str, resolution: Resolution) -> Any:
        converted.append(name)
        return roll_of(tune(int(name) % 24, 3 + int(name)))

    monkeypatch.setattr(chorale_corpus, "is_installed", lambda: True)
    monkeypatch.setattr(chorale_corpus, "chorale_names", lambda: [str(number) for number in range(20)])
    monkeypatch.setattr(chorale_corpus, "chorale_roll", roll)
    monkeypatch.setattr("importlib.metadata.version", lambda name: "1.0")
    first = build(tmp_path)
    second = JSB(JSB.Config()).build(ScenarioContext(7, tmp_path, progress=False))
    assert len(converted) == 20
    assert "NOT THE OFFICIAL JSB SPLIT" in first.dataset.notice
    [task], [again] = first.tasks, second.tasks
    assert (len(task.train), len(task.validation), len(task.test)) == (12, 4, 4)
    np.testing.assert_array_equal(first.training_pool.inputs, second.training_pool.inputs)
    assert first.training_pool.scored is not None
    assert first.test_pool.scored is not None
    lengths = np.concatenate([first.training_pool.scored.sum(1), first.test_pool.scored.sum(1)])
    assert sorted(lengths.tolist()) == list(range(2, 22))
    assert again.train.tolist() == task.train.tolist()


def test_the_grid_begins_with_the_first_full_beat() -> None:
    class Thing:
        def __init__(self, **attributes: Any) -> None:
            self.__dict__.update(attributes)

        def first(self) -> Any:
            return self.measure

        def getElementsByClass(self, name: str) -> Thing:  # noqa: N802 - music21's name
            return self

        def flatten(self) -> Thing:
            return self

    def note(midi: int, offset: float, length: float) -> Thing:
        return Thing(offset=offset, quarterLength=length, pitches=[Thing(midi=midi)])

    # An upbeat of an eighth, then quarters; the measure of 4/4 lacks 3.5 of them.
    notes = [note(60, 0, 0.5), note(62, 0.5, 1), note(64, 1.5, 2)]
    score = Thing(parts=[Thing(notes=notes, measure=Thing(paddingLeft=3.5))])
    quarter = chorale_corpus.roll_of_score(score, "quarter")
    assert [(np.flatnonzero(row) + 21).tolist() for row in quarter] == [[62], [64], [64]]
    # Thirds of a beat between the points of the grid are not heard on it; one on a point is.
    triplets = Thing(parts=[Thing(notes=[note(60 + k, k / 3, 1 / 3) for k in range(6)], measure=None)])
    heard = chorale_corpus.roll_of_score(triplets, "quarter")
    assert [(np.flatnonzero(row) + 21).tolist() for row in heard] == [[60], [63]]


def test_the_catalogue_lists_the_corpus(tmp_path: Path) -> None:
    [corpus] = JSB.data_sets()
    there = importlib.util.find_spec("music21") is not None
    assert (corpus.status(tmp_path).status == "missing") is not there
    path = write(tmp_path / "a.json", [tune(0)], [tune(0)], [tune(0)])
    assert corpus.verify(tmp_path, path) == []
    path.write_text("{")
    assert corpus.verify(tmp_path, path)
