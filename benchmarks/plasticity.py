r"""Loss of plasticity on a hundred tasks of random labels, and what resets of dormant units do about it.

    python -m benchmarks.plasticity --arms bptt,bptt-unit,bptt-network --seeds 0,1,2,3,4 --markdown table.md \
        --json lines.json --curves curves.csv

An arm is a learner with its settings, see `ARMS`; the one without a suffix is the plain rule, whose dormant units are
counted and left alone. The measure is the accuracy on each task right after it was learned, averaged over the last ten
tasks; an arm's difference to its plain rule is paired by seed (same data, same labels, same initial weights), with a
95 % interval of Student's t and one of the bootstrap. The settings were chosen on seeds 100 and up.

Every run has its folder under --out and is kept: a study that was broken off goes on where it stopped, finished runs
are read and not repeated, and several processes may work on different seeds in the same folder. Arguments KEY=VALUE are
settings of every run, as in `workbench run`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.options import add_json, command_line, positive, seeds, words
from benchmarks.studies import conduct, configured, finished_or_run, typed
from workbench.report.units import duration, percent
from workbench.runfolder import read_metrics

SETTINGS = {
    "scenario": "random-labels",
    "scenario.samples": "192",
    "scenario.steps": "5",
    "backbone.hidden": "[48, 48]",
    "backbone.decay": "0.9",
    "backbone.gain": "1.0",
    "backbone.readout_decay": "0.9",
    "backbone.readout_gain": "1.0",
    "learner.schedule": "constant",
    "train.epochs": "20",
    "train.batch_size": "64",
    "train.evaluate": "current",
    "track.mlflow": "false",
    "threads": "1",
}
"""What all runs share."""

RULES = {"bptt": {"learner.lr": "1e-2"}, "osttp": {"learner.lr": "1e-2", "learner.hidden_lr": "1e-2"}}
"""The rules and their rates."""

RESETS = {
    "": {"reset": "none"},
    "unit": {"reset": "unit", "threshold": "0.1"},
    "support": {"reset": "unit", "score": "support", "threshold": "0.1"},
    "network": {"reset": "network", "score": "gradient", "threshold": "0.05"},
}
"""What happens as each task begins: nothing, ReDo by rate, ReDo by surrogate support, ACE."""

ARMS = {
    rule + ("-" + reset if reset else ""): {
        "learner": f"{rule}+dormancy",
        **rates,
        **{f"learner.dormancy.{key}": value for key, value in settings.items()},
    }
    for rule, rates in RULES.items()
    for reset, settings in RESETS.items()
}
"""Settings by arm."""

LAST = 10
"""Tasks that count: the last ten."""
RATIO = "dormant_ratio/layer_"


def parser() -> Any:
    """Return the command line."""
    parse = command_line("plasticity", __doc__)
    parse.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parse.add_argument(
        "--arms",
        type=words,
        default=("bptt", "bptt-unit", "bptt-network"),
        help=f"of {', '.join(ARMS)} (default: bptt,bptt-unit,bptt-network)",
    )
    parse.add_argument("--seeds", type=seeds, default=(0, 1, 2, 3, 4), help="default: 0,1,2,3,4")
    parse.add_argument("--tasks", type=positive, default=100, help="tasks of the stream (default: 100)")
    parse.add_argument("--out", type=Path, default=Path("runs/plasticity"), help="default: %(default)s")
    add_json(parse, "one record for each arm")
    parse.add_argument(
        "--curves", type=Path, metavar="FILE", help="write accuracy and dormant ratios by task as CSV"
    )
    parse.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables as markdown")
    return parse


def curve(folder: Path, results: Mapping[str, Any]) -> dict[str, Any]:
    """Return of one run, by task: `accuracy` right after the task, and `dormant`, the ratio of each hidden layer.

    The ratio is that of the task's whole training, as it stands after its last epoch.
    """
    tasks = len(results["tasks"])
    ratios: dict[tuple[int, str], float] = {}
    for row in read_metrics(folder):
        if row.key.startswith(RATIO):
            ratios[row.task, row.key] = row.value  # Later epochs replace earlier ones.
    layers = sorted({key for _, key in ratios})
    return {
        "accuracy": [results["R"][task][task] for task in range(tasks)],
        "dormant": [[ratios[task, key] for key in layers] for task in range(tasks)],
    }


def interval(differences: Sequence[float]) -> dict[str, Any]:
    """Return the mean of paired differences and its 95 % intervals, of Student's t and of the bootstrap (percentile).

    Of one difference there is no interval: None.

    >>> found = interval([1.0, 2.0, 3.0])
    >>> found["mean"], [round(end, 3) for end in found["student"]]
    (2.0, [-0.484, 4.484])
    """
    from scipy import stats

    middle, count = mean(differences), len(differences)
    if count < 2:
        return {"mean": middle, "student": None, "bootstrap": None}
    reach = float(stats.t.ppf(0.975, count - 1)) * stdev(differences) / count**0.5
    if reach == 0.0:
        return {"mean": middle, "student": [middle, middle], "bootstrap": [middle, middle]}
    drawn = stats.bootstrap(
        (differences,), mean_of, method="percentile", confidence_level=0.95, rng=0, vectorized=True
    ).confidence_interval
    return {
        "mean": middle,
        "student": [middle - reach, middle + reach],
        "bootstrap": [float(drawn.low), float(drawn.high)],
    }


def mean_of(values: Any, axis: int) -> Any:
    """Return the mean along an axis, for SciPy's bootstrap."""
    return values.mean(axis=axis)


def record(
    arm: str, curves: Mapping[int, Mapping[str, Any]], plain: Mapping[int, Mapping[str, Any]]
) -> dict[str, Any]:
    """Return one line of the table; `curves` and `plain` (the rule without resets, maybe empty) are by seed."""
    ends = {seed: mean(one["accuracy"][-LAST:]) for seed, one in curves.items()}
    shared = [seed for seed in curves if seed in plain] if plain is not curves else []
    paired = [ends[seed] - mean(plain[seed]["accuracy"][-LAST:]) for seed in shared]
    return {
        "arm": arm,
        "settings": ARMS[arm],
        "seeds": list(curves),
        "first": mean(mean(one["accuracy"][:LAST]) for one in curves.values()),
        "last": mean(ends.values()),
        "last_by_seed": list(ends.values()),
        "last_std": stdev(ends.values()) if len(ends) > 1 else None,
        "differences": paired,
        "difference": interval(paired) if paired else None,
        "decades": decades([one["accuracy"] for one in curves.values()]),
        "dormant_decades": decades([[mean(layers) for layers in one["dormant"]] for one in curves.values()]),
        "curves": {str(seed): dict(one) for seed, one in curves.items()},
    }


def decades(values: Sequence[Sequence[float]]) -> list[float]:
    """Return the mean over runs of each ten tasks, the last few together if they are no ten.

    >>> decades([[0.0] * 10 + [1.0] * 5, [1.0] * 15])
    [0.5, 1.0]
    """
    return [mean(mean(one[first : first + 10]) for one in values) for first in range(0, len(values[0]), 10)]


HEADER = (
    "arm",
    "seeds",
    "first 10 tasks %",
    "last 10 tasks %",
    "difference, points",
    "95 % t",
    "95 % bootstrap",
    "dormant % at the end",
)


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table of arms, and accuracy and dormant ratio by tens of tasks, as markdown."""
    text = _table(HEADER, [_shown(line) for line in lines])
    tens = [f"{10 * number + 1}–{10 * number + 10}" for number in range(len(lines[0]["decades"]))]
    for title, key in (("Accuracy", "decades"), ("Dormant units", "dormant_decades")):
        rows = [(line["arm"], *(percent(value) for value in line[key])) for line in lines]
        text += f"\n{title}, %, mean over seeds, by tasks:\n\n" + _table(("arm", *tens), rows)
    return text + (
        "\nLabels are random: accuracy is that of memorising the training samples. Dormant units are counted by each "
        "arm's own score and threshold: gradients for `network`, surrogate slopes for `support`, else firing rates.\n"
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ("---", *("---:",) * (len(header) - 1)), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines) + "\n"


def _shown(line: Mapping[str, Any]) -> tuple[str, ...]:
    spread = "" if line["last_std"] is None else f" ± {percent(line['last_std'])}"
    difference = line["difference"] or {"mean": None, "student": None, "bootstrap": None}

    def ends(pair: Sequence[float] | None) -> str:
        return "–" if pair is None else f"{percent(pair[0], sign=True)} to {percent(pair[1], sign=True)}"

    return (
        line["arm"],
        str(len(line["seeds"])),
        percent(line["first"]),
        percent(line["last"]) + spread,
        "–" if difference["mean"] is None else percent(difference["mean"], sign=True),
        ends(difference["student"]),
        ends(difference["bootstrap"]),
        percent(line["dormant_decades"][-1]),
    )


def csv(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return accuracy and dormant ratios of every task of every run: arm, seed, task, accuracy, one column a layer."""
    layers = max(len(one["dormant"][0]) for line in lines for one in line["curves"].values())
    rows = [
        ",".join(
            ["arm", "seed", "task", "accuracy", *(f"dormant_layer_{number}" for number in range(layers))]
        )
    ]
    for line in lines:
        for seed, one in line["curves"].items():
            for task, (accuracy, ratios) in enumerate(zip(one["accuracy"], one["dormant"], strict=True)):
                rows.append(
                    ",".join(
                        [line["arm"], seed, str(task), *(f"{value:.6g}" for value in (accuracy, *ratios))]
                    )
                )
    return "\n".join(rows) + "\n"


def study(options: Any, run: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Run what is missing, telling how it goes, seed by seed; returns the lines of the table."""
    given = typed(options.overrides)
    # All settings are checked before the first of many runs begins.
    plan = {
        (arm, seed): configured(
            SETTINGS | ARMS[arm] | {"scenario.tasks": str(options.tasks), "seed": str(seed)} | given
        )
        for seed in options.seeds
        for arm in options.arms
    }
    curves: dict[str, dict[int, dict[str, Any]]] = {arm: {} for arm in options.arms}
    for (arm, seed), config in plan.items():
        begun = time.perf_counter()
        folder = options.out / f"{arm}-{options.tasks}-seed{seed}"
        found = curve(folder, finished_or_run(config, folder, run))
        curves[arm][seed] = found
        last, took = mean(found["accuracy"][-LAST:]), duration(time.perf_counter() - begun)
        print(f"{folder.name}: last {LAST} tasks {percent(last)} %, {took}", flush=True)
    return [record(arm, of_arm, curves.get(arm.partition("-")[0], {})) for arm, of_arm in curves.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print the tables, write the files; returns the exit code."""
    parse = parser()
    options = parse.parse_args(arguments)
    unknown = [arm for arm in options.arms if arm not in ARMS]
    if unknown:
        parse.error(f"--arms: unknown {', '.join(unknown)} (allowed: {', '.join(ARMS)})")
    return conduct(options, study, markdown, {} if options.curves is None else {options.curves: csv})


if __name__ == "__main__":
    sys.exit(main())
