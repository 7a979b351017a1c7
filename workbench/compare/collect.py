"""Run folders found, read, and put into groups that differ in the seed alone."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from workbench.compare.studies import is_study, statuses
from workbench.errors import DataError
from workbench.overrides import read_config_file
from workbench.runfolder import RunFolder, read_environment, read_results

AXES = ("learner", "backbone", "hardware", "scenario")
"""The sections that name a plug-in, in the order in which they are told."""
IDLE = ("seed", "device", "threads", "track.", "diagnose.")
"""Settings, or the beginnings of their keys, that never make two runs of one seed different in what they learn."""
LOCATIONS = ("scenario.path", "scenario.source", "scenario.url")
"""Where data comes from; what it is, its digest says."""
ABSENT = object()


@dataclass(frozen=True)
class RunRecord:
    """One run as its folder tells it.

    settings: the resolved configuration, flat, spelled as on the command line: `learner`, `learner.lr`,
    `scenario.tasks`, `seed`. environment: content of environment.json; empty if the folder has none.
    """

    folder: Path
    results: dict[str, Any]
    settings: dict[str, Any]
    environment: dict[str, Any] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Seed of every random stream."""
        return int(self.results["seed"])

    @property
    def started(self) -> str:
        """When the run began, as text that sorts by time; when its results were written if nothing tells."""
        written = RunFolder(self.folder).results_file.stat().st_mtime
        return str(self.environment.get("started") or datetime.fromtimestamp(written).isoformat())


@dataclass(frozen=True)
class Unfinished:
    """A run that has no final results: where, and its status (`begun`: nothing is written yet, or it still runs)."""

    folder: Path
    status: str


@dataclass(frozen=True)
class Group:
    """Runs that differ in the seed alone, by seed.

    varied: the settings by which the groups of one call differ from each other, as on the command line. repeats: older
    runs of a seed that `runs` holds already; the same seed is no second sample.
    """

    name: str
    varied: dict[str, Any]
    runs: tuple[RunRecord, ...]
    repeats: tuple[RunRecord, ...] = ()

    @property
    def seeds(self) -> tuple[int, ...]:
        """Seeds of the runs, rising."""
        return tuple(run.seed for run in self.runs)


def find_runs(paths: Iterable[Path]) -> list[Path]:
    """Return each path that is a run folder, and the run folders below each that is not, once each and sorted.

    A study's runs come in the order of its grids.

    Raises DataError for a path that is no folder, or has no run below it.
    """
    found: dict[Path, Path] = {}
    for path in map(Path, paths):
        if path.name == "results.json" and path.is_file():
            path = path.parent
        if not path.is_dir():
            what = "is a file" if path.exists() else "does not exist"
            raise DataError(f"{path} {what}; name run folders, or a folder with runs below it")
        below = _in_order(path, _below(path))
        if not below:
            raise DataError(f"{path} holds no run: no config.yaml with results.json in it or below it")
        for folder in below:
            found.setdefault(folder.resolve(), folder)
    return list(found.values())


def collect(paths: Iterable[Path]) -> list[RunRecord]:
    """Return the finished runs of the paths, see `find_runs`; those kept out are in `unfinished`.

    Raises DataError when there is no run, or one's results are damaged.
    """
    return [read_run(folder) for folder in find_runs(paths) if status_of(folder) == "finished"]


def unfinished(paths: Iterable[Path]) -> list[Unfinished]:
    """Return the runs of the paths that are interrupted, failed, or have no results yet; see `statuses` for studies.

    A job that was never begun, or failed before its run began, has no folder. Raises DataError.
    """
    paths = [Path(path) for path in paths]
    told = [Unfinished(folder, status_of(folder)) for folder in find_runs(paths)]
    known = {one.folder.resolve() for one in told}
    for study in filter(is_study, paths):
        jobs = [Unfinished(study / "runs" / job, status) for job, status in statuses(study).items()]
        told += [one for one in jobs if one.folder.resolve() not in known]
    return [one for one in told if one.status != "finished"]


def status_of(folder: Path) -> str:
    """Return the status in results.json, `begun` where there is none. Raises DataError when the file is damaged."""
    if not RunFolder(folder).results_file.exists():
        return "begun"
    return str(read_results(folder)["status"])


def read_run(folder: Path) -> RunRecord:
    """Return a run whose results are written, finished or not. Raises DataError when a file of it is damaged."""
    results = read_results(folder)
    config = results["config"]
    if not config and RunFolder(folder).config_file.is_file():
        config = read_config_file(RunFolder(folder).config_file)
    named = {key: results[key] for key in (*AXES, "seed")}
    environment = read_environment(folder) if RunFolder(folder).environment_file.is_file() else {}
    return RunRecord(Path(folder), results, {**named, **flattened(config)}, environment)


def flattened(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return nested settings by dotted key; a section's `name` goes by the section.

    >>> flattened({"learner": {"name": "osttp+replay", "lr": 0.1, "replay": {"size": 9}}, "seed": 1})
    {'learner': 'osttp+replay', 'learner.lr': 0.1, 'learner.replay.size': 9, 'seed': 1}
    """
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping):
            inner = flattened({inside: one for inside, one in value.items() if inside != "name"})
            flat |= {key: value["name"]} if "name" in value else {}
            flat |= {f"{key}.{inside}": one for inside, one in inner.items()}
        else:
            flat[key] = value
    return flat


def grouped(records: Iterable[RunRecord]) -> list[Group]:
    """Return groups of runs that differ in the seed alone, in the order in which they are first met.

    Left out of account: settings that change no result (`IDLE`), and where data lies if it is the same data. A group is
    named by what tells it from the others, the learner first: `osttp`, `osttp, setting=task`.
    """
    records = list(records)
    data = data_sets(records)
    members: dict[str, list[RunRecord]] = defaultdict(list)
    settings: list[dict[str, Any]] = []
    for record, its_data in zip(records, data, strict=True):
        own = {**telling(record.settings), "data": its_data}
        key = json.dumps(own, sort_keys=True)
        if key not in members:
            settings.append(own)
        members[key].append(record)
    varied = differing(settings)
    groups = []
    for its_settings, its_varied, runs in zip(settings, varied, members.values(), strict=True):
        newest: dict[int, RunRecord] = {}
        for run in sorted(runs, key=lambda one: one.started):
            newest[run.seed] = run
        kept = tuple(newest[seed] for seed in sorted(newest))
        older = tuple(run for run in runs if newest[run.seed] is not run)
        groups.append(Group(_name(its_settings, its_varied, varied), its_varied, kept, older))
    return groups


def telling(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that can change what is learned, places of data left out."""
    return {
        key: value
        for key, value in settings.items()
        if key not in LOCATIONS
        and not any(key == one or (one[-1] == "." and key.startswith(one)) for one in IDLE)
    }


def data_sets(records: Sequence[RunRecord]) -> list[str]:
    """Return what names the data of each run: its name, and its digest where runs of one scenario disagree in it.

    Scenarios that draw their data from the seed have a digest for each seed; that is no disagreement.
    """
    drawn: dict[str, dict[int, set[str]]] = defaultdict(lambda: defaultdict(set))
    keys = []
    for record in records:
        cut = {key: value for key, value in telling(record.settings).items() if key.startswith("scenario")}
        keys.append(json.dumps([record.results["dataset"]["name"], cut], sort_keys=True))
        drawn[keys[-1]][record.seed].add(str(record.results["dataset"].get("digest")))
    names = []
    for record, key in zip(records, keys, strict=True):
        name, digest = (record.results["dataset"].get(one) for one in ("name", "digest"))
        names.append(str(name) if _one_data_set(drawn[key]) else f"{name} {str(digest)[:8]}")
    return names


def spelled(value: Any) -> str:
    """Return a setting's value as typed on the command line.

    >>> spelled(1e-3), spelled([16, 16]), spelled(None), spelled(True), spelled("task")
    ('0.001', '[16, 16]', 'null', 'true', 'task')
    """
    return value if isinstance(value, str) else json.dumps(value)


def _one_data_set(digests: Mapping[int, set[str]]) -> bool:
    """Whether all seeds have one digest, or each its own."""
    if any(len(of_seed) > 1 for of_seed in digests.values()):
        return False
    different = set().union(*digests.values())
    return len(different) in (1, len(digests))


def _in_order(path: Path, folders: Iterable[Path]) -> list[Path]:
    """Return run folders by path, a study's own in the order of its grids."""
    order = {path / "runs" / job: place for place, job in enumerate(statuses(path) if is_study(path) else ())}
    return sorted(folders, key=lambda folder: (order.get(folder, len(order)), folder))


def _below(folder: Path) -> Iterable[Path]:
    for place, inside, files in os.walk(folder):
        # A configuration alone is a run only if the workbench wrote it: with its environment.
        if "results.json" in files or {"config.yaml", "environment.json"} <= set(files):
            inside.clear()
            yield Path(place)
        inside[:] = [name for name in inside if not name.startswith(".")]


def differing(settings: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each of several settings those by which it can be told from the others.

    A plug-in's settings tell groups of that plug-in apart only: two learners differ in more than their names.
    """
    varied: list[dict[str, Any]] = [{} for _ in settings]
    for key in sorted({key for one in settings for key in one}, key=_rank):
        section = key.partition(".")[0]
        alike: dict[str, list[int]] = defaultdict(list)
        for index, one in enumerate(settings):
            alike[str(one.get(section)) if section in AXES and key != section else ""].append(index)
        for indices in alike.values():
            values = [settings[index].get(key, ABSENT) for index in indices]
            if any(value != values[0] for value in values):
                for index in indices:
                    if key in settings[index]:
                        varied[index][key] = settings[index][key]
    return varied


def _rank(key: str) -> tuple[int, str]:
    section = key.partition(".")[0]
    return (AXES.index(section) if section in AXES else len(AXES), key)


def _name(
    settings: Mapping[str, Any], varied: Mapping[str, Any], all_varied: Sequence[Mapping[str, Any]]
) -> str:
    """Return `learner, key=value, ...`, keys without their section where that is unmistakable."""
    used = {key for one in all_varied for key in one}
    short: dict[str, set[str]] = defaultdict(set)
    for key in used:
        short[_short(key)].add(key)
    told = [
        f"{_short(key) if len(short[_short(key)]) == 1 else key}={spelled(value)}"
        for key, value in varied.items()
        if key != "learner"
    ]
    return ", ".join([str(settings["learner"]), *told])


def _short(key: str) -> str:
    section, _, rest = key.partition(".")
    return rest or section
