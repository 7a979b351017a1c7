"""Downloads that survive broken lines: pooch keeps the book, this module fetches, resumes and gives up in
time.

Bytes arrive in `<file>.part`, which outlives a failure and is continued by the next attempt or the next
run. A file gets its own name only after its MD5 was right, so whatever bears the name is good.
"""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from workbench.errors import DataError

if TYPE_CHECKING:
    import requests

OFFLINE = "WORKBENCH_OFFLINE"
"""Name of the environment variable that, set to anything but 0, forbids every download."""

_CHUNK = 1 << 16
_LONGEST_PAUSE = 30.0
_LOCK_SECONDS = 3600.0


@dataclass(frozen=True)
class RemoteFile:
    """A file to fetch: its name under the base address, and the MD5 of the right bytes."""

    name: str
    md5: str


@dataclass(frozen=True)
class Patience:
    """When to give up, in seconds: reaching the host (tried once), a silent connection; and how often to
    continue.
    """

    reach: float = 5.0
    stall: float = 30.0
    attempts: int = 6
    pause: float = 1.0
    """Before the second attempt; doubles with each further one, up to half a minute."""


class BrokenOffError(Exception):
    """A transfer ended early; another attempt may continue it."""


def fetch_files(
    files: Sequence[RemoteFile],
    base_url: str,
    folder: Path,
    patience: Patience | None = None,
    progress: bool = True,
) -> list[Path]:
    """Return the local paths of files fetched from `base_url`; those already there and right are left as
    they are.

    Raises DataError if downloads are forbidden, the host cannot be reached, the line keeps breaking, the
    bytes are wrong, or the folder cannot be written. No bad file is left under a good name.
    """
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise DataError(f"{base_url}: not fetched, because {OFFLINE} is set")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _only_process(folder), _without_log():
            return [_fetch(file, base_url, folder, patience or Patience(), progress) for file in files]
    except OSError as error:
        raise DataError(f"{folder}: the download cannot be written ({error.strerror or error})") from error


def _fetch(file: RemoteFile, base_url: str, folder: Path, patience: Patience, progress: bool) -> Path:
    import pooch

    url = f"{base_url.rstrip('/')}/{file.name}"
    downloader = ResumingDownloader(folder / f"{file.name}.part", patience, progress)
    for last in (False, True):
        try:
            return Path(pooch.retrieve(url, f"md5:{file.md5}", file.name, folder, downloader=downloader))
        except ValueError as error:
            # A continued file may have changed on the server meanwhile: once more from the start before
            # giving up.
            if last or not downloader.resumed:
                raise DataError(
                    f"{url}: the server sent wrong bytes (MD5 is not {file.md5}; "
                    f"{downloader.received} bytes received); nothing was kept. "
                    "A proxy or log-in page may have answered in its place"
                ) from error
    raise AssertionError("unreachable")


@contextmanager
def _only_process(folder: Path) -> Iterator[None]:
    """Let one process at a time download into a folder; the others wait and then find the files there."""
    from filelock import FileLock, Timeout

    lock = FileLock(folder / ".lock")
    try:
        lock.acquire(timeout=_LOCK_SECONDS)
    except Timeout as error:
        raise DataError(f"{folder}: another process has been downloading into it for an hour") from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _without_log() -> Iterator[None]:
    """Keep pooch's own messages off the terminal: the progress bar and the errors say the same, once."""
    import pooch

    logger = pooch.get_logger()
    before = logger.level
    logger.setLevel("ERROR")
    try:
        yield
    finally:
        logger.setLevel(before)


class ResumingDownloader:
    """Fetches one file for pooch, continuing `part` by HTTP Range requests where the server grants them."""

    def __init__(self, part: Path, patience: Patience, progress: bool) -> None:
        self.part = part
        self.patience = patience
        self.progress = progress
        self.resumed = False
        """Whether the last file holds bytes of more than one connection."""
        self.received = 0
        """Size of the last file in bytes."""

    def __call__(self, url: str, output_file: str, pooch: Any = None) -> None:
        """Put the whole content of `url` at `output_file`. Raises DataError when it gives up; `part` is then
        kept.
        """
        import requests

        self.resumed = False
        try:
            reach(url, self.patience.reach)
            with requests.Session() as session:
                self._persist(session, url)
        except requests.exceptions.RequestException as error:
            raise DataError(f"{url}: cannot be fetched ({_plainly(error)})") from error
        self.received = self.part.stat().st_size
        os.replace(self.part, output_file)

    def _persist(self, session: requests.Session, url: str) -> None:
        for attempt in range(1, self.patience.attempts + 1):
            try:
                return self._transfer(session, url)
            except BrokenOffError as error:
                if attempt == self.patience.attempts:
                    kept = self.part.stat().st_size if self.part.exists() else 0
                    raise DataError(
                        f"{url}: gave up after {attempt} attempts ({error}); the {kept} bytes received "
                        f"so far are kept in {self.part} and the next run continues from there"
                    ) from error
            time.sleep(min(_LONGEST_PAUSE, self.patience.pause * 2 ** (attempt - 1)))
        raise AssertionError("unreachable")

    def _transfer(self, session: requests.Session, url: str) -> None:
        """Run one connection. Raises BrokenOffError if another may continue, else DataError."""
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        # No compression on the way: byte ranges must count the file's own bytes.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        try:
            with session.get(
                url, headers=headers, stream=True, timeout=(self.patience.reach, self.patience.stall)
            ) as response:
                self._receive(response, url, have)
        except (requests.exceptions.SSLError, requests.exceptions.ProxyError):
            raise
        except (
            requests.exceptions.ConnectionError,
            requests.exceptions.Timeout,
            requests.exceptions.ChunkedEncodingError,
        ) as error:
            raise BrokenOffError(_plainly(error)) from error

    def _receive(self, response: requests.Response, url: str, have: int) -> None:
        start, total = _extent(response)
        if response.status_code == 416:
            if total == have:
                return
            self.part.unlink(missing_ok=True)
            raise BrokenOffError("the part received earlier does not fit the server's file")
        if response.status_code >= 500 or response.status_code == 429:
            raise BrokenOffError(f"the server answered {response.status_code} {response.reason}")
        if response.status_code not in (200, 206):
            raise DataError(f"{url}: the server answered {response.status_code} {response.reason}")
        if start not in (0, have):
            self.part.unlink(missing_ok=True)
            raise BrokenOffError(f"the server sent bytes from {start} instead of {have}")
        self.resumed = start > 0
        with self.part.open("ab" if start else "wb") as file, self._bar(total, start) as bar:
            for chunk in response.iter_content(_CHUNK):
                file.write(chunk)
                bar.update(len(chunk))
        size = self.part.stat().st_size
        if total is not None and size != total:
            raise BrokenOffError(f"the connection ended after {size} of {total} bytes")

    def _bar(self, total: int | None, start: int) -> Any:
        from tqdm import tqdm

        # None: shown only where standard error is a terminal.
        return tqdm(
            total=total,
            initial=start,
            unit="B",
            unit_scale=True,
            desc=self.part.stem,
            leave=False,
            disable=None if self.progress else True,
        )


def reach(url: str, seconds: float) -> None:
    """Open and close one connection to the host of `url`, or to the proxy in front of it.

    Raises DataError if that fails or takes longer than `seconds`, name look-up included: the resolver's own
    time-outs can add up to minutes and cannot be set, so it runs in a thread that is left behind.
    """
    from requests.utils import get_environ_proxies, select_proxy

    proxy = select_proxy(url, get_environ_proxies(url))
    target = urlsplit(proxy if proxy and "//" in proxy else f"//{proxy}" if proxy else url)
    port = target.port or (443 if target.scheme == "https" else 80)
    if not target.hostname:
        raise DataError(f"{url}: not an address; expected http://... or https://...")
    outcome: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((target.hostname, port), timeout=seconds).close()
            outcome.append("")
        except (OSError, UnicodeError) as error:
            outcome.append(getattr(error, "strerror", None) or str(error))

    thread = threading.Thread(target=connect, name="reach", daemon=True)
    thread.start()
    thread.join(seconds)
    failure = outcome[0] if outcome else f"no answer in {seconds:g} s"
    if failure:
        raise DataError(f"{target.hostname} cannot be reached ({failure})")


def _extent(response: requests.Response) -> tuple[int, int | None]:
    """Return where the body starts in the file, and the file's size if the server tells."""
    found = re.fullmatch(
        r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", response.headers.get("Content-Range", "").strip()
    )
    if response.status_code in (206, 416):
        # A part without a place fits nowhere: -1 makes the caller start over.
        start, total = found.groups() if found else ("-1", "*")
        return int(start or 0), None if total == "*" else int(total)
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdigit() else None


def _plainly(error: Exception) -> str:
    """Return the cause of a network error in words: its innermost reason, without the layers of libraries
    around it.
    """
    import requests

    if isinstance(error, requests.exceptions.Timeout) or "timed out" in str(error):
        return "the connection fell silent"
    if "IncompleteRead" in str(error):
        return "the connection ended early"
    return str(error) or type(error).__name__
