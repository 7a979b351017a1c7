"""`workbench compare`: runs side by side, with intervals over seeds, as a table in several formats."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import ConfigurationError, nearest

if TYPE_CHECKING:
    from workbench.compare.comparison import Comparison

FORMATS = {"terminal": ".txt", "markdown": ".md", "csv": ".csv", "parquet": ".parquet", "latex": ".tex"}

# A line with only a backspace keeps the line breaks of the paragraph that follows.
HELP = """Compare runs: accuracy, forgetting, memory, operations, energy, writes, time, over seeds.

Name run folders, or folders that hold runs: those of a study, or runs/. Runs that differ in the seed alone are one
row, a mean with its 95 % confidence interval. A value is marked as best only where its group differs significantly
from every other. Other protocols (tasks, setting, order, ...) get tables of their own; runs on other data are refused
without --mix.

\b
  workbench compare STUDY
  workbench compare runs/a runs/b --columns acc,forgetting,memory
  workbench compare STUDY --columns 'acc,memory*' --sort acc --reference bptt
  workbench compare STUDY --columns all --out table.md

\b
  columns: acc learned bwt fwt forgetting loss
           memory memory_formula memory_PART (parameters, traces, ...)
           operations operations_forward operations_learning mac_... ac_...
           words words_forward words_learning
           energy energy_forward energy_learning energy_digital energy_cells energy_periphery ...
           writes writes_per_sample writes_per_parameter updates
           device_writes device_writes_max device_writes_p99 device_writes_per_sample
           device_reads tile_reads conversions
           time_train time_total throughput
"""


def compare(
    paths: Annotated[
        list[Path], typer.Argument(metavar="RUNS|STUDY...", help="Run folders, or folders with runs below.")
    ],
    columns: Annotated[
        str, typer.Option("--columns", metavar="NAMES", help="Columns, see above: names, patterns, or all.")
    ] = "",
    sort: Annotated[
        str | None, typer.Option("--sort", metavar="COLUMN", help="Order rows by a column, the best first.")
    ] = None,
    reference: Annotated[
        str | None,
        typer.Option("--reference", metavar="GROUP", help="Add each group's difference to this one."),
    ] = None,
    mix: Annotated[
        bool, typer.Option("--mix", help="Put runs that are not comparable into one table, and say so.")
    ] = False,
    kind: Annotated[
        str | None, typer.Option("--format", metavar="FORMAT", help=f"One of: {', '.join(FORMATS)}.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write there; the suffix tells the format.")
    ] = None,
    runs: Annotated[
        bool, typer.Option("--runs", help="One row a run instead of one a group (csv, parquet).")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Compare runs; see HELP."""
    chosen = _format(kind, out)
    if runs and chosen not in ("csv", "parquet"):
        raise ConfigurationError("--runs: one row a run is for --format csv or parquet, or --out FILE.csv")
    if chosen == "parquet" and out is None:
        raise ConfigurationError("--format parquet: a binary file; say where with --out FILE.parquet")
    if out is not None and not out.parent.is_dir():
        raise ConfigurationError(f"--out {out}: the folder {out.parent} does not exist")
    if out is not None and out.is_dir():
        raise ConfigurationError(f"--out {out}: is a folder; name a file")
    from workbench.compare.comparison import Wanted
    from workbench.compare.comparison import compare as compared

    names = tuple(name.strip() for name in columns.split(",") if name.strip())
    comparisons = compared(paths, Wanted(names, sort, reference, mix))
    if chosen in ("csv", "parquet"):
        _write_rows(comparisons, chosen, out, runs)
    else:
        _write_text(comparisons, chosen, out)
        if chosen == "terminal" and out is None and not names:
            typer.echo("\nmore columns: --columns all; differences to one group: --reference GROUP")


def _format(kind: str | None, out: Path | None) -> str:
    if kind is not None:
        if kind in FORMATS:
            return kind
        guess = nearest(kind, FORMATS)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"--format {kind}: must be one of {', '.join(FORMATS)}{hint}")
    if out is None:
        return "terminal"
    named = next((name for name, suffix in FORMATS.items() if suffix == out.suffix.lower()), None)
    if named is None:
        raise ConfigurationError(
            f"--out {out}: its suffix must be one of {', '.join(FORMATS.values())}, or say --format"
        )
    return named


def _write_rows(comparisons: Sequence[Comparison], kind: str, out: Path | None, runs: bool) -> None:
    from workbench.compare.flat import group_rows, run_rows, to_csv, write_csv, write_parquet

    rows = run_rows(comparisons) if runs else group_rows(comparisons)
    if out is None:
        typer.echo(to_csv(rows), nl=False)
        return
    (write_csv if kind == "csv" else write_parquet)(out, rows)
    _tell(out, len(rows), "row")


def _write_text(comparisons: Sequence[Comparison], kind: str, out: Path | None) -> None:
    from workbench.compare.tables import WIDTH, latex, markdown, terminal
    from workbench.runfolder import write_atomically

    if kind != "terminal":
        text = markdown(comparisons) if kind == "markdown" else latex(comparisons)
    else:
        import io

        from rich.console import Console

        on_screen = out is None and sys.stdout.isatty()
        width = min(shutil.get_terminal_size().columns, WIDTH) if on_screen else WIDTH
        if on_screen:
            Console(width=width, highlight=False).print(terminal(comparisons, width))
            return
        page = io.StringIO()
        Console(file=page, width=width, highlight=False).print(terminal(comparisons, width))
        text = "\n".join(line.rstrip() for line in page.getvalue().splitlines()) + "\n"
    if out is None:
        typer.echo(text, nl=False)
        return
    write_atomically(out, text.encode())
    _tell(out, len(comparisons), "table")


def _tell(out: Path, count: int, what: str) -> None:
    typer.echo(f"{out}: {count} {what}{'' if count == 1 else 's'}")
