"""The command line's frame: its commands, its exit codes, and how errors are told."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, Any, cast

import typer

from workbench.cli.compare import HELP as COMPARE_HELP
from workbench.cli.compare import compare
from workbench.cli.data import data_app
from workbench.cli.feasibility import HELP as FEASIBILITY_HELP
from workbench.cli.feasibility import feasibility
from workbench.cli.output import complain, table
from workbench.cli.plugins import check_app, list_plugins, show_plugin
from workbench.cli.report import HELP as REPORT_HELP
from workbench.cli.report import report
from workbench.cli.reproduce import HELP as REPRODUCE_HELP
from workbench.cli.reproduce import reproduce
from workbench.cli.run import HELP, run
from workbench.cli.sweep import HELP as SWEEP_HELP
from workbench.cli.sweep import sweep
from workbench.cli.track import track_app
from workbench.cli.ui import HELP as UI_HELP
from workbench.cli.ui import ui
from workbench.cli.verify import HELP as VERIFY_HELP
from workbench.cli.verify import verify
from workbench.errors import WorkbenchError
from workbench.lazy import collector_at_rest

FAULTY_INPUT, FAILURE, INTERRUPTED = 2, 1, 130

# No Rich markup: it doubles the time that --help takes.
app = typer.Typer(
    rich_markup_mode=None,
    add_completion=False,
    help="Continual and online learning on spiking and state-space networks: forgetting, and its price.",
    epilog="Start with: workbench run scenario=split-digits learner=osttp",
)
app.command("run", help=HELP, short_help="Run one experiment.")(run)
app.command("verify", help=VERIFY_HELP, short_help="Run a run again and compare bit for bit.")(verify)
app.command("sweep", help=SWEEP_HELP, short_help="Run a grid of experiments.")(sweep)
app.command(
    "compare", help=COMPARE_HELP, short_help="Put runs side by side: means over seeds, what differs."
)(compare)
app.command(
    "feasibility", help=FEASIBILITY_HELP, short_help="Judge whether learners can learn on a chip's devices."
)(feasibility)
app.command("reproduce", help=REPRODUCE_HELP, short_help="Rerun a published table and compare.")(reproduce)
app.command("report", help=REPORT_HELP, short_help="Write a study as one HTML page.")(report)
app.command("list", short_help="List the installed plug-ins.")(list_plugins)
app.command("show", short_help="Show what a plug-in does and its settings.")(show_plugin)
app.add_typer(data_app, name="data")
app.add_typer(track_app, name="track")
app.command("ui", help=UI_HELP, short_help="Browse runs: MLflow's page on this machine.")(ui)
app.add_typer(check_app, name="check")


@app.callback(invoke_without_command=True)
def _frame(
    context: typer.Context,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command("version", short_help="Show the versions of the libraries.")
def version() -> None:
    """Show the versions of the workbench, Python and the libraries that results depend on."""
    import platform
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    from workbench import __version__

    rows = [("workbench", __version__), ("python", platform.python_version())]
    for package in ("torch", "avalanche-lib", "numpy", "numba", "scikit-learn", "mlflow", "pydantic"):
        try:
            rows.append((package, installed(package)))
        except PackageNotFoundError:
            rows.append((package, "not installed"))
    typer.echo(table(("package", "version"), rows))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code.

    0: done. 1: a run or check failed, or an unexpected error. 2: faulty input. 130: interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    if hasattr(sys.stdout, "reconfigure"):
        # A plug-in's text may hold letters that the terminal's encoding lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    # Some versions of Typer carry a copy of click of their own, so its classes are found by way of Typer's.
    usage_error, click_error = (cast("type[Exception]", one) for one in typer.BadParameter.__mro__[1:3])
    command = typer.main.get_command(app)
    try:
        with collector_at_rest() if given[:1] in (["list"], ["show"]) else nullcontext():
            result = command.main(args=given, prog_name="workbench", standalone_mode=False)
    except click_error as error:
        cast("Any", error).show()
        if isinstance(error, usage_error):
            _hint(error, given)
        return FAULTY_INPUT
    except (typer.Abort, KeyboardInterrupt):
        complain("interrupted")
        return INTERRUPTED
    except WorkbenchError as error:
        if debug:
            raise
        complain(str(error))
        return FAULTY_INPUT
    except Exception as error:
        if debug:
            raise
        complain(f"{type(error).__name__}: {error}".splitlines()[0])
        complain("run again with --debug for the traceback", label="hint", colour=typer.colors.YELLOW)
        return FAILURE
    return result if isinstance(result, int) else 0


def _hint(error: BaseException, given: Sequence[str]) -> None:
    """Tell the `key=value` way to someone who typed an option or left out the command."""
    unknown = type(error).__name__ == "NoSuchOption"
    option = str(getattr(error, "option_name", "")) if unknown else ""
    text = ""
    if option.startswith("--") and given[:1] == ["run"]:
        place = next((index for index, one in enumerate(given) if one.partition("=")[0] == option), None)
        value = "VALUE"
        if place is not None:
            following = given[place + 1] if place + 1 < len(given) else ""
            typed = given[place].partition("=")[2] or ("" if following.startswith("-") else following)
            value = typed if typed and ("=" not in typed or "=" in given[place]) else "VALUE"
        text = f"settings are written key=value, without dashes: {option.lstrip('-')}={value}"
    elif given and "=" in given[0] and not given[0].startswith("-"):
        text = f"settings follow the command: workbench run {' '.join(given)}"
    if text:
        complain(text, label="hint", colour=typer.colors.YELLOW)
