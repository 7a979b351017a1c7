"""What a report tells of a study besides numbers: what was run, where, by which code, what failed, how to repeat it."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.compare.collect import Group, RunRecord, Unfinished, spelled, telling, unfinished
from workbench.compare.comparison import Comparison, Wanted, compare
from workbench.compare.studies import is_study, study_of
from workbench.overrides import to_yaml
from workbench.report.units import UNKNOWN, count, duration, size

AGAIN = "again"
"""Name of the folder that commands write to."""
MOST_NAMED = 10
"""Tasks that are named one by one."""


@dataclass(frozen=True)
class Problem:
    """A run that is not finished: its name, status, error, and log."""

    name: str
    status: str
    error: str
    log: str = ""


@dataclass(frozen=True)
class Line:
    """One finished run: its group and seed, when it began, how long it took.

    block: place of its protocol. repeat, verify: the commands that run it again, and compare that bit for bit.
    """

    block: int
    group: str
    seed: int
    started: str
    time: str
    repeat: str
    verify: str


@dataclass(frozen=True)
class Study:
    """Everything that a report is made from.

    comparisons: one for each protocol. sweeps: commands that run the whole again.
    """

    title: str
    comparisons: tuple[Comparison, ...]
    problems: tuple[Problem, ...]
    sweeps: tuple[str, ...]

    @property
    def records(self) -> list[RunRecord]:
        """The finished runs, those of which a newer one counts included."""
        groups = [group for part in self.comparisons for group in part.groups]
        return [run for group in groups for run in (*group.runs, *group.repeats)]

    @property
    def group_names(self) -> list[str]:
        """Names of all groups, in the order in which they are first met."""
        return list(dict.fromkeys(group.name for part in self.comparisons for group in part.groups))


def read_study(paths: Sequence[Path], *, mix: bool = False) -> Study:
    """Return what the paths hold: study folders, run folders, folders of runs.

    Raises DataError when there is no finished run, or runs that learn from different data (unless `mix`).
    """
    comparisons = compare(paths, Wanted(mix=mix))
    names = dict.fromkeys(path.resolve().name for path in paths)
    return Study(
        ", ".join(names) if len(names) <= 3 else f"{len(names)} folders",
        tuple(comparisons),
        tuple(_problem(one) for one in unfinished(paths)),
        tuple(command for path in paths if is_study(path) for command in _sweeps(path)),
    )


def facts(comparison: Comparison) -> list[tuple[str, str]]:
    """Return what the runs of a block have in common, by name: data, tasks, training, network, seeds."""
    runs = [run for group in comparison.groups for run in group.runs]
    names = ", ".join(group.name for group in comparison.groups)
    return [
        ("scenario", _all(runs, _scenario)),
        ("data", _all(runs, _data)),
        ("tasks", _all(runs, _tasks)),
        ("training", _all(runs, _training)),
        ("network", _all(runs, _network)),
        ("groups", f"{len(comparison.groups)}: {names}"),
        ("seeds", f"{len(runs)} runs with {_spans(sorted({run.seed for run in runs}))}"),
    ]


def circumstances(records: Sequence[RunRecord]) -> list[tuple[str, str]]:
    """Return machine, versions, code and dates of all runs; where they differ, each with its number of runs."""

    def of_machine(key: str) -> Callable[[RunRecord], Any]:
        return lambda run: (run.environment.get("machine") or {}).get(key)

    def recorded(key: str) -> Callable[[RunRecord], Any]:
        return lambda run: run.environment.get(key)

    memory = of_machine("memory_bytes")
    found = [
        ("processor", _counted(records, of_machine("cpu"))),
        ("cores", _counted(records, of_machine("cores_available"))),
        ("memory", _counted(records, lambda run: size(memory(run)))),
        *((key, _counted(records, recorded(key))) for key in ("device", "threads", "platform", "python")),
        ("packages", _counted(records, _packages)),
        ("code", _counted(records, _code)),
    ]
    begun = sorted(str(run.environment["started"]) for run in records if run.environment.get("started"))
    if begun:
        found.append(("runs began", begun[0] if begun[0] == begun[-1] else f"{begun[0]} to {begun[-1]}"))
    total = sum((run.results.get("time") or {}).get("total") or 0.0 for run in records)
    return [*found, ("time of all runs", duration(total))]


def settings_of(groups: Sequence[Group]) -> tuple[list[tuple[str, str]], list[tuple[str, list[str]]]]:
    """Return the settings that all groups share, and those that differ, with their value in each group."""
    tables = [telling(group.runs[0].settings) for group in groups]
    shared, different = [], []
    for key in sorted({key for table in tables for key in table}):
        values = [spelled(table[key]) if key in table else UNKNOWN for table in tables]
        if len(set(values)) == 1:
            shared.append((key, values[0]))
        else:
            different.append((key, values))
    return shared, different


def lines(study: Study) -> list[Line]:
    """Return one line for each finished run that counts, by protocol, group and seed."""
    return [
        Line(
            block,
            group.name,
            run.seed,
            str(run.environment.get("started") or UNKNOWN),
            duration((run.results.get("time") or {}).get("total")),
            _command(
                "run --config", str(run.folder / "config.yaml"), "--out", str(Path(AGAIN) / run.folder.name)
            ),
            _command("verify", str(run.folder)),
        )
        for block, comparison in enumerate(study.comparisons)
        for group in comparison.groups
        for run in group.runs
    ]


def sweep_command(settings: Mapping[str, Any], axes: Mapping[str, Sequence[Any]]) -> str:
    """Return the command that sweeps a grid.

    >>> sweep_command({"scenario": "split-digits"}, {"learner": ["bptt", "osttp"], "seed": [0, 1, 2]})
    'workbench sweep scenario=split-digits learner=bptt,osttp seed=0..2 --out again'
    """
    from workbench.overrides import write_value

    fixed = [f"{key}={write_value(value)}" for key, value in settings.items()]
    swept = [f"{key}={_alternatives(values)}" for key, values in axes.items()]
    return _command("sweep", *fixed, *swept, "--out", AGAIN)


def _alternatives(values: Sequence[Any]) -> str:
    from workbench.overrides import write_value

    whole = all(isinstance(value, int) and not isinstance(value, bool) for value in values)
    if whole and len(values) > 2 and list(values) == list(range(values[0], values[-1] + 1)):
        return f"{values[0]}..{values[-1]}"
    return ",".join(map(write_value, values))


def _sweeps(path: Path) -> list[str]:
    """Return the commands that sweep a study's grids; what a line cannot say comes as a study file."""
    from workbench.sweep.folder import StudyFolder

    grids = StudyFolder.open(path).grids()
    commands = []
    for number, grid in enumerate(grids):
        if grid.cases or grid.exclude:
            file = "study.yaml" if len(grids) == 1 else f"study-{number + 1}.yaml"
            text = to_yaml(grid.to_dict())
            commands.append(
                f"cat > {file} <<'END'\n{text}END\n{_command('sweep --config', file, '--out', AGAIN)}"
            )
        else:
            commands.append(sweep_command(grid.settings, grid.axes))
    return commands


def _problem(one: Unfinished) -> Problem:
    """Return what is known of a run that is not finished: by its job, or else by its results."""
    study = study_of(one.folder)
    if study is not None:
        from workbench.sweep.folder import StudyFolder

        folder = StudyFolder(study)
        job, log = folder.status(one.folder.name), folder.log_file(one.folder.name)
        if job.status != "missing":
            return Problem(job.job, job.status, job.error or "", str(log) if log.is_file() else "")
        return Problem(one.folder.name, one.status, f"to run it: {_command('sweep --out', str(study))}")
    try:
        results = json.loads((one.folder / "results.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        results = {}
    return Problem(str(one.folder), one.status, str(results.get("error") or ""))


def _scenario(run: RunRecord) -> str:
    setting = run.settings.get("scenario.setting")
    return f"{run.results['scenario']}, setting={setting}" if setting else str(run.results["scenario"])


def _data(run: RunRecord) -> str:
    dataset = run.results["dataset"]
    synthetic = " (synthetic)" if dataset.get("synthetic") else ""
    digest = f", digest {str(dataset['digest'])[:12]}" if dataset.get("digest") else ""
    return f"{dataset.get('name')}{synthetic}{digest}"


def _tasks(run: RunRecord) -> str:
    names, samples = run.results["tasks"], run.results["samples"]
    shown = "; ".join(map(str, names)) if len(names) <= MOST_NAMED else f"{names[0]} to {names[-1]}"
    return f"{len(names)} with {count(sum(samples))} training samples: {shown}"


def _training(run: RunRecord) -> str:
    epochs, batch = run.results["epochs"], run.settings.get("train.batch_size")
    portions = "batches as the scenario has them" if batch is None else f"batches of {batch}"
    return f"{epochs} {'pass' if epochs == 1 else 'passes'} over each task, {portions}"


def _network(run: RunRecord) -> str:
    hidden = run.settings.get("backbone.hidden")
    layers = f" with hidden layers {spelled(hidden)}" if hidden is not None else ""
    return f"{run.results['backbone']}{layers} on {run.results['hardware']} hardware"


def _packages(run: RunRecord) -> str | None:
    packages = (run.results.get("versions") or {}).get("packages") or run.environment.get("packages")
    return ", ".join(f"{name} {number}" for name, number in sorted(packages.items())) if packages else None


def _code(run: RunRecord) -> str | None:
    code = (run.results.get("versions") or {}).get("code") or run.environment.get("code")
    if not code or not code.get("commit"):
        return None
    return f"commit {code['commit']}" + (", with changes that are not committed" if code.get("dirty") else "")


def _all(runs: Sequence[RunRecord], read: Callable[[RunRecord], str]) -> str:
    return " / ".join(dict.fromkeys(read(run) for run in runs))


def _counted(records: Sequence[RunRecord], read: Callable[[RunRecord], Any]) -> str:
    counts = Counter(UNKNOWN if (value := read(run)) is None else str(value) for run in records)
    if len(counts) == 1:
        return next(iter(counts))
    return "; ".join(f"{value} ({number} runs)" for value, number in counts.most_common())


def _spans(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"seed {seeds[0]}"
    if list(seeds) == list(range(seeds[0], seeds[-1] + 1)):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seeds {', '.join(map(str, seeds))}"


def _command(command: str, *arguments: str) -> str:
    return " ".join(["workbench", command, *map(shlex.quote, arguments)])
