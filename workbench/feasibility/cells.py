"""What is known of a device's endurance: the kind of its cells, a survey of cells of that kind, its settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from workbench.cost.endurance import surveyed
from workbench.feasibility.axes import settings_model
from workbench.feasibility.endurance import Cell
from workbench.feasibility.runs import Run
from workbench.plugin import Hardware
from workbench.registry import Registry

UNLIMITED = {"sram": "static memory", "capacitor": "a capacitor"}
"""Kinds of memory that are written as often as one likes."""


def cell_of(device: str, runs: Sequence[Run], registry: Registry) -> Cell:
    """Return what is known of a device; runs tell the settings they were run with.

    Raises PluginError for a device that is not registered.
    """
    kind = cast("type[Hardware]", registry.load("hardware", device)).cell_kind
    own = _own_endurance(device, runs, registry)
    if kind in UNLIMITED:
        return Cell(kind=UNLIMITED[kind], own=own, unlimited=True)
    found = None if kind is None else surveyed().get(kind)
    if found is None:
        return Cell(kind=kind, own=own)
    return Cell(found.names, found.least, found.most, found.source, own)


def _own_endurance(device: str, runs: Sequence[Run], registry: Registry) -> float | None:
    """Return the endurance that a device's settings say: those of its runs, or its default."""
    stored: list[Any] = [(run.results.get("config") or {}).get("hardware") or {} for run in runs[:1]]
    own = next((one["endurance"] for one in stored if one.get("endurance") is not None), None)
    if own is None and "endurance" in (fields := settings_model(device, registry).model_fields):
        own = fields["endurance"].default
    return None if own is None else float(own)
