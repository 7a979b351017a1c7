"""`workbench list`, `show`, `check`: what is installed, its settings, and whether it keeps its contract."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.output import table

if TYPE_CHECKING:
    from workbench.checks import CheckResult

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LONGEST_CELL = 40
"""Characters of a type or default in `workbench show`; a longer one goes on in the next line."""
SECTIONS = ("train", "track", "diagnose", "stream", "cost", "general")

check_app = typer.Typer(rich_markup_mode=None, no_args_is_help=True, help="Hold a plug-in to its contract.")


def list_plugins(
    kind: Annotated[
        str | None,
        typer.Argument(help="scenario, learner, backbone or hardware; default: all", show_default=False),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List the installed plug-ins; a broken one is shown with the reason."""
    from workbench.registry import Registry

    entries = Registry.discover().entries(kind)
    if as_json:
        typer.echo(json.dumps([asdict(entry) for entry in entries], indent=2))
        return
    rows = [
        (
            entry.kind,
            entry.name,
            f"{entry.package} {entry.version}".strip(),
            entry.summary if entry.status == "ok" else f"{entry.status.upper()}: {entry.reason}",
        )
        for entry in entries
    ]
    typer.echo(table(("kind", "name", "package", "summary"), rows))


def show_plugin(
    first: Annotated[
        str,
        typer.Argument(
            metavar="KIND_OR_NAME", help="A plug-in, its kind, or train, track, general.", show_default=False
        ),
    ],
    name: Annotated[
        str | None, typer.Argument(help="The plug-in, after its kind.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show what a plug-in does and every setting: key as typed, type, default, range, meaning."""
    from workbench.plugin import GROUPS

    if name is None and first in GROUPS:
        list_plugins(first, as_json)
        return
    section = _section(first) if name is None else None
    description = section if section is not None else _describe(first, name)
    if as_json:
        fields = [field.to_dict() for field in description["fields"]]
        typer.echo(json.dumps({**description, "fields": fields}, indent=2))
        return
    typer.echo(description["title"])
    if description["doc"]:
        typer.echo(f"\n{description['doc']}")
    rows = [
        (field.key, field.type, field.shown_default, field.range or "-", field.description)
        for field in description["fields"]
    ]
    typer.echo(
        "\n"
        + (
            table(("key", "type", "default", "range", "description"), rows, lead=LONGEST_CELL)
            if rows
            else "No settings."
        )
    )
    for note in description["notes"]:
        typer.echo(f"\n{note}")


@check_app.command("learner")
def check_learner_command(
    name: Annotated[str, typer.Argument(help="Learner, as in `workbench list learner`.", show_default=False)],
) -> None:
    """Hold a learner to its contract; exit 1 if it breaks it."""
    from workbench.checks import check_learner

    _show_results(check_learner(name))


@check_app.command("hardware")
def check_hardware_command(
    name: Annotated[
        str, typer.Argument(help="Hardware, as in `workbench list hardware`.", show_default=False)
    ],
) -> None:
    """Hold hardware to its contract, under every rule and backbone; exit 1 if it breaks it."""
    from workbench.checks import check_hardware

    _show_results(check_hardware(name))


def _show_results(results: Sequence[CheckResult]) -> None:
    rows = [("ok" if result.passed else "FAILED", result.name, result.detail) for result in results]
    typer.echo(table(("result", "check", "detail"), rows))
    if not all(result.passed for result in results):
        raise typer.Exit(1)


def _section(name: str) -> dict[str, Any] | None:
    """Describe `train`, `stream`, ..., the general settings, or one of them; None if `name` is none of these."""
    from workbench.fields import describe_fields
    from workbench.plugin import PluginConfig
    from workbench.sections import (
        CostConfig,
        DiagnoseConfig,
        GeneralConfig,
        StreamConfig,
        TrackConfig,
        TrainConfig,
    )

    models: dict[str, type[PluginConfig]] = {
        "train": TrainConfig,
        "track": TrackConfig,
        "diagnose": DiagnoseConfig,
        "stream": StreamConfig,
        "cost": CostConfig,
        "general": GeneralConfig,
    }
    single = name if name in GeneralConfig.model_fields else None
    section = "general" if single else name
    if section not in models:
        return None
    fields = describe_fields(models[section], "" if section == "general" else section)
    if single:
        fields = [field for field in fields if field.key == single]
    return {
        "title": inspect.cleandoc(models[section].__doc__ or "").splitlines()[0],
        "name": name,
        "doc": "",
        "fields": fields,
        "notes": [],
    }


def _describe(first: str, second: str | None) -> dict[str, Any]:
    """Describe a plug-in given by name, or by kind and name."""
    from workbench.fields import describe_fields
    from workbench.plugin import Modifier, Scenario
    from workbench.registry import Registry, summary_of

    registry = Registry.discover()
    kind, name = (first, second) if second is not None else (_kind_of(first, registry), first)
    plugin = registry.load(kind, name)
    bare = name.rpartition(":")[2]
    source = next(
        f"{one.package} {one.version}".strip()
        for one in registry.registrations
        if (one.kind, one.name) == (kind, bare) and name in (bare, f"{one.package}:{bare}")
    )
    notes: list[str] = []
    prefix = kind
    if issubclass(plugin, Modifier):
        prefix = f"{kind}.{bare}"
        notes.append(
            f"A modifier: learner=RULE+{name}; learner={name} alone is learner={plugin.default_rule}+{name}."
        )
    if issubclass(plugin, Scenario):
        notes.append(
            f"Unless given: train.epochs={plugin.default_epochs} train.batch_size={plugin.default_batch_size}"
        )
    doc = inspect.cleandoc(plugin.__doc__ or "")
    return {
        "title": f"{kind} {name} ({source})",
        "kind": kind,
        "name": name,
        "package": source,
        "summary": summary_of(plugin),
        "doc": doc,
        "fields": describe_fields(plugin.Config, prefix),
        "notes": notes,
    }


def _kind_of(name: str, registry: Any) -> str:
    """Return the one kind that has a plug-in of this name. Raises PluginError when none or several have."""
    from workbench.errors import PluginError, nearest
    from workbench.plugin import GROUPS

    bare = name.rpartition(":")[2]
    kinds = [kind for kind in GROUPS if bare in registry.names(kind)]
    if len(kinds) == 1:
        return kinds[0]
    if kinds:
        raise PluginError(
            f"{name!r} names several plug-ins; write {' or '.join(f'show {one} {name}' for one in kinds)}"
        )
    known = [*(one for kind in GROUPS for one in registry.names(kind)), *GROUPS, *SECTIONS]
    guess = nearest(name, known)
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise PluginError(f"unknown plug-in {name!r}{hint} (known: {', '.join(known)})")
