"""How long a user waits for the first training step, against the imports that nobody can do without.

    python -m benchmarks.startup --learner bptt,osttp

Each figure is that of a fresh process, started in turns: one that only does `import torch; import avalanche`, and one
for each learner that does what `workbench run` does, progress display and tracking included, until its first training
step is over. Ratios compare processes of the same round; processor time (user and system, all threads of the process;
tracking is a process of its own and begins with the first task) is the figure to go by on a busy machine. Compiled
kernels come from Numba's cache.

First use: the same run with an empty cache in a folder of its own, and once more with the cache that it left. The
difference is compilation. Targets: 1.3 of the imports, and 3 s of compilation.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.options import add_json, command_line, positive, words
from benchmarks.timing import columns, environment_lines, load_average, write_json

TARGET, COMPILATION_TARGET = 1.3, 3.0
IMPORTS = "import torch; import avalanche"
SETTINGS = ("scenario=split-digits", "device=cpu")
MARK = "waited:"
CLOCKS = f"import time; print({MARK!r}, time.monotonic(), time.process_time(), flush=True)"
# The observer is the terminal's own: what it costs belongs to the wait. Ctrl-C then ends the run in good order.
FIRST_STEP = f"""
import sys
import workbench.cli.run as command
from workbench.cli.app import main

make = command._terminal

def watched(*arguments):
    report = make(*arguments)
    show = report.batch_done

    def first_step(*seen):
        show(*seen)
        {CLOCKS}
        raise KeyboardInterrupt

    report.batch_done = first_step
    return report

command._terminal = watched
sys.exit(main(["run", *sys.argv[1:]]))
"""


@dataclass(frozen=True)
class Wait:
    """Seconds from the start of a process until it says so: on the clock, and of the processors it used."""

    wall: float
    processor: float


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    parse = command_line("startup", __doc__)
    parse.add_argument("--learner", type=words, default=("bptt", "osttp"), help="rules (default: bptt,osttp)")
    parse.add_argument("--rounds", type=positive, default=5, help="processes a figure (default: %(default)s)")
    parse.add_argument("--threads", type=positive, default=1, help="CPU threads (default: %(default)s)")
    parse.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="a further setting")
    parse.add_argument("--no-first-use", action="store_true", help="leave out the runs with an empty cache")
    add_json(parse, "name, seconds, processor seconds and ratios")
    return parse


def fresh_process(code: str, arguments: Sequence[str], environment: dict[str, str]) -> Wait:
    """Run Python code in a folder of its own. Raises RuntimeError with its words if it never gets to the mark."""
    root = Path(__file__).resolve().parent.parent
    path = os.pathsep.join(filter(None, (str(root), os.environ.get("PYTHONPATH", ""))))
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        answer = subprocess.run(
            [sys.executable, "-c", code, *arguments],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, **environment, "PYTHONPATH": path},
            check=False,
        )
    marks = [line.split() for line in answer.stdout.splitlines() if line.startswith(MARK)]
    if not marks:
        raise RuntimeError(f"{' '.join(arguments)} ended with {answer.returncode}:\n{answer.stderr.strip()}")
    _, ended, processor = marks[0]
    # All processes read the same monotonic clock.
    return Wait(float(ended) - begun, float(processor))


def wait_for(learner: str | None, options: argparse.Namespace, cache: Path | None = None) -> Wait:
    """Time the imports alone (None), or a learner's first step; `cache` is where compiled kernels are kept."""
    environment = {"OMP_NUM_THREADS": str(options.threads)}
    if learner is None:
        return fresh_process(f"{IMPORTS}; {CLOCKS}", (), environment)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = str(cache)
    settings = (*SETTINGS, f"learner={learner}", f"threads={options.threads}", *options.set)
    return fresh_process(FIRST_STEP, settings, environment)


def in_turns(options: argparse.Namespace) -> dict[str, list[Wait]]:
    """Return the waits by variant, the imports first; every other round runs backwards."""
    variants: dict[str, str | None] = {IMPORTS: None, **{learner: learner for learner in options.learner}}
    for learner in variants.values():
        wait_for(learner, options)
    waits: dict[str, list[Wait]] = {name: [] for name in variants}
    for number in range(options.rounds):
        for name in list(variants)[:: 1 if number % 2 == 0 else -1]:
            waits[name].append(wait_for(variants[name], options))
    return waits


def compilation(learner: str, options: argparse.Namespace) -> Wait:
    """Return what a first use costs more than a later one."""
    with tempfile.TemporaryDirectory() as folder:
        first, later = (wait_for(learner, options, Path(folder)) for _ in range(2))
    return Wait(first.wall - later.wall, first.processor - later.processor)


def summary(waits: dict[str, list[Wait]]) -> list[dict[str, float | str]]:
    """Return median seconds and the medians of the ratios to the imports of the same round."""
    reference = waits[IMPORTS]
    records: list[dict[str, float | str]] = []
    for name, mine in waits.items():
        pairs = list(zip(mine, reference, strict=True))
        records.append(
            {
                "name": name,
                "seconds": median(wait.wall for wait in mine),
                "processor_seconds": median(wait.processor for wait in mine),
                "ratio": median(one.wall / other.wall for one, other in pairs),
                "processor_ratio": median(one.processor / other.processor for one, other in pairs),
            }
        )
    return records


def main(arguments: Sequence[str] | None = None) -> int:
    """Time, print tables, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    print("\n".join(environment_lines(options.threads)))
    print(" ".join([*SETTINGS, *options.set]) + f"; targets: ratio {TARGET}, {COMPILATION_TARGET:.0f} s\n")
    try:
        records = summary(in_turns(options))
        keys = ("seconds", "processor_seconds", "ratio", "processor_ratio")
        rows = [[str(record["name"]), *(f"{record[key]:.2f}" for key in keys)] for record in records]
        print(columns(("until the first step", "s", "processor s", "ratio", "processor ratio"), rows))
        if not options.no_first_use:
            first = {learner: compilation(learner, options) for learner in options.learner}
            rows = [[name, f"{cost.wall:.2f}", f"{cost.processor:.2f}"] for name, cost in first.items()]
            print("\n" + columns(("compilation at first use", "s", "processor s"), rows))
            records += [
                {"name": f"{name} compilation", "seconds": cost.wall, "processor_seconds": cost.processor}
                for name, cost in first.items()
            ]
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"load average at the end {load_average()}")
    if options.json is not None:
        write_json(options.json, records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
