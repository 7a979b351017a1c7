"""A study's folder: grids of several sweeps, statuses that tell the truth, locks, nothing of others touched."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from workbench.errors import ConfigurationError
from workbench.sweep.folder import JobStatus, StudyFolder
from workbench.sweep.grid import Case, Grid

GRID = Grid({"scenario": "split-digits"}, {"seed": [0, 1]})


def make(path: Path, seed: int) -> None:
    """Add a grid to a study, in a process of its own."""
    StudyFolder.make(path, Grid({"seed": seed}))


def hold(path: Path, job: str, begun, end) -> None:
    """Hold a job until told to let go, in a process of its own."""
    with StudyFolder(path).held(job) as ours:
        assert ours
        begun.set()
        end.wait()


@pytest.fixture
def held(tmp_path: Path):
    """Hold the job "a" of the study in this folder by another process; returns how to let it go."""
    context = multiprocessing.get_context("spawn")
    StudyFolder.make(tmp_path, GRID)
    begun, end = context.Event(), context.Event()
    process = context.Process(target=hold, args=(tmp_path, "a", begun, end))
    process.start()
    assert begun.wait(60)

    def let_go() -> None:
        end.set()
        process.join()

    yield let_go
    let_go()


def test_a_study_is_made_with_its_folders_and_read_again(tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path / "a" / "b", GRID)
    assert StudyFolder.open(study.path).grids() == [GRID]
    assert sorted(one.name for one in study.path.iterdir()) == [
        ".study.lock",
        "jobs",
        "logs",
        "runs",
        "study.yaml",
    ]


def test_grids_add_up_and_none_stands_twice(tmp_path: Path) -> None:
    other = Grid(
        {"seed": 3},
        {"learner": ["a", "b"], "x": [None, 1.5, True, [1], "0..4", "1e-3"]},
        (Case(when={"x": 1.5}, set={"y": [1]}),),
        ({"x": "0..*"},),
    )
    for grid in (GRID, other, GRID, other):
        StudyFolder.make(tmp_path, grid)
    assert StudyFolder.open(tmp_path).grids() == [GRID, other]


def test_grids_of_two_processes_at_once_are_both_kept(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=make, args=(tmp_path / "study", seed)) for seed in range(4)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * 4
    assert sorted(grid.settings["seed"] for grid in StudyFolder.open(tmp_path / "study").grids()) == [
        0,
        1,
        2,
        3,
    ]


@pytest.mark.parametrize("name", ["notes.txt", "runs", ".hidden"])
def test_a_folder_of_something_else_is_refused_and_left_alone(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(ConfigurationError, match=r"holds files and no study\.yaml"):
        StudyFolder.make(tmp_path, GRID)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="cannot be made"):
        StudyFolder.make(tmp_path / "file" / "study", GRID)
    with pytest.raises(ConfigurationError, match="cannot be made"):
        StudyFolder.make(tmp_path / "file", GRID)


def test_a_folder_without_a_study_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no study, it holds no study\.yaml"):
        StudyFolder.open(tmp_path)


@pytest.mark.parametrize(
    "text", ["sweeps: 3", "", "sweeps: [{axis: {}}]", "sweeps: [", "sweeps: [{axes: {seed: '4..0'}}]"]
)
def test_a_damaged_study_file_is_named(text: str, tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path, GRID)
    study.study_file.write_text(text)
    with pytest.raises(ConfigurationError, match=r"study\.yaml"):
        study.grids()
    with pytest.raises(ConfigurationError, match=r"study\.yaml"):
        StudyFolder.make(tmp_path, GRID)
    assert study.study_file.read_text() == text


def test_who_edits_the_study_file_may_write_ranges(tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path, GRID)
    study.study_file.write_text("sweeps: [{axes: {seed: 0..2, learner: 'a,b'}}]")
    assert study.grids() == [Grid({}, {"seed": [0, 1, 2], "learner": ["a", "b"]})]


def test_statuses_are_written_and_read(tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path, GRID)
    status = JobStatus("a", "failed", {"seed": 1}, ["seed=1"], 2, "then", "now", 1.5, "why", "here", 7)
    study.write_status(status)
    study.write_status(JobStatus("b", "finished"))
    assert study.status("a") == status
    assert study.statuses() == [status, JobStatus("b", "finished")]
    assert study.status("c") == JobStatus("c", "missing")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "3",
        '{"job": "a", "status": "great"}',
        '{"job": "a", "attempts": "x"}',
        '{"job": "b"}',
        "\0",
    ],
)
def test_a_damaged_status_says_nothing(text: str, tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path, GRID)
    (study.jobs / "a.json").write_text(text)
    assert study.status("a") == JobStatus("a", "missing")


def test_a_status_of_a_later_version_is_read(tmp_path: Path) -> None:
    study = StudyFolder.make(tmp_path, GRID)
    (study.jobs / "a.json").write_text(json.dumps({"job": "a", "status": "failed", "mood": "bad"}))
    assert study.status("a") == JobStatus("a", "failed")


def test_a_job_is_held_by_one_process(held, tmp_path: Path) -> None:
    study = StudyFolder(tmp_path)
    study.write_status(JobStatus("a", "running"))
    study.write_status(JobStatus("b", "running"))
    assert study.is_held("a")
    assert not study.is_held("b")
    with study.held("a") as ours:
        assert not ours
    assert study.status("a").status == "running"
    # Nobody holds it, so nobody runs it.
    assert (study.status("b").status, study.status("b").error) == ("interrupted", "its process ended")
    held()
    study.until_free(["a", "b"], 60)
    assert study.status("a").status == "interrupted"
    with study.held("a", patience=60) as ours:
        assert ours
        assert study.is_held("a")
    assert not study.is_held("a")
