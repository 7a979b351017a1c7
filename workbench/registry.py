"""Plug-in discovery by entry points. A broken plug-in is listed with its reason and disturbs no other.

A name is unique within a kind. When two packages register the same one, neither wins: both are listed as in
conflict, and `package:name` says which is meant.
"""

from __future__ import annotations

import contextlib
import inspect
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from typing import Literal

from workbench.errors import PluginError, nearest
from workbench.plugin import (
    GROUPS,
    Backbone,
    Hardware,
    LazyConfig,
    Modifier,
    Plugin,
    PluginConfig,
    Rule,
    Scenario,
)

BASES: dict[str, tuple[type[Plugin], ...]] = {
    "scenario": (Scenario,),
    "learner": (Rule, Modifier),
    "backbone": (Backbone,),
    "hardware": (Hardware,),
}
Status = Literal["ok", "broken", "conflict"]
# Dot, plus, colon and equals sign have a meaning in `learner=package:rule+modifier learner.modifier.key=1`.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


@dataclass(frozen=True)
class PluginEntry:
    """One registered plug-in as `workbench list` shows it; `reason` says why it is not ok."""

    name: str
    kind: str
    package: str
    version: str
    status: Status
    reason: str
    summary: str


@dataclass(frozen=True)
class Registration:
    """An entry point and the installed package that declares it."""

    kind: str
    entry_point: EntryPoint
    package: str
    version: str

    @property
    def name(self) -> str:
        """The plug-in's name, without the package."""
        return self.entry_point.name


@dataclass
class Registry:
    """The plug-ins of the four kinds; each is imported once, when it is first asked for."""

    registrations: tuple[Registration, ...]
    _loaded: dict[Registration, type[Plugin] | PluginError] = field(default_factory=dict, repr=False)

    @classmethod
    def discover(cls) -> Registry:
        """Return the plug-ins of every installed package, without importing any."""
        found: dict[tuple[str, str, str], Registration] = {}
        # A package's metadata are read once, not once for each of its plug-ins.
        packages: dict[int, tuple[str, str]] = {}
        everything = (
            entry_points()
        )  # one pass over what is installed; a pass takes longer than all the rest here
        for kind, group in GROUPS.items():
            for entry_point in everything.select(group=group):
                source = id(entry_point.dist)
                if source not in packages:
                    packages[source] = _distribution(entry_point)
                package, version = packages[source]
                registration = Registration(kind, entry_point, package, version)
                # An editable install can show its metadata twice; the first is what Python imports.
                found.setdefault((kind, registration.name, package), registration)
        return cls(tuple(found.values()))

    def entries(self, kind: str | None = None) -> list[PluginEntry]:
        """Return the plug-ins of one kind, or of all, by kind and name; PluginError on an unknown kind."""
        kinds = [self._known_kind(kind)] if kind is not None else list(GROUPS)
        chosen = [one for one in self.registrations if one.kind in kinds]
        chosen.sort(key=lambda one: (kinds.index(one.kind), one.name, one.package))
        return [self._entry(one) for one in chosen]

    def names(self, kind: str) -> list[str]:
        """Return the names registered for one kind, sorted, whether or not they load."""
        return sorted({one.name for one in self._of(kind)})

    def load(self, kind: str, name: str) -> type[Plugin]:
        """Return the class registered as `name`, or as `package:name`.

        Raises PluginError when the name is unknown or ambiguous or its plug-in broken, saying what to do.
        """
        package, _, bare = name.rpartition(":")
        found = [one for one in self._of(kind) if one.name == bare and package in ("", one.package)]
        if not found:
            raise PluginError(self._unknown(kind, name))
        if len(found) > 1:
            choices = " or ".join(f"{kind}={one.package}:{one.name}" for one in found)
            raise PluginError(
                f"{kind} {name!r} is registered by {len(found)} packages; choose one: {choices}"
            )
        loaded = self._load(found[0])
        if isinstance(loaded, PluginError):
            package = f"{found[0].package} {found[0].version}".strip()
            raise PluginError(f"{kind} {name!r} of {package} is broken: {loaded}") from loaded
        return loaded

    def _known_kind(self, kind: str) -> str:
        if kind not in GROUPS:
            guess = nearest(kind, GROUPS)
            hint = f"; did you mean {guess}?" if guess else ""
            raise PluginError(f"unknown kind of plug-in {kind!r}{hint} (kinds: {', '.join(GROUPS)})")
        return kind

    def _of(self, kind: str) -> Iterable[Registration]:
        self._known_kind(kind)
        return [one for one in self.registrations if one.kind == kind]

    def _unknown(self, kind: str, name: str) -> str:
        known = self.names(kind)
        if not known:
            return (
                f"unknown {kind} {name!r}: no {kind} is registered; is the package that brings it installed?"
            )
        qualified = [f"{one.package}:{one.name}" for one in self._of(kind)] if ":" in name else known
        guess = nearest(name, qualified)
        hint = f"; did you mean {guess!r}?" if guess else ""
        return f"unknown {kind} {name!r}{hint} (known: {', '.join(qualified)})"

    def _load(self, registration: Registration) -> type[Plugin] | PluginError:
        if registration not in self._loaded:
            self._loaded[registration] = _import(registration)
        return self._loaded[registration]

    def _entry(self, registration: Registration) -> PluginEntry:
        loaded = self._load(registration)
        rivals = [one.package for one in self._of(registration.kind) if one.name == registration.name]
        status: Status = "ok"
        reason = summary = ""
        if isinstance(loaded, PluginError):
            status, reason = "broken", str(loaded)
        else:
            summary = summary_of(loaded)
            if len(rivals) > 1:
                status = "conflict"
                reason = (
                    f"also registered by {', '.join(one for one in rivals if one != registration.package)}"
                )
                reason += f"; write {registration.kind}={registration.package}:{registration.name}"
        return PluginEntry(
            registration.name,
            registration.kind,
            registration.package,
            registration.version,
            status,
            reason,
            summary,
        )


def summary_of(plugin: type[Plugin]) -> str:
    """Return the first line of a plug-in's own docstring, or an empty text."""
    lines = (plugin.__doc__ or "").strip().splitlines()
    return lines[0].strip() if lines else ""


def _distribution(entry_point: EntryPoint) -> tuple[str, str]:
    # Damaged metadata of some other package must not keep ours from being listed.
    try:
        distribution = entry_point.dist
        if distribution is not None:
            return str(distribution.metadata["Name"] or "unknown package"), str(distribution.version or "")
    except Exception:
        pass
    return "unknown package", ""


def _import(registration: Registration) -> type[Plugin] | PluginError:
    """Import one plug-in and hold it to its contract; whatever it raises becomes the reason."""
    try:
        # What a plug-in prints while it is imported must not end up in `workbench list --json`.
        with contextlib.redirect_stdout(sys.stderr):
            loaded = registration.entry_point.load()
        reason = _breach(registration, loaded)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # SystemExit too: a plug-in must not be able to end `workbench list`.
        text = str(error).strip().splitlines()
        failure = PluginError(type(error).__name__ + (f": {text[0]}" if text else ""))
        failure.__cause__ = error
        return failure
    return PluginError(reason) if reason else loaded


def _breach(registration: Registration, loaded: object) -> str:
    """Return how a loaded object breaks the contract of its kind, or an empty text."""
    if not _NAME.fullmatch(registration.name):
        return f"the name {registration.name!r} may hold only letters, digits, - and _"
    bases = BASES[registration.kind]
    wanted = " or ".join(f"workbench.plugin.{base.__name__}" for base in bases)
    if not isinstance(loaded, type):
        return f"{registration.entry_point.value} is not a class; wanted a subclass of {wanted}"
    if not issubclass(loaded, bases):
        return f"{registration.entry_point.value} is not a subclass of {wanted}"
    config = inspect.getattr_static(loaded, "Config")
    if isinstance(config, LazyConfig):
        config = config.base
    if not (isinstance(config, type) and issubclass(config, PluginConfig)):
        return f"{loaded.__name__}.Config is not a subclass of workbench.plugin.PluginConfig"
    if "name" in config.model_fields:
        return f"{loaded.__name__}.Config has a field 'name', which is reserved for the plug-in's own name"
    return ""
