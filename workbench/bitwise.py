"""Two run folders side by side, bit for bit: what is equal, and the first place where something is not."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import DataError
from workbench.results import MEASURES
from workbench.runfolder import MetricRow, RunFolder, read_metrics, read_results

if TYPE_CHECKING:
    from torch import Tensor

    from workbench.checkpoint import Checkpoint

TIMED_ROWS = frozenset(("seconds", "samples_per_second"))
"""Metrics that a clock decides."""
TIMED_RESULTS = frozenset(("time", "throughput"))
APART = frozenset(("versions", "config", "schema_version", "status"))
"""Results that are compared elsewhere, or say how the run was made and not what came out."""
SECTIONS: Mapping[str, tuple[str, ...]] = {
    "data": ("dataset",),
    "tasks": ("scenario", "tasks", "samples", "epochs", "predicts_steps"),
    "learner and network": ("learner", "backbone", "hardware", "seed"),
    "R": ("R",),
    "untrained network": ("baseline",),
    "test losses": ("test_loss",),
    "measures": (*MEASURES, "learned"),
    "spike rates": ("spike_rates",),
    "memory": ("memory",),
}
"""Keys of results.json by what they are about; those that stand nowhere here are compared as `further results`."""

MOST_SPELLED_OUT = 4
DIGEST_SHOWN = 12

Leaf = tuple[str, Any]
"""A value and where it stands, `R[1][0]`."""


@dataclass(frozen=True)
class Comparison:
    """One kind of content of two folders.

    extent: how much was compared, `25 numbers`. difference: None, or the first place where they differ with the saved
    and the new value. omitted: None, or why nothing was compared.
    """

    name: str
    extent: str = ""
    difference: str | None = None
    omitted: str | None = None


def compare_folders(saved: Path, again: Path) -> tuple[Comparison, ...]:
    """Return what two finished run folders hold, kind by kind. Raises DataError when a file is missing or damaged."""
    comparisons = [
        *compare_results(read_results(saved), read_results(again)),
        compare_metrics(read_metrics(saved), read_metrics(again)),
        *compare_checkpoints(RunFolder(saved).checkpoint_file, RunFolder(again).checkpoint_file),
    ]
    return tuple(comparisons)


def compare_results(saved: Mapping[str, Any], again: Mapping[str, Any]) -> list[Comparison]:
    """Return the comparisons of two contents of results.json; what a clock decides is left out."""
    sections = dict(SECTIONS)
    listed = {key for keys in sections.values() for key in keys} | TIMED_RESULTS | APART
    sections["further results"] = tuple(sorted((saved.keys() | again.keys()) - listed))
    return [found for name, keys in sections.items() if (found := _section(name, keys, saved, again))]


def _section(
    name: str, keys: Sequence[str], saved: Mapping[str, Any], again: Mapping[str, Any]
) -> Comparison | None:
    """Compare what the saved run has; what later versions of the code tell besides is named and not compared."""
    before = {key: _lasting(key, saved[key]) for key in keys if key in saved}
    after = {key: _lasting(key, again[key]) for key in keys if key in again}
    added: list[str] = []
    known = _without_new(after, before, "", added)
    new = ", ".join(added)
    if not before:
        return Comparison(name, omitted=f"{new}: the saved run has none") if new else None
    one, other = (
        [leaf for key in keys if key in side for leaf in leaves(side[key], key)] for side in (before, known)
    )
    return Comparison(name, _extent(one) + _unsaved(new), first_difference(one, other))


def _without_new(value: Any, like: Any, place: str, added: list[str]) -> Any:
    """Return nested data without the keys that `like` lacks, whose places go into `added`; lists stay whole.

    >>> added = []
    >>> _without_new({"a": {"x": 1, "y": 2}, "b": [1, 2]}, {"a": {"x": 0}, "b": [1]}, "", added), added
    ({'a': {'x': 1}, 'b': [1, 2]}, ['a.y'])
    """
    if not isinstance(value, Mapping) or not isinstance(like, Mapping):
        return value
    kept = {}
    for key, item in value.items():
        inner = f"{place}.{key}" if place else str(key)
        if key in like:
            kept[key] = _without_new(item, like[key], inner, added)
        else:
            added.append(inner)
    return kept


def _unsaved(new: str) -> str:
    return f"; the saved run lacks {new}" if new else ""


def _lasting(key: str, value: Any) -> Any:
    # The notice may quote what a server answered that day.
    if key == "dataset" and isinstance(value, Mapping):
        return {name: item for name, item in value.items() if name != "notice"}
    return value


def _extent(found: Sequence[Leaf]) -> str:
    values = [value for _, value in found if not isinstance(value, bool)]
    if any(isinstance(value, str) for value in values) and len(values) <= MOST_SPELLED_OUT:
        # A digest is told by its beginning, as git does.
        return ", ".join(
            value[:DIGEST_SHOWN] if place.endswith("digest") else str(value)
            for place, value in found
            if not isinstance(value, bool)
        )
    return _counted(len(values), "value" if any(isinstance(value, str) for value in values) else "number")


def leaves(value: Any, place: str = "") -> Iterator[Leaf]:
    """Yield every single value of nested plain data with its place, keys in sorted order.

    >>> list(leaves({"b": [1.5, None], "a": "x"}, "R"))
    [('R.a', 'x'), ('R.b[0]', 1.5), ('R.b[1]', None)]
    """
    if isinstance(value, Mapping):
        for key in sorted(value):
            yield from leaves(value[key], f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from leaves(item, f"{place}[{index}]")
    else:
        yield place, value


def first_difference(saved: Sequence[Leaf], again: Sequence[Leaf]) -> str | None:
    """Return the first place that differs, with both values; None if none does."""
    for (place, value), (other_place, other) in zip(saved, again, strict=False):
        if place != other_place:
            return f"the saved run has {place} where the rerun has {other_place}"
        if not same(value, other):
            return _told(place, value, other)
    if len(saved) != len(again):
        longer, whose = (saved, "the saved run") if len(saved) > len(again) else (again, "the rerun")
        return f"{longer[min(len(saved), len(again))][0]}: only {whose} has it"
    return None


def same(one: Any, other: Any) -> bool:
    """Return whether two plain values are the same, numbers bit for bit; NaN is NaN whatever its bits.

    >>> same(0.1 + 0.2, 0.3), same(0.0, -0.0), same(float("nan"), float("nan")), same(1, 1.0)
    (False, False, True, False)
    """
    if isinstance(one, float) and isinstance(other, float):
        if math.isnan(one) or math.isnan(other):
            return math.isnan(one) and math.isnan(other)
        return struct.pack("<d", one) == struct.pack("<d", other)
    return type(one) is type(other) and bool(one == other)


def compare_metrics(saved: Sequence[MetricRow], again: Sequence[MetricRow]) -> Comparison:
    """Compare every row of metrics.parquet that the saved run has, but those that a clock decides."""
    known = {row.key for row in saved} - TIMED_ROWS
    new = ", ".join(sorted({row.key for row in again} - known - TIMED_ROWS))
    one, other = (
        [(_place_of(row), row.value) for row in rows if row.key in known] for rows in (saved, again)
    )
    extent = f"{_counted(len(one), 'row')}, times left out"
    return Comparison("metrics", extent + _unsaved(new), first_difference(one, other))


def _place_of(row: MetricRow) -> str:
    when = "at the end" if row.epoch is None else f"epoch {row.epoch}"
    return f"{row.key} of task {row.task}, {when}"


def compare_checkpoints(saved: Path, again: Path) -> list[Comparison]:
    """Compare the weights of two checkpoints, and what optimiser, rule and modifiers carry on."""
    from workbench.checkpoint import Checkpoint

    found: list[Checkpoint] = []
    for file, whose in ((saved, "the saved run"), (again, "the rerun")):
        if not file.is_file():
            return [Comparison("weights", omitted=f"{whose} has no {file.name}")]
        try:
            found.append(Checkpoint.load(file))
        except DataError as error:
            return [Comparison("weights", omitted=str(error))]
    one, other = found
    if (one.task, one.epoch) != (other.task, other.epoch):
        place = f"task {one.task}, epoch {one.epoch}"
        return [Comparison("weights", omitted=f"{saved} stands at {place}, which is not the end of the run")]
    if not one.network or not other.network:
        return [Comparison("weights", omitted=f"{again if one.network else saved} holds none")]
    parts: dict[str, Callable[[Checkpoint], Any]] = {
        "weights": lambda checkpoint: checkpoint.network,
        "optimiser": lambda checkpoint: checkpoint.optimiser,
        "rule, modifiers": lambda checkpoint: {"rule": checkpoint.rule, "modifiers": checkpoint.modifiers},
    }
    compared = (_state(name, part(one), part(other)) for name, part in parts.items())
    return [comparison for comparison in compared if comparison is not None]


def _state(name: str, saved: Any, again: Any) -> Comparison | None:
    import torch

    one, other = list(leaves(saved)), list(leaves(again))
    if not one and not other:
        return None
    values = sum(value.numel() if isinstance(value, torch.Tensor) else 1 for _, value in one)
    difference = None
    for (place, value), (other_place, counterpart) in zip(one, other, strict=False):
        both = isinstance(value, torch.Tensor) and isinstance(counterpart, torch.Tensor)
        if place == other_place and both:
            difference = _first_element(place, value, counterpart)
        else:
            difference = first_difference([(place, value)], [(other_place, counterpart)])
        if difference is not None:
            break
    else:
        difference = first_difference(one[len(other) :], other[len(one) :])
    return Comparison(name, _counted(values, "number"), difference)


def _first_element(place: str, saved: Tensor, again: Tensor) -> str | None:
    """Return where two tensors `[...]` first differ in a bit, or in shape or type; None if nowhere."""
    import torch

    if saved.shape != again.shape or saved.dtype != again.dtype:
        return _told(place, f"{list(saved.shape)} {saved.dtype}", f"{list(again.shape)} {again.dtype}")
    if not saved.numel():
        return None
    size = saved.element_size()
    one, other = (each.contiguous().reshape(-1).view(torch.uint8).view(-1, size) for each in (saved, again))
    differing = (one != other).any(1).nonzero()
    if not len(differing):
        return None
    index = torch.unravel_index(differing[0, 0], saved.shape)
    spot = ", ".join(str(int(axis)) for axis in index)
    share = f"{len(differing):,} of {saved.numel():,} differ"
    return _told(f"{place}[{spot}]", saved[index].item(), again[index].item()) + f" ({share})"


def _told(place: str, saved: Any, again: Any) -> str:
    return f"{place}: saved {_shown(saved)}, rerun {_shown(again)}"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
