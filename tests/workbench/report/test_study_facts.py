"""What a page tells besides numbers: circumstances, settings, failures, and commands that work."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from fixtures.compared import write_run
from fixtures.reported import write_groups

from workbench.errors import DataError
from workbench.registry import Registry
from workbench.report.study import (
    Problem,
    circumstances,
    facts,
    lines,
    read_study,
    settings_of,
    sweep_command,
)
from workbench.sweep.folder import JobStatus, StudyFolder
from workbench.sweep.grid import grid_of
from workbench.sweep.jobs import jobs_of


def test_what_runs_share_is_told_once_and_what_differs_with_its_number(tmp_path: Path) -> None:
    for seed, commit in enumerate(("c1", "c1", "c2")):
        versions = {"code": {"commit": commit, "dirty": commit == "c2"}, "packages": {"torch": "2.9"}}
        write_run(
            tmp_path / str(seed),
            seed=seed,
            versions=versions,
            environment={"started": f"2026-01-0{seed + 1}"},
        )
    study = read_study([tmp_path])
    told = dict(circumstances(study.records))
    assert told["processor"] == "Processor"
    assert told["code"] == "commit c1 (2 runs); commit c2, with changes that are not committed (1 runs)"
    assert told["runs began"] == "2026-01-01 to 2026-01-03"
    assert told["time of all runs"] == "9.0 s"
    common = dict(facts(study.comparisons[0]))
    assert common["seeds"] == "3 runs with seeds 0 to 2"
    assert common["scenario"] == "split-digits, setting=class"
    assert common["network"] == "lif with hidden layers [16] on ideal hardware"


def test_settings_that_differ_stand_apart(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "bptt")
    write_run(tmp_path / "b", "osttp", config={"learner": {"lr": 0.5, "chunk": 10}})
    shared, different = settings_of(read_study([tmp_path]).comparisons[0].groups)
    assert dict(different) == {
        "learner": ["bptt", "osttp"],
        "learner.lr": ["0.01", "0.5"],
        "learner.chunk": ["–", "10"],
    }
    assert ("backbone.hidden", "[16]") in shared
    assert not any(key == "seed" for key, _ in shared)


def test_the_sweep_command_asks_for_the_same_grid() -> None:
    words = [
        "scenario=split-digits",
        "backbone.hidden=[16],[16, 16]",
        "learner=bptt,osttp",
        "learner.lr=0.01,0.1",
        "seed=0..3",
    ]
    registry = Registry.discover()
    grid = grid_of(words, None, registry)
    command = shlex.split(sweep_command(grid.settings, grid.axes))
    assert command[:2] == ["workbench", "sweep"]
    assert command[-2:] == ["--out", "again"]
    assert grid_of(command[2:-2], None, registry) == grid


def test_runs_are_repeated_from_their_configuration(tmp_path: Path) -> None:
    write_groups(tmp_path / "my runs", ["bptt"], ["class"])
    first, *others = lines(read_study([tmp_path / "my runs"]))
    assert len(others) == 2
    words = shlex.split(first.repeat)
    assert words[:3] == ["workbench", "run", "--config"]
    assert Path(words[3]).is_file()
    assert words[4:] == ["--out", "again/bptt-class-seed0"]
    assert shlex.split(first.verify) == ["workbench", "verify", str(Path(words[3]).parent)]
    assert (first.group, first.seed, first.time) == ("bptt", 0, "3.0 s")


def test_failed_and_missing_jobs_are_told_with_their_error_and_log(tmp_path: Path) -> None:
    grid = grid_of(["scenario=split-digits", "learner=sltt,bptt,osttp"], None, Registry.discover())
    study = StudyFolder.make(tmp_path / "study", grid)
    first, second, third = (job.name for job in jobs_of(grid))
    write_run(study.runs / first, "sltt")
    study.write_status(JobStatus(first, "finished"))
    study.write_status(JobStatus(second, "failed", error="ValueError: <no> disk"))
    study.log_file(second).write_text("...")
    found = read_study([study.path])
    assert found.title == "study"
    assert found.problems == (
        Problem(second, "failed", "ValueError: <no> disk", str(study.log_file(second))),
        Problem(
            third, "missing", f"to run it: workbench sweep --out {shlex.quote(str(study.path.resolve()))}"
        ),
    )
    assert found.sweeps == ("workbench sweep scenario=split-digits learner=sltt,bptt,osttp --out again",)


def test_a_study_with_cases_comes_as_a_study_file(tmp_path: Path) -> None:
    file = tmp_path / "given.yaml"
    file.write_text(
        "axes: {learner: [bptt, osttp]}\ncases: [{when: {learner: bptt}, set: {learner.lr: 0.5}}]\n"
    )
    registry = Registry.discover()
    grid = grid_of(["scenario=split-digits"], file, registry)
    study = StudyFolder.make(tmp_path / "study", grid)
    write_run(study.runs / "a")
    [command] = read_study([study.path]).sweeps
    head, *text, end, last = command.splitlines()
    assert (head, end) == ("cat > study.yaml <<'END'", "END")
    assert shlex.split(last) == ["workbench", "sweep", "--config", "study.yaml", "--out", "again"]
    again = tmp_path / "study.yaml"
    again.write_text("\n".join(text))
    assert grid_of([], again, registry) == grid


def test_unfinished_runs_outside_of_studies_tell_their_error(tmp_path: Path) -> None:
    write_run(tmp_path / "good")
    write_run(tmp_path / "bad", status="failed", error="RuntimeError: boom")
    [problem] = read_study([tmp_path]).problems
    assert (problem.name, problem.status, problem.error) == (
        str(tmp_path / "bad"),
        "failed",
        "RuntimeError: boom",
    )


def test_no_finished_run_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path / "bad", status="failed")
    with pytest.raises(DataError, match="no finished run"):
        read_study([tmp_path])
