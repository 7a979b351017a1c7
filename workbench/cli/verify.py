"""`workbench verify`: a finished run again, compared bit for bit with what its folder says."""

from __future__ import annotations

import contextlib
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.output import complain, table
from workbench.cli.run import engine, stdout_kept_clean
from workbench.errors import ConfigurationError
from workbench.events import Observer, RunPlan

if TYPE_CHECKING:
    from workbench.verify import Saved, Verdict

HELP = """Run a finished run again from the configuration in its folder, and compare bit for bit.

With the device and the number of threads of the saved run. Compared are the data's digest, the matrix R, the untrained
network, test losses, every measure, memory, every row of the metrics but times, and the weights at the end. The folder
is only read; MLflow hears nothing of it.

\b
exit code 0: equal   1: different   2: cannot be verified (not finished, files missing)
"""


def verify(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a finished run.", show_default=False)],
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="DIR", help="Keep the rerun's folder here; default: it is removed."),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the verdict as JSON, and nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run a finished run again and compare; see HELP."""
    from workbench.verify import load_saved

    saved = load_saved(run)
    silent = quiet or as_json
    with _place(keep) as folder:
        if not silent:
            typer.echo(_introduction(saved))
        verdict = _verdict(saved, folder, () if silent else (_Progress(saved.results),))
    if verdict.status == "interrupted":
        complain("interrupted; nothing was compared")
        raise typer.Exit(130)
    if as_json:
        typer.echo(_as_json(verdict))
    elif not quiet:
        typer.echo(_report(verdict))
        if keep is not None:
            typer.echo(f"\nThe rerun is kept in {keep}")
    raise typer.Exit(0 if verdict.equal else 1)


def _verdict(saved: Saved, folder: Path, observers: Sequence[Observer]) -> Verdict:
    from workbench.verify import verify

    with contextlib.nullcontext() if observers else stdout_kept_clean(), engine():
        return verify(saved, folder, observers)


@contextlib.contextmanager
def _place(keep: Path | None) -> Iterator[Path]:
    """Give the folder of the rerun; one not to be kept is removed. Raises ConfigurationError if in use."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="workbench-verify-") as temporary:
            yield Path(temporary) / "rerun"
        return
    if keep.exists() and (not keep.is_dir() or any(keep.iterdir())):
        raise ConfigurationError(f"--keep {keep}: is in use; name a new or an empty folder")
    yield keep


def _introduction(saved: Saved) -> str:
    from workbench.report.units import duration

    results, threads = saved.results, saved.config.threads
    machine = f"{saved.config.device}, {threads} thread{'' if threads == 1 else 's'}"
    what = f"{results['scenario']}, {results['learner']}, seed {results['seed']}"
    took = f"the saved run took {duration(results['time']['total'])}"
    return f"Running {saved.folder} again ({what}; {machine}; {took})"


class _Progress(Observer):
    """Tells of each task whether it came out as saved."""

    def __init__(self, results: Mapping[str, Any]) -> None:
        self.matrix = results["R"]
        self.names: Sequence[str] = ()

    def run_started(self, plan: RunPlan) -> None:
        """Keep the names of the tasks."""
        self.names = plan.task_names

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Print a line."""
        from workbench.results import plain

        row = self.matrix[task] if task < len(self.matrix) else None
        outcome = "as saved" if plain(list(accuracies)) == row else "DIFFERENT from what is saved"
        typer.echo(f"task {task + 1}/{len(self.names)} learned again: accuracies {outcome}")
        sys.stdout.flush()


def _report(verdict: Verdict) -> str:
    rows = []
    for one in verdict.comparisons:
        if one.omitted is not None:
            rows.append((one.name, "not compared", one.omitted))
        else:
            rows.append(
                (one.name, "equal" if one.difference is None else "DIFFERENT", one.difference or one.extent)
            )
    lines = ["", table(("what", "outcome", "compared, or the first difference"), rows), ""]
    differing = [one.name for one in verdict.comparisons if one.difference is not None]
    if differing:
        lines.append(f"DIFFERENT: {', '.join(differing)}")
    else:
        lines.append("equal: the rerun gives the same, bit for bit")
    if verdict.circumstances:
        lines.append("Likely the reason:" if differing else "Equal although something has changed since:")
        lines += [f"  {line}" for line in verdict.circumstances]
    elif differing:
        lines.append(
            "Machine, versions, commit and threads are the same: something in the run is not deterministic."
        )
    return "\n".join(lines)


def _as_json(verdict: Verdict) -> str:
    return json.dumps(
        {
            "equal": verdict.equal,
            "comparisons": [vars(one) for one in verdict.comparisons],
            "circumstances": list(verdict.circumstances),
        },
        indent=2,
        ensure_ascii=False,
    )
