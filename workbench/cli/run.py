"""`workbench run`: one experiment from the command line, new or resumed."""

from __future__ import annotations

import contextlib
import gc
import json
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.output import size, table
from workbench.errors import ConfigurationError, WorkbenchError
from workbench.lazy import collector_at_rest

if TYPE_CHECKING:
    from workbench.config import ExperimentConfig
    from workbench.events import Observer

STORED_CONFIG = "config.yaml"
"""The resolved configuration in a run folder, from which the run can be resumed."""

# A line with only a backspace keeps the line breaks of the paragraph that follows.
HELP = """Train a learner on a stream of tasks; measure what it forgets and what learning costs.

Settings are written KEY=VALUE. A value is a number, true or false, null, a word, or a [list, of, them]:

\b
  workbench run scenario=split-shd learner=osttp
  workbench run learner=osttp learner.lr=1e-3 'backbone.hidden=[256, 256]' seed=3
  workbench run learner=osttp+replay learner.replay.size=500
  workbench run scenario=split-digits scenario.tasks=5 train.epochs=2 device=cpu
  workbench run --config base.yaml learner=bptt --out runs/baseline

\b
  scenario= learner=             choose plug-ins; see: workbench list
  backbone= hardware=
  scenario.KEY= learner.KEY= ... their settings; see: workbench show NAME
  learner=RULE+MODIFIER+...      a rule and its modifiers in order
  learner.MODIFIER.KEY=          a modifier's settings
  train.KEY= track.KEY=          see: workbench show train, workbench show track
  seed= device= threads=         see: workbench show general
"""


def run(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="KEY=VALUE", help="Settings, see above.", show_default=False),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", metavar="FILE", help="YAML file with the same keys; KEY=VALUE wins over it."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Run folder. Default: runs/TIME-SCENARIO-LEARNER-seedN."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print configuration, expected memory and cost; train nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON, and nothing else.")
    ] = False,
    resume: Annotated[
        Path | None, typer.Option("--resume", metavar="DIR", help="Go on with the interrupted run in DIR.")
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run one experiment; see HELP."""
    if resume is not None:
        settings, folder = _resumed(resume, overrides, config, out, dry_run)
    else:
        from workbench.config import resolve

        settings = resolve(overrides or (), config)
        if dry_run:
            _print_plan(settings, as_json)
            return
        folder = _new_folder(settings, out)
    observers = () if quiet or as_json else (_terminal(settings, folder, overrides or ()),)
    results = _execute(settings, folder, resume is not None, observers)
    if as_json:
        from workbench.results import to_json

        typer.echo(to_json(results), nl=False)
    raise typer.Exit({"interrupted": 130, "failed": 1}.get(str(results.get("status")), 0))


def _terminal(settings: ExperimentConfig, folder: Path, overrides: Sequence[str]) -> Observer:
    from rich.console import Console

    from workbench.report.terminal import TerminalReport
    from workbench.tracking import default_uri

    uri = (settings.track.uri or default_uri()) if settings.track.mlflow else None
    return TerminalReport(Console(), folder, overrides, uri)


def _execute(
    settings: ExperimentConfig, folder: Path, resume: bool, observers: Sequence[Observer]
) -> dict[str, Any]:
    begun = time.perf_counter()
    try:
        with contextlib.nullcontext() if observers else stdout_kept_clean(), engine() as run_experiment:
            return run_experiment(
                settings, folder, observers, resume=resume, progress=bool(observers), begun=begun
            )
    except WorkbenchError:
        # Nothing has been learned yet: leave no empty folder behind.
        with contextlib.suppress(OSError):
            folder.rmdir()
        raise


@contextlib.contextmanager
def engine() -> Iterator[Callable[..., dict[str, Any]]]:
    """Import torch, Avalanche and all that a run needs, and give `run_experiment`."""
    # Before torch loads: idle threads sleep instead of spinning. On a machine that does anything else besides, spinning
    # threads hold up every small operation, and a run takes several times as long.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    with collector_at_rest():
        from workbench.experiment import import_all, run_experiment

        import_all()
    # Every search for garbage is spared the half million objects of modules, which stay to the end.
    gc.freeze()
    try:
        yield run_experiment
    finally:
        # At its exit Python takes the modules apart, and libraries complain of what it does not see.
        gc.unfreeze()


@contextlib.contextmanager
def stdout_kept_clean() -> Iterator[None]:
    """Send what libraries print to standard error, so that standard output holds the results or nothing."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def _resumed(
    folder: Path, overrides: Sequence[str] | None, config: Path | None, out: Path | None, dry_run: bool
) -> tuple[ExperimentConfig, Path]:
    """Return configuration and folder of an earlier run. Raises ConfigurationError if there is none."""
    from workbench.config import resolve

    if overrides or config is not None or out is not None or dry_run:
        raise ConfigurationError(
            "--resume: the run goes on as it was begun; give no settings, --config, --out, --dry-run"
        )
    stored = folder / STORED_CONFIG
    if not stored.is_file():
        raise ConfigurationError(f"--resume {folder}: not a run folder, it holds no {STORED_CONFIG}")
    return resolve((), stored), folder


def _new_folder(settings: ExperimentConfig, out: Path | None) -> Path:
    """Make the run folder. Raises ConfigurationError when the one asked for is in use."""
    if out is not None:
        if out.exists() and not out.is_dir():
            raise ConfigurationError(f"--out {out}: is a file; name a folder")
        if out.is_dir() and any(out.iterdir()):
            resumable = (out / STORED_CONFIG).is_file()
            advice = f", or go on with the run in it: --resume {out}" if resumable else ""
            raise ConfigurationError(
                f"--out {out}: holds files already; name another folder or delete it{advice}"
            )
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(f"--out {out}: cannot be made: {error.strerror}") from error
        return out
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    name = f"{stamp}-{settings.scenario.name}-{settings.learner.name}-seed{settings.seed}".replace(":", "-")
    for attempt in range(1, 1000):
        folder = Path("runs") / (name if attempt == 1 else f"{name}-{attempt}")
        try:
            # Making it is what claims it: runs started in the same second get folders of their own.
            folder.mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigurationError(
                f"{folder}: cannot be made: {error.strerror}; choose --out DIR"
            ) from error
        return folder
    raise ConfigurationError(f"runs/{name}: in use a thousand times over; choose --out DIR")


def _print_plan(settings: ExperimentConfig, as_json: bool) -> None:
    """Print what would run: the resolved configuration, bytes by category, cost."""
    from workbench.experiment import plan_experiment

    with stdout_kept_clean():
        plan = plan_experiment(settings, progress=not as_json)
    if as_json:
        typer.echo(json.dumps(plan, indent=2))
        return
    import yaml

    for title, content in plan.items():
        if title == "memory" and all(isinstance(count, int) for count in content.values()):
            rows = [(category, size(count)) for category, count in content.items()]
            typer.echo(table(("memory while training", "bytes"), rows))
        else:
            typer.echo(
                yaml.safe_dump(
                    {title: content}, sort_keys=False, default_flow_style=None, width=110, allow_unicode=True
                ).rstrip()
            )
        typer.echo("")
    typer.echo("Nothing was trained; leave out --dry-run to run it.")
