"""What a study's folder tells besides its runs: the order of its jobs, and those that left no run."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import WorkbenchError

STUDY_FILE = "study.yaml"


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / STUDY_FILE).is_file()


def study_of(run: Path) -> Path | None:
    """Return the study that a run folder belongs to: STUDY/runs/RUN; None if it belongs to none."""
    runs = run.resolve().parent
    return runs.parent if runs.name == "runs" and is_study(runs.parent) else None


def statuses(study: Path) -> dict[str, str]:
    """Return the status of each job, in the order of the study's grids; `missing` for those never begun.

    Where the grids cannot be spelled out, because a plug-in is not installed here, only the jobs begun are known.
    """
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.jobs import Job, jobs_of, named_as_in

    folder = StudyFolder(study)
    known: dict[str, str] = {one.job: one.status for one in folder.statuses()}
    jobs: list[Job] = []
    try:
        for grid in folder.grids():
            jobs += named_as_in(jobs_of(grid), jobs)
    except WorkbenchError:
        jobs = []
    return {name: known.get(name, "missing") for name in (*(job.name for job in jobs), *known)}
