r"""JSB chorales with OSTL against BPTT: the published curve, and the difference between the two rules.

    python -m benchmarks.chorales --path jsb_quarter.npz --epochs 100 --learners bptt,ostl --markdown table.md

The setting of the authors' notebook (IBM/ostl [C]): 88-150-88, recurrent soft spiking neural units with decay 0.4, a
dense readout, batch 1, plain sgd with rate 5e-4, gradients summed over the steps of a chorale. Their checkpoint has a
test negative log-likelihood of 11.551 a step after epoch 1 and of 8.601 after epoch 100 [C]. OSTL runs with full
three-index traces, carried every --chunk steps. Validation data is looked at after every epoch, test data after the
first and the last one: a run of one epoch is the beginning of the long one. Runs are kept under --out and read again.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.options import add_json, command_line, numbers, positive, seeds, words
from benchmarks.studies import conduct, configured, finished_or_run, typed
from workbench.report.units import duration
from workbench.runfolder import read_metrics

HEADER = (
    "learner",
    "seed",
    "test NLL, epoch 1",
    "test NLL, last",
    "best validation",
    "from bptt",
    "training",
)


def overrides(learner: str, seed: int, epochs: int, options: Any) -> dict[str, str]:
    """Return the settings of one run; what is typed replaces the study's own."""
    found = [
        "scenario=jsb",
        "backbone=ssnu",
        f"backbone.hidden=[{','.join(map(str, options.hidden))}]",
        "backbone.recurrent=true",
        "backbone.decay=0.4",
        f"learner={learner}",
        "learner.optimiser=sgd",
        "learner.lr=5e-4",
        "learner.schedule=constant",
        "learner.reduction=sum",
        f"train.epochs={epochs}",
        "train.batch_size=1",
        f"seed={seed}",
        "track.mlflow=false",
    ]
    if learner == "bptt":
        found.append("learner.loss=step")
    if learner == "ostl":
        found += ["learner.traces=full", f"learner.chunk={options.chunk}"]
    if options.path is not None:
        found.append(f"scenario.path={options.path.resolve()}")
    return typed([*found, *options.overrides])


def parser() -> Any:
    """Return the command line."""
    parse = command_line("chorales", __doc__)
    parse.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of every run")
    parse.add_argument("--path", type=Path, help="file with the chorales; default: as jsb's")
    parse.add_argument("--epochs", type=positive, default=100, help="default: %(default)s")
    parse.add_argument("--hidden", type=numbers, default=(150,), help="hidden units (default: 150)")
    parse.add_argument(
        "--chunk", type=positive, default=64, help="steps between carries (default: %(default)s)"
    )
    parse.add_argument("--learners", type=words, default=("bptt", "ostl"), help="default: bptt,ostl")
    parse.add_argument("--seeds", type=seeds, default=(0,), help="default: 0")
    parse.add_argument("--out", type=Path, default=Path("runs/chorales"), help="default: %(default)s")
    add_json(parse, "one record for each run")
    parse.add_argument("--markdown", type=Path, metavar="FILE", help="write the table as markdown")
    return parse


def validation_curve(folder: Path) -> list[float]:
    """Return the validation loss of a run after each epoch."""
    rows = [row for row in read_metrics(folder) if row.key == "validation_loss"]
    return [row.value for row in sorted(rows, key=lambda row: row.epoch or 0)]


def record(learner: str, seed: int, options: Any, run: Callable[..., dict[str, Any]]) -> dict[str, Any]:
    """Run (or read) the short and the long run of one learner; returns its line of the table."""
    tests, folders, seconds = [], [], 0.0
    for epochs in (1, options.epochs):
        folder = options.out / f"{learner}-{epochs}-seed{seed}"
        begun = time.perf_counter()
        results = finished_or_run(configured(overrides(learner, seed, epochs, options)), folder, run)
        print(f"{folder.name}: {duration(time.perf_counter() - begun)}", flush=True)
        tests.append(results["test_loss"][-1][0])
        folders.append(folder)
        seconds = results["time"]["train"]
    curve = validation_curve(folders[1])
    return {
        "learner": learner,
        "seed": seed,
        "first": tests[0],
        "last": tests[1],
        "curve": curve,
        "train_seconds": seconds,
    }


def distance(line: Mapping[str, Any], reference: Mapping[str, Any] | None) -> float | None:
    """Return the largest difference of two runs over all losses recorded: validation curves and tests."""
    if reference is None or reference is line:
        return None
    pairs = zip(
        [line["first"], line["last"], *line["curve"]],
        [reference["first"], reference["last"], *reference["curve"]],
        strict=True,
    )
    return float(max(abs(mine - theirs) for mine, theirs in pairs))


def markdown(lines: Sequence[Mapping[str, Any]]) -> str:
    """Return the table as markdown."""
    rows = [HEADER, ("---",) + ("---:",) * (len(HEADER) - 1)]
    for line in lines:
        apart = line["distance"]
        rows.append(
            (
                line["learner"],
                str(line["seed"]),
                f"{line['first']:.4f}",
                f"{line['last']:.4f}",
                f"{min(line['curve']):.4f}",
                "–" if apart is None else f"{apart:.1e}",
                duration(line["train_seconds"]),
            )
        )
    return "\n".join(f"| {' | '.join(row)} |" for row in rows) + "\n"


def study(options: Any, run: Callable[..., dict[str, Any]]) -> list[dict[str, Any]]:
    """Run what is missing, telling how it goes; returns the lines of the table."""
    lines: list[dict[str, Any]] = []
    for seed in options.seeds:
        found = [record(learner, seed, options, run) for learner in options.learners]
        reference = next((line for line in found if line["learner"] == "bptt"), None)
        lines += [{**line, "distance": distance(line, reference)} for line in found]
    return lines


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the study, print the table, write the files; returns the exit code."""
    return conduct(parser().parse_args(arguments), study, markdown)


if __name__ == "__main__":
    sys.exit(main())
