"""A study in MLflow: one parent run with what was swept, and a nested run for each run folder."""

from __future__ import annotations

import contextlib
import json
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from workbench.errors import DataError, WorkbenchError
from workbench.results import MEASURES
from workbench.runfolder import write_atomically
from workbench.tracking import DIGEST_TAG, TAG_LENGTH, push, results_digest
from workbench.tracking_store import (
    connect,
    experiment_id,
    first_line,
    key_for,
    milliseconds,
    quiet,
    store_name,
    text_of,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

PARENT_TAG = "mlflow.parentRunId"
STUDY_TAG = "study.folder"
NOTES = "mlflow.json"
"""In the study folder: the parent run by store and experiment."""
STATUS_OF_STUDY = {"finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED", "killed": "KILLED"}
SEARCH_PAGE = 1000


class StudyRecord:
    """Keeps MLflow's copy of a study folder; imports MLflow in this process.

    uri, experiment: where; name: of the parent run; folder: of the study. again: make a new parent run although there
    is one. Raises WorkbenchError when MLflow does not take something.
    """

    def __init__(self, uri: str, experiment: str, name: str, folder: Path, again: bool = False) -> None:
        self.uri = uri
        self.experiment = experiment
        self.name = name
        self.folder = Path(folder)
        self.again = again
        self.run_id = ""
        self.pushed: list[str] = []
        """Names of the run folders sent by this object."""
        self._client: MlflowClient | None = None
        self._children: dict[str, dict[str, str]] = {}
        """By run name: MLflow's runs by the digest of their results; an empty digest: one that broke off."""
        self._statuses: dict[str, str] = {}

    def open(self, axes: Mapping[str, Any], jobs: int) -> str:
        """Open the parent run, or take up the one there is; returns its identifier."""
        with self._told(), FileLock(self.folder / f".{NOTES}.lock"):
            self._client = connect(self.uri)
            place = experiment_id(self._client, self.uri, self.experiment)
            known = None if self.again else self._known(self._client, place)
            if known is None:
                tags = {STUDY_TAG: str(self.folder.resolve()), "mlflow.source.type": "LOCAL"}
                known = self._client.create_run(place, run_name=self.name, tags=tags)
            self.run_id = str(known.info.run_id)
            self._client.update_run(self.run_id, status="RUNNING")
            self._describe(known, axes, jobs)
            self._note()
            self._children = self._known_children(place)
        return self.run_id

    def add(self, folder: Path, status: str) -> bool:
        """Send the results of a run folder as a nested run; False if they are there, or there are none.

        Earlier results of the same folder are deleted in MLflow, from where they can be restored.
        """
        name = Path(folder).resolve().name
        self._statuses[name] = status
        digest = results_digest(folder)
        earlier = self._children.setdefault(name, {})
        if digest is None or digest in earlier:
            return False
        run_id = push(folder, self.uri, self.experiment, tags={PARENT_TAG: self.run_id})
        with self._told():
            for old in earlier.values():
                self._live().delete_run(old)
        self._children[name] = {digest: run_id}
        self.pushed.append(name)
        return True

    def close(self, status: str) -> None:
        """Send what is missing, the counts and the means over seeds, and end the parent run with `status`."""
        means = self._settle()
        counts = Counter(self._statuses.values())
        with self._told():
            from mlflow.entities import Metric

            now = milliseconds()
            numbers = {f"jobs/{one}": float(count) for one, count in counts.items()} | means
            metrics = [Metric(key_for(key), value, now, 0) for key, value in numbers.items()]
            client = self._live()
            for start in range(0, len(metrics), SEARCH_PAGE):
                client.log_batch(self.run_id, metrics=metrics[start : start + SEARCH_PAGE])
            client.set_tag(self.run_id, "status", status)
            client.set_terminated(self.run_id, STATUS_OF_STUDY.get(status, "FINISHED"))

    def _settle(self) -> dict[str, float]:
        """Add every finished run of the folder that MLflow lacks; returns the means of the measures by group."""
        from workbench.compare.collect import RunRecord, collect, find_runs, grouped

        records: list[RunRecord] = []
        # Nothing may have been finished, and a damaged folder is no reason to leave out the others.
        with contextlib.suppress(DataError):
            for folder in find_runs([self.folder]):
                with contextlib.suppress(DataError):
                    records += collect([folder])
        for record in records:
            with contextlib.suppress(DataError):
                self.add(record.folder, "finished")
        groups = grouped(records)
        means = {}
        for group in groups:
            for measure in MEASURES:
                values = [run.results[measure] for run in group.runs if run.results[measure] is not None]
                if values:
                    means[measure if len(groups) == 1 else f"{measure}/{group.name}"] = statistics.fmean(
                        values
                    )
        return means

    def _known(self, client: MlflowClient, place: str) -> Run | None:
        """Return the parent run that the folder's notes name, unless it is gone.

        Not by its path, which may be that of another study on another machine, or of one that was removed.
        """
        noted = _notes(self.folder).get(store_name(self.uri), {}).get(self.experiment)
        if noted is None:
            return None
        from mlflow.exceptions import MlflowException

        try:
            run = client.get_run(noted)
        except MlflowException:
            return None
        here = run.info.lifecycle_stage == "active" and run.info.experiment_id == place
        return run if here else None

    def _known_children(self, place: str) -> dict[str, dict[str, str]]:
        children: dict[str, dict[str, str]] = {}
        token = None
        while True:
            page = self._live().search_runs(
                [place], f"tags.`{PARENT_TAG}` = '{self.run_id}'", max_results=SEARCH_PAGE, page_token=token
            )
            for run in page:
                digest = run.data.tags.get(DIGEST_TAG, "")
                children.setdefault(run.info.run_name, {})[digest or run.info.run_id] = run.info.run_id
            token = page.token
            if not token:
                return children

    def _describe(self, run: Run, axes: Mapping[str, Any], jobs: int) -> None:
        """Set what is swept as tags, which can change when a study grows, and as parameters, which stay as they are."""
        from mlflow.entities import Param, RunTag

        texts = {key_for(key): _listed(value) for key, value in axes.items()}
        tags = [RunTag(f"axis.{key}", text[:TAG_LENGTH]) for key, text in texts.items()]
        tags += [RunTag("jobs", str(jobs)), RunTag("status", "running")]
        params = [Param(key, text[:TAG_LENGTH]) for key, text in texts.items() if key not in run.data.params]
        self._live().log_batch(self.run_id, tags=tags, params=params)

    def _note(self) -> None:
        notes = _notes(self.folder)
        notes.setdefault(store_name(self.uri), {})[self.experiment] = self.run_id
        text = json.dumps(notes, indent=2, sort_keys=True)
        write_atomically(self.folder / NOTES, text.encode() + b"\n")

    def _live(self) -> MlflowClient:
        if self._client is None:
            raise RuntimeError("MLflow was not told that the study started")
        return self._client

    @contextlib.contextmanager
    def _told(self) -> Any:
        """Turn whatever MLflow raises into a WorkbenchError that names the store."""
        try:
            with quiet():
                yield
        except WorkbenchError:
            raise
        except Exception as error:
            raise WorkbenchError(
                f"MLflow at {store_name(self.uri)} does not take {self.folder}: {first_line(error)}"
            ) from error


def noted_experiment(folder: Path, uri: str) -> str | None:
    """Return the experiment in which the store keeps the study; None if it keeps none or several."""
    noted = list(_notes(folder).get(store_name(uri), {}))
    return noted[0] if len(noted) == 1 else None


def _notes(folder: Path) -> dict[str, dict[str, str]]:
    """Return the parent runs of a study by store and experiment; notes that are damaged are no notes."""
    try:
        notes = json.loads((folder / NOTES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return notes if isinstance(notes, dict) else {}


def _listed(value: Any) -> str:
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(text_of(item) for item in value)
    return text_of(value)
