"""A sweep's record in MLflow: fed with run folders as jobs end."""

from __future__ import annotations

from collections.abc import Sequence

from workbench.overrides import write_value
from workbench.sweep.conductor import Summary
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import Outcome
from workbench.tracking_store import default_uri
from workbench.tracking_study import StudyTracking


class TrackedSweep:
    """Tells MLflow how a sweep goes: a parent run named like the study's folder, the jobs below it.

    track.uri and track.experiment are those of the first job. Jobs with track.mlflow=false are left out, and a sweep of
    such jobs alone opens nothing.
    """

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._tracked = {job.name for job in jobs if job.config.track.mlflow}
        self._tracking: StudyTracking | None = None

    def sweep_started(
        self, study: StudyFolder, jobs: Sequence[Job], todo: Sequence[Job], workers: int
    ) -> None:
        """Open the parent run."""
        tracked = [job for job in jobs if job.name in self._tracked]
        if not tracked:
            return
        config = tracked[0].config
        self._tracking = StudyTracking(
            config.track.uri or default_uri(),
            config.track.experiment or config.scenario.name,
            study.path.resolve().name,
            study.path,
        )
        axes: dict[str, list[str]] = {}
        for job in tracked:
            for key, value in job.settings.items():
                values = axes.setdefault(key, [])
                if write_value(value) not in values:
                    values.append(write_value(value))
        self._tracking.started(axes, len(tracked))

    def job_done(self, study: StudyFolder, outcome: Outcome) -> None:
        """Send the run folder of a job that has ended."""
        if self._tracking is not None and outcome.job in self._tracked:
            status = outcome.status if outcome.status in ("finished", "interrupted") else "failed"
            self._tracking.job_done(study.run(outcome.job).path, status)

    def sweep_finished(self, study: StudyFolder, summary: Summary) -> None:
        """End the parent run and wait for MLflow to have it all."""
        if self._tracking is not None:
            status = "interrupted" if summary.interrupted else "finished" if summary.complete else "failed"
            self._tracking.close(status)
