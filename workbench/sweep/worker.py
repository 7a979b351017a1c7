"""One job in a process of its own kind: take it, run or resume it, write down how it went. Never raises."""

from __future__ import annotations

import os
import shutil
import socket
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from typing import Any, Literal, TextIO

from workbench.config import ExperimentConfig, resolve
from workbench.errors import DataError, WorkbenchError
from workbench.overrides import read_config_file
from workbench.sweep.folder import JobStatus, StudyFolder

MACHINE = ("track", "device", "threads", "cost")
"""Sections and keys of a configuration that do not tell what a run computes."""
PATIENCE = 0.5
"""Seconds to wait for a job that somebody holds, who may only have a look at it."""
_ONE_AT_A_TIME = Lock()
"""Standard output and the number of threads are the process's: a Dask worker with several threads runs jobs in turn."""


@dataclass(frozen=True)
class Order:
    """What a worker is told: plain data, so that any engine can carry it.

    most_attempts: of this job in its life; one begun so often without an end is given up.
    """

    study: str
    job: str
    settings: dict[str, Any]
    overrides: list[str]
    config: dict[str, Any]
    most_attempts: int

    @property
    def command(self) -> list[str]:
        """The words that give this very run, its threads included, on which the last bits may depend."""
        threads = [] if "threads" in self.settings else [f"threads={self.config['threads']}"]
        return ["workbench", "run", *self.overrides, *threads]


@dataclass(frozen=True)
class Outcome:
    """How a job went. elsewhere: another process runs it just now."""

    job: str
    status: Literal["finished", "failed", "interrupted", "stale", "elsewhere"]
    error: str | None = None
    seconds: float | None = None


def run_job(order: Order) -> Outcome:
    """Run one job of a study, from its checkpoint on if there is one; all it prints goes into its log.

    A finished job is left as it is, one that another process runs too.
    """
    # Before torch loads, see workbench.cli.run.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    study = StudyFolder(Path(order.study).resolve())
    try:
        with _ONE_AT_A_TIME, study.held(order.job, PATIENCE) as ours:
            if not ours:
                return Outcome(order.job, "elsewhere")
            found = state_of(study, order.job, order.config)
            if found.status in ("finished", "stale"):
                return found
            return _run(study, order)
    except Exception as error:
        # A full disk, a folder without rights: the study cannot even be told of it.
        return Outcome(order.job, "failed", f"{type(error).__name__}: {error}")


def state_of(study: StudyFolder, job: str, config: Mapping[str, Any]) -> Outcome:
    """Return how far a job is by its run folder, which is the truth; "interrupted" stands for all that is to run.

    stale: the folder holds a run with other settings, since a default has changed.
    """
    from workbench.runfolder import read_results

    folder = study.run(job)
    if not folder.config_file.is_file():
        return Outcome(job, "interrupted")
    try:
        stored = read_config_file(folder.config_file)
        # Word for word the same needs no second look, which would cost as much again for each of many runs.
        if _computed(stored) != _computed(config):
            stored = resolve((), folder.config_file).to_dict()
    except WorkbenchError as error:
        return Outcome(job, "stale", f"{folder.config_file}: {error}".splitlines()[0])
    difference = first_difference(stored, config)
    if difference is not None:
        return Outcome(job, "stale", f"{folder.path}: {difference}")
    try:
        finished = read_results(folder.path)["status"] == "finished"
    except DataError:
        finished = False
    return Outcome(job, "finished" if finished else "interrupted")


def _computed(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the part of a configuration that tells what a run computes."""
    return {key: value for key, value in config.items() if key not in MACHINE}


def first_difference(stored: Mapping[str, Any], wanted: Mapping[str, Any], prefix: str = "") -> str | None:
    """Return the first setting in which a stored run differs from the wanted one, or None.

    Keys that only one of them has came with another version, and count with their default: they do not differ.
    """
    for key in [key for key in stored if key in wanted and (prefix or key not in MACHINE)]:
        before, now, name = stored[key], wanted[key], f"{prefix}{key}"
        if isinstance(before, Mapping) and isinstance(now, Mapping):
            inner = first_difference(before, now, f"{name}.")
            if inner is not None:
                return inner
        elif before != now:
            return f"was run with {name}={before!r}, and {name}={now!r} is asked for"
    return None


def _run(study: StudyFolder, order: Order) -> Outcome:
    begun = time.perf_counter()
    before = study.status(order.job)
    status = JobStatus(
        order.job,
        "running",
        order.settings,
        order.overrides,
        before.attempts + 1,
        started=_now(),
        host=socket.gethostname(),
        process=os.getpid(),
    )
    if before.attempts >= order.most_attempts:
        return give_up(study, order.job, "for want of memory perhaps")
    study.write_status(status)
    with _printing_to(study.log_file(order.job)):
        result, error = _attempt(study, order, before)
    seconds = time.perf_counter() - begun
    study.write_status(replace(status, status=result, ended=_now(), seconds=seconds, error=error))
    return Outcome(order.job, result, error, seconds)


def give_up(study: StudyFolder, job: str, reason: str) -> Outcome:
    """Write down that a job has failed whose process never came to an end of it."""
    status = study.status(job)
    error = f"its process was killed, {status.attempts} attempts in all ({reason})"
    study.write_status(replace(status, status="failed", ended=_now(), error=error))
    return Outcome(job, "failed", error)


def _attempt(
    study: StudyFolder, order: Order, before: JobStatus
) -> tuple[Literal["finished", "failed", "interrupted"], str | None]:
    folder = study.run(order.job)
    print(f"--- {order.job}, begun {_now()} ---", flush=True)
    try:
        resume = before.status != "failed" and folder.checkpoint_file.is_file()
        if resume:
            # As it was begun, threads included, so that it ends with the same bits.
            config = resolve((), folder.config_file)
        else:
            shutil.rmtree(folder.path, ignore_errors=True)
            config = ExperimentConfig.from_dict(order.config)
        return _results(config, folder.path, resume, order.command), None
    except KeyboardInterrupt:
        return "interrupted", None
    except BaseException as caught:
        # SystemExit of a library included: nothing of one job may end the others.
        traceback.print_exc()
        return "failed", f"{type(caught).__name__}: {caught}"


def _results(
    config: ExperimentConfig, folder: Path, resume: bool, command: Sequence[str]
) -> Literal["finished", "interrupted"]:
    from rich.console import Console

    from workbench.experiment import run_experiment
    from workbench.report.terminal import TerminalReport

    report = TerminalReport(Console(file=sys.stdout, width=100, no_color=True), folder)
    results = run_experiment(config, folder, (report,), resume=resume, progress=False, command=command)
    return "finished" if results["status"] == "finished" else "interrupted"


@contextmanager
def _printing_to(file: Path) -> Iterator[None]:
    """Send standard output and error of this process, compiled libraries' included, to the end of a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    before = sys.stdout, sys.stderr, os.dup(1), os.dup(2)
    # Not streams of the file: libraries that are imported meanwhile may keep them, and use them in the next job.
    streams = _stream(1), _stream(2)
    try:
        with file.open("ab", buffering=0) as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        sys.stdout, sys.stderr = streams
        yield
    finally:
        for stream in streams:
            stream.flush()
        sys.stdout, sys.stderr = before[:2]
        for number, kept in ((1, before[2]), (2, before[3])):
            os.dup2(kept, number)
            os.close(kept)


def _stream(number: int) -> TextIO:
    return open(number, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
