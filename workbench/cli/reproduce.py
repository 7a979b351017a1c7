"""`workbench reproduce`: published tables, and how the runs of this project stand beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.output import complain, table
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.reproduce import Budget, Line, Table
    from workbench.sweep.conductor import Summary
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.jobs import Job

HELP = """Rerun a published table, and print what was published beside what was measured.

Without a name the tables are listed, with the data they need and the time they take. A rerun is a sweep: the same
command goes on where it stopped, and its study folder serves workbench compare and workbench report.

\b
  workbench reproduce
  workbench reproduce ostl-jsb --data jsb_quarter.npz --out table.md
  workbench reproduce ostl-jsb --data jsb_quarter.npz --quick
"""


def reproduce(
    name: Annotated[
        str | None, typer.Argument(metavar="[TABLE]", help="Name of a table.", show_default=False)
    ] = None,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Where the table's data is.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Run a small budget, to see that it runs.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the comparison as markdown.")
    ] = None,
    study: Annotated[
        Path | None,
        typer.Option("--study", metavar="DIR", help="Study folder. Default: studies/reproduce-TABLE."),
    ] = None,
    workers: Annotated[
        int, typer.Option("-j", "--jobs", min=0, metavar="N", help="Jobs at once; 0: one for each core.")
    ] = 0,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """List published tables or rerun one; see HELP."""
    from workbench.reproduce import grids_of, jobs_by_row, table_named

    if name is None:
        if data is not None or quick or out is not None or study is not None:
            raise ConfigurationError("name a table to rerun; workbench reproduce alone lists them")
        typer.echo(_listing())
        return
    chosen = table_named(name)
    budget = chosen.budget(quick)
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise ConfigurationError(f"--out {out}: cannot be written; name a file in a folder that exists")
    grids = grids_of(chosen, budget, data)
    from workbench.registry import Registry

    registry = Registry.discover()
    rows = jobs_by_row(grids, registry)
    typer.echo(_introduction(name, chosen, budget, quick))
    remark = _checked_data(chosen, next(iter(rows.values()))[0], registry)
    if any(key.startswith("scenario.") for key in budget.settings):
        # The budget itself asks for less data.
        remark = None
    folder = study or Path("studies") / f"reproduce-{name}{'-quick' if quick else ''}"
    made, summary = _swept(folder, list(grids.values()), rows, workers)
    warnings = [*_warnings(chosen, budget), *([] if remark is None else [f"OTHER DATA: {remark}"])]
    lines = _lines(chosen, budget, made, rows)
    typer.echo("\n" + _terminal_table(lines))
    typer.echo("\n" + "\n".join(_remarks(chosen, lines)))
    for warning in warnings:
        complain(warning, label="NOTE", colour=typer.colors.YELLOW)
    if out is not None:
        from workbench.runfolder import write_atomically

        write_atomically(out, _markdown(name, chosen, lines, warnings).encode())
        typer.echo(f"\nwritten: {out}")
    raise typer.Exit(130 if summary.interrupted else 0 if summary.complete else 1)


def _listing() -> str:
    """Return all tables with what they need."""
    from workbench.report.units import duration
    from workbench.reproduce import PROVENANCE, tables

    blocks = []
    for name, one in tables().items():
        full, quick = (
            f"{duration(60 * budget.minutes)}, {budget.seeds} seed{'s' if budget.seeds > 1 else ''}"
            for budget in (one.full, one.quick)
        )
        blocks.append(
            "\n".join(
                (
                    f"{name}  {one.title}",
                    f"  source   {one.source}",
                    f"  figures  [{one.provenance}] {PROVENANCE[one.provenance]}",
                    f"  rows     {'; '.join(row.name for row in one.rows)}",
                    f"  data     {one.data.what}{'; to be named with --data' if one.data.required else ''}",
                    f"  get it   {one.data.fetch}",
                    f"  time     about {full}, on one core; with --quick {quick}",
                )
            )
        )
    return "\n\n".join([*blocks, "Rerun one: workbench reproduce NAME [--data PATH] [--quick]"])


def _introduction(name: str, chosen: Table, budget: Budget, quick: bool) -> str:
    from workbench.report.units import duration

    lines = [
        chosen.title,
        f"  {chosen.source}",
        f"  about {duration(60 * budget.minutes)} of work on one core",
    ]
    if quick:
        lines += [f"  {warning}" for warning in _warnings(chosen, budget)]
    return "\n".join(lines)


def _warnings(chosen: Table, budget: Budget) -> list[str]:
    """Return what must be said of a budget that is not the whole."""
    if budget == chosen.full:
        return []
    if budget.settings:
        changed = ", ".join(f"{key}={value}" for key, value in budget.settings.items())
        return [f"QUICK: run with {changed}. THESE NUMBERS DO NOT COMPARE WITH THE PUBLISHED ONES."]
    return ["QUICK: A PART OF THE TABLE ONLY; fewer rows or seeds than the table has."]


def _checked_data(chosen: Table, job: Job, registry: Any) -> str | None:
    from workbench.cli.run import stdout_kept_clean
    from workbench.reproduce import check_data

    with stdout_kept_clean():
        return check_data(chosen, job, registry)


def _swept(
    folder: Path, grids: Sequence[Any], rows: Mapping[str, Sequence[Job]], workers: int
) -> tuple[StudyFolder, Summary]:
    """Run the jobs of all rows that are not finished."""
    from rich.console import Console

    from workbench.report.sweep_terminal import SweepTerminal
    from workbench.sweep.conductor import conduct_sweep
    from workbench.sweep.engines import cores
    from workbench.sweep.folder import StudyFolder
    from workbench.sweep.tracked import TrackedSweep

    for grid in grids:
        made = StudyFolder.make(folder, grid)
    jobs = list({job.name: job for row in rows.values() for job in row}.values())
    observers: list[Any] = [SweepTerminal(Console()), TrackedSweep(jobs)]
    return made, conduct_sweep(made, jobs, workers=workers or cores(), observers=observers)


def _lines(
    chosen: Table, budget: Budget, study: StudyFolder, rows: Mapping[str, Sequence[Job]]
) -> list[Line]:
    from workbench.compare.collect import status_of
    from workbench.reproduce import lines_of
    from workbench.runfolder import read_results

    folders = {name: [study.run(job.name).path for job in jobs] for name, jobs in rows.items()}
    results = {
        name: [read_results(one) for one in places if one.is_dir() and status_of(one) == "finished"]
        for name, places in folders.items()
    }
    return lines_of(chosen, budget, results)


HEADER = ("row", "measure", "published", "measured", "95 % interval", "seeds", "difference")


def _cells(line: Line) -> tuple[str, ...]:
    digits = 3 if line.measure == "test loss" else 2
    figure, found = line.published, line.measured
    published = f"{figure.value:.{digits}f}" + (
        "" if figure.spread is None else f" ± {figure.spread:.{digits}f}"
    )
    middle, ends, seeds = "–", "–", "0"
    if found is not None:
        middle, seeds = f"{found.mean:.{digits}f}", str(found.seeds)
        if found.low is not None and found.high is not None:
            ends = f"{found.low:.{digits}f} to {found.high:.{digits}f}"
    apart = "–" if line.difference is None else f"{line.difference:+.{digits}f}"
    return line.row, line.measure, f"{published} [{line.provenance}]", middle, ends, seeds, apart


def _terminal_table(lines: Sequence[Line]) -> str:
    return table(HEADER, [_cells(line) for line in lines])


def _remarks(chosen: Table, lines: Sequence[Line]) -> list[str]:
    """Return what must be said beside the table."""
    from workbench.reproduce import PROVENANCE

    used = dict.fromkeys(line.provenance for line in lines)
    remarks = [f"[{one}] published figures {PROVENANCE[one]}." for one in used]
    if chosen.spread is not None:
        remarks.append(f"{chosen.spread}.")
    remarks.append("The interval is Student's t over seeds; a single seed has none.")
    return [*remarks, *(f"Differs: {one}" for one in chosen.differs)]


def _markdown(name: str, chosen: Table, lines: Sequence[Line], warnings: Sequence[str]) -> str:
    rows = [HEADER, ("---", "---") + ("---:",) * (len(HEADER) - 2), *map(_cells, lines)]
    text = [f"# {chosen.title}", "", f"Published: {chosen.source}. Rerun: `workbench reproduce {name}`.", ""]
    text += [f"**{warning}**\n" for warning in warnings]
    text += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([*text, "", *(f"* {one}" for one in _remarks(chosen, lines))]) + "\n"
