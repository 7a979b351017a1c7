r"""Joint and split training on spoken digits: how well each learner does, how much it forgets, what learning costs.

    python -m benchmarks.spoken_digits --path DIR --learners bptt,osttp,osttp+replay --seeds 0,1,2 --tasks 1,5 \
        --settings class,task --markdown table.md

--tasks 1 is joint training, which has one setting. Every run has its folder under --out and is kept: a study that was
broken off goes on where it stopped, and finished runs are read, not repeated. Arguments KEY=VALUE are settings of every
run, as in `workbench run`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.options import add_json, command_line, numbers, seeds, words
from benchmarks.studies import conduct, configured, finished_or_run, typed
from workbench.report.units import duration, percent

HEADER = (
    "learner",
    "setting",
    "tasks",
    "seeds",
    "accuracy %",
    "BWT %",
    "forgetting %",
    "memory MB, formula",
    "measured",
    "training",
)


@dataclass(frozen=True)
class Cell:
    """One line of the table: a learner in a setting, over the seeds."""

    learner: str
    setting: str
    tasks: int

    def overrides(self, seed: int) -> dict[str, str]:
        """Return the settings of one run."""
        chosen = {"scenario": "split-shd", "scenario.tasks": str(self.tasks)}
        if self.setting != "joint":
            chosen["scenario.setting"] = self.setting
        return {**chosen, "learner": self.learner, "seed": str(seed), "track.mlflow": "false"}

    def folder(self, seed: int) -> str:
        """Return the name of one run's folder."""
        return f"{self.learner}-{self.setting}-{self.tasks}-seed{seed}"


def parser() -> Any:
    """Return the command line."""
    parse = command_line("spoken_digits", __doc__)
    parse.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parse.add_argument(
        "--path", type=Path, help="folder with shd_train.* and shd_test.*; default: as split-shd's"
    )
    parse.add_argument("--learners", type=words, default=("bptt", "osttp"), help="default: bptt,osttp")
    parse.add_argument("--seeds", type=seeds, default=(0, 1, 2), help="default: 0,1,2")
    parse.add_argument("--tasks", type=numbers, default=(1, 5), help="numbers of tasks (default: 1,5)")
    parse.add_argument("--settings", type=words, default=("class", "task"), help="default: class,task")
    parse.add_argument("--out", type=Path, default=Path("runs/spoken-digits"), help="default: %(default)s")
    add_json(parse, "one record for each line of the table")
    parse.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as markdown")
    return parse


def cells(learners: Sequence[str], tasks: Sequence[int], settings: Sequence[str]) -> list[Cell]:
    """Return the lines of the table.

    >>> [cell.setting for cell in cells(("bptt",), (1, 5), ("class", "task"))]
    ['joint', 'class', 'task']
    """
    return [
        Cell(learner, setting, count)
        for count in tasks
        for setting in (("joint",) if count == 1 else settings)
        for learner in learners
    ]


def record(cell: Cell, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one line of the table: mean and sample deviation over the runs; memory in bytes, time in seconds."""
    line: dict[str, Any] = {"learner": cell.learner, "setting": cell.setting, "tasks": cell.tasks}
    line["seeds"] = [run["seed"] for run in runs]
    for key in ("acc", "bwt", "forgetting"):
        values = [run[key] for run in runs if run[key] is not None]
        line[key] = mean(values) if values else None
        line[f"{key}_std"] = stdev(values) if len(values) > 1 else None
    for kind in ("formula", "measured"):
        line[f"memory_{kind}"] = mean(run["memory"][kind]["total"] for run in runs)
    line["train_seconds"] = mean(run["time"]["train"] for run in runs)
    line["synthetic"] = any(run["dataset"]["synthetic"] for run in runs)
    return line


def shown(line: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a record as the cells of the table."""

    def spread(key: str) -> str:
        middle = percent(line[key], sign=key == "bwt")
        return middle if line[f"{key}_std"] is None else f"{middle} ± {percent(line[f'{key}_std'])}"

    return (
        line["learner"],
        line["setting"],
        str(line["tasks"]),
        str(len(line["seeds"])),
        spread("acc"),
        *(spread(key) if line["tasks"] > 1 else "–" for key in ("bwt", "forgetting")),
        f"{line['memory_formula'] / 1e6:.1f}",
        f"{line['memory_measured'] / 1e6:.1f}",
        duration(line["train_seconds"]),
    )


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as markdown, with a note on synthetic data."""
    rows = [HEADER, ("---",) * 2 + ("---:",) * (len(HEADER) - 2), *(shown(line) for line in lines)]
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    if any(line["synthetic"] for line in lines):
        text += "\nThe data is synthetic speech.\n"
    return text


def study(options: Any, run: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Run what is missing, telling how it goes; returns the lines of the table."""
    given = typed(options.overrides)
    if options.path is not None:
        given["scenario.path"] = str(options.path.resolve())
    # All settings are checked before the first of many runs begins.
    plan = [
        (cell, {seed: configured({**cell.overrides(seed), **given}) for seed in options.seeds})
        for cell in cells(options.learners, options.tasks, options.settings)
    ]
    lines = []
    for cell, configs in plan:
        runs = []
        for seed, config in configs.items():
            begun = time.perf_counter()
            results = finished_or_run(config, options.out / cell.folder(seed), run)
            runs.append(results)
            took = duration(time.perf_counter() - begun)
            print(f"{cell.folder(seed)}: accuracy {percent(results['acc'])} %, {took}", flush=True)
        lines.append(record(cell, runs))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print the table, write the files; returns the exit code."""
    return conduct(parser().parse_args(arguments), study, markdown)


if __name__ == "__main__":
    sys.exit(main())
