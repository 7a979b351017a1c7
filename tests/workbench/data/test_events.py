"""Reading SHD-format files: every container, and every kind of damage named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.spike_files import random_split, write_pair, write_split

from workbench.data.binned import check_folder
from workbench.data.events import find_split_files, read_recordings
from workbench.errors import DataError


@pytest.mark.parametrize("ending", [".h5", ".h5.gz", ".h5.zip", ".zip"])
def test_every_container_gives_the_recordings_that_were_written(tmp_path: Path, ending: str) -> None:
    split = random_split(20)
    recordings = read_recordings(write_split(tmp_path / f"shd_train{ending}", split))
    assert len(recordings) == 20
    for number in range(20):
        events = slice(recordings.starts[number], recordings.starts[number + 1])
        np.testing.assert_array_equal(recordings.times[events], split["times"][number])
        np.testing.assert_array_equal(recordings.units[events], split["units"][number])
    np.testing.assert_array_equal(recordings.labels, split["labels"])
    np.testing.assert_array_equal(recordings.speakers, split["speakers"])
    assert recordings.class_names == split["keys"]
    assert recordings.times.dtype == np.float16


def test_speaker_and_keys_are_optional_and_the_channel_attribute_is_read(tmp_path: Path) -> None:
    split = random_split(4) | {"speakers": None, "keys": None}
    recordings = read_recordings(write_split(tmp_path / "a.h5", split, channels=64))
    assert (recordings.speakers, recordings.class_names, recordings.channels) == (None, (), 64)


def test_more_recordings_than_a_block_keep_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = random_split(23)
    path = write_split(tmp_path / "a.h5", split)
    monkeypatch.setattr("workbench.data.events._BLOCK", 5)
    np.testing.assert_array_equal(read_recordings(path).units, np.concatenate(split["units"]))


@pytest.mark.parametrize("ending", [".h5", ".h5.gz", ".h5.zip"])
@pytest.mark.parametrize("kept", [0, 0.1, 0.5, 0.97])
def test_a_file_cut_short_is_named(tmp_path: Path, ending: str, kept: float) -> None:
    path = write_split(tmp_path / f"shd_train{ending}", random_split(200))
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(DataError, match=f"{path.name}: damaged or cut short"):
        read_recordings(path)


@pytest.mark.parametrize("ending", [".h5.gz", ".h5.zip"])
def test_a_flipped_byte_in_a_compressed_file_is_found(tmp_path: Path, ending: str) -> None:
    path = write_split(tmp_path / f"shd_train{ending}", random_split(200))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(DataError, match=path.name):
        read_recordings(path)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"labels": None}, "no array 'labels'"),
        ({"times": None}, "no array 'spikes/times'"),
        ({"labels": np.zeros(0, dtype=np.uint16)}, "holds no recordings"),
        ({"labels": np.zeros(4, dtype=np.float32)}, "labels has type float32"),
        ({"labels": -np.ones(4, dtype=np.int16)}, "labels holds negative"),
        ({"labels": np.zeros(3, dtype=np.uint16)}, "4 entries for 3 labels"),
        ({"speakers": np.zeros(3, dtype=np.uint16)}, "extra/speaker has 3 entries for 4"),
        (
            {"units": [np.zeros(1), np.zeros(2), np.zeros(0), np.zeros(1)]},
            "recording 0 has 2 spike times but 1",
        ),
        ({"times": [np.array([0, -1.0])] * 4}, "negative or not finite"),
        ({"times": [np.array([0, np.nan])] * 4}, "negative or not finite"),
    ],
)
def test_arrays_that_do_not_fit_are_named(tmp_path: Path, change: dict[str, object], complaint: str) -> None:
    split = {
        "times": [np.array([0.1, 0.2])] * 4,
        "units": [np.array([1, 2])] * 4,
        "labels": np.zeros(4, dtype=np.uint16),
    }
    path = write_split(tmp_path / "shd_train.h5", split | change)
    with pytest.raises(DataError, match=complaint) as caught:
        read_recordings(path)
    assert str(path) in str(caught.value)


def test_a_channel_attribute_below_the_largest_unit_is_refused(tmp_path: Path) -> None:
    path = write_split(tmp_path / "shd_train.h5", random_split(8, units=40), channels=20)
    with pytest.raises(DataError, match="attribute channels is 20"):
        read_recordings(path)


def test_a_zip_without_exactly_one_hdf5_file_is_refused(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "shd_train.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing")
    with pytest.raises(DataError, match="holds 0 HDF5 files"):
        read_recordings(path)


def test_files_are_found_by_name_plain_before_compressed(tmp_path: Path) -> None:
    for name in ("shd_train.h5.gz", "shd_train.h5", "shd_test.zip", "other_train.h5", "notes.txt"):
        (tmp_path / name).touch()
    files = find_split_files(tmp_path)
    assert (files.train.name, files.test.name) == ("shd_train.h5", "shd_test.zip")


def test_any_single_pair_will_do(tmp_path: Path) -> None:
    for name in ("Digits-Train.hdf5", "digits_test.h5.gz"):
        (tmp_path / name).touch()
    files = find_split_files(tmp_path)
    assert (files.train.name, files.test.name) == ("Digits-Train.hdf5", "digits_test.h5.gz")


def test_missing_and_ambiguous_files_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        find_split_files(tmp_path / "none")
    (tmp_path / "a_train.h5").touch()
    with pytest.raises(DataError, match=r"no test file.*shd_test.*holds a_train.h5"):
        find_split_files(tmp_path)
    (tmp_path / "b_train.h5").touch()
    with pytest.raises(DataError, match=r"several files could be the train file \(a_train.h5, b_train.h5\)"):
        find_split_files(tmp_path)
    with pytest.raises(DataError, match="is a file; name the folder"):
        find_split_files(tmp_path / "a_train.h5")


def test_check_folder_reads_everything_and_lists_what_is_wrong(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "data", ".h5.gz")
    assert check_folder(folder) == []
    for path in folder.iterdir():
        path.write_bytes(path.read_bytes()[:-100])
    problems = check_folder(folder)
    assert len(problems) == 2
    assert "shd_train" in problems[0]
    assert "shd_test" in problems[1]
    assert check_folder(tmp_path / "none")
