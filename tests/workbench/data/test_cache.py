"""The cache of binned events: made once, checked at every opening, whole or not there at all."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from fixtures.spike_files import write_pair

from workbench.data.binned import load_binned
from workbench.data.binning import Binning
from workbench.data.cache import Built, content_key, file_digest, load_or_build
from workbench.data.events import find_split_files
from workbench.errors import DataError

KEY = content_key(["abc"], {"bins": 3})
BINNING = Binning(20, 50.0, pool=4)


class Builder:
    """Counts how often it is asked."""

    def __init__(self, value: int = 7) -> None:
        self.calls, self.value = 0, value

    def __call__(self) -> Built:
        self.calls += 1
        return {"a": np.full((50, 4), self.value, dtype=np.uint8), "b": np.zeros(0, dtype=np.int64)}, {
            "names": ["x"]
        }


def entry_folder(cache: Path) -> Path:
    """Return the only entry of a cache."""
    (folder,) = (cache / "binned").iterdir()
    return folder


def test_built_once_then_mapped_read_only(tmp_path: Path) -> None:
    build = Builder()
    for _ in range(3):
        entry = load_or_build(tmp_path, KEY, build)
    assert build.calls == 1
    assert isinstance(entry.arrays["a"], np.memmap)
    assert not entry.arrays["a"].flags.writeable
    np.testing.assert_array_equal(entry.arrays["a"], 7)
    assert (entry.arrays["b"].shape, entry.metadata["names"], entry.key) == ((0,), ["x"], KEY)
    assert entry_folder(tmp_path).name == KEY[:32]


def test_another_transform_or_source_is_another_entry(tmp_path: Path) -> None:
    keys = [KEY, content_key(["abc"], {"bins": 4}), content_key(["abd"], {"bins": 3})]
    for value, key in enumerate(keys):
        load_or_build(tmp_path, key, Builder(value))
    for value, key in enumerate(keys):
        assert load_or_build(tmp_path, key, Builder(99)).arrays["a"][0, 0] == value


def flip_last_byte(file: Path) -> None:
    """Change one byte, not the size."""
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("name", ["a.npy", "b.npy", "metadata.json"])
@pytest.mark.parametrize("damage", ["remove", "empty", "cut", "garbage", "flip"])
def test_a_damaged_entry_is_made_again(tmp_path: Path, name: str, damage: str) -> None:
    load_or_build(tmp_path, KEY, Builder())
    file = entry_folder(tmp_path) / name
    {
        "remove": file.unlink,
        "empty": lambda: file.write_bytes(b""),
        "cut": lambda: file.write_bytes(file.read_bytes()[:-10]),
        "garbage": lambda: file.write_bytes(os.urandom(500)),
        "flip": lambda: flip_last_byte(file),
    }[damage]()
    again = Builder(8)
    entry = load_or_build(tmp_path, KEY, again)
    # The last byte of an array that holds nothing belongs to its header's padding.
    assert again.calls == (0 if (name, damage) == ("b.npy", "flip") and entry.arrays["a"][0, 0] == 7 else 1)
    later = Builder(9)
    np.testing.assert_array_equal(load_or_build(tmp_path, KEY, later).arrays["a"], entry.arrays["a"])
    assert later.calls == 0
    assert len(list((tmp_path / "binned").iterdir())) == 1


def test_a_failing_builder_leaves_nothing(tmp_path: Path) -> None:
    def fail() -> Built:
        raise DataError("no")

    with pytest.raises(DataError, match="no"):
        load_or_build(tmp_path, KEY, fail)
    assert load_or_build(tmp_path, KEY, Builder()).arrays["a"][0, 0] == 7


def test_writing_that_breaks_off_leaves_no_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", full)
        with pytest.raises(DataError, match=r"No space left.*WORKBENCH_CACHE"):
            load_or_build(tmp_path, KEY, Builder())
    assert list((tmp_path / "binned").iterdir()) == []


def test_a_cache_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cache cannot be written"):
        load_or_build(tmp_path / "file", KEY, Builder())


def test_what_killed_processes_left_is_swept_away_after_a_day(tmp_path: Path) -> None:
    for name, age in ((".writing-old", 2 * 86400), (".writing-new", 60)):
        left = tmp_path / "binned" / name
        left.mkdir(parents=True)
        changed = left.stat().st_mtime - age
        os.utime(left, (changed, changed))
    load_or_build(tmp_path, KEY, Builder())
    assert sorted(path.name for path in (tmp_path / "binned").iterdir()) == [".writing-new", KEY[:32]]


def test_processes_that_build_at_once_do_not_collide(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import sys, numpy as np
        from pathlib import Path
        from workbench.data.cache import content_key, load_or_build
        cache = Path(sys.argv[1])
        for number in range(40):
            key = content_key([], {"n": number})
            array = np.full(20_000, number, dtype=np.int64)
            entry = load_or_build(cache, key, lambda: ({"a": array}, {}))
            assert (entry.arrays["a"] == number).all()
            print(number)
    """)
    for number in range(0, 40, 3):  # Some entries are there already, but damaged.
        key = content_key([], {"n": number})
        load_or_build(tmp_path, key, Builder())
        (tmp_path / "binned" / key[:32] / "a.npy").write_bytes(b"damaged")
    command = [sys.executable, "-W", "error", "-c", script, str(tmp_path)]
    root = Path(__file__).parents[3]
    with ExitStack() as stack:
        running = [
            stack.enter_context(
                subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            )
            for _ in range(3)
        ]
        finished = [(*process.communicate(timeout=100), process.returncode) for process in running]
    for printed, errors, status in finished:
        assert status == 0, errors
        assert len(printed.split()) == 40
    assert not list((tmp_path / "binned").glob(".*"))


def test_a_digest_is_computed_again_only_when_the_file_changed(tmp_path: Path) -> None:
    file, cache = tmp_path / "data.bin", tmp_path / "cache"
    file.write_bytes(b"one")
    first = file_digest(file, cache)
    (index,) = (cache / "digests").iterdir()
    index.write_text(index.read_text().replace(first, "0" * 64))
    assert file_digest(file, cache) == "0" * 64
    file.write_bytes(b"three")
    second = file_digest(file, cache)
    assert second not in (first, "0" * 64)
    index.write_text("{damaged")
    assert file_digest(file, cache) == second
    with pytest.raises(DataError, match="missing"):
        file_digest(tmp_path / "missing", cache)


def test_the_second_start_opens_no_source_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = find_split_files(write_pair(tmp_path / "data", ".h5.gz"))
    first = load_binned(files, BINNING, tmp_path / "cache")

    def forbidden(*_: object, **__: object) -> None:
        raise AssertionError("a source file was opened")

    monkeypatch.setattr("h5py.File", forbidden)
    monkeypatch.setattr("gzip.open", forbidden)
    monkeypatch.setattr("hashlib.file_digest", forbidden)
    second = load_binned(files, BINNING, tmp_path / "cache")
    assert isinstance(second.training.inputs, np.memmap)
    for split in ("training", "test"):
        for part in ("inputs", "targets"):
            a, b = (getattr(getattr(one, split), part) for one in (first, second))
            np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(first.training_speakers, second.training_speakers)
    assert (first.class_names, first.digest) == (second.class_names, second.digest)


def test_a_changed_source_file_is_read_again(tmp_path: Path) -> None:
    folder = write_pair(tmp_path / "data")
    first = load_binned(find_split_files(folder), BINNING, tmp_path / "cache")
    write_pair(folder, seed=5)
    second = load_binned(find_split_files(folder), BINNING, tmp_path / "cache")
    assert first.digest != second.digest
    assert not np.array_equal(first.training.inputs, second.training.inputs)


def test_splits_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    from fixtures.spike_files import random_split, write_split

    folder = write_pair(tmp_path / "data")
    write_split(folder / "shd_test.h5", random_split(8) | {"keys": ("a", "b", "c", "d")})
    with pytest.raises(DataError, match="names other classes"):
        load_binned(find_split_files(folder), BINNING, tmp_path / "cache")
    write_split(folder / "shd_test.h5", random_split(8, classes=6) | {"keys": None})
    with pytest.raises(DataError, match="no recordings of class 4, 5"):
        load_binned(find_split_files(folder), BINNING, tmp_path / "cache")


def test_classes_and_channels_come_from_both_files(tmp_path: Path) -> None:
    from fixtures.spike_files import random_split, write_split

    folder = tmp_path / "data"
    folder.mkdir()
    write_split(folder / "shd_train.h5", random_split(12, units=90) | {"keys": None})
    write_split(folder / "shd_test.h5", random_split(12, units=150) | {"keys": None})
    splits = load_binned(find_split_files(folder), Binning(10, 10.0, pool=2), tmp_path / "cache")
    assert splits.class_names == ("0", "1", "2", "3")
    assert splits.training.inputs.shape == splits.test.inputs.shape == (12, 10, 100)
