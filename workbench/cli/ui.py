"""`workbench ui`: MLflow's page on this machine, with the store that runs use."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer

from workbench.cli.output import complain

HELP = """Browse and compare runs: MLflow's page, on this machine only (127.0.0.1).

Shows the store that runs and sweeps started in this folder use. Ctrl-C ends it.
"""


def ui(
    uri: Annotated[
        str | None,
        typer.Option("--uri", help="Tracking store. Default: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db."),
    ] = None,
    port: Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the page.")] = 5000,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Serve MLflow's page until Ctrl-C; see HELP."""
    from workbench.tracking_page import HOST, check_store, serving
    from workbench.tracking_store import default_uri, store_name

    store = uri or default_uri()
    check_store(store)
    typer.echo(f"Starting MLflow's page for {store_name(store)}; this takes some seconds.")
    code = None
    try:
        with _terminated_like_interrupted(), serving(store, port) as server:
            typer.echo(f"http://{HOST}:{port}   Ctrl-C ends it.")
            code = server.wait()
    except KeyboardInterrupt:
        # The way to end it, and not a fault.
        typer.echo("\nended")
        return
    complain(f"MLflow's server ended by itself, with code {code}")
    raise typer.Exit(1)


@contextmanager
def _terminated_like_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt when this process is asked to end, so that the server does not outlive it."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
