"""`workbench data`: where data sets are, fetching and verifying them, and the cache."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.output import size, table

data_app = typer.Typer(
    rich_markup_mode=None,
    invoke_without_command=True,
    help="Show, fetch and verify data sets and their cache.",
)


@data_app.callback()
def list_data(context: typer.Context) -> None:
    """List the data sets: whether they are here, where, and how large they are."""
    if context.invoked_subcommand is not None:
        return
    from workbench.data.catalogue import cache_folder, cache_size, data_sets

    rows = [
        (
            one.name,
            one.status,
            size(one.bytes) if one.bytes else "-",
            one.licence,
            one.location,
            one.description,
        )
        for one in data_sets()
    ]
    typer.echo(table(("name", "status", "size", "licence", "location", "description"), rows))
    typer.echo(f"\ncache: {cache_folder()} ({size(cache_size())})")


@data_app.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Data set, as in `workbench data`.", show_default=False)],
) -> None:
    """Download a data set into the cache, or go on with a download that broke off."""
    from workbench.data import catalogue

    typer.echo(f"{name}: {catalogue.fetch(name, progress=True)}")


@data_app.command()
def verify(
    name: Annotated[str, typer.Argument(help="Data set, as in `workbench data`.", show_default=False)],
    path: Annotated[
        Path | None, typer.Option("--path", metavar="DIR", help="Folder to look in; default: the cache.")
    ] = None,
) -> None:
    """Check that a data set's files are complete and undamaged; exit 1 if they are not."""
    from workbench.data import catalogue

    problems = catalogue.verify(name, path)
    for problem in problems:
        typer.echo(f"{name}: {problem}")
    if problems:
        raise typer.Exit(1)
    typer.echo(f"{name}: complete and undamaged")


@data_app.command()
def cache(
    clear: Annotated[
        bool, typer.Option("--clear", help="Delete the downloads and binned events in it.")
    ] = False,
    keep_downloads: Annotated[
        bool, typer.Option("--keep-downloads", help="With --clear: delete the binned events only.")
    ] = False,
) -> None:
    """Show where downloads and binned events are kept and how much room they take."""
    from workbench.data.catalogue import cache_folder, cache_size, clear_cache

    if clear:
        typer.echo(f"{cache_folder()}: {size(clear_cache(keep_downloads=keep_downloads))} freed")
    else:
        typer.echo(f"{cache_folder()}: {size(cache_size())}")
