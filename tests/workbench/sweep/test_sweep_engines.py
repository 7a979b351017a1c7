"""Whole sweeps by `workbench sweep` over real engines, in which worker processes are killed."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from fixtures import sweeps

from workbench.overrides import to_yaml
from workbench.sweep.engines import cores
from workbench.sweep.folder import StudyFolder
from workbench.sweep.worker import run_job

pytestmark = pytest.mark.timeout(600)
KINDS = {"kill": ("finished", 2), "raise": ("failed", 1), "none": ("finished", 1)}

TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(16)}
"""A token for the clusters of these tests: Ray would write one into the home folder."""


def needs(*packages: str) -> pytest.MarkDecorator:
    """Skip a test where packages of an extra are not installed."""
    lacking = [name for name in packages if importlib.util.find_spec(name) is None]
    return pytest.mark.skipif(bool(lacking), reason=f"{', '.join(lacking)}: not installed")


@pytest.fixture(scope="module")
def packages(third_party: Path, mishaps: Path) -> list[Path]:
    """Return the folders of packages that the runs of these tests need."""
    return [third_party, mishaps]


@pytest.fixture(scope="module")
def expected(packages: list[Path], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    """Return what a job computes to which nothing happens: R, accuracy and metrics, made in this process."""
    path = tmp_path_factory.mktemp("reference")
    with pytest.MonkeyPatch.context() as patch:
        for folder in packages:
            patch.syspath_prepend(folder)
        study, jobs = sweeps.study_of(path, "learner=bptt", "threads=1")
        [order] = sweeps.orders(study, jobs)
        assert run_job(order).status == "finished"
    results, rows = sweeps.computed(study.run(order.job).path)
    return results["R"], results["acc"], rows


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    """Write a study file: a job that kills its process once, one that fails once, one to which nothing happens."""
    file = tmp_path / "grid.yaml"
    content = {
        "settings": {
            **dict(text.split("=") for text in sweeps.SMALL[:1]),
            "learner": "bptt+mishap",
            "threads": 1,
        },
        "axes": {"learner.mishap.kind": list(KINDS)},
        "cases": [
            {"when": {"learner.mishap.kind": kind}, "set": {"learner.mishap.mark": str(tmp_path / kind)}}
            for kind in KINDS
        ],
    }
    small = {
        "scenario.samples": 8,
        "backbone.hidden": [4],
        "train.epochs": 1,
        "track.mlflow": False,
        "device": "cpu",
    }
    content["settings"] |= small
    file.write_text(to_yaml(content))
    return file


def statuses(study: Path) -> dict[str, tuple[str, int]]:
    """Return status and attempts of each job by what happens to it."""
    return {
        one.settings["learner.mishap.kind"]: (one.status, one.attempts)
        for one in StudyFolder(study).statuses()
    }


def check(study: Path, expected: Any, wanted: dict[str, tuple[str, int]]) -> None:
    """Hold a study to statuses and attempts, and its finished runs to their bits."""
    assert statuses(study) == wanted
    for one in StudyFolder(study).statuses():
        if one.status == "finished":
            results, rows = sweeps.computed(StudyFolder(study).run(one.job).path)
            assert (results["R"], results["acc"], rows) == expected


def swept(
    packages: list[Path], cwd: Path, *arguments: str, **options: Any
) -> tuple[int, dict[str, Any], str]:
    """Run `workbench sweep --json`; returns its exit code, what it says and what it complains of."""
    process = sweeps.program(
        "sweep", *arguments, "--out", "study", "--json", path=packages, cwd=cwd, **options
    )
    code, out, err = sweeps.outcome(process)
    assert out, err
    return code, json.loads(out), err


def test_local_processes(packages: list[Path], grid: Path, expected: Any, tmp_path: Path) -> None:
    """One is killed, one job fails; the same command again does what failed, and nothing else."""
    code, told, err = swept(packages, tmp_path, "--config", str(grid), "-j", "2")
    assert (code, told["counts"]) == (1, {"finished": 2, "failed": 1})
    # At the most, loky clears up after the process that was killed.
    assert all(
        "resource_tracker" in line or line.startswith("  warnings.warn(") for line in err.splitlines()
    ), err
    found = statuses(tmp_path / "study")
    assert {kind: status for kind, (status, _) in found.items()} == {
        kind: status for kind, (status, _) in KINDS.items()
    }
    assert found["kill"] == KINDS["kill"]
    # The neighbour may have been killed along with it.
    assert all(attempts <= 2 for _, attempts in found.values())
    [(failed, error)] = told["failed"].items()
    assert error == "RuntimeError: it was meant to be"
    assert "Traceback" in (tmp_path / "study" / "logs" / f"{failed}.log").read_text()
    code, told, err = swept(packages, tmp_path)
    assert (code, told["counts"], err) == (0, {"finished": 1, "before": 2}, "")
    again = {**found, "raise": ("finished", found["raise"][1] + 1)}
    check(tmp_path / "study", expected, again)


def test_two_sweeps_of_one_study_run_each_job_once(packages: list[Path], tmp_path: Path) -> None:
    """The second comes while the first is in the midst of its first job, and goes round it."""
    mark = tmp_path / "mark"
    words = [
        "sweep",
        *sweeps.SMALL,
        "learner=bptt+mishap",
        f"learner.mishap.mark={mark}",
        "learner.mishap.kind=wait",
    ]
    words += ["learner.lr=0.001,0.002,0.003", "-j", "1", "--out", "study"]
    first = sweeps.program(*words, path=packages, cwd=tmp_path)
    await_file(mark, first)
    code, out, err = sweeps.outcome(sweeps.program(*words, path=packages, cwd=tmp_path))
    assert (code, err) == (1, ""), out
    assert "2 finished, 1 run by another sweep just now" in out
    mark.with_suffix(".go").touch()
    code, out, err = sweeps.outcome(first)
    assert (code, err) == (0, ""), out
    assert "3 finished" in out
    found = StudyFolder(tmp_path / "study").statuses()
    assert [(one.status, one.attempts) for one in found] == [("finished", 1)] * 3
    # One at a time on a machine to itself has all of its cores; `threads=` would win.
    stored = {
        (tmp_path / "study" / "runs" / one.job / "config.yaml").read_text().split("threads: ")[1]
        for one in found
    }
    assert stored == {f"{cores()}\n"}


def test_an_interrupted_sweep_says_so_and_goes_on(packages: list[Path], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    words = [
        "sweep",
        *sweeps.SMALL,
        "learner=bptt+mishap",
        f"learner.mishap.mark={mark}",
        "learner.mishap.kind=wait",
    ]
    words += ["seed=0..2", "-j", "2", "--out", "study"]
    process = sweeps.program(*words, path=packages, cwd=tmp_path, start_new_session=True)
    await_file(mark, process)
    # As a terminal does: to the whole group, workers included.
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = sweeps.outcome(process)
    assert code == 130, out + err
    assert "Traceback" not in out + err
    assert "not run" in out
    assert "The same command goes on: workbench sweep --out study" in out
    states = {one.status for one in StudyFolder(tmp_path / "study").statuses()}
    assert "interrupted" in states
    assert states <= {"interrupted", "finished"}
    code, told, err = swept(packages, tmp_path, "-j", "2")
    assert (code, sum(told["counts"].values()), err) == (0, 3, "")
    found = StudyFolder(tmp_path / "study").statuses()
    assert {one.status for one in found} == {"finished"}
    if cores() == 2:
        configs = (tmp_path / "study" / "runs").glob("*/config.yaml")
        assert {file.read_text().split("threads: ")[1] for file in configs} == {"1\n"}


@needs("dask", "distributed")
def test_a_dask_cluster_of_its_own(packages: list[Path], grid: Path, expected: Any, tmp_path: Path) -> None:
    code, told, _ = swept(packages, tmp_path, "--config", str(grid), "-j", "2", "--engine", "dask")
    assert (code, told["counts"]) == (1, {"finished": 2, "failed": 1})
    check(tmp_path / "study", expected, KINDS)


@needs("dask", "distributed")
def test_a_dask_cluster_by_its_address(
    packages: list[Path], grid: Path, expected: Any, tmp_path: Path
) -> None:
    """A worker with two threads, which may not run two jobs at once; one worker is all there is."""
    file = tmp_path / "scheduler.json"
    with (
        started(
            packages, "dask", "scheduler", "--port", "0", "--no-dashboard", "--scheduler-file", str(file)
        ) as one,
        started(
            packages, "dask", "worker", "--scheduler-file", str(file), "--nthreads", "2", "--no-dashboard"
        ),
    ):
        await_file(file, one)
        address = json.loads(file.read_text())["address"]
        deadline = time.monotonic() + 120
        code = 2
        while code == 2 and time.monotonic() < deadline:
            process = sweeps.program(
                "sweep", "--config", str(grid), "--out", "study", "--engine", "dask", "--address", address,
                path=packages, cwd=tmp_path,
            )  # fmt: skip
            code, out, err = sweeps.outcome(process)
            # The worker may not be there yet.
            assert code != 2 or "has no workers" in err, err
        assert code == 1, out + err
        assert "2 finished, 1 failed" in out
    check(tmp_path / "study", expected, KINDS)


@needs("ray")
def test_a_ray_cluster_of_its_own(packages: list[Path], grid: Path, expected: Any, tmp_path: Path) -> None:
    code, told, _ = swept(packages, tmp_path, "--config", str(grid), "-j", "2", "--engine", "ray", env=TOKEN)
    assert (code, told["counts"]) == (1, {"finished": 2, "failed": 1})
    check(tmp_path / "study", expected, KINDS)


@needs("ray")
def test_a_ray_cluster_by_its_address(
    packages: list[Path], grid: Path, expected: Any, tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    head = ["start", "--head", "--num-cpus", "2", "--port", str(port), "--block"]
    head += ["--include-dashboard", "false"]
    address = f"127.0.0.1:{port}"
    with started(packages, "ray.scripts.scripts", *head, "--disable-usage-stats", env=TOKEN) as process:
        await_port(port, process)
        words = ("--config", str(grid), "--engine", "ray", "--address", address)
        code, told, _ = swept(packages, tmp_path, *words, env=TOKEN)
    assert (code, told["counts"]) == (1, {"finished": 2, "failed": 1})
    check(tmp_path / "study", expected, KINDS)


class started:  # noqa: N801  # reads as a verb in a with statement
    """A module of Python as a program in the background, ended with all its children at the end."""

    def __init__(
        self, packages: list[Path], module: str, *arguments: str, env: dict[str, str] | None = None
    ) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=sweeps.surroundings(packages) | (env or {}),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_: object) -> None:
        os.killpg(self.process.pid, signal.SIGTERM)
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def await_file(file: Path, process: subprocess.Popen[Any]) -> None:
    """Wait until a program has made a file."""
    deadline = time.monotonic() + 240
    while not file.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


def await_port(port: int, process: subprocess.Popen[Any]) -> None:
    """Wait until a program listens."""
    deadline = time.monotonic() + 240
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
