"""MLflow's page as a process beside this one, for this machine only."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, build_opener

from workbench.errors import ConfigurationError, DataError, WorkbenchError
from workbench.tracking_store import database_of, store_name

HOST = "127.0.0.1"
"""Loopback: the page knows no passwords, and shows everything to whoever reaches it."""
START_SECONDS = 180.0
STOP_SECONDS = 10.0
LOG_LINES = 8


def check_store(uri: str) -> None:
    """Raise DataError when the store is a file that is not there, ConfigurationError when it has a page of its own."""
    if urlsplit(uri).scheme in ("http", "https"):
        raise ConfigurationError(
            f"{store_name(uri)} is a server with a page of its own: open that in a browser"
        )
    path = database_of(uri)
    if path is None and ("://" not in uri or uri.startswith("file:")):
        path = Path(re.sub(r"^file:(//)?", "", uri))
    if path is not None and not path.exists():
        raise DataError(
            f"no MLflow store at {path}: runs make one unless track.mlflow=false; go to their folder, name a store "
            "with --uri sqlite:///FILE, or fill one with workbench track push"
        )


@contextmanager
def serving(uri: str, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """Serve the page of a store at 127.0.0.1:port inside this context; it answers when the context is entered.

    Raises ConfigurationError when the port is taken, WorkbenchError when the server ends before it answers.
    """
    _check_port(port)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            _command(uri, port),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env={
                **os.environ,
                # Not as an option, which every user of the machine could read: it may hold a password.
                "MLFLOW_BACKEND_STORE_URI": uri,
                "MLFLOW_DISABLE_TELEMETRY": "true",
                "DO_NOT_TRACK": "true",
                # A handful of processes for evaluations of language models.
                "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            },
            # Ctrl-C comes here, and the server with its workers is ended as one.
            start_new_session=True,
        )
        try:
            _wait(process, f"http://{HOST}:{port}/health", log)
            yield process
        finally:
            _stop(process)


def _command(uri: str, port: int) -> list[str]:
    database = database_of(uri)
    # Where new experiments of this store would keep their files: beside it, as runs do.
    artefacts = (
        [] if database is None else ["--default-artifact-root", (database.parent / "mlartifacts").as_uri()]
    )
    address = ["--host", HOST, "--port", str(port), "--workers", "1"]
    return [sys.executable, "-m", "mlflow", "server", *address, *artefacts]


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        # As the server does: a port that was left a moment ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigurationError(
                f"--port {port}: {(error.strerror or 'cannot be used').lower()}; choose another"
            ) from error


def _wait(process: subprocess.Popen[bytes], health: str, log: IO[bytes]) -> None:
    # No proxy stands between a machine and itself.
    opener = build_opener(ProxyHandler({}))
    deadline, answered = time.monotonic() + START_SECONDS, False
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise WorkbenchError(f"MLflow's server ended with code {process.returncode}:\n{_tail(log)}")
        with suppress(URLError, OSError), opener.open(health, timeout=5):
            answered = True
        if answered and process.poll() is None:
            return
        time.sleep(0.2)
    raise WorkbenchError(f"MLflow's server did not answer within {START_SECONDS:.0f} s:\n{_tail(log)}")


def _tail(log: IO[bytes]) -> str:
    log.seek(0)
    lines = log.read().decode(errors="replace").strip().splitlines()
    return "\n".join(f"  {line}" for line in lines[-LOG_LINES:])


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End the server and its workers, and wait for it."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
            return
