"""A study's folder: which runs are its own, their order, and the jobs without a run."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.compared import write_run

from workbench.compare.collect import find_runs, unfinished
from workbench.compare.comparison import compare
from workbench.compare.studies import is_study, statuses, study_of
from workbench.registry import Registry
from workbench.sweep.folder import JobStatus, StudyFolder
from workbench.sweep.grid import grid_of
from workbench.sweep.jobs import jobs_of

GRID = ["scenario=split-digits", "learner=sltt,bptt,osttp", "seed=0..1"]


@pytest.fixture
def study(tmp_path: Path) -> tuple[StudyFolder, list[str]]:
    """A study of six jobs: four finished, one that failed before its run began, one never begun."""
    grid = grid_of(GRID, None, Registry.discover())
    folder = StudyFolder.make(tmp_path / "study", grid)
    names = [job.name for job in jobs_of(grid)]
    for name in names[:4]:
        learner, seed = name.split("-")[0], int("seed1" in name)
        write_run(folder.runs / name, learner, seed)
        folder.write_status(JobStatus(name, "finished"))
    folder.write_status(JobStatus(names[4], "failed", error="no disk"))
    return folder, names


def test_a_runs_study_is_the_folder_of_its_runs(tmp_path: Path) -> None:
    run = write_run(tmp_path / "study" / "runs" / "a")
    (tmp_path / "study.yaml").write_text("sweeps: []\n")
    assert study_of(run) is None
    (tmp_path / "study" / "study.yaml").write_text("sweeps: []\n")
    assert study_of(run) == (tmp_path / "study").resolve()
    assert is_study(tmp_path / "study")
    assert study_of(write_run(tmp_path / "study" / "elsewhere" / "b")) is None


def test_jobs_come_in_the_order_of_the_grid_with_what_became_of_them(
    study: tuple[StudyFolder, list[str]],
) -> None:
    folder, names = study
    assert [name.split("-")[0] for name in names] == ["sltt", "sltt", "bptt", "bptt", "osttp", "osttp"]
    assert statuses(folder.path) == dict(zip(names, [*["finished"] * 4, "failed", "missing"], strict=True))
    assert [run.name for run in find_runs([folder.path])] == names[:4]
    left_out = [(one.folder.name, one.status) for one in unfinished([folder.path])]
    assert left_out == [(names[4], "failed"), (names[5], "missing")]


def test_a_comparison_follows_the_order_and_tells_what_is_missing(
    study: tuple[StudyFolder, list[str]],
) -> None:
    (found,) = compare([study[0].path])
    assert [group.name for group in found.groups] == ["sltt", "bptt"]
    assert found.notes[-1] == "left out: 1 failed, 1 missing runs"


def test_a_study_with_a_plug_in_that_is_not_here_is_read_all_the_same(
    study: tuple[StudyFolder, list[str]],
) -> None:
    folder, names = study
    text = folder.study_file.read_text()
    folder.study_file.write_text(text.replace("- osttp", "- not-installed"))
    assert statuses(folder.path) == dict.fromkeys(sorted(names[:4]), "finished") | {names[4]: "failed"}
    assert len(find_runs([folder.path])) == 4
