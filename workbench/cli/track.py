"""`workbench track`: MLflow's copies of runs and studies."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli.output import table
from workbench.errors import DataError

if TYPE_CHECKING:
    from workbench.tracking_push import Outcome

track_app = typer.Typer(
    rich_markup_mode=None, no_args_is_help=True, help="Send run folders and studies to MLflow."
)

PUSH_HELP = """Send run folders to MLflow, as if they ran now; what is there already is left alone.

A study, which `workbench sweep` made, becomes a parent run with a nested run for each run folder. Of any other folder
every run below it is sent by itself. A run is known by the name of its folder and the digest of its results.

\b
  workbench track push runs/20261122-084003-split-shd-osttp-seed0
  workbench track push STUDY --uri http://127.0.0.1:5000
"""


@track_app.callback()
def _frame() -> None:
    """Keep `push` a command of its own while it is the only one."""


@track_app.command("push", help=PUSH_HELP, short_help="Send run folders and studies to MLflow.")
def push(
    folders: Annotated[
        list[Path], typer.Argument(metavar="RUN|STUDY...", help="Folders.", show_default=False)
    ],
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="Tracking store. Default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."),
    ] = None,
    experiment: Annotated[
        str | None, typer.Option("--experiment", help="MLflow experiment. Default: the scenario's name.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Send a further copy of what is there.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Send folders to MLflow; see PUSH_HELP."""
    from workbench.tracking_push import push_all
    from workbench.tracking_store import DEFAULT_STORE, default_uri, store_name

    store = uri or default_uri()
    problems: list[str] = []
    rows = [_row(one) for one in push_all(folders, store, experiment, again, problems)]
    if rows:
        typer.echo(table(("folder", "outcome", "experiment", "mlflow run"), rows))
        option = "" if store == DEFAULT_STORE else f" --uri {store_name(store)}"
        typer.echo(f"\nin {store_name(store)}; browse: workbench ui{option}")
    if problems:
        raise DataError("\n".join(problems))


def _row(outcome: Outcome) -> tuple[str, str, str, str]:
    return str(outcome.folder), outcome.what, outcome.experiment, outcome.run_id or "-"
