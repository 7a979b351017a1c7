"""What a run was measured to do and to cost: the columns that a comparison can show."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from statistics import harmonic_mean
from typing import Any, Literal

from workbench.errors import ConfigurationError, nearest

Kind = Literal["percent", "points", "bytes", "joules", "seconds", "count", "rate", "number"]
Results = Mapping[str, Any]

HEADLINE = ("acc", "bwt", "forgetting", "memory", "energy", "time_train")
"""What a table shows when nothing is asked for."""
ON_DEVICES = "device_writes_max"
"""What it shows besides where there are runs on devices."""
MEMORY = ("parameters", "gradients", "optimiser", "activations", "traces", "replay", "other")


@dataclass(frozen=True)
class Measure:
    """One number of a run.

    name: as chosen with --columns. title: head of its column. read: takes it from results.json; None where a run does
    not have it. higher: whether more is better. fixed: settled by the configuration, not by chance, so that a
    difference needs no statistics.
    """

    name: str
    title: str
    kind: Kind
    higher: bool
    meaning: str
    read: Callable[[Results], float | None]
    fixed: bool = False


def measures() -> tuple[Measure, ...]:
    """Return all measures in the order of their columns."""
    costs = (*_operations(), *_words(), *_energy(), *_writes(), *_devices())
    return (*_accuracies(), *_memory(), *costs, *_times())


def chosen(names: Sequence[str]) -> tuple[Measure, ...]:
    """Return measures by name or pattern (`memory*`), in the order asked for; `all` means all.

    Raises ConfigurationError for a name that none has, with the nearest.

    >>> [one.name for one in chosen(["time*", "acc"])]
    ['time_train', 'time_total', 'acc']
    """
    known = {one.name: one for one in measures()}
    found: dict[str, Measure] = {}
    for name in names:
        wanted = "*" if name == "all" else name
        fitting = {key: one for key, one in known.items() if fnmatchcase(key, wanted)}
        if not fitting:
            guess = nearest(name, [*known, "all"])
            hint = f"; did you mean {guess}?" if guess else ""
            raise ConfigurationError(f"no column {name!r}{hint} There are: all, {', '.join(known)}")
        found |= {key: one for key, one in fitting.items() if key not in found}
    return tuple(found.values())


def at(*keys: str) -> Callable[[Results], float | None]:
    """Return what reads the number under nested keys; None where a key is absent or holds no number."""

    def read(results: Results) -> float | None:
        value: Any = results
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None

    return read


def _accuracies() -> list[Measure]:
    return [
        Measure("acc", "ACC", "percent", True, "mean accuracy over tasks at the end", at("acc")),
        Measure("learned", "learned", "percent", True, "mean accuracy of a task just learned", _learned),
        Measure("bwt", "BWT", "points", True, "backward transfer: below 0, forgotten", at("bwt")),
        Measure("fwt", "FWT", "points", True, "forward transfer: head start on the next task", at("fwt")),
        Measure(
            "forgetting", "forgetting", "points", False, "drop from the best to the end", at("forgetting")
        ),
        Measure("loss", "test loss", "number", False, "mean test loss over tasks at the end", _loss),
    ]


def _memory() -> list[Measure]:
    first = [
        Measure(
            "memory",
            "memory",
            "bytes",
            False,
            "measured, for learning",
            at("memory", "measured", "total"),
            True,
        ),
        Measure(
            "memory_formula",
            "memory, formula",
            "bytes",
            False,
            "the learner's own formula",
            at("memory", "formula", "total"),
            True,
        ),
    ]
    parts = [
        Measure(
            f"memory_{part}", part, "bytes", False, f"measured, {part}", at("memory", "measured", part), True
        )
        for part in MEMORY
    ]
    return first + parts


def _operations() -> list[Measure]:
    total = at("operations", "total")
    found = [
        Measure("operations", "operations", "count", False, "per training sample", total, True),
    ]
    for phase in ("forward", "learning"):
        pair = [at("operations", phase, kind) for kind in ("mac", "ac")]
        found += [
            Measure(
                f"operations_{phase}", f"operations, {phase}", "count", False, "per sample", _sum(pair), True
            ),
            Measure(f"mac_{phase}", f"MAC, {phase}", "count", False, "multiply-accumulates", pair[0], True),
            Measure(f"ac_{phase}", f"AC, {phase}", "count", False, "accumulates, by spikes", pair[1], True),
        ]
    return found


def _words() -> list[Measure]:
    names = {"": "total", "_forward": "forward", "_learning": "learning"}
    return [
        Measure(
            f"words{name}",
            "words" + (f", {key}" if name else ""),
            "count",
            False,
            "moved, as if all were digital",
            at("operations", "words", key),
            True,
        )
        for name, key in names.items()
    ]


def _energy() -> list[Measure]:
    found = [Measure("energy", "energy", "joules", False, "per training sample", at("energy", "total"))]
    parts = {
        **dict.fromkeys(("forward", "learning"), "per training sample"),
        "digital": "arithmetic and words moved",
        "arithmetic": "digital operations alone",
        "words": "words moved alone",
        "cells": "devices read and written",
        "periphery": "what surrounds devices",
        "writes": "writing weights or devices",
    }
    return found + [
        Measure(f"energy_{part}", f"energy, {part}", "joules", False, meaning, at("energy", part))
        for part, meaning in parts.items()
    ]


def _writes() -> list[Measure]:
    names = {
        "writes": ("writes", "of weights by the optimiser, over the run", "total"),
        "writes_per_sample": ("writes / sample", "of weights by the optimiser", "per_sample"),
        "writes_per_parameter": ("writes / parameter", "by the optimiser, over the run", "per_parameter"),
        "updates": ("updates", "of the network, over the run", "updates"),
    }
    return [
        Measure(name, title, "count", False, meaning, at("writes", key), True)
        for name, (title, meaning, key) in names.items()
    ]


def _devices() -> list[Measure]:
    writes = {
        "device_writes": ("device writes", "of all devices, over the run", "total"),
        "device_writes_per_sample": ("device writes / sample", "of all devices", "per_sample"),
        "device_writes_max": ("device writes, most", "of one device, over the run: endurance", "max"),
        "device_writes_p99": ("device writes, 99 %", "99 of 100 devices no more, over the run", "p99"),
    }
    reads = {
        "device_reads": ("device reads", "devices read, per training sample", "cells"),
        "tile_reads": ("tile reads", "per training sample", "tiles"),
        "conversions": ("conversions", "outputs of tiles, per training sample", "converted"),
    }
    found = [
        Measure(name, title, "count", False, meaning, at("devices", "writes", key))
        for name, (title, meaning, key) in writes.items()
    ]
    return found + [
        Measure(name, title, "count", False, meaning, at("operations", "reads", "total", key))
        for name, (title, meaning, key) in reads.items()
    ]


def _times() -> list[Measure]:
    return [
        Measure("time_train", "training", "seconds", False, "time of training alone", at("time", "train")),
        Measure("time_total", "time", "seconds", False, "time of the whole run", at("time", "total")),
        Measure("throughput", "samples/s", "rate", True, "training samples per second", _throughput),
    ]


def _sum(parts: Sequence[Callable[[Results], float | None]]) -> Callable[[Results], float | None]:
    def read(results: Results) -> float | None:
        known = [value for value in (part(results) for part in parts) if value is not None]
        return sum(known) if known else None

    return read


def _learned(results: Results) -> float | None:
    rows = results.get("R") or []
    known = [row[task] for task, row in enumerate(rows) if row[task] is not None]
    return sum(known) / len(known) if known and len(known) == len(rows) else None


def _loss(results: Results) -> float | None:
    rows = results.get("test_loss") or [[]]
    known = [loss for loss in rows[-1] if loss is not None]
    return sum(known) / len(known) if known and len(known) == len(rows[-1]) else None


def _throughput(results: Results) -> float | None:
    """Tasks of one size take the time that the harmonic mean of their rates stands for."""
    given = results.get("throughput")
    rates = given.get("samples_per_second") if isinstance(given, Mapping) else given
    known = [rate for rate in (rates if isinstance(rates, list) else [rates]) if rate]
    return harmonic_mean(known) if known else None
