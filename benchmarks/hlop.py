r"""Permuted MNIST with orthogonal projection: what HLOP keeps, beside an exact subspace (GPM) and nothing at all.

    python -m benchmarks.hlop --path mnist.npz --learners bptt+hlop,bptt+gpm,bptt --seeds 0 --markdown table.md

The experiment of Xiao et al. 2024 (arXiv 2402.11984) as their program runs it with BPTT: ten tasks of one epoch,
normalised pixels as a constant current for T = 6 steps, 784-800-800-10 without bias, one readout for all tasks, which
is projected as well; leaky integrate-and-fire units with decay 0.5, soft reset and a sigmoid surrogate of sharpness 4,
the mean of the readout over the steps as decision; plain SGD, learning rate 0.1, batches of 64. Lateral units: 80, 200
and 100 by matrix, then 70 more in tasks 2 and 3, 50 in tasks 4 to 6, 30 in tasks 7 to 9 and 10 in the last; their rates
0.001 for the pixels and 0.01 behind. `--default-sizes` leaves sizes and rates of hlop at the workbench's defaults.

Every run has its folder under --out and is kept: a study that was broken off goes on where it stopped, and finished
runs are read, not repeated. Arguments KEY=VALUE are settings of every run, as in `workbench run`; those of a modifier
(learner.hlop.rows) go to the runs that have it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.options import add_json, command_line, positive, seeds, words
from benchmarks.studies import conduct, configured, finished_or_run
from workbench.report.units import duration, percent

HEADER = (
    "learner",
    "tasks",
    "seeds",
    "ACC %",
    "BWT %",
    "first task %",
    "memory MB, formula",
    "measured",
    "training",
)
EXPERIMENT = {
    "scenario": "permuted-mnist",
    "scenario.normalise": "true",
    "backbone.decay": "0.5",
    "backbone.reset": "soft",
    "backbone.reset_gradient": "cut",
    "backbone.surrogate": "sigmoid",
    "backbone.sharpness": "4",
    "backbone.readout_reads": "last",
    "backbone.readout_decay": "0",
    # torch.nn.Linear's deviation, 1 / sqrt(3 fan-in): gain times sqrt((1 - 0.5^2) / (1 - 0.95^2)) is 0.577.
    "backbone.gain": "0.2082",
    "backbone.readout_gain": "0.577",
    "learner.optimiser": "sgd",
    "learner.lr": "0.1",
    "learner.schedule": "constant",
    "train.epochs": "1",
    "train.batch_size": "64",
    "train.evaluate": "seen",
    "track.mlflow": "false",
}
HLOP = {
    "learner.hlop.rows": "[80, 200, 100]",
    "learner.hlop.later_rows": "[70, 70, 50, 50, 50, 30, 30, 30, 10]",
    "learner.hlop.absolute_lr": "[0.001, 0.01, 0.01]",
}


def parser() -> Any:
    """Return the command line."""
    parse = command_line("hlop", __doc__)
    parse.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parse.add_argument(
        "--path", type=Path, help="MNIST: .npz or folder of IDX files; default: as permuted-mnist's"
    )
    parse.add_argument(
        "--learners",
        type=words,
        default=("bptt+hlop", "ottt+hlop", "bptt+gpm", "bptt"),
        help="default: bptt+hlop,ottt+hlop,bptt+gpm,bptt",
    )
    parse.add_argument("--seeds", type=seeds, default=(0,), help="default: 0")
    parse.add_argument("--tasks", type=positive, default=10, help="default: %(default)s")
    parse.add_argument(
        "--steps", type=positive, default=6, metavar="T", help="time steps (default: %(default)s)"
    )
    parse.add_argument(
        "--units", type=positive, default=800, help="units of both layers (default: %(default)s)"
    )
    parse.add_argument("--samples", type=positive, help="training images of a task; default: all")
    parse.add_argument("--default-sizes", action="store_true", help="hlop's own default sizes and rates")
    parse.add_argument("--threads", type=positive, help="threads of a run; default: all cores")
    parse.add_argument("--out", type=Path, default=Path("runs/hlop"), help="default: %(default)s")
    add_json(parse, "one record for each line of the table")
    parse.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as markdown")
    return parse


def overrides(options: Any, learner: str, seed: int) -> dict[str, str]:
    """Return the settings of one run.

    >>> options = parser().parse_args(["--tasks", "3", "scenario.coding=poisson", "scenario.normalise=false"])
    >>> chosen = overrides(options, "bptt", 1)
    >>> chosen["scenario.tasks"], chosen["scenario.normalise"], chosen["seed"], "learner.hlop.rows" in chosen
    ('3', 'false', '1', False)
    """
    chosen = {**EXPERIMENT, "learner": learner, "seed": str(seed)}
    chosen["scenario.tasks"], chosen["scenario.steps"] = str(options.tasks), str(options.steps)
    chosen["backbone.hidden"] = f"[{options.units}, {options.units}]"
    if "hlop" in learner.split("+") and not options.default_sizes:
        chosen |= HLOP
    if options.path is not None:
        chosen["scenario.path"] = str(options.path.resolve())
    if options.samples is not None:
        chosen["scenario.train_samples"] = str(options.samples)
    if options.threads is not None:
        chosen["threads"] = str(options.threads)
    given = dict(text.partition("=")[::2] for text in options.overrides)
    # Settings of a modifier go to the runs that have it.
    absent = {part for other in options.learners for part in other.split("+")} - set(learner.split("+"))
    return chosen | {key: value for key, value in given.items() if not _belongs_to(key, absent)}


def _belongs_to(key: str, modifiers: Set[str]) -> bool:
    """Return whether `learner.MODIFIER.KEY` is a setting of one of the modifiers.

    >>> _belongs_to("learner.hlop.rows", {"hlop"}), _belongs_to("learner.lr", {"hlop"})
    (True, False)
    """
    parts = key.split(".")
    return len(parts) > 2 and parts[0] == "learner" and parts[1] in modifiers


def record(learner: str, runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return one line of the table: mean and sample deviation over the runs; memory in bytes, time in seconds."""
    line: dict[str, Any] = {"learner": learner, "seeds": [run["seed"] for run in runs]}
    line["tasks"] = len(runs[0]["R"])
    found = {
        "acc": [run["acc"] for run in runs],
        "bwt": [run["bwt"] for run in runs if run["bwt"] is not None],
        "first": [run["R"][0][0] for run in runs],
    }
    for key, values in found.items():
        line[key] = mean(values) if values else None
        line[f"{key}_std"] = stdev(values) if len(values) > 1 else None
    for kind in ("formula", "measured"):
        line[f"memory_{kind}"] = mean(run["memory"][kind]["total"] for run in runs)
    line["train_seconds"] = mean(run["time"]["train"] for run in runs)
    line["notice"] = next((run["dataset"]["notice"] for run in runs if run["dataset"]["notice"]), "")
    return line


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as markdown, with what must be said of the data."""

    def spread(line: Mapping[str, Any], key: str) -> str:
        if line[key] is None:
            return "–"
        middle = percent(line[key], sign=key == "bwt")
        return middle if line[f"{key}_std"] is None else f"{middle} ± {percent(line[f'{key}_std'])}"

    rows = [HEADER, ("---",) + ("---:",) * (len(HEADER) - 1)]
    for line in lines:
        accuracies = (spread(line, key) for key in ("acc", "bwt", "first"))
        memory = (f"{line[f'memory_{kind}'] / 1e6:.1f}" for kind in ("formula", "measured"))
        counts = (str(line["tasks"]), str(len(line["seeds"])))
        rows.append((line["learner"], *counts, *accuracies, *memory, duration(line["train_seconds"])))
    text = "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"
    notices = dict.fromkeys(line["notice"] for line in lines if line["notice"])
    return text + "".join(f"\n{notice}\n" for notice in notices)


def study(options: Any, run: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Run what is missing, telling how it goes; returns the lines of the table."""
    # All settings are checked before the first of many runs begins.
    plan = {
        learner: {seed: configured(overrides(options, learner, seed)) for seed in options.seeds}
        for learner in options.learners
    }
    lines = []
    for learner, configs in plan.items():
        runs = []
        for seed, config in configs.items():
            begun = time.perf_counter()
            folder = f"{learner}-{options.tasks}-seed{seed}"
            results = finished_or_run(config, options.out / folder, run)
            runs.append(results)
            took = duration(time.perf_counter() - begun)
            print(f"{folder}: accuracy {percent(results['acc'])} %, {took}", flush=True)
        lines.append(record(learner, runs))
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print the table, write the files; returns the exit code."""
    return conduct(parser().parse_args(arguments), study, markdown)


if __name__ == "__main__":
    sys.exit(main())
