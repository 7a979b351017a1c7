"""`workbench report`: a study as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli.output import size
from workbench.errors import ConfigurationError

HELP = """Write a study, or any runs, as one HTML file to look at: tables, curves, heat maps, what was run and how.

The file holds everything it shows and fetches nothing. Runs that are not finished are listed with their error.

\b
  workbench report study
  workbench report study --out comparison.html
  workbench report runs/baseline runs/replay
"""


def report(
    paths: Annotated[
        list[Path],
        typer.Argument(
            metavar="STUDY|RUNS...", help="Study folder, run folders, or folders of runs.", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE.html",
            help="File to write. Default: report.html in the (only) folder given.",
        ),
    ] = None,
    mix: Annotated[
        bool, typer.Option("--mix", help="Put runs of different data or protocols together, with a warning.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write a report; see HELP."""
    file = _target(paths, out)
    from workbench.report.page import render
    from workbench.report.study import read_study
    from workbench.runfolder import write_atomically

    text = render(read_study(paths, mix=mix)).encode()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(file, text)
    except OSError as error:
        raise ConfigurationError(f"--out {file}: cannot be written: {error.strerror}") from error
    typer.echo(f"{file} ({size(len(text))})")


def _target(paths: list[Path], out: Path | None) -> Path:
    """Return the file to write. Raises ConfigurationError for a folder, or a file that is no page."""
    if out is None:
        return paths[0] / "report.html" if len(paths) == 1 and paths[0].is_dir() else Path("report.html")
    if out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file, {out / 'report.html'}")
    if out.suffix.lower() not in (".html", ".htm"):
        raise ConfigurationError(f"--out {out}: is no HTML file; name one, {out.with_suffix('.html')}")
    return out
