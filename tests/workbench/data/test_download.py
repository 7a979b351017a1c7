"""Downloads against a server that breaks off, falls silent, sends wrong bytes, or ignores ranges."""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fixtures.faulty_server import FaultyServer, faulty_server

from workbench.data.download import OFFLINE, Patience, RemoteFile, fetch_files, reach
from workbench.errors import DataError

CONTENT = np.random.default_rng(0).bytes(400_000)
FILE = RemoteFile("shd_train.h5.zip", hashlib.md5(CONTENT).hexdigest())
# Bytes arrive in chunks of 64 KiB: of the half that is sent, whole chunks are sure to be on disk.
BRISK = Patience(reach=2.0, stall=0.3, attempts=4, pause=0.01)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Return a server that holds the file; no proxy, no ban on downloads."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", OFFLINE):
        monkeypatch.delenv(name, raising=False)
    with faulty_server() as running:
        running.content[FILE.name] = CONTENT
        yield running


def download(server: FaultyServer, folder: Path, patience: Patience = BRISK, file: RemoteFile = FILE) -> Path:
    """Fetch the one file."""
    (path,) = fetch_files([file], server.url, folder, patience, progress=False)
    return path


def names(folder: Path) -> list[str]:
    """Return what lies in a folder, the lock aside."""
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


def test_a_file_is_fetched_once(server: FaultyServer, tmp_path: Path) -> None:
    for _ in range(2):
        path = download(server, tmp_path / "new")
    assert path.read_bytes() == CONTENT
    assert server.requests == [(FILE.name, None)]
    assert names(path.parent) == [FILE.name]


@pytest.mark.parametrize("fault", ["break", "silent"])
def test_a_transfer_that_ends_early_is_continued(server: FaultyServer, tmp_path: Path, fault: str) -> None:
    server.faults = [fault, fault]
    assert download(server, tmp_path).read_bytes() == CONTENT
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for _, asked in server.requests if asked]
    assert len(server.requests) == 3
    assert 0 < starts[0] < starts[1] < len(CONTENT)
    assert names(tmp_path) == [FILE.name]


def test_the_next_run_continues_what_the_last_one_kept(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["break"]
    with pytest.raises(
        DataError, match=r"gave up after 1 attempts \(the connection ended early\).*next run continues"
    ):
        download(server, tmp_path, Patience(2.0, 0.3, attempts=1))
    assert names(tmp_path) == [f"{FILE.name}.part"]
    kept = (tmp_path / f"{FILE.name}.part").stat().st_size
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == (FILE.name, f"bytes={kept}-")


def test_a_server_that_ignores_ranges_sends_everything_again(server: FaultyServer, tmp_path: Path) -> None:
    server.honours_ranges = False
    server.faults = ["break"]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_wrong_range_makes_it_start_over(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["break", "ranged-wrong"]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert server.requests[-1] == (FILE.name, None)


@pytest.mark.parametrize("kept", [CONTENT, CONTENT + b"too much", b"x" * 1000])
def test_a_part_that_is_whole_too_long_or_stale_ends_well(
    server: FaultyServer, tmp_path: Path, kept: bytes
) -> None:
    (tmp_path / f"{FILE.name}.part").write_bytes(kept)
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert names(tmp_path) == [FILE.name]


def test_wrong_bytes_are_refused_and_not_kept(server: FaultyServer, tmp_path: Path) -> None:
    server.content[FILE.name] = b"<html>please log in</html>"
    with pytest.raises(DataError, match=rf"wrong bytes \(MD5 is not {FILE.md5}; 26 bytes") as caught:
        download(server, tmp_path)
    assert server.url in str(caught.value)
    assert names(tmp_path) == []
    assert len(server.requests) == 1


def test_a_damaged_local_file_is_fetched_again(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / FILE.name).write_bytes(CONTENT[:-1])
    assert download(server, tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(server: FaultyServer, tmp_path: Path) -> None:
    server.faults = ["busy", "mute"]
    assert download(server, tmp_path).read_bytes() == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("faults", "attempts", "complaint"),
    [
        (["gone"], 1, "the server answered 404"),
        (["busy"] * 9, 4, "gave up after 4 attempts .the server answered 503"),
        (["mute"] * 9, 4, "gave up after 4 attempts .the connection fell silent"),
    ],
)
def test_it_gives_up_in_bounded_attempts(
    server: FaultyServer, tmp_path: Path, faults: list[str], attempts: int, complaint: str
) -> None:
    server.faults = faults
    with pytest.raises(DataError, match=complaint):
        download(server, tmp_path)
    assert len(server.requests) == attempts
    assert FILE.name not in names(tmp_path)


def test_nobody_listening_is_told_at_once(server: FaultyServer, tmp_path: Path) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        with pytest.raises(DataError, match=r"127\.0\.0\.1 cannot be reached"):
            fetch_files([FILE], f"http://127.0.0.1:{port}/", tmp_path, Patience(pause=1000))
    assert names(tmp_path) == []


def test_an_unanswered_name_look_up_is_not_waited_for(
    server: FaultyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def hang(*_: object, **__: object) -> None:
        server.stop.wait(20)
        raise OSError("too late")

    monkeypatch.setattr(socket, "create_connection", hang)
    started = time.monotonic()
    with pytest.raises(DataError, match=r"example.invalid cannot be reached \(no answer in 0.05 s\)"):
        reach("https://example.invalid/file", 0.05)
    assert time.monotonic() - started < 10


def test_the_proxy_is_what_must_be_reached(server: FaultyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", server.url)
    reach("http://example.invalid/file", 2.0)


def test_what_is_no_address_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not an address"):
        reach("zenkelab.org/datasets", 1.0)


def test_downloads_can_be_forbidden(
    server: FaultyServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(DataError, match="WORKBENCH_OFFLINE is set"):
        download(server, tmp_path)
    assert server.requests == []
    monkeypatch.setenv(OFFLINE, "0")
    download(server, tmp_path)


def test_a_folder_that_cannot_be_written_is_named(server: FaultyServer, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: the download cannot be written"):
        download(server, tmp_path / "file")


def test_progress_is_drawn_only_on_terminals(
    server: FaultyServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    fetch_files([FILE], server.url, tmp_path, BRISK, progress=True)
    assert capfd.readouterr() == ("", "")
