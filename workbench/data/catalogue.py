"""The data sets that the installed scenarios read: where they are, fetching and verifying them, and the
cache.

A scenario names its data sets in `Scenario.data_sets()`; this module knows none of them by name.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.data.download import Patience, RemoteFile, fetch_files
from workbench.errors import DataError, PluginError, nearest

if TYPE_CHECKING:
    from workbench.registry import Registry

CACHE = "WORKBENCH_CACHE"
"""Name of the environment variable that moves the cache."""

# The only folders of the cache that are ever counted or removed: WORKBENCH_CACHE may name a folder that
# holds more.
_BINNED, _DOWNLOADS = ("binned", "digests", "locks", "report"), "downloads"


@dataclass(frozen=True)
class DataSetStatus:
    """A line of `workbench data`: what a data set is, whether it is here, where, and its size in bytes."""

    name: str
    description: str
    licence: str
    status: str
    location: str
    bytes: int


@dataclass(frozen=True)
class DataSet:
    """A data set that comes with a package. `location` and `problems` are asked only when they are needed."""

    name: str
    description: str
    licence: str
    location: Callable[[], Path]
    """Returns the file or folder."""
    problems: Callable[[Path], list[str]]
    """Reads every array under a path and returns what is wrong with it."""
    presence: str = "comes with the package"

    def status(self, cache: Path) -> DataSetStatus:
        """Return where the data set is."""
        place = self.location()
        there = place.exists()
        return DataSetStatus(
            self.name,
            self.description,
            self.licence,
            self.presence if there else "missing",
            str(place),
            _size(place),
        )

    def fetch(self, cache: Path, progress: bool = True, patience: Patience | None = None) -> Path:
        """Return where the data set is; there is nothing to fetch. Raises DataError if it is missing."""
        if not self.location().exists():
            raise DataError(
                f"{self.location()}: the data set {self.name} is missing; install the package again"
            )
        return self.location()

    def verify(self, cache: Path, path: Path | None = None) -> list[str]:
        """Return what is wrong with the data set, or with other files of its form at `path`."""
        return self.problems(path or self.location())


@dataclass(frozen=True)
class RemoteDataSet:
    """A data set that is fetched from `base_url` into the cache. `problems` checks a local folder of the same
    form.
    """

    name: str
    description: str
    licence: str
    base_url: str
    files: tuple[RemoteFile, ...]
    problems: Callable[[Path], list[str]]

    def folder(self, cache: Path) -> Path:
        """Return the folder of the downloaded files."""
        return cache / _DOWNLOADS / self.name

    def is_fetched(self, cache: Path) -> bool:
        """Return whether every file is there; only files whose MD5 was right get their name."""
        return all((self.folder(cache) / file.name).is_file() for file in self.files)

    def status(self, cache: Path) -> DataSetStatus:
        """Return whether the data set has been downloaded."""
        folder = self.folder(cache)
        incomplete = "partly downloaded" if _size(folder) else "not downloaded"
        status = "downloaded" if self.is_fetched(cache) else incomplete
        location = str(folder) if _size(folder) else self.base_url
        return DataSetStatus(self.name, self.description, self.licence, status, location, _size(folder))

    def fetch(self, cache: Path, progress: bool = True, patience: Patience | None = None) -> Path:
        """Return the folder that holds the files, downloading what is missing. Raises DataError as
        `fetch_files`.
        """
        fetch_files(self.files, self.base_url, self.folder(cache), patience, progress)
        return self.folder(cache)

    def verify(self, cache: Path, path: Path | None = None) -> list[str]:
        """Return what is wrong with the downloaded files (by their MD5), or with the arrays of local files at
        `path`.
        """
        if path is not None:
            return self.problems(path)
        found = []
        for file in self.files:
            place = self.folder(cache) / file.name
            if not place.is_file():
                found.append(f"{place}: not downloaded")
            elif (actual := _md5(place)) != file.md5:
                found.append(
                    f"{place}: MD5 is {actual}, expected {file.md5}; delete the file and fetch it again"
                )
        return found


AnyDataSet = DataSet | RemoteDataSet


def data_sets(cache: Path | None = None, registry: Registry | None = None) -> list[DataSetStatus]:
    """Return the data sets of every scenario that loads, sorted by name."""
    cache = cache or cache_folder()
    return [known.status(cache) for _, known in sorted(_known(registry).items())]


def fetch(
    name: str, progress: bool = True, cache: Path | None = None, registry: Registry | None = None
) -> Path:
    """Return where a data set is after downloading it if need be. Raises DataError on an unknown name or a
    failure.
    """
    return _find(name, registry).fetch(cache or cache_folder(), progress)


def verify(
    name: str, path: Path | None = None, cache: Path | None = None, registry: Registry | None = None
) -> list[str]:
    """Return what is wrong with a data set, or with local files of its form at `path`; empty if nothing is.

    Raises DataError on an unknown name.
    """
    return _find(name, registry).verify(cache or cache_folder(), path)


def cache_folder() -> Path:
    """Return the folder for downloads and binned events: `WORKBENCH_CACHE`, else the user's cache folder."""
    named = os.environ.get(CACHE, "")
    if named:
        return Path(named).expanduser()
    import pooch

    return Path(pooch.os_cache("workbench")).expanduser()


def cache_size(cache: Path | None = None) -> int:
    """Return the size of downloads and binned events in bytes."""
    cache = cache or cache_folder()
    return sum(_size(cache / part) for part in (*_BINNED, _DOWNLOADS))


def clear_cache(cache: Path | None = None, keep_downloads: bool = False) -> int:
    """Remove binned events and, unless they are to be kept, downloads; return the bytes freed."""
    cache = cache or cache_folder()
    before = cache_size(cache)
    for part in _BINNED if keep_downloads else (*_BINNED, _DOWNLOADS):
        shutil.rmtree(cache / part, ignore_errors=True)
    return before - cache_size(cache)


def _known(registry: Registry | None) -> dict[str, AnyDataSet]:
    from workbench.plugin import Scenario
    from workbench.registry import Registry

    registry = registry or Registry.discover()
    found: dict[str, AnyDataSet] = {}
    for name in registry.names("scenario"):
        # A broken scenario is the business of `workbench list`, which gives the reason.
        with suppress(PluginError):
            scenario = registry.load("scenario", name)
            if issubclass(scenario, Scenario):
                for one in scenario.data_sets():
                    found.setdefault(one.name, one)
    return found


def _find(name: str, registry: Registry | None) -> AnyDataSet:
    known = _known(registry)
    if name not in known:
        guess = nearest(name, known)
        hint = f"; did you mean {guess!r}?" if guess else ""
        raise DataError(f"unknown data set {name!r}{hint} (known: {', '.join(sorted(known)) or 'none'})")
    return known[name]


def _size(place: Path) -> int:
    """Return the bytes of a file, or of all files under a folder; 0 if there is none."""
    files: Sequence[Path] = (
        [place] if place.is_file() else [path for path in place.rglob("*") if path.is_file()]
    )
    total = 0
    for path in files:
        # Another process may remove a file meanwhile.
        with suppress(OSError):
            total += path.stat().st_size
    return total


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
