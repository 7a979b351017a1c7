"""`workbench sweep`: a grid of runs into a study folder, new or taken up again."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import nullcontext
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.options import Address, Engine, StudyFile, Workers
from workbench.cli.output import table
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.sweep.grid import Grid
    from workbench.sweep.jobs import Job

# A line with only a backspace keeps the line breaks of the paragraph that follows.
HELP = """Run a grid of experiments into a study folder; run again, it does what is missing or failed.

Settings are those of `workbench run`; a key with several values is an axis of the grid, the last one turns fastest:

\b
  workbench sweep scenario=split-shd learner=bptt,osttp,osttp+hlop seed=0..4 --out study
  workbench sweep learner=bptt,bptt+replay learner.replay.size=100,500 -j 2 --out study
  workbench sweep --config study.yaml seed=0..9 --out study
  workbench sweep --out study            go on with the study in that folder

\b
  A,B,C              values; [128],[256, 256] are two lists
  0..4   0..1..0.25  ranges with both ends, and with a step
  1e-4..1e-2*10      a range by factors
  KEY.glob=PATTERN   every plug-in, allowed value or file that matches: learner.glob='o*'

A modifier's settings are left out of learners without it. A study file holds `settings`, `axes`, `cases` (settings of
the points that match `when`) and `exclude`. One job that fails stops no other; each has its status in jobs/, its log in
logs/ and its run folder in runs/. Exit code: 0 all finished, 1 some are not, 2 faulty input, 130 interrupted.
"""


def sweep(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE[,VALUE...]", help="Settings and axes, see above.", show_default=False
        ),
    ] = None,
    config: StudyFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="STUDY", help="Study folder. Default: studies/ and a name made of the grid."
        ),
    ] = None,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the jobs and an estimate of the time; run nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what came of it as JSON, and nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run a grid of experiments; see HELP."""
    from workbench.sweep.engines import cores, engine_named

    chosen = engine_named(engine, address)
    grids, folder = _asked_for(overrides or (), config, out)
    # What is faulty is told before a folder is made for it.
    by_grid = _jobs(grids)
    jobs = _named(by_grid, grids, folder)
    at_once = workers or (cores() if address is None else 0)
    if dry_run:
        _print_plan(grids, jobs, folder, at_once or cores(), as_json)
        return
    from workbench.cli.run import stdout_kept_clean
    from workbench.sweep.conductor import conduct_sweep, counts
    from workbench.sweep.folder import StudyFolder

    for grid in grids:
        study = StudyFolder.make(folder, grid)
    # Another sweep may have put its grid, and names with it, into the folder meanwhile.
    jobs = _named(by_grid, grids, folder)
    silent = quiet or as_json
    # Engines print what happens to their workers.
    with stdout_kept_clean() if silent else nullcontext():
        summary = conduct_sweep(
            study,
            jobs,
            workers=at_once,
            engine=chosen,
            address=address,
            observers=observers(jobs, silent),
        )
    if as_json:
        content = {"study": str(folder), "jobs": len(jobs), "counts": dict(counts(summary))}
        typer.echo(json.dumps({**content, "failed": summary.failed, "stale": summary.stale}, indent=2))
    if summary.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if summary.complete else 1)


def _asked_for(overrides: Sequence[str], config: Path | None, out: Path | None) -> tuple[list[Grid], Path]:
    """Return the grids to run and the study folder. Raises ConfigurationError."""
    from workbench.registry import Registry
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.grid import grid_of

    if not overrides and config is None:
        if out is None:
            raise ConfigurationError(
                "nothing to sweep: give axes (learner=bptt,osttp seed=0..4), --config FILE, or --out STUDY to go on"
            )
        return StudyFolder.open(out).grids(), out
    grid = grid_of(overrides, config, Registry.discover())
    if out is not None:
        return [grid], out
    digest = hashlib.sha256(json.dumps(grid.to_dict(), sort_keys=True).encode()).hexdigest()[:8]
    scenario = grid.settings.get("scenario", "several" if "scenario" in grid.axes else "split-shd")
    return [grid], Path("studies") / f"{scenario}-{digest}"


def _jobs(grids: Sequence[Grid]) -> list[list[Job]]:
    """Return the jobs of each grid. Raises ConfigurationError."""
    from workbench.registry import Registry
    from workbench.sweep.jobs import jobs_of

    registry = Registry.discover()
    return [jobs_of(grid, registry) for grid in grids]


def _named(jobs: Sequence[list[Job]], grids: Sequence[Grid], folder: Path) -> list[Job]:
    """Return the jobs of the grids, each once, under the names that the study in the folder has for them."""
    from workbench.sweep.naming import named_in_study

    named = chain.from_iterable(named_in_study(jobs, grids, folder))
    return list({job.name: job for job in named}.values())


def observers(jobs: Sequence[Job], silent: bool, *, advice: bool = True) -> list[Any]:
    """Return what is told how a sweep goes: the terminal, unless silent, and MLflow.

    advice: whether the terminal says at the end what to do next.
    """
    from workbench.sweep.tracked import TrackedSweep

    # MLflow last: at the end it is waited for, and what came of the sweep has been told by then.
    found: list[Any] = [TrackedSweep(jobs)]
    if not silent:
        from rich.console import Console

        from workbench.report.sweep_terminal import SweepTerminal

        found.insert(0, SweepTerminal(Console(), advice=advice))
    return found


def _print_plan(
    grids: Sequence[Grid], jobs: Sequence[Job], folder: Path, workers: int, as_json: bool
) -> None:
    """Print the axes, the jobs by status, and how long those to run may take."""
    from workbench.cli.run import stdout_kept_clean
    from workbench.report.units import duration
    from workbench.sweep.conductor import orders_of
    from workbench.sweep.engines import threads_per_job
    from workbench.sweep.estimate import estimates
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.worker import state_of

    study, threads = StudyFolder(folder), threads_per_job(workers)
    orders = orders_of(study, jobs, threads)
    states = {name: state_of(study, name, order.config).status for name, order in orders.items()}
    known = {job.name: study.status(job.name) for job in jobs}
    todo = [job for job in jobs if states[job.name] == "interrupted"]
    with stdout_kept_clean():
        open_jobs = {
            one.job: one for one in estimates(jobs, known, threads) if states[one.job] == "interrupted"
        }
    total = sum(one.seconds for one in open_jobs.values())
    finished = sum(state == "finished" for state in states.values())
    if as_json:
        content = {
            "study": str(folder),
            "jobs": [
                {"job": job.name, "overrides": job.overrides, "state": states[job.name]}
                | ({"seconds": open_jobs[job.name].seconds} if job.name in open_jobs else {})
                for job in jobs
            ],
            "seconds": total / workers,
        }
        typer.echo(json.dumps(content, indent=2))
        return
    from workbench.overrides import write_value

    for grid in grids:
        rows = [
            (key, str(len(values)), ", ".join(map(write_value, values))) for key, values in grid.axes.items()
        ]
        typer.echo(table(("axis", "values", ""), rows))
        fixed = " ".join(f"{key}={write_value(value)}" for key, value in grid.settings.items())
        typer.echo(f"{'every job: ' + fixed if fixed else ''}\n")
    plan = [
        (job.name, states[job.name].replace("interrupted", "to run"),
         duration(open_jobs[job.name].seconds) if job.name in open_jobs else "",
         open_jobs[job.name].source if job.name in open_jobs else "")
        for job in jobs
    ]  # fmt: skip
    typer.echo(table(("job", "state", "expected", "from"), plan))
    typer.echo(
        f"\n{len(jobs)} jobs, {finished} finished, {len(todo)} to run: about {duration(total)} of work, "
        f"{duration(total / workers)} with {workers} at once (half as long or twice, as the machine is busy)."
    )
    typer.echo(f"Nothing was run; leave out --dry-run to run it into {folder}.")
