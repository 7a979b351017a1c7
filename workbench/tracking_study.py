"""A sweep sent to MLflow through a process of its own, so that neither the sweep nor its jobs wait for it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from workbench.errors import DataError
from workbench.tracking_feed import Answers, Feed, serve_standard_input
from workbench.tracking_store import first_line, store_name

logger = logging.getLogger(__name__)


class StudyTracking:
    """Sends a study to MLflow: a parent run, and a nested run for every run folder.

    StudyTracking(uri, experiment, name, folder)   uri: `workbench.tracking_store.default_uri()` or track.uri;
                                                   experiment: of MLflow; name: of the parent run; folder: the study's
    started(axes, jobs)        once, before the first job; axes: key -> its values; jobs: how many the study has
    job_done(run_folder, status)   after each job, "finished", "failed" or "interrupted"; the folder need not exist
    close(status)              once, at the end of any kind, "finished", "failed" or "interrupted"; waits for MLflow

    From the sweep's main process; jobs run with track.mlflow=false. Nothing here raises or waits but `close`, which
    also sends finished runs of the folder that MLflow lacks. A study that was tracked before goes on in the same parent
    run, and runs that are there are not sent again. When MLflow fails, that is logged once as a warning, kept in
    `failure`, and the sweep goes on. run_id: the parent run, once MLflow has told it.
    """

    def __init__(self, uri: str, experiment: str, name: str, folder: Path) -> None:
        self.uri = uri
        self.folder = Path(folder)
        about = {"uri": uri, "experiment": experiment, "name": name, "folder": str(folder)}
        self._feed = Feed("workbench.tracking_study", about, self._warn)

    @property
    def run_id(self) -> str | None:
        """The parent run, once the process has told it."""
        return self._feed.answers.get("run_id")

    @property
    def failure(self) -> str | None:
        """Why MLflow hears no more of the study."""
        return self._feed.failure

    def started(self, axes: Mapping[str, Any], jobs: int) -> None:
        """Open the parent run."""
        self._feed.tell("started", json.loads(json.dumps(dict(axes), default=str)), jobs)
        self._feed.start()

    def job_done(self, run_folder: Path, status: str) -> None:
        """Send the results of a job, if it has any."""
        self._feed.tell("job_done", str(run_folder), status)

    def close(self, status: str) -> None:
        """End the parent run and wait until MLflow has everything."""
        self._feed.tell("close", status)
        self._feed.finish()

    def _warn(self, reason: str) -> None:
        logger.warning(
            "MLflow tracking at %s stopped: %s. The sweep goes on; `workbench track push %s` sends it later.",
            store_name(self.uri),
            reason,
            self.folder,
        )


def serve(about: Mapping[str, str], calls: IO[str], answers: Answers) -> None:
    """Keep MLflow's copy of a study by the calls, one a line, until they end; tell of its run, a failure, the end."""
    from workbench.tracking_record import StudyRecord

    record = StudyRecord(about["uri"], about["experiment"], about["name"], Path(about["folder"]))
    closed = False
    try:
        for line in calls:
            name, _, *arguments = json.loads(line)
            if name == "started":
                answers.tell("run_id", record.open(*arguments))
            elif name == "job_done":
                # Damaged files of one job are no failure of MLflow.
                with contextlib.suppress(DataError):
                    record.add(Path(arguments[0]), arguments[1])
            else:
                record.close(*arguments)
                closed = True
        if not closed:
            record.close("killed")
    except Exception as error:  # whatever a server thinks up must not end hours of training
        answers.tell("failure", first_line(error))
        for _ in calls:
            pass
    answers.tell("over", "")


if __name__ == "__main__":
    # The jobs need the processor more than this does.
    with contextlib.suppress(OSError, AttributeError):
        os.nice(5)
    serve_standard_input(serve)
