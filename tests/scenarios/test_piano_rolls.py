"""Piano rolls from the files in which the chorales are passed around."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scenarios.piano_rolls import PianoRolls, find_file, read_rolls, roll_of
from workbench.errors import DataError

NOTES: dict[str, list[list[list[int]]]] = {
    "train": [[[60, 64], [60], []], [[21, 108], [22]]],
    "valid": [[[50], [51], [52], [53]]],
    "test": [[[70, -1], [71, 72]]],
}


def rolls(notes: dict[str, list[list[list[int]]]]) -> dict[str, list[Any]]:
    return {split: [roll_of(sequence) for sequence in sequences] for split, sequences in notes.items()}


def write(path: Path, notes: dict[str, list[list[list[int]]]]) -> Path:
    """Write the sequences in the form that the file's name asks for."""
    if path.suffix == ".json":
        path.write_text(json.dumps(notes))
    elif path.suffix in (".pickle", ".pkl"):
        # Tuples and the oldest protocol, as Boulanger-Lewandowski's files have them.
        tupled = {split: [[tuple(step) for step in one] for one in many] for split, many in notes.items()}
        path.write_bytes(pickle.dumps(tupled, protocol=0))
    elif path.suffix == ".mat":
        from scipy.io import savemat

        cells = {}
        for split, sequences in rolls(notes).items():
            cells[f"{split}data"] = np.empty((1, len(sequences)), dtype=object)
            cells[f"{split}data"][0] = [roll.astype(np.float64) for roll in sequences]
        savemat(path, cells)
    else:
        arrays = {}
        for split, sequences in rolls(notes).items():
            arrays[split] = np.packbits(np.concatenate(sequences), axis=1)
            arrays[f"{split}_off"] = np.cumsum([0, *map(len, sequences)]).astype(np.int32)
        np.savez(path, **arrays)
    return path


@pytest.mark.parametrize("name", ["a.npz", "a.json", "a.pickle", "a.pkl", "a.mat"])
def test_every_form_reads_back_what_was_written(tmp_path: Path, name: str) -> None:
    found = read_rolls(write(tmp_path / name, NOTES))
    for split, wanted in rolls(NOTES).items():
        got = getattr(found, split)
        assert [roll.dtype for roll in got] == [np.uint8] * len(wanted)
        for one, other in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(one, other)
    assert found.official is False
    assert found.resolution() is None


@given(st.lists(st.sets(st.integers(21, 108)), max_size=6))
def test_a_roll_holds_the_notes_of_each_step(steps: list[set[int]]) -> None:
    roll = roll_of([sorted(step) for step in steps])
    assert [set((np.flatnonzero(row) + 21).tolist()) for row in roll] == steps


class Danger:
    """Runs a command when it is unpickled the careless way."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (exec, ("raise SystemExit('code has run')",))


def test_a_pickle_runs_no_code(tmp_path: Path) -> None:
    path = tmp_path / "JSB Chorales.pickle"
    path.write_bytes(pickle.dumps({"train": [Danger()]}))
    with pytest.raises(
        DataError, match=r"JSB Chorales\.pickle: the pickle asks for builtins\.exec.*\.json or \.npz"
    ):
        read_rolls(path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.npz", b"", "a.npz"),
        ("a.npz", b"PK\x03\x04 not a zip", "a.npz"),
        ("a.json", b"{", "a.json"),
        ("a.json", b"[1]", "holds a list, expected the splits"),
        ("a.json", b'{"train": [[[60], [61]]], "valid": [[[60], [61]]]}', "lacks 'test'"),
        (
            "a.json",
            b'{"train": [[[20], [61]]], "valid": [], "test": []}',
            "step 0 holds 20, no MIDI note from 21 to 108",
        ),
        ("a.json", b'{"train": [[[60.5], [61]]], "valid": [], "test": []}', "60.5"),
        ("a.json", b'{"train": [], "valid": [], "test": []}', "the split 'train' is empty"),
        ("a.json", b'{"train": [[[60]]], "valid": [[[60], []]], "test": [[[60], []]]}', "fewer than 2 steps"),
        ("a.pickle", b"", "a.pickle"),
        ("a.pickle", b"\x80\x04junk", "a.pickle"),
        ("a.mat", b"junk" * 100, "a.mat"),
        ("a.txt", b"", "unknown form '.txt'"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(DataError, match=said.replace(".", r"\.")):
        read_rolls(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"train": np.zeros((5, 12), np.uint8)}, "train is uint8 .5, 12., expected uint8 .steps, 11."),
        ({"train": np.zeros((5, 11), np.int64)}, "train is int64"),
        ({"valid_off": np.array([0, 3])}, "valid_off must ascend from 0 to 4"),
        ({"valid_off": np.array([0, 4, 4])}, "valid_off must ascend"),
        ({"test_off": np.array([0.0, 2.0])}, "test_off must ascend"),
        ({"test": np.array([None])}, "jsb.npz"),
    ],
)
def test_arrays_of_another_form_are_named(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = write(tmp_path / "jsb.npz", NOTES)
    with np.load(path) as stored:
        arrays = dict(stored)
    np.savez(path, **(arrays | change))
    with pytest.raises(DataError, match=said):
        read_rolls(path)


def test_a_folder_holds_a_file_for_each_resolution(tmp_path: Path) -> None:
    for name in ("jsb_8th.npz", "JSB_Chorales.mat", "jsb-chorales-16th.pkl"):
        (tmp_path / name).touch()
    assert find_file(tmp_path, "8th").name == "jsb_8th.npz"
    assert find_file(tmp_path, "quarter").name == "JSB_Chorales.mat"
    assert find_file(tmp_path, "16th").name == "jsb-chorales-16th.pkl"
    (tmp_path / "JSB_Chorales.mat").unlink()
    with pytest.raises(DataError, match=r"holds none of jsb_quarter\.npz.*name the file itself"):
        find_file(tmp_path, "quarter")
    with pytest.raises(DataError, match="there is no such file or folder"):
        find_file(tmp_path / "missing", "quarter")


@pytest.mark.parametrize(("steps", "resolution"), [(60, "quarter"), (120, "8th"), (240, "16th"), (30, None)])
def test_the_official_split_tells_its_resolution(steps: int, resolution: str | None) -> None:
    blank = np.zeros((steps, 88), dtype=np.uint8)
    assert PianoRolls([blank] * 229, [blank] * 76, [blank] * 77).resolution() == resolution
    assert PianoRolls([blank] * 230, [blank] * 76, [blank] * 77).resolution() is None
