"""A sweep in the terminal: what is told, line by line, on a console that is read back."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from fixtures.compared import write_run
from rich.console import Console

from workbench.report.sweep_terminal import MOST_ERRORS, SweepTerminal
from workbench.sweep.conductor import Summary
from workbench.sweep.folder import StudyFolder
from workbench.sweep.grid import Grid
from workbench.sweep.jobs import Job, jobs_of
from workbench.sweep.worker import Outcome


class Clock:
    """A clock that goes on by ten seconds with every look."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 10
        return self.now


@pytest.fixture
def jobs() -> list[Job]:
    """Return four jobs."""
    return jobs_of(Grid({"scenario": "split-digits", "learner": "bptt"}, {"seed": [0, 1, 2, 3]}))


@pytest.fixture
def study(tmp_path: Path) -> StudyFolder:
    """Return an empty study."""
    return StudyFolder.make(tmp_path / "study", Grid())


def shown(terminal: bool = False) -> tuple[SweepTerminal, io.StringIO]:
    """Return the report and what it writes into."""
    text = io.StringIO()
    console = Console(file=text, width=80, force_terminal=terminal, no_color=True, legacy_windows=False)
    return SweepTerminal(console, Clock()), text


def test_a_sweep_is_told_line_by_line(study: StudyFolder, jobs: list[Job]) -> None:
    report, text = shown()
    names = [job.name for job in jobs]
    write_run(study.run(names[1]).path)
    report.sweep_started(study, jobs, jobs[1:], 2)
    report.job_done(study, Outcome(names[1], "finished", seconds=90.0))
    report.job_done(study, Outcome(names[2], "failed", "ValueError: no\nsecond line", 3.0))
    report.job_done(study, Outcome(names[3], "elsewhere"))
    report.sweep_finished(
        study, Summary([names[1]], [names[0]], {names[2]: "ValueError: no"}, {}, [names[3]], [], 100.0)
    )
    results = json.loads(study.run(names[1]).results_file.read_text())
    lines = text.getvalue().splitlines()
    assert lines[0] == f"4 jobs, 1 of them done before; 2 at once into {study.path}"
    assert lines[1].startswith(f"1/3 finished {names[1]}  1 min 30 s  ACC {100 * results['acc']:.1f} %")
    # Ten seconds by this clock for one of three jobs.
    assert lines[1].endswith("ETA 0:20")
    assert lines[2] == f"2/3 failed {names[2]}  3.0 s  ValueError: no  ETA 0:10"
    assert lines[3] == f"3/3 elsewhere {names[3]}  ETA 0:00"
    assert lines[4] == "2 finished, 1 failed, 1 run by another sweep just now; 1 min 40 s"
    assert lines[5:7] == [f"  {names[2]}: ValueError: no", f"    log: {study.log_file(names[2])}"]
    assert lines[7] == f"The same command goes on: workbench sweep --out {study.path}"
    assert lines[9:] == ["Next", f"  workbench compare {study.path}", f"  workbench report {study.path}"]


def test_a_sweep_of_which_nothing_came_suggests_no_comparison(study: StudyFolder, jobs: list[Job]) -> None:
    report, text = shown()
    report.sweep_started(study, jobs, jobs, 0)
    report.sweep_finished(study, Summary(interrupted=[job.name for job in jobs], seconds=2.0))
    assert text.getvalue().splitlines() == [
        f"4 jobs; into {study.path}",
        "4 not run; 2.0 s",
        f"The same command goes on: workbench sweep --out {study.path}",
    ]


def test_stale_runs_are_explained_and_many_errors_counted(study: StudyFolder, jobs: list[Job]) -> None:
    report, text = shown()
    report.sweep_started(study, jobs, [], 2)
    stale = {f"job{number}": "was run with seed=[1]" for number in range(MOST_ERRORS + 3)}
    report.sweep_finished(study, Summary(stale=stale, seconds=2.0))
    told = text.getvalue()
    assert told.count("was run with seed=[1]") == MOST_ERRORS
    assert "... and 3 more, see" in told
    assert "remove its folder, or choose another --out" in told
    assert "The same command" not in told


def test_a_terminal_has_a_bar_that_goes_at_the_end(study: StudyFolder, jobs: list[Job]) -> None:
    report, text = shown(terminal=True)
    report.sweep_started(study, jobs, jobs, 2)
    assert report._bar is not None
    for job in jobs:
        report.job_done(study, Outcome(job.name, "interrupted"))
    assert report._bar.tasks[0].completed == 4
    report.sweep_finished(study, Summary(interrupted=[job.name for job in jobs]))
    assert report._bar.live.is_started is False
    assert "4 not run" in text.getvalue()
