"""Arrays that are made once from source files and memory-mapped ever after.

    <cache>/digests/<path>.json   SHA-256 of a source file, valid while its size and time of change stay
    <cache>/binned/<key>/         one entry: its arrays as .npy files, and metadata.json, which describes them
    <cache>/locks/<key>           held by the process that makes the entry

An entry is written to a temporary folder and renamed when it is whole, so a reader never sees half of one.
Every opening checks the arrays against metadata.json; an entry that fails is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

FORMAT = 1
"""Raised whenever the meaning of an entry changes; part of every key."""

_METADATA = "metadata.json"
_TEMPORARY, _DISCARDED = ".writing-", ".discarded-"
_ABANDONED_SECONDS = 24 * 3600


@dataclass(frozen=True)
class CacheEntry:
    """Arrays as read-only memory maps, and the metadata stored beside them."""

    key: str
    arrays: Mapping[str, npt.NDArray[Any]]
    metadata: Mapping[str, Any]


Built = tuple[Mapping[str, npt.NDArray[Any]], Mapping[str, Any]]
"""What a builder returns: arrays by name, and metadata that JSON can hold."""


def content_key(sources: Sequence[str], transform: Mapping[str, Any]) -> str:
    """Return the SHA-256 of source digests and of the transform applied to them.

    >>> content_key(["ab"], {"bins": 10, "pool": 2}) == content_key(["ab"], {"pool": 2, "bins": 10})
    True
    """
    text = json.dumps(
        {"format": FORMAT, "sources": list(sources), "transform": dict(transform)}, sort_keys=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def file_digest(path: Path, cache: Path) -> str:
    """Return the SHA-256 of a file; it is read only if its size or time of change differ from the last time.

    Raises DataError if the file cannot be read.
    """
    try:
        path = path.resolve(strict=True)
        status = path.stat()
        stamp = {"path": str(path), "size": status.st_size, "mtime_ns": status.st_mtime_ns}
        index = cache / "digests" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:32]}.json"
        with contextlib.suppress(OSError, ValueError, AttributeError):
            known = json.loads(index.read_text())
            if known | stamp == known and len(known["sha256"]) == 64:
                return str(known["sha256"])
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    # A cache that cannot be written costs time, no more.
    with contextlib.suppress(OSError):
        _write_atomically(index, json.dumps(stamp | {"sha256": digest}))
    return digest


def load_or_build(cache: Path, key: str, build: Callable[[], Built]) -> CacheEntry:
    """Return the entry `key`, calling `build` if there is none or if it is damaged.

    Raises DataError if the cache folder cannot be written, and whatever `build` raises.
    """
    from filelock import FileLock

    folder = cache / "binned" / key[:32]
    entry = _open(folder, key)
    if entry is not None:
        return entry
    try:
        for part in ("binned", "locks"):
            (cache / part).mkdir(parents=True, exist_ok=True)
        _sweep(folder.parent)
        # Of several processes one builds; the others wait and then find the entry whole.
        with FileLock(cache / "locks" / key[:32]):
            entry = _open(folder, key)
            if entry is None:
                _discard(folder)
                entry = _store(folder, key, *build())
    except OSError as error:
        raise DataError(
            f"{cache}: the cache cannot be written ({error.strerror or error}); free space, "
            "or name another folder in WORKBENCH_CACHE"
        ) from error
    return entry


def _store(
    folder: Path, key: str, arrays: Mapping[str, npt.NDArray[Any]], metadata: Mapping[str, Any]
) -> CacheEntry:
    """Write an entry where there is none, and open it."""
    writing = folder.parent / f"{_TEMPORARY}{uuid.uuid4().hex}"
    writing.mkdir()
    try:
        described = {name: _write_array(writing / f"{name}.npy", array) for name, array in arrays.items()}
        (writing / _METADATA).write_text(
            json.dumps({"key": key, "metadata": dict(metadata), "arrays": described}, indent=1)
        )
        writing.rename(folder)
    finally:
        shutil.rmtree(writing, ignore_errors=True)
    entry = _open(folder, key)
    if entry is None:
        raise OSError(None, "what was written cannot be read back")
    return entry


def _write_array(path: Path, array: npt.NDArray[Any]) -> dict[str, Any]:
    array = np.ascontiguousarray(array)
    np.save(path, array, allow_pickle=False)
    return {"dtype": str(array.dtype), "shape": list(array.shape), "crc32": _checksum(array)}


def _checksum(array: npt.NDArray[Any]) -> int:
    return zlib.crc32(array.reshape(-1).view(np.uint8).data) if array.size else 0


def _open(folder: Path, key: str) -> CacheEntry | None:
    """Return a whole entry, or None if it is missing or damaged."""
    try:
        stored = json.loads((folder / _METADATA).read_text())
        if stored["key"] != key:
            return None
        arrays = {name: _open_array(folder / f"{name}.npy", told) for name, told in stored["arrays"].items()}
        return CacheEntry(key, arrays, stored["metadata"])
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _open_array(path: Path, described: Mapping[str, Any]) -> npt.NDArray[Any]:
    # An empty file cannot be mapped; NumPy's own header check and this checksum find every other damage.
    empty = 0 in described["shape"]
    array: npt.NDArray[Any] = np.load(path, mmap_mode=None if empty else "r", allow_pickle=False)
    if [str(array.dtype), list(array.shape), _checksum(array)] != [
        described[key] for key in ("dtype", "shape", "crc32")
    ]:
        raise ValueError(f"{path} is damaged")
    return array


def _discard(folder: Path) -> None:
    """Take an entry out of the way, first by its name: maps that other processes hold stay valid."""
    aside = folder.parent / f"{_DISCARDED}{uuid.uuid4().hex}"
    with contextlib.suppress(OSError):
        folder.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed while writing have left behind."""
    for prefix in (_TEMPORARY, _DISCARDED):
        for left in folder.glob(f"{prefix}*"):
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _ABANDONED_SECONDS:
                    shutil.rmtree(left, ignore_errors=True)


def _write_atomically(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    writing = path.with_name(f"{_TEMPORARY}{uuid.uuid4().hex}")
    try:
        writing.write_text(text)
        os.replace(writing, path)
    finally:
        writing.unlink(missing_ok=True)
