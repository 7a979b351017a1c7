"""A study's folder: its grids, and for each job a status, a log and a run folder.

study.yaml        the grids swept into this folder, in the form of study files
runs/<job>/       ordinary run folders
jobs/<job>.json   status, error, times; written by whoever runs the job, under a lock
logs/<job>.log    what the job printed
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, TypeAdapter

from workbench.errors import ConfigurationError
from workbench.overrides import read_config_file, to_yaml
from workbench.runfolder import RunFolder, write_atomically
from workbench.sweep.grid import Grid, StudyFile, axis_values
from workbench.validation import validate

Status = Literal["missing", "running", "finished", "failed", "interrupted", "stale"]
STATUSES: tuple[Status, ...] = ("finished", "failed", "stale", "interrupted", "running", "missing")


@dataclass(frozen=True)
class JobStatus:
    """What is known of a job; `started` and `ended` in ISO 8601, UTC; `seconds` of the last attempt."""

    job: str
    status: Status = "missing"
    settings: dict[str, Any] = field(default_factory=dict)
    overrides: list[str] = field(default_factory=list)
    attempts: int = 0
    started: str | None = None
    ended: str | None = None
    seconds: float | None = None
    error: str | None = None
    host: str | None = None
    process: int | None = None


@cache
def _stored() -> TypeAdapter[JobStatus]:
    return TypeAdapter(JobStatus)


class _Grids(BaseModel):
    """The content of study.yaml."""

    model_config = ConfigDict(extra="forbid")

    sweeps: list[StudyFile]


@dataclass(frozen=True)
class StudyFolder:
    """The files of a study under `path`."""

    path: Path

    @classmethod
    def make(cls, path: Path, grid: Grid) -> StudyFolder:
        """Make the folder, or take up the one there is, and add the grid to it.

        Raises ConfigurationError for a folder that holds anything else, or cannot be made.
        """
        study = cls(Path(path))
        try:
            # Another sweep may be making this very folder: its lock is the first thing in it.
            used = study.path.is_dir() and any(study.path.iterdir())
            if used and not (study.study_file.exists() or study.study_lock_file.exists()):
                raise ConfigurationError(
                    f"--out {study.path}: holds files and no study.yaml; name another folder"
                )
            study.path.mkdir(parents=True, exist_ok=True)
            with FileLock(study.study_lock_file):
                grids = study.grids() if study.study_file.exists() else []
                if grid not in grids:
                    study._write_grids([*grids, grid])
            for folder in (study.runs, study.jobs, study.logs):
                folder.mkdir(exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--out {study.path}: cannot be made: {error}") from error
        return study

    @classmethod
    def open(cls, path: Path) -> StudyFolder:
        """Return the study in a folder. Raises ConfigurationError when there is none."""
        study = cls(Path(path))
        if not study.study_file.is_file():
            raise ConfigurationError(f"{study.path}: no study, it holds no {study.study_file.name}")
        return study

    @property
    def study_file(self) -> Path:
        """The grids swept into this folder."""
        return self.path / "study.yaml"

    @property
    def study_lock_file(self) -> Path:
        """Held while study.yaml is changed."""
        return self.path / ".study.lock"

    @property
    def runs(self) -> Path:
        """Folder of run folders."""
        return self.path / "runs"

    @property
    def jobs(self) -> Path:
        """Folder of statuses."""
        return self.path / "jobs"

    @property
    def logs(self) -> Path:
        """Folder of logs."""
        return self.path / "logs"

    def run(self, job: str) -> RunFolder:
        """Return the run folder of a job."""
        return RunFolder(self.runs / job)

    def log_file(self, job: str) -> Path:
        """Return where a job prints to."""
        return self.logs / f"{job}.log"

    def grids(self) -> list[Grid]:
        """Return the grids swept into this folder. Raises ConfigurationError when study.yaml is damaged."""
        problems: list[str] = []
        tree = read_config_file(self.study_file)
        content = validate(_Grids, tree, "", problems, f" (in {self.study_file})")
        if content is None:
            raise ConfigurationError("\n".join(problems))
        return [self._grid(one) for one in content.sweeps]

    def _grid(self, stored: StudyFile) -> Grid:
        try:
            # Lists are values as they are, ranges spelled out long ago; who edits the file may write a text.
            axes = {
                key: values if isinstance(values, list) and values else axis_values(key, values)
                for key, values in stored.axes.items()
            }
        except ConfigurationError as error:
            raise ConfigurationError(f"{error} (in {self.study_file})") from error
        return Grid(dict(stored.settings), axes, tuple(stored.cases), tuple(stored.exclude))

    def status(self, job: str) -> JobStatus:
        """Return what the status file of a job says; a damaged one, which a full disk may leave, says nothing.

        A job said to be running, whose lock nobody holds, was interrupted: its process is gone.
        """
        try:
            found = _stored().validate_json((self.jobs / f"{job}.json").read_bytes(), strict=True)
        except (OSError, ValueError):
            return JobStatus(job)
        if found.job != job:
            return JobStatus(job)
        if found.status == "running" and not self.is_held(job):
            return replace(found, status="interrupted", error="its process ended")
        return found

    def statuses(self) -> list[JobStatus]:
        """Return what is known of every job begun in this folder, by name."""
        return [self.status(file.stem) for file in sorted(self.jobs.glob("*.json"))]

    def write_status(self, status: JobStatus) -> None:
        """Write the status file of a job."""
        text = json.dumps(asdict(status), indent=2, sort_keys=True)
        write_atomically(self.jobs / f"{status.job}.json", text.encode() + b"\n")

    def is_held(self, job: str) -> bool:
        """Tell whether some process runs the job."""
        with self.held(job) as ours:
            return not ours

    @contextmanager
    def held(self, job: str, patience: float = 0.0) -> Iterator[bool]:
        """Hold a job inside this context; gives False if another process does, for `patience` seconds on end.

        The lock is one of the operating system, which a process that dies gives back. Who looks whether a job is held
        holds it for a moment: who means to run it should have patience for that.
        """
        lock = FileLock(self.jobs / f".{job}.lock", timeout=patience)
        try:
            lock.acquire()
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            lock.release()

    def until_free(self, jobs: Sequence[str], seconds: float) -> None:
        """Wait until no process holds any of the jobs, `seconds` at the most."""
        end = time.monotonic() + seconds
        while any(self.is_held(job) for job in jobs) and time.monotonic() < end:
            time.sleep(0.1)

    def _write_grids(self, grids: list[Grid]) -> None:
        content: Mapping[str, Any] = {"sweeps": [grid.to_dict() for grid in grids]}
        write_atomically(self.study_file, to_yaml(content).encode())
