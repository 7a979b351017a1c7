"""One job: what it leaves behind in whatever way it ends, and the very bits of `workbench run`."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fixtures import sweeps

from workbench.config import resolve
from workbench.experiment import run_experiment
from workbench.sweep import worker
from workbench.sweep.worker import Outcome, first_difference, run_job, state_of


@pytest.fixture(autouse=True)
def plug_ins(third_party: Path, mishaps: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a scenario that is made in milliseconds, and a modifier that comes to grief."""
    for folder in (third_party, mishaps):
        monkeypatch.syspath_prepend(folder)


def test_a_job_leaves_a_run_a_status_and_a_log(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study, [job] = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, [job])
    outcome = run_job(order)
    assert (outcome.job, outcome.status, outcome.error) == (job.name, "finished", None)
    status = study.status(job.name)
    assert (status.status, status.attempts, status.error) == ("finished", 1, None)
    assert (status.settings, status.overrides) == (job.settings, job.overrides)
    assert (status.process, status.seconds) == (os.getpid(), outcome.seconds)
    assert "learner   bptt" in study.log_file(job.name).read_text()
    # All of it went into the log, and the streams are back.
    assert capfd.readouterr() == ("", "")
    print("out")
    os.write(2, b"err")
    assert capfd.readouterr() == ("out\n", "err")
    folder = study.run(job.name)
    stored = yaml.safe_load(folder.config_file.read_text())
    assert (stored["threads"], stored["track"]["mlflow"]) == (1, False)
    command = sweeps.stored(folder.path, "environment.json")["command"]
    assert (
        command
        == "workbench run scenario=two-rates scenario.samples=8 'backbone.hidden=[4]' train.epochs=1 "
        + ("track.mlflow=false device=cpu learner=bptt threads=1")
    )


def test_a_finished_job_is_left_as_it_is(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    run_job(order)
    before = {
        file: file.stat().st_mtime_ns
        for file in tmp_path.rglob("*")
        if file.is_file() and file.suffix != ".lock"
    }
    assert run_job(order) == Outcome(order.job, "finished")
    after = {
        file: file.stat().st_mtime_ns
        for file in tmp_path.rglob("*")
        if file.is_file() and file.suffix != ".lock"
    }
    assert after == before


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("raise", "RuntimeError: it was meant to be"),
        ("exit", "SystemExit: a library ends the program"),
    ],
)
def test_a_job_that_fails_tells_why_and_is_begun_anew(kind: str, error: str, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    study, [job] = sweeps.study_of(
        tmp_path / "study",
        "learner=bptt+mishap",
        f"learner.mishap.kind={kind}",
        f"learner.mishap.mark={mark}",
    )
    [order] = sweeps.orders(study, [job])
    outcome = run_job(order)
    assert (outcome.status, outcome.error) == ("failed", error)
    status = study.status(job.name)
    assert (status.status, status.error, status.attempts) == ("failed", error, 1)
    log = study.log_file(job.name).read_text()
    assert "Traceback (most recent call last)" in log
    assert log.rstrip().endswith(error)
    assert state_of(study, job.name, order.config).status == "interrupted"
    # A file of the failed attempt that must not be there in the new one.
    leftover = study.run(job.name).path / "leftover"
    leftover.touch()
    assert run_job(order).status == "finished"
    assert not leftover.exists()
    assert study.status(job.name).attempts == 2
    # The log tells of both.
    assert study.log_file(job.name).read_text().count(f"--- {job.name}, begun") == 2


def test_streams_come_back_after_a_failure(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt+mishap", "learner.mishap.kind=raise")
    before = sys.stdout, sys.stderr
    descriptors = len(os.listdir("/dev/fd"))
    [order] = sweeps.orders(study, jobs)
    run_job(order)
    assert (sys.stdout, sys.stderr) == before
    assert len(os.listdir("/dev/fd")) == descriptors
    os.write(1, b"out")
    assert capfd.readouterr() == ("out", "")


def test_what_keeps_the_streams_of_a_job_prints_into_the_log_of_the_next(tmp_path: Path) -> None:
    """As a library does that is imported by the first job of a process: it must not write to a closed file."""
    with worker._printing_to(tmp_path / "first"):
        kept = sys.stdout
        print("one", file=kept)
    with worker._printing_to(tmp_path / "second"):
        print("two", file=kept)
        os.write(2, b"three")
    assert (tmp_path / "first").read_text() == "one\n"
    assert (tmp_path / "second").read_text() == "two\nthree"


def test_an_interrupted_job_goes_on_and_ends_with_the_bits_of_a_run(tmp_path: Path) -> None:
    """And so does one behind others in one process; the reference is a process of its own, `workbench run`."""
    mark = tmp_path / "mark"
    study, jobs = sweeps.study_of(
        tmp_path / "study",
        "learner=osttp+replay,bptt+mishap+replay",
        "learner.replay.size=6",
        "learner.mishap.kind=interrupt",
        f"learner.mishap.mark={mark}",
        "threads=1",
        "seed=5",
    )
    other, order = sweeps.orders(study, jobs)
    assert run_job(other).status == "finished"
    assert run_job(order).status == "interrupted"
    folder = study.run(order.job)
    assert study.status(order.job).status == "interrupted"
    assert len(sweeps.stored(folder.path, "results.json")["R"]) == 0
    assert folder.checkpoint_file.is_file()
    assert run_job(order).status == "finished"
    assert study.status(order.job).attempts == 2
    assert "mishap: interrupt" in study.log_file(order.job).read_text()
    import mishap_plugins

    path = [Path(mishap_plugins.__file__).parents[1], *map(Path, sys.path[:2])]
    process = sweeps.program("run", *jobs[1].overrides, "--quiet", "--out", "alone", path=path, cwd=tmp_path)
    assert sweeps.outcome(process) == (0, "", "")
    assert sweeps.computed(folder.path) == sweeps.computed(tmp_path / "alone")


def test_a_job_that_another_process_runs_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "PATIENCE", 0.01)
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    with study.held(order.job):
        assert run_job(order) == Outcome(order.job, "elsewhere")
    assert study.status(order.job).attempts == 0


def test_a_job_whose_process_was_killed_too_often_is_given_up(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    study.write_status(worker.JobStatus(order.job, "running", attempts=order.most_attempts))
    outcome = run_job(order)
    assert outcome.status == "failed"
    assert outcome.error == "its process was killed, 3 attempts in all (for want of memory perhaps)"
    assert study.status(order.job).error == outcome.error
    assert not study.run(order.job).path.exists()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    study.logs.rmdir()
    outcome = run_job(order)
    assert outcome.status == "failed"
    assert "No such file or directory" in (outcome.error or "")


def test_a_run_with_other_settings_is_stale_and_stays(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    run_experiment(resolve([*jobs[0].overrides, "learner.lr=0.5"]), study.run(order.job).path)
    before = study.run(order.job).results_file.read_bytes()
    asked = order.config["learner"]["lr"]
    told = f"{study.run(order.job).path}: was run with learner.lr=0.5, and learner.lr={asked} is asked for"
    assert run_job(order) == Outcome(order.job, "stale", told)
    assert study.run(order.job).results_file.read_bytes() == before


def test_states(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt")
    [order] = sweeps.orders(study, jobs)
    folder = study.run(order.job)
    assert state_of(study, order.job, order.config).status == "interrupted"
    run_job(order)
    assert state_of(study, order.job, order.config).status == "finished"
    # Where to compute, and to keep record, is no other run.
    moved = {**order.config, "threads": 7, "device": "cuda", "track": {}}
    assert state_of(study, order.job, moved).status == "finished"
    folder.results_file.write_text("{")
    assert state_of(study, order.job, order.config).status == "interrupted"
    folder.config_file.write_text("learner: nobody")
    state = state_of(study, order.job, order.config)
    assert (state.status, "nobody" in (state.error or "")) == ("stale", True)


def test_the_first_difference_is_told_and_what_only_one_has_is_none() -> None:
    stored = {"a": {"b": 1, "old": 2}, "c": [1], "threads": 3}
    assert first_difference(stored, {"a": {"b": 1, "new": 3}, "c": [1], "threads": 1}) is None
    told = "was run with a.b=1, and a.b=2 is asked for"
    assert first_difference(stored, {"a": {"b": 2}, "c": [2]}) == told
    assert first_difference(stored, {"c": [2]}) == "was run with c=[1], and c=[2] is asked for"
    assert first_difference({"a": {"threads": 1}}, {"a": {"threads": 2}}) is not None


def test_the_command_of_an_order_says_threads_once(tmp_path: Path) -> None:
    study, jobs = sweeps.study_of(tmp_path, "learner=bptt", "threads=2")
    [order] = sweeps.orders(study, jobs)
    assert order.command.count("threads=2") == 1
    assert order.config["threads"] == 2
    without = replace(order, settings={}, overrides=["seed=1"])
    assert without.command == ["workbench", "run", "seed=1", "threads=2"]
