"""Where the time of a run goes: imports, data, forward, backward, optimiser, evaluation, tracking.

    python -m benchmarks.profile_run scenario=split-digits learner=bptt train.epochs=2

Runs `workbench run` with these settings in this process. Stopwatches stand around the functions that do each part; what
one part spends inside another is taken off the outer one. A local rule computes its gradients in its forward pass.
Evaluation keeps what happens inside it. MLflow has a process of its own, which is waited for at the end.
"""

from __future__ import annotations

import functools
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

from benchmarks.options import add_json, command_line
from benchmarks.timing import columns, environment_lines, write_json
from workbench.config import ExperimentConfig
from workbench.errors import WorkbenchError
from workbench.report.units import percent

OTHER = "other (Avalanche's callbacks, counting)"
EVALUATION = "evaluation"
DATA = "batches (look-up, jitter, time first)"
STEP = ("forward", "backward", "optimiser")
WAITING = "waiting for MLflow at the end"


class Stopwatches:
    """Adds up time by part; only one part runs at a time."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = {}
        self._clock = clock
        self._parts = [OTHER]
        self._since = clock()

    @contextmanager
    def running(self, part: str) -> Iterator[None]:
        """Charge time to `part` inside this context, unless an evaluation is under way."""
        if self._parts[-1] == EVALUATION:
            yield
            return
        self._charge()
        self._parts.append(part)
        try:
            yield
        finally:
            self._charge()
            self._parts.pop()

    def _charge(self) -> None:
        now, part = self._clock(), self._parts[-1]
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._since
        self._since = now

    def stop(self) -> dict[str, float]:
        """Return seconds by part, what belongs to none last."""
        self._charge()
        return {**{part: s for part, s in self.seconds.items() if part != OTHER}, OTHER: self.seconds[OTHER]}

    def around(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        """Return the function with a stopwatch around it."""

        @functools.wraps(function)
        def watched(*arguments: Any, **named: Any) -> Any:
            with self.running(part):
                return function(*arguments, **named)

        return watched


def parser() -> Any:
    """Return the command line."""
    parse = command_line("profile_run", __doc__)
    parse.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings, as in `workbench run`")
    parse.add_argument("--out", type=Path, help="run folder; default: a temporary one")
    add_json(parse, "part and seconds")
    return parse


def watched_functions(config: ExperimentConfig) -> list[tuple[Any, str, str]]:
    """Return owner, name of the function, and part."""
    import torch

    from workbench import environment, experiment
    from workbench.checkpoint import Checkpoint
    from workbench.journal import Journal
    from workbench.optimisers import DecoupledSGD
    from workbench.registry import Registry
    from workbench.runfolder import RunFolder
    from workbench.sequences import SequenceMaker
    from workbench.streams import BatchLoader
    from workbench.tracking_process import TrackingProcess
    from workbench.trainer import Trainer

    rule = Registry.discover().load("learner", config.learner.rule.name)
    events = ("run_started", "task_started", "epoch_done", "task_done")
    return [
        (experiment, "build_experiment", "data and network"),
        (BatchLoader, "_look_up", DATA),
        (SequenceMaker, "time_major", DATA),
        (rule, "forward", "forward"),
        (Trainer, "backward", "backward"),
        (torch.optim.AdamW, "step", "optimiser"),
        (DecoupledSGD, "step", "optimiser"),
        (Trainer, "evaluate_tasks", EVALUATION),
        (Trainer, "validation_metrics", EVALUATION),
        (Checkpoint, "save", "run folder"),
        (RunFolder, "write_metrics", "run folder"),
        (RunFolder, "write_results", "run folder"),
        (environment, "capture", "run folder"),
        (Journal, "commit", "run folder"),
        *((TrackingProcess, event, "telling MLflow's process") for event in events),
        (TrackingProcess, "run_finished", WAITING),
    ]


def profile(overrides: Sequence[str], out: Path) -> dict[str, float]:
    """Run and return seconds by part. Raises WorkbenchError."""
    watches = Stopwatches()
    with watches.running("imports"):
        import workbench.run
        import workbench.tracking
        import workbench.trainer  # noqa: F401
        from workbench.config import resolve
        from workbench.experiment import run_experiment

    config = resolve(overrides)
    with ExitStack() as stack:
        for owner, name, part in watched_functions(config):
            stack.enter_context(patch.object(owner, name, watches.around(getattr(owner, name), part)))
        run_experiment(config, out)
    return watches.stop()


def shares(seconds: dict[str, float], training: float) -> list[str]:
    """Return what data, the step itself and all else take of the training loop.

    >>> shares({DATA: 1.0, "forward": 3.0, "backward": 4.0, OTHER: 2.0}, 10.0)
    ['data 10.0 %', 'step 70.0 %', 'all else 20.0 %']
    """
    step = sum(seconds.get(part, 0.0) for part in STEP)
    parts = {"data": seconds.get(DATA, 0.0), "step": step, "all else": seconds[OTHER]}
    return [f"{name} {percent(value / training)} %" for name, value in parts.items()]


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile, print a table, write JSON; returns the exit code."""
    options = parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as folder:
            seconds = profile(options.overrides, options.out or Path(folder) / "run")
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    whole = sum(seconds.values())
    print("\n".join(environment_lines()))
    print("workbench run " + " ".join(options.overrides) + "\n")
    rows = [(part, f"{value:.2f}", percent(value / whole)) for part, value in seconds.items()]
    print(columns(("part", "seconds", "share %"), [*rows, ("all", f"{whole:.2f}", "100.0")]))
    training = sum(seconds.get(part, 0.0) for part in (DATA, *STEP, OTHER))
    print("\nof the training loop: " + ", ".join(shares(seconds, training)))
    if options.json is not None:
        write_json(options.json, [{"name": part, "seconds": value} for part, value in seconds.items()])
    return 0


if __name__ == "__main__":
    sys.exit(main())
