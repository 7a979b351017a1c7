"""How many more jobs a sweep gets done with two at once: `workbench sweep -j 2` against `-j 1`.

    python -m benchmarks.sweep --jobs 4 --rounds 3

Each figure is that of a fresh `workbench sweep` of the same jobs, which differ in the seed, into a folder of its own,
the variants in turns: one job at once with one thread, one at once with all cores, two at once with the threads that
the sweep gives them. Two throughputs: of the whole command, start-up of its processes included, and of learning alone,
jobs at once over the mean seconds of a job without its imports. Ratios compare sweeps of the same round.

Target: two at once on two cores do 1.7 times the jobs of one at once, either with one thread or with both.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median

from benchmarks.options import add_json, command_line, positive
from benchmarks.timing import columns, environment_lines, load_average, write_json

TARGET = 1.7
SETTINGS = ("scenario=split-digits", "learner=bptt", "train.epochs=40", "device=cpu", "track.mlflow=false")


@dataclass(frozen=True)
class Variant:
    """A way to run the jobs. threads: of each job; None for what the sweep chooses."""

    name: str
    at_once: int
    threads: int | None


VARIANTS = (
    Variant("-j 1 threads=1", 1, 1),
    Variant("-j 1", 1, None),
    Variant("-j 2", 2, None),
)


@dataclass(frozen=True)
class Throughput:
    """Jobs a minute: of the whole command, and of learning alone."""

    whole: float
    learning: float


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("sweep", __doc__)
    parse.add_argument("--jobs", type=positive, default=4, help="jobs of a sweep (default: %(default)s)")
    parse.add_argument("--rounds", type=positive, default=3, help="sweeps a variant (default: %(default)s)")
    parse.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a further setting")
    add_json(parse, "name, jobs a minute and ratios")
    return parse


def settings_of(further: Sequence[str]) -> list[str]:
    """Return the settings of every job; a further one takes the place of the one it is about.

    >>> settings_of(["train.epochs=2", "seed=1"])[-2:]
    ['train.epochs=2', 'seed=1']
    """
    keys = {text.partition("=")[0] for text in further}
    return [text for text in SETTINGS if text.partition("=")[0] not in keys] + list(further)


def throughput(study: Path, at_once: int, seconds: float) -> Throughput:
    """Return the throughput of a finished study that took so many seconds. Raises RuntimeError if a job is missing."""
    times = [json.loads(file.read_text())["time"] for file in study.glob("runs/*/results.json")]
    if not times:
        raise RuntimeError(f"{study}: holds no finished run")
    learning = mean(one["total"] - one["imports"] for one in times)
    return Throughput(60 * len(times) / seconds, 60 * at_once / learning)


def sweep(variant: Variant, jobs: int, settings: Sequence[str]) -> Throughput:
    """Run one sweep in a process of its own. Raises RuntimeError with its words if it fails."""
    root = Path(__file__).resolve().parent.parent
    # Nothing of the caller's may decide on threads: that is the sweep's business.
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(root), environment.get("PYTHONPATH", ""))))
    words = [*settings, f"seed=0..{jobs - 1}", "-j", str(variant.at_once), "--out", "study", "--quiet"]
    if variant.threads is not None:
        words.append(f"threads={variant.threads}")
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        answer = subprocess.run(
            [sys.executable, "-m", "workbench", "sweep", *words],
            capture_output=True,
            text=True,
            cwd=folder,
            env=environment,
            check=False,
        )
        seconds = time.perf_counter() - begun
        if answer.returncode:
            raise RuntimeError(f"{' '.join(words)} ended with {answer.returncode}:\n{answer.stderr.strip()}")
        return throughput(Path(folder) / "study", variant.at_once, seconds)


def in_turns(options: argparse.Namespace) -> dict[str, list[Throughput]]:
    """Return the throughputs by variant; every other round runs backwards."""
    settings = settings_of(options.set)
    found: dict[str, list[Throughput]] = {variant.name: [] for variant in VARIANTS}
    for number in range(options.rounds):
        for variant in VARIANTS[:: 1 if number % 2 == 0 else -1]:
            found[variant.name].append(sweep(variant, options.jobs, settings))
    return found


def summary(found: Mapping[str, Sequence[Throughput]]) -> list[dict[str, float | str]]:
    """Return median jobs a minute, and the medians of the ratios to the first and to the second variant by round."""
    first, second = (found[variant.name] for variant in VARIANTS[:2])
    records: list[dict[str, float | str]] = []
    for name, mine in found.items():
        record: dict[str, float | str] = {"name": name}
        for kind in ("whole", "learning"):
            record[kind] = median(getattr(one, kind) for one in mine)
            for told, others in (("one_thread", first), ("all_cores", second)):
                pairs = zip(mine, others, strict=True)
                record[f"{kind}_to_{told}"] = median(
                    getattr(one, kind) / getattr(other, kind) for one, other in pairs
                )
        records.append(record)
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    print("\n".join(environment_lines()))
    print(f"{options.jobs} jobs of {' '.join(settings_of(options.set))}; target: {TARGET}\n")
    try:
        records = summary(in_turns(options))
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for kind, told in (("whole", "the whole command"), ("learning", "learning alone")):
        keys = (kind, f"{kind}_to_one_thread", f"{kind}_to_all_cores")
        rows = [[str(record["name"]), *(f"{record[key]:.2f}" for key in keys)] for record in records]
        header = (told, "jobs a minute", f"to {VARIANTS[0].name}", f"to {VARIANTS[1].name}")
        print(columns(header, rows) + "\n")
    print(f"load average at the end {load_average()}")
    if options.json is not None:
        write_json(options.json, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
