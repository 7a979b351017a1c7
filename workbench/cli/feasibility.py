"""`workbench feasibility`: whether learners can learn on devices within the budgets of a chip."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.options import Address, Engine, StudyFile, Workers
from workbench.cli.output import table
from workbench.errors import ConfigurationError

if TYPE_CHECKING:
    from workbench.feasibility.plan import Plan
    from workbench.feasibility.request import Request
    from workbench.feasibility.study import Study
    from workbench.registry import Registry
    from workbench.sweep.conductor import Summary

WIDTH = 120
"""Characters of a line where the output is no terminal."""

# A line with only a backspace keeps the line breaks of the paragraph that follows.
HELP = """Judge whether learners can learn on a chip: each learner on each device, against budgets and ideal hardware.

Every pair gets a verdict with reasons: locality, memory, endurance, energy, accuracy, forgetting. Curves of accuracy
follow what a device may be worse in: bits, noise, asymmetry, stuck, drift.

\b
  workbench feasibility scenario=split-digits learner=osttp,bptt hardware=pcm,ecram --out study
  workbench feasibility scenario=split-shd --no-sensitivity budget.sram=64KiB budget.endurance=1e6
  workbench feasibility learner=osttp hardware=pcm --only noise,drift sensitivity.noise=0,1,3
  workbench feasibility --out study                    go on with the study in that folder
  workbench feasibility --from study budget.power=10mW    judge its runs again, run nothing

\b
  learner, hardware, seed   several values; default osttp,sltt,bptt,eprop on pcm,reram-om,ecram, seeds 0..2
  any other setting         one value, as in `workbench run`; those of some devices alone are for these
  budget.sram=256KiB        digital memory for learning, besides the weights
  budget.endurance=1e6      writes; or survey-min (default), survey-max, device
  budget.lifetime=5y        how long it shall learn
  budget.rate=continuous    training sequences a second: 2Hz, 1000/d; continuous: one after the other
  budget.power=1mW          mean power of learning
  budget.energy=2uJ         of a training sequence; default none
  budget.loss=5%            accuracy that may be lost against ideal hardware
  sensitivity.AXIS=VALUES   values along an axis

The study is a sweep: its folder holds runs/, jobs/ and logs/, and goes on where it was left. What comes of it is in
feasibility.html (one page, no network), .txt, .json (every number with its run folders) and pictures/. Exit code: 0 all
runs finished, whatever the verdicts, 1 some are not, 2 faulty input, 130 interrupted.
"""


def feasibility(
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE[,VALUE...]",
            help="Learners, devices, settings, budgets, see above.",
            show_default=False,
        ),
    ] = None,
    config: StudyFile = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", metavar="STUDY", help="Study folder. Default: studies/ and a name made for it."
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="STUDY",
            help="Judge this study's runs again; into --out if given, else into its own folder.",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="AXES", help="Follow these axes alone: bits,noise, say."),
    ] = None,
    no_sensitivity: Annotated[bool, typer.Option("--no-sensitivity", help="Follow no axis.")] = False,
    sensitivity_seeds: Annotated[
        int | None,
        typer.Option("--sensitivity-seeds", metavar="N", help="Seeds along the axes: the first N of all."),
    ] = None,
    workers: Workers = 0,
    engine: Engine = "local",
    address: Address = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print how many runs and how long; run nothing.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print nothing but errors.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the study as JSON, and nothing else.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run and judge a feasibility study; see HELP."""
    from workbench.registry import Registry

    registry = Registry.discover()
    if only is not None and no_sensitivity:
        raise ConfigurationError("--only, --no-sensitivity: give one of them")
    axes = [] if no_sensitivity else None if only is None else _names(only)
    if source is not None:
        _refuse(config=config, only=axes, sensitivity_seeds=sensitivity_seeds, dry_run=dry_run or None)
        _judge_again(source, overrides or (), out, registry, _Voice(quiet, as_json))
        return
    from workbench.sweep.engines import cores, engine_named

    chosen = engine_named(engine, address)
    request, folder = _asked_for(overrides or (), config, out, axes, sensitivity_seeds, registry)
    from workbench.feasibility.plan import plan_of

    plan = plan_of(request, registry)
    at_once = workers or (cores() if address is None else 0)
    if dry_run:
        _print_forecast(plan, folder, at_once or cores(), as_json)
        return
    voice = _Voice(quiet, as_json)
    summary = _run(plan, request, folder, voice, workers=at_once, engine=chosen, address=address)
    _show(request, folder, folder, registry, voice)
    if summary.interrupted:
        raise typer.Exit(130)
    raise typer.Exit(0 if summary.complete else 1)


class _Voice:
    """How much is printed: all that a person wants to see, JSON alone, or nothing."""

    def __init__(self, quiet: bool, as_json: bool) -> None:
        self.as_json = as_json
        self.silent = quiet or as_json

    def say(self, study: Study, files: Sequence[Path]) -> None:
        """Print what came of a study."""
        if self.as_json:
            from workbench.feasibility.study import content

            told = {"study": str(study.folder), "files": [str(file) for file in files], **content(study)}
            typer.echo(json.dumps(told, indent=2, allow_nan=False))
        elif not self.silent:
            from rich.console import Console

            from workbench.feasibility.terminal import print_study

            console = Console(width=None if sys.stdout.isatty() else WIDTH)
            console.print()
            print_study(console, study)
            page = next(file for file in files if file.suffix == ".html")
            typer.echo(f"\n{page}\n{len(files) - 1} more files beside it: numbers, text, pictures")


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _refuse(**given: Any) -> None:
    """Raise ConfigurationError if an option was given that has no meaning with --from."""
    for name, value in given.items():
        if value is not None:
            option = "--only, --no-sensitivity" if name == "only" else f"--{name.replace('_', '-')}"
            raise ConfigurationError(f"{option}: has no meaning with --from, which runs nothing")


def _judge_again(
    source: Path, overrides: Sequence[str], out: Path | None, registry: Registry, voice: _Voice
) -> None:
    """Judge the runs of a study by other budgets; its own files change unless there is another folder for it."""
    from workbench.feasibility.request import FILE, read_request, rebudgeted, write_request

    request = rebudgeted(read_request(source), overrides)
    folder = source if out is None else out
    own = folder.resolve() == source.resolve()
    if not own and (folder / FILE).exists():
        raise ConfigurationError(f"--out {folder}: is another study; name a new folder")
    _show(request, source, folder, registry, voice)
    if own:
        write_request(source, request)


def _asked_for(
    overrides: Sequence[str],
    config: Path | None,
    out: Path | None,
    only: Sequence[str] | None,
    axis_seeds: int | None,
    registry: Registry,
) -> tuple[Request, Path]:
    """Return the study to run and its folder. Raises ConfigurationError."""
    from workbench.feasibility.request import FILE, budgets_alone, read_request, rebudgeted, request_of

    stored = read_request(out) if out is not None and (out / FILE).is_file() else None
    if budgets_alone(overrides) and config is None and only is None and axis_seeds is None:
        if stored is not None and out is not None:
            return rebudgeted(stored, overrides), out
        raise ConfigurationError(
            "nothing to study: give learner=, hardware=, scenario= (see --help), --config FILE, or --out STUDY to go on"
        )
    request = request_of(overrides, registry, config, only=only, axis_seeds=axis_seeds)
    if out is not None:
        if stored is not None and stored.scenario != request.scenario:
            raise ConfigurationError(
                f"--out {out}: holds a study of {stored.scenario}, and scenario={request.scenario} is asked for; "
                "name another folder"
            )
        return request, out
    # Budgets change no run: with others, it is the same study.
    content = {key: value for key, value in request.to_dict().items() if key != "budget"}
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:8]
    return request, Path("studies") / f"feasibility-{request.scenario}-{digest}"


def _run(plan: Plan, request: Request, folder: Path, voice: _Voice, **options: Any) -> Summary:
    """Run what is missing of a study."""
    from workbench.cli.run import stdout_kept_clean
    from workbench.cli.sweep import observers
    from workbench.feasibility.request import write_request
    from workbench.sweep.conductor import conduct_sweep
    from workbench.sweep.folder import StudyFolder

    for grid in plan.grids:
        study = StudyFolder.make(folder, grid)
    write_request(folder, request)
    jobs = plan.named(folder).jobs
    with stdout_kept_clean() if voice.silent else nullcontext():
        return conduct_sweep(study, jobs, observers=observers(jobs, voice.silent, advice=False), **options)


def _show(request: Request, source: Path, folder: Path, registry: Registry, voice: _Voice) -> None:
    """Judge a study, write its files into a folder, and print what came of it."""
    from workbench.feasibility.pictures import pictures
    from workbench.feasibility.saved import save
    from workbench.feasibility.study import read_study

    study = read_study(source, request, registry)
    voice.say(study, save(study, pictures(study, registry), folder))


def _print_forecast(plan: Plan, folder: Path, workers: int, as_json: bool) -> None:
    """Print how many runs each part of a study has, and how long those to run may take."""
    from workbench.cli.run import stdout_kept_clean
    from workbench.feasibility.forecast import forecast
    from workbench.report.units import duration
    from workbench.sweep.engines import threads_per_job

    with stdout_kept_clean():
        shares = forecast(plan, folder, threads_per_job(workers))
    runs, left = (sum(getattr(one, key) for one in shares) for key in ("runs", "left"))
    total = sum(one.seconds for one in shares)
    if as_json:
        content = {"study": str(folder), "parts": [vars(one) for one in shares]}
        typer.echo(json.dumps({**content, "runs": runs, "left": left, "seconds": total / workers}, indent=2))
        return
    rows = [
        (one.title, str(one.runs), str(one.left), duration(one.seconds) if one.left else "", one.values)
        for one in shares
    ]
    typer.echo(table(("part", "runs", "to run", "work", "values"), rows))
    for axis in plan.unused:
        typer.echo(f"not followed, none of the devices has it: {axis.name} ({axis.key})")
    typer.echo(
        f"\n{runs} runs, {left} to run: about {duration(total)} of work, {duration(total / workers)} with {workers} at "
        "once (half as long or twice, as the machine is busy)."
    )
    typer.echo(f"Nothing was run; leave out --dry-run to run it into {folder}.")
