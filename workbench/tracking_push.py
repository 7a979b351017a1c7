"""Send folders to MLflow that have no part in a run just now: single runs, and studies as a parent with nested runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import DataError, WorkbenchError
from workbench.runfolder import RunFolder, read_results
from workbench.tracking import DIGEST_TAG, push, results_digest
from workbench.tracking_record import StudyRecord, noted_experiment
from workbench.tracking_store import connect, first_line, quiet, store_name

STUDY_FILE = "study.yaml"
SENT, THERE = "sent", "there already"


@dataclass(frozen=True)
class Outcome:
    """What became of a folder: in words, and the MLflow run that holds it."""

    folder: Path
    what: str
    experiment: str
    run_id: str | None


def push_all(
    folders: Sequence[Path], uri: str, experiment: str | None, again: bool, problems: list[str]
) -> Iterator[Outcome]:
    """Send every folder and yield what became of it; folders that cannot be read are noted in `problems`.

    experiment: None for the scenario's name. again: send a further copy of what is there. Raises DataError, before
    anything is sent, for a folder without runs, WorkbenchError when MLflow does not take one.
    """
    from workbench.compare.collect import find_runs

    found: list[tuple[Path, list[Path]]] = [(Path(folder), find_runs([folder])) for folder in folders]
    for folder, runs in found:
        if (folder / STUDY_FILE).is_file():
            yield push_study(folder, runs, uri, experiment, again)
            continue
        for run in runs:
            try:
                yield push_run(run, uri, experiment, again)
            except DataError as error:
                problems.append(str(error))


def push_run(folder: Path, uri: str, experiment: str | None, again: bool = False) -> Outcome:
    """Send one run folder unless its copy is there. Raises DataError, WorkbenchError."""
    chosen = experiment or _experiment_of(read_results(folder))
    there = None if again else find_copy(folder, uri, chosen)
    if there is not None:
        return Outcome(folder, THERE, chosen, there)
    return Outcome(folder, SENT, chosen, push(folder, uri, chosen))


def find_copy(folder: Path, uri: str, experiment: str) -> str | None:
    """Return MLflow's run with the folder's name and the digest of its results, None without one."""
    name, digest = Path(folder).resolve().name, results_digest(folder)
    try:
        with quiet():
            client = connect(uri)
            place = client.get_experiment_by_name(experiment)
            if place is None:
                return None
            copies = client.search_runs([place.experiment_id], f"tags.`{DIGEST_TAG}` = '{digest}'")
    except Exception as error:
        raise WorkbenchError(f"MLflow at {store_name(uri)} cannot be asked: {first_line(error)}") from error
    return next((str(run.info.run_id) for run in copies if run.info.run_name == name), None)


def push_study(
    folder: Path, runs: Sequence[Path], uri: str, experiment: str | None, again: bool = False
) -> Outcome:
    """Send a study: a parent run, and a nested run for each run folder with results. Raises WorkbenchError."""
    from workbench.sweep.folder import StudyFolder

    study = StudyFolder.open(folder)
    axes: dict[str, list[Any]] = {}
    for grid in study.grids():
        for key, values in grid.axes.items():
            known = axes.setdefault(key, [])
            known += [value for value in values if value not in known]
    told = {run: str(read_results(run)["status"]) for run in runs if RunFolder(run).results_file.is_file()}
    chosen = experiment or noted_experiment(folder, uri) or study_experiment(folder, list(told))
    record = StudyRecord(uri, chosen, folder.resolve().name, folder, again)
    jobs = [status.status for status in study.statuses()]
    run_id = record.open(axes, max(len(jobs), len(runs)))
    for run, status in told.items():
        record.add(run, status)
    left = {*told.values(), *jobs} - {"finished"}
    record.close(next((status for status in ("failed", "interrupted") if status in left), "finished"))
    there = len(told) - len(record.pushed)
    what = f"{len(record.pushed)} runs sent, {there} there already" if there else f"{len(told)} runs sent"
    if len(runs) > len(told):
        what += f", {len(runs) - len(told)} without results"
    return Outcome(folder, what, chosen, run_id)


def study_experiment(folder: Path, runs: Sequence[Path]) -> str:
    """Return the MLflow experiment of a study: the one that all its runs name, else the name of its folder."""
    named = {_experiment_of(read_results(run)) for run in runs}
    return named.pop() if len(named) == 1 else folder.resolve().name


def _experiment_of(results: dict[str, Any]) -> str:
    track = results["config"].get("track") or {}
    return str(track.get("experiment") or results["scenario"])
