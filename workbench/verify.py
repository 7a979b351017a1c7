"""Run a finished run again from its folder, and hold the outcome to what the folder says."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.bitwise import Comparison, compare_folders, compare_results
from workbench.errors import ConfigurationError, DataError
from workbench.events import Observer, RunPlan
from workbench.runfolder import RunFolder, read_environment, read_metrics, read_results

if TYPE_CHECKING:
    from workbench.config import ExperimentConfig

CIRCUMSTANCES = {
    "machine": ("machine.cpu", "platform"),
    "versions": ("python", "packages"),
    "device": ("device",),
    "threads": ("threads",),
}
"""What of environment.json may change the last bits of a sum."""


@dataclass(frozen=True)
class Saved:
    """A finished run as its folder tells it. config: as it is run again, with its threads, its device, no MLflow."""

    folder: Path
    results: Mapping[str, Any]
    environment: Mapping[str, Any]
    config: ExperimentConfig


@dataclass(frozen=True)
class Verdict:
    """What came of running a run again.

    comparisons: kind by kind. circumstances: what was different when the saved run was made, for people. status:
    `finished`, or `interrupted`, which leaves nothing compared.
    """

    comparisons: tuple[Comparison, ...]
    circumstances: tuple[str, ...]
    status: str = "finished"

    @property
    def equal(self) -> bool:
        """Whether everything that was compared is the same."""
        return self.status == "finished" and all(one.difference is None for one in self.comparisons)


def load_saved(folder: Path) -> Saved:
    """Read a run to be verified; nothing heavy is imported.

    Raises DataError when the run is not finished, or a file is missing or damaged, ConfigurationError or PluginError
    when its configuration is no longer valid.
    """
    from workbench.config import resolve

    stored = RunFolder(Path(folder))
    if not stored.path.is_dir():
        raise DataError(f"{folder}: no such folder; name the folder of a finished run")
    for file in (stored.config_file, stored.results_file, stored.environment_file, stored.metrics_file):
        if not file.is_file():
            study = (stored.path / "study.yaml").is_file()
            advice = f"; it is a study, name one of the folders in {stored.path / 'runs'}" if study else ""
            raise DataError(f"{folder}: not the folder of a finished run, it holds no {file.name}{advice}")
    results = read_results(stored.path)
    if results["status"] != "finished":
        advice = f"; go on with it first: workbench run --resume {folder}"
        raise DataError(
            f"{folder}: the run is {results['status']}, and only a finished one can be verified"
            + (advice if results["status"] == "interrupted" else "")
        )
    read_metrics(stored.path)
    environment = read_environment(stored.path)
    config = resolve((), stored.config_file)
    return Saved(stored.path, results, environment, _as_it_was(config, environment))


def _as_it_was(config: ExperimentConfig, environment: Mapping[str, Any]) -> ExperimentConfig:
    """Return the configuration with what the saved run took from its machine: threads, device, working folder."""
    threads, device = environment.get("threads"), environment.get("device")
    scenario = config.scenario.config
    below = {
        name: Path(str(environment.get("folder", ""))) / value
        for name, value in scenario
        if isinstance(value, Path) and not value.is_absolute() and not value.exists()
    }
    moved = {name: value for name, value in below.items() if value.exists()}
    return dataclasses.replace(
        config,
        scenario=dataclasses.replace(config.scenario, config=scenario.model_copy(update=moved)),
        track=config.track.model_copy(update={"mlflow": False}),
        threads=threads if isinstance(threads, int) else config.threads,
        device=device if isinstance(device, str) else config.device,
    )


def verify(saved: Saved, into: Path, observers: Sequence[Observer] = ()) -> Verdict:
    """Run `saved` again into the new folder `into` and compare the two.

    Training is not begun on other data than the saved run's: that verdict stands before. Raises what the run raises.
    """
    if into.resolve().is_relative_to(saved.folder.resolve()):
        raise ConfigurationError(f"{into} lies in the run that is verified, which is left as it is")
    from workbench.experiment import run_experiment

    gate = _SameData(saved.results)
    try:
        results = run_experiment(saved.config, into, [gate, *observers])
    except _OtherDataError:
        return Verdict(tuple(gate.comparisons), circumstances(saved.environment, read_environment(into)))
    known = circumstances(saved.environment, read_environment(into))
    if results["status"] != "finished":
        return Verdict((), known, results["status"])
    return Verdict(compare_folders(saved.folder, into), known)


class _OtherDataError(Exception):
    """The data is not that of the saved run."""


class _SameData(Observer):
    """Ends a run before it trains hours on other data or other tasks than those of the saved results."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.results = results
        self.comparisons: list[Comparison] = []

    def run_started(self, plan: RunPlan) -> None:
        """Compare data and tasks. Raises _OtherDataError."""
        told = {
            "dataset": dict(plan.dataset),
            "scenario": plan.scenario,
            "tasks": list(plan.task_names),
            "samples": list(plan.samples),
            "epochs": plan.epochs,
        }
        found = compare_results({key: self.results[key] for key in told}, told)
        if any(one.difference is not None for one in found):
            self.comparisons = [*found, Comparison("what is learned", omitted="the data is another one")]
            raise _OtherDataError


def circumstances(saved: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[str, ...]:
    """Return, for people, how two environments differ in what can change a result: machine, versions, code, threads."""
    lines = []
    for title, keys in CIRCUMSTANCES.items():
        for key in keys:
            one, other = _at(saved, key), _at(now, key)
            if isinstance(one, Mapping) and isinstance(other, Mapping):
                names = sorted(one.keys() | other.keys())
                pairs = [(name, one.get(name), other.get(name)) for name in names]
            else:
                pairs = [(key.rpartition(".")[2], one, other)]
            named = [(title if name == title else f"{title}: {name}", a, b) for name, a, b in pairs if a != b]
            lines += [f"{name} was {_or(a)}, here {_or(b)}" for name, a, b in named]
    return (*lines, *_code(saved.get("code"), now.get("code")))


def _code(saved: Any, now: Any) -> list[str]:
    one, other = (code if isinstance(code, Mapping) else {} for code in (saved, now))
    lines = []
    if one.get("commit") != other.get("commit"):
        lines.append(f"code: commit was {_or(one.get('commit'))}, here {_or(other.get('commit'))}")
    if one.get("dirty"):
        lines.append("code: the saved run's checkout held changes that no commit has")
    if other.get("dirty"):
        lines.append("code: this checkout holds changes that no commit has")
    return lines


def _at(environment: Mapping[str, Any], key: str) -> Any:
    value: Any = environment
    for part in key.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _or(value: Any) -> str:
    return "unknown" if value is None else str(value)
