"""The catalogue: what is where, fetching, verifying, and a cache that is cleared without touching anything
else.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from fixtures.faulty_server import FaultyServer, faulty_server
from fixtures.spike_files import write_pair

from workbench.data.binned import check_folder
from workbench.data.catalogue import (
    AnyDataSet,
    DataSet,
    RemoteDataSet,
    cache_folder,
    cache_size,
    clear_cache,
    data_sets,
    fetch,
    verify,
)
from workbench.data.download import OFFLINE, RemoteFile
from workbench.errors import DataError
from workbench.plugin import Scenario
from workbench.registry import Registration, Registry

CONTENT = b"spikes" * 1000
FILES = (RemoteFile("shd_train.h5.zip", hashlib.md5(CONTENT).hexdigest()),)


class Spoken(Scenario):
    """A scenario with a remote and a bundled data set; the test fills in where they are."""

    url = ""
    bundled = Path()

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return both."""
        return (
            RemoteDataSet("spoken", "words", "CC0", cls.url, FILES, check_folder),
            DataSet("built-in", "more words", "CC0", lambda: cls.bundled, lambda path: [f"{path} checked"]),
        )


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Return a server that holds the remote data set."""
    monkeypatch.delenv(OFFLINE, raising=False)
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    with faulty_server() as running:
        running.content[FILES[0].name] = CONTENT
        monkeypatch.setattr(Spoken, "url", running.url)
        monkeypatch.setattr(Spoken, "bundled", Path(__file__))
        yield running


@pytest.fixture
def registry() -> Registry:
    """Return a working scenario beside a broken one."""
    return Registry(
        tuple(
            Registration("scenario", EntryPoint(name, target, "workbench.scenarios"), "samples", "1.0")
            for name, target in (("spoken", f"{__name__}:Spoken"), ("broken", "no.such.module:Thing"))
        )
    )


def test_the_installed_scenarios_bring_their_data_sets(tmp_path: Path) -> None:
    scenarios = {
        "split-shd": "scenarios.split_shd:SplitSHD",
        "split-digits": "scenarios.split_digits:SplitDigits",
    }
    registry = Registry(
        tuple(
            Registration("scenario", EntryPoint(name, target, "workbench.scenarios"), "own", "1.0")
            for name, target in scenarios.items()
        )
    )
    found = {one.name: one for one in data_sets(tmp_path, registry)}
    assert list(found) == ["digits", "shd", "spoken-digits"]
    assert (found["shd"].status, found["shd"].bytes) == ("not downloaded", 0)
    assert found["digits"].bytes > 10_000
    assert verify("digits", cache=tmp_path, registry=registry) == []
    assert "not downloaded" in verify("shd", cache=tmp_path, registry=registry)[0]


def test_fetching_changes_the_status(server: FaultyServer, registry: Registry, tmp_path: Path) -> None:
    first = data_sets(registry=registry)[1]
    assert (first.name, first.status, first.location) == ("spoken", "not downloaded", server.url)
    folder = fetch("spoken", progress=False, registry=registry)
    assert folder == tmp_path / "cache" / "downloads" / "spoken"
    after = data_sets(registry=registry)[1]
    assert (after.status, after.location) == ("downloaded", str(folder))
    assert after.bytes >= len(CONTENT)
    assert verify("spoken", registry=registry) == []


def test_a_part_is_told_from_a_whole(server: FaultyServer, registry: Registry, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "downloads" / "spoken"
    folder.mkdir(parents=True)
    (folder / "shd_train.h5.zip.part").write_bytes(b"half")
    assert data_sets(registry=registry)[1].status == "partly downloaded"


def test_verifying_finds_a_download_that_rotted(server: FaultyServer, registry: Registry) -> None:
    path = fetch("spoken", progress=False, registry=registry) / FILES[0].name
    path.write_bytes(CONTENT + b"!")
    (problem,) = verify("spoken", registry=registry)
    assert f"expected {FILES[0].md5}" in problem
    assert str(path) in problem


def test_verifying_a_local_folder_reads_its_arrays(
    server: FaultyServer, registry: Registry, tmp_path: Path
) -> None:
    folder = write_pair(tmp_path / "mine", ".h5.gz")
    assert verify("spoken", folder, registry=registry) == []
    (folder / "shd_test.h5.gz").write_bytes(b"")
    assert "shd_test.h5.gz" in verify("spoken", folder, registry=registry)[0]


def test_a_bundled_set_is_there_or_missing(
    server: FaultyServer, registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert data_sets(registry=registry)[0].status == "comes with the package"
    assert fetch("built-in", registry=registry) == Path(__file__)
    assert verify("built-in", registry=registry) == [f"{__file__} checked"]
    monkeypatch.setattr(Spoken, "bundled", tmp_path / "gone")
    assert data_sets(registry=registry)[0].status == "missing"
    with pytest.raises(DataError, match="built-in is missing"):
        fetch("built-in", registry=registry)


def test_an_unknown_name_gets_the_nearest_one(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"unknown data set 'spokn'; did you mean 'spoken'\? \(known: built-in, spoken\)"
    ):
        fetch("spokn", cache=tmp_path, registry=registry)


def test_clearing_removes_what_the_workbench_put_there_and_nothing_else(tmp_path: Path) -> None:
    for place, size in (
        ("binned/k/a.npy", 70),
        ("digests/x.json", 20),
        ("downloads/shd/f.zip", 10),
        ("mine.txt", 5),
    ):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(bytes(size))
    assert cache_size(tmp_path) == 100
    assert clear_cache(tmp_path, keep_downloads=True) == 90
    assert clear_cache(tmp_path) == 10
    assert cache_size(tmp_path) == clear_cache(tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_the_cache_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.delenv("WORKBENCH_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert "workbench" in cache_folder().parts
