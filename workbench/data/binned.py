"""A pair of SHD-format files as binned, cached, memory-mapped arrays; checking such a pair."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.data.binning import Binning, bin_events, channel_count
from workbench.data.cache import Built, content_key, file_digest, load_or_build
from workbench.data.events import Recordings, SplitFiles, find_split_files, read_recordings
from workbench.errors import DataError
from workbench.tasks import SequencePool


@dataclass(frozen=True)
class BinnedSplits:
    """Binned recordings of both splits; speakers `[n]` int64, or None if a file names none."""

    training: SequencePool
    test: SequencePool
    training_speakers: npt.NDArray[np.int64] | None
    test_speakers: npt.NDArray[np.int64] | None
    class_names: tuple[str, ...]
    digest: str
    """SHA-256 over the digests of both files and the binning."""


def load_binned(files: SplitFiles, binning: Binning, cache: Path) -> BinnedSplits:
    """Return both splits, binned; the HDF5 files are opened only if the cache does not hold the result.

    Raises DataError if a file is missing or damaged, or if the two do not belong together.
    """
    sources = [file_digest(files.train, cache), file_digest(files.test, cache)]
    key = content_key(sources, {"kind": "shd-format", **binning.as_dict()})
    entry = load_or_build(cache, key, lambda: _build(files, binning))
    arrays = entry.arrays
    return BinnedSplits(
        SequencePool(arrays["train_inputs"], np.array(arrays["train_targets"])),
        SequencePool(arrays["test_inputs"], np.array(arrays["test_targets"])),
        np.array(arrays["train_speakers"]) if "train_speakers" in arrays else None,
        np.array(arrays["test_speakers"]) if "test_speakers" in arrays else None,
        tuple(entry.metadata["class_names"]),
        entry.key,
    )


def check_folder(folder: Path) -> list[str]:
    """Return what is wrong with a folder of SHD-format files, reading every array; empty if nothing is."""
    try:
        files = find_split_files(folder)
    except DataError as error:
        return [str(error)]
    problems, splits = [], []
    for path in (files.train, files.test):
        try:
            splits.append(read_recordings(path))
        except DataError as error:
            problems.append(str(error))
    if not problems:
        try:
            _class_names(files, *splits)
            _channels(files, *splits)
        except DataError as error:
            problems.append(str(error))
    return problems


def _build(files: SplitFiles, binning: Binning) -> Built:
    train, test = read_recordings(files.train), read_recordings(files.test)
    names, channels = _class_names(files, train, test), _channels(files, train, test)
    arrays: dict[str, npt.NDArray[Any]] = {}
    for split, recordings in (("train", train), ("test", test)):
        arrays[f"{split}_inputs"] = bin_events(
            recordings.times, recordings.units, recordings.starts, channels, binning
        )
        arrays[f"{split}_targets"] = recordings.labels
        if recordings.speakers is not None:
            arrays[f"{split}_speakers"] = recordings.speakers
    return arrays, {"class_names": names, "channels": channels, "files": [files.train.name, files.test.name]}


def _class_names(files: SplitFiles, train: Recordings, test: Recordings) -> tuple[str, ...]:
    """Return one name a class: the file's own where it names them all, else the labels themselves."""
    labels = int(max(train.labels.max(), test.labels.max())) + 1
    if train.class_names and test.class_names and train.class_names != test.class_names:
        raise DataError(f"{files.test}: extra/keys names other classes than {files.train.name}")
    names = train.class_names or test.class_names
    if len(names) < labels or len(set(names)) < len(names):
        names = tuple(str(label) for label in range(labels))
    absent = sorted(set(range(len(names))) - set(train.labels.tolist()))
    if absent:
        raise DataError(
            f"{files.train}: no recordings of class {', '.join(names[label] for label in absent)}"
        )
    return names


def _channels(files: SplitFiles, train: Recordings, test: Recordings) -> int:
    if None not in (train.channels, test.channels) and train.channels != test.channels:
        raise DataError(
            f"{files.test}: has {test.channels} channels, {files.train.name} has {train.channels}"
        )
    largest = max((int(split.units.max()) for split in (train, test) if split.units.size), default=0)
    declared = train.channels if train.channels is not None else test.channels
    if declared is not None and declared <= largest:
        raise DataError(f"{files.test}: there is a unit {largest}, but only {declared} channels")
    return channel_count(declared, largest)
