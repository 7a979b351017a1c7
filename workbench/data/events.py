"""Reading spike recordings in the HDF5 layout of the Spiking Heidelberg Digits.

    spikes/times   [n] ragged float16 or wider, seconds      labels          [n] integer
    spikes/units   [n] ragged integer, channel               extra/speaker   [n] integer, optional
                                                             extra/keys      [classes] class names, optional

A file may be plain (`.h5`, `.hdf5`), compressed (`.h5.gz`) or a zip archive that holds one HDF5 file.
Layout: Cramer et al. 2020, The Heidelberg spiking data sets for the systematic evaluation of spiking neural
networks.
"""

from __future__ import annotations

import gzip
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

PLAIN = (".h5", ".hdf5")
SUFFIXES = (*PLAIN, ".h5.gz", ".hdf5.gz", ".zip")
"""File name endings that are read, the preferred (fastest) first."""

_CHANNEL_ATTRIBUTES = ("channels", "n_channels")
# Events are read in blocks of recordings: h5py hands out one small array per recording, costly to hold all
# at once.
_BLOCK = 512
_COPY_BYTES = 1 << 20
_UNREADABLE = (OSError, EOFError, RuntimeError, ValueError, TypeError, zlib.error, zipfile.BadZipFile)


@dataclass(frozen=True)
class SplitFiles:
    """The training and the test file of one data set."""

    train: Path
    test: Path


@dataclass(frozen=True)
class Recordings:
    """Spike recordings, all events in one row; recording i holds events `starts[i]:starts[i + 1]`.

    times: `[events]` float, seconds. units: `[events]` integer channels. starts: `[n + 1]` int64.
    labels, speakers: `[n]` int64; speakers is None if the file names none.
    """

    times: npt.NDArray[np.floating[Any]]
    units: npt.NDArray[np.integer[Any]]
    starts: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    speakers: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    """`extra/keys`, or empty if the file has none."""
    channels: int | None
    """The attribute `channels` (or `n_channels`) of the file or of `spikes/units`, or None if there is none.
    """

    def __len__(self) -> int:
        return len(self.labels)


def find_split_files(folder: Path) -> SplitFiles:
    """Return `shd_train.*` and `shd_test.*` of a folder, or its only pair of files named `*train*` and
    `*test*`.

    Raises DataError if the folder or one of the files is missing, or if it is unclear which file is meant.
    """
    if not folder.is_dir():
        what = "is a file; name the folder that holds it" if folder.exists() else "does not exist"
        raise DataError(
            f"{folder}: {what}; expected a folder with {_expected('train')} and {_expected('test')}"
        )
    return SplitFiles(_find(folder, "train"), _find(folder, "test"))


def read_recordings(path: Path) -> Recordings:
    """Return every recording of one file. Raises DataError, naming the file, if it is missing, damaged or cut
    short.
    """
    import h5py

    if not path.is_file():
        raise DataError(f"{path}: no such file")
    try:
        with _hdf5_source(path) as source, h5py.File(source, "r") as file:
            return _read(file, path)
    except DataError:
        raise
    except _UNREADABLE as error:
        reason = str(error).strip() or type(error).__name__
        raise DataError(f"{path}: damaged or cut short ({reason}); fetch the file again") from error


def _expected(split: str) -> str:
    return f"shd_{split}{{{','.join(SUFFIXES)}}}"


def _rank(path: Path) -> int:
    return next((rank for rank, suffix in enumerate(SUFFIXES) if path.name.lower().endswith(suffix)), -1)


def _stem(path: Path) -> str:
    name = path.name.lower()
    for ending in (".gz", ".zip", *PLAIN):
        name = name.removesuffix(ending)
    return name


def _find(folder: Path, split: str) -> Path:
    files = sorted(path for path in folder.iterdir() if path.is_file() and _rank(path) >= 0)
    exact = [path for path in files if _stem(path) == f"shd_{split}"]
    found = exact or [path for path in files if split in _stem(path)]
    if not found:
        holds = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise DataError(f"{folder}: no {split} file, expected {_expected(split)}; the folder holds {holds}")
    if len({_stem(path) for path in found}) > 1:
        names = ", ".join(path.name for path in found)
        raise DataError(f"{folder}: several files could be the {split} file ({names}); keep one")
    return min(found, key=_rank)


@contextmanager
def _hdf5_source(path: Path) -> Iterator[Path | IO[bytes]]:
    """Yield what h5py opens: the path itself, or an unnamed temporary file with the decompressed content."""
    name = path.name.lower()
    if name.endswith(PLAIN):
        yield path
        return
    # On disk rather than in memory: the real training file grows to several hundred megabytes.
    with tempfile.TemporaryFile() as plain:
        if name.endswith(".gz"):
            with gzip.open(path) as packed:
                shutil.copyfileobj(packed, plain, _COPY_BYTES)
        else:
            with zipfile.ZipFile(path) as archive, archive.open(_member(archive, path)) as packed:
                shutil.copyfileobj(packed, plain, _COPY_BYTES)
        plain.seek(0)
        yield plain


def _member(archive: zipfile.ZipFile, path: Path) -> str:
    members = [
        name
        for name in archive.namelist()
        if name.lower().endswith(PLAIN)
        and not name.startswith("__MACOSX/")  # what macOS adds to its archives
    ]
    if len(members) != 1:
        raise DataError(f"{path}: holds {len(members)} HDF5 files ({', '.join(members)}), expected one")
    return members[0]


def _dataset(file: Any, name: str, path: Path) -> Any:
    import h5py

    found = file.get(name)
    if not isinstance(found, h5py.Dataset):
        raise DataError(
            f"{path}: no array {name!r}; expected spikes/times, spikes/units and labels, as in SHD"
        )
    return found


def _read(file: Any, path: Path) -> Recordings:
    labels = _integers(file, "labels", path)
    if labels.size == 0:
        raise DataError(f"{path}: holds no recordings")
    times, time_lengths = _ragged(file, "spikes/times", path, len(labels), "f")
    units, unit_lengths = _ragged(file, "spikes/units", path, len(labels), "iu")
    if not np.array_equal(time_lengths, unit_lengths):
        first = int(np.flatnonzero(time_lengths != unit_lengths)[0])
        raise DataError(
            f"{path}: recording {first} has {time_lengths[first]} spike times but {unit_lengths[first]} units"
        )
    if times.size and not (np.isfinite(times).all() and times.min() >= 0):
        raise DataError(f"{path}: spikes/times holds values that are negative or not finite")
    if units.size and units.min() < 0:
        raise DataError(f"{path}: spikes/units holds negative channels")
    speakers = _integers(file, "extra/speaker", path) if "extra/speaker" in file else None
    if speakers is not None and len(speakers) != len(labels):
        raise DataError(f"{path}: extra/speaker has {len(speakers)} entries for {len(labels)} recordings")
    starts = np.concatenate([[0], np.cumsum(time_lengths)]).astype(np.int64)
    names = _class_names(file, path)
    return Recordings(times, units, starts, labels, speakers, names, _channels(file, units, path))


def _integers(file: Any, name: str, path: Path) -> npt.NDArray[np.int64]:
    dataset = _dataset(file, name, path)
    if dataset.ndim != 1 or dataset.dtype.kind not in "iu":
        raise DataError(
            f"{path}: {name} has type {dataset.dtype} and shape {dataset.shape}, expected [n] integers"
        )
    values = np.asarray(dataset[:], dtype=np.int64)
    if values.size and values.min() < 0:
        raise DataError(f"{path}: {name} holds negative values")
    return values


def _ragged(
    file: Any, name: str, path: Path, recordings: int, kinds: str
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Return the values of a ragged array in one row, and the length of each of its entries."""
    import h5py

    dataset = _dataset(file, name, path)
    element = h5py.check_vlen_dtype(dataset.dtype)
    if dataset.ndim != 1 or element is None or np.dtype(element).kind not in kinds:
        raise DataError(
            f"{path}: {name} has type {dataset.dtype}, "
            f"expected ragged {'floats' if kinds == 'f' else 'integers'}"
        )
    if len(dataset) != recordings:
        raise DataError(f"{path}: {name} has {len(dataset)} entries for {recordings} labels")
    blocks, lengths = [], []
    for start in range(0, recordings, _BLOCK):
        block = dataset[start : start + _BLOCK]
        lengths.append(np.fromiter(map(len, block), dtype=np.int64, count=len(block)))
        blocks.append(np.concatenate(block))
    return np.concatenate(blocks).astype(element, copy=False), np.concatenate(lengths)


def _class_names(file: Any, path: Path) -> tuple[str, ...]:
    if "extra/keys" not in file:
        return ()
    keys = _dataset(file, "extra/keys", path)[:]
    return tuple(key.decode("utf-8", "replace") if isinstance(key, bytes) else str(key) for key in keys)


def _channels(file: Any, units: npt.NDArray[Any], path: Path) -> int | None:
    for holder in (file, file["spikes"], file["spikes/units"]):
        for name in _CHANNEL_ATTRIBUTES:
            if name in holder.attrs:
                channels = int(holder.attrs[name])
                if units.size and channels <= int(units.max()):
                    raise DataError(
                        f"{path}: attribute {name} is {channels}, but there is a unit {units.max()}"
                    )
                return channels
    return None
