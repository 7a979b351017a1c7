"""Groups of runs against measures: means with intervals, differences to a reference, and which group is best."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from workbench.compare.collect import Group, Unfinished, collect, grouped, unfinished
from workbench.compare.comparability import Block, blocks, notes
from workbench.compare.measures import HEADLINE, ON_DEVICES, Measure, chosen
from workbench.compare.statistics import Difference, Interval, best, holm, interval, paired_difference
from workbench.errors import ConfigurationError, DataError, nearest


@dataclass(frozen=True)
class Cell:
    """One measure of one group: its values by seed, their mean, whether it is best, how it differs from the reference.

    adjusted: p of that difference after Holm's correction for the number of groups compared with the reference.
    """

    values: dict[int, float]
    interval: Interval | None
    best: bool = False
    difference: Difference | None = None
    adjusted: float | None = None


@dataclass(frozen=True)
class Comparison:
    """A table of comparable groups: `cells[row][column]` belongs to `groups[row]` and `columns[column]`."""

    heading: str
    warnings: tuple[str, ...]
    notes: tuple[str, ...]
    groups: tuple[Group, ...]
    columns: tuple[Measure, ...]
    cells: tuple[tuple[Cell, ...], ...]
    reference: str | None = None
    mixed: bool = False
    """Whether the groups are not comparable; then none is best."""


@dataclass(frozen=True)
class Wanted:
    """What a comparison shows: columns by name or pattern (none: the headline), order, reference, whether to mix."""

    columns: tuple[str, ...] = ()
    sort: str | None = None
    reference: str | None = None
    mix: bool = False


def compare(paths: Iterable[Path], wanted: Wanted | None = None) -> list[Comparison]:
    """Return one comparison for each protocol among the finished runs of the paths.

    Raises DataError when there is no finished run, results are damaged, runs learn from different data, or the
    reference shares no seed with a group; ConfigurationError for an unknown column or reference.
    """
    wanted, paths = wanted or Wanted(), list(paths)
    columns = chosen(wanted.columns or (*HEADLINE, ON_DEVICES))
    sort = None if wanted.sort is None else _one(wanted.sort)
    records, left_out = collect(paths), unfinished(paths)
    if not records:
        raise DataError(f"no finished run there: {_told(left_out)}")
    parts = blocks(records, mix=wanted.mix)
    groups = [tuple(grouped(part.runs)) for part in parts]
    if wanted.reference is not None:
        _check_reference(wanted.reference, groups)
    found = [
        compare_groups(part, of_block, columns, sort, wanted.reference)
        for part, of_block in zip(parts, groups, strict=True)
    ]
    found = [_without_empty(one, wanted.columns) for one in found]
    if left_out:
        last = found[-1]
        found[-1] = replace(last, notes=(*last.notes, f"left out: {_told(left_out)}"))
    return found


def compare_groups(
    block: Block,
    groups: Sequence[Group],
    columns: Sequence[Measure],
    sort: Measure | None = None,
    reference: str | None = None,
) -> Comparison:
    """Return the comparison of one block's groups. Raises DataError when a group shares no seed with the reference."""
    groups = list(groups) if sort is None else _sorted(groups, sort)
    base = None if reference is None else _named(reference, groups)
    of_columns = [_column(groups, measure, base, marks=not block.mixed) for measure in columns]
    rows = tuple(tuple(cells[row] for cells in of_columns) for row in range(len(groups)))
    told = [*notes(block.runs), *_seed_notes(groups)]
    if reference is not None and base is None:
        told.append(f"no group {reference!r} here to take differences to")
    name = None if base is None else base.name
    return Comparison(
        block.heading, block.warnings, tuple(told), tuple(groups), tuple(columns), rows, name, block.mixed
    )


def values_of(group: Group, measure: Measure) -> dict[int, float]:
    """Return a group's values of a measure by seed, those that runs have."""
    read = {run.seed: measure.read(run.results) for run in group.runs}
    return {seed: value for seed, value in read.items() if value is not None}


def _column(groups: Sequence[Group], measure: Measure, base: Group | None, *, marks: bool) -> list[Cell]:
    samples = [values_of(group, measure) for group in groups]
    top = best(samples, higher=measure.higher, fixed=measure.fixed).index if marks else None
    cells = [
        Cell(sample, interval(list(sample.values())), index == top) for index, sample in enumerate(samples)
    ]
    if base is None:
        return cells
    place = next(index for index, group in enumerate(groups) if group is base)
    others = [index for index in range(len(groups)) if index != place and samples[index]]
    differences = {
        index: paired_difference(samples[index], samples[place], fixed=measure.fixed) for index in others
    }
    known = {index: one for index, one in differences.items() if one is not None}
    adjusted = dict(zip(known, holm([one.p for one in known.values()]), strict=True))
    return [
        replace(cell, difference=known.get(index), adjusted=adjusted.get(index))
        for index, cell in enumerate(cells)
    ]


def _sorted(groups: Sequence[Group], measure: Measure) -> list[Group]:
    """Return the groups with the best first, those without a value last."""

    def rank(group: Group) -> tuple[bool, float]:
        found = interval(list(values_of(group, measure).values()))
        return (found is None, 0.0 if found is None else -found.mean if measure.higher else found.mean)

    return sorted(groups, key=rank)


def _one(name: str) -> Measure:
    found = chosen([name])
    if len(found) != 1:
        raise ConfigurationError(
            f"--sort {name}: wants one column, not {', '.join(one.name for one in found)}"
        )
    return found[0]


def _named(reference: str, groups: Sequence[Group]) -> Group | None:
    """Return the group of that name, or the only one of that learner; None if there is none."""
    exact = [group for group in groups if group.name == reference]
    learner = [group for group in groups if group.runs[0].settings["learner"] == reference]
    base = exact[0] if exact else learner[0] if len(learner) == 1 else None
    if base is not None:
        for group in groups:
            if not set(group.seeds) & set(base.seeds):
                raise DataError(
                    f"{group.name} (seeds {_listed(group)}) shares no seed with the reference {base.name} "
                    f"(seeds {_listed(base)}); differences are taken seed by seed, so run both with the same seeds"
                )
    return base


def _check_reference(reference: str, of_blocks: Sequence[Sequence[Group]]) -> None:
    """Raise ConfigurationError when the reference names no group of any table."""
    if any(_named(reference, groups) is not None for groups in of_blocks):
        return
    known = list(dict.fromkeys(group.name for groups in of_blocks for group in groups))
    several = [name for name in known if name.startswith(f"{reference}, ")]
    if several:
        told = ", ".join(map(repr, several))
        raise ConfigurationError(
            f"--reference {reference}: several groups are of that learner: {told}; name one"
        )
    guess = nearest(reference, known)
    hint = f"; did you mean {guess!r}?" if guess else ""
    raise ConfigurationError(
        f"--reference {reference}: no such group{hint} There are: {', '.join(map(repr, known))}"
    )


def _seed_notes(groups: Sequence[Group]) -> list[str]:
    found = []
    if len({group.seeds for group in groups}) > 1:
        told = "; ".join(f"{group.name}: {_listed(group)}" for group in groups)
        found.append(f"seeds differ ({told}); groups are compared over the seeds that both have")
    repeats = sum(len(group.repeats) for group in groups)
    if repeats:
        plural = "runs repeat" if repeats > 1 else "run repeats"
        found.append(f"{repeats} {plural} a seed of the same settings; the newest of each counts")
    return found


def _without_empty(comparison: Comparison, asked: Sequence[str]) -> Comparison:
    """Leave out columns that no run has, unless they were asked for by name, and say so.

    Nobody misses what devices went through where there are none.
    """
    kept: list[int] = []
    missing: list[int] = []
    for column, measure in enumerate(comparison.columns):
        empty = all(row[column].interval is None for row in comparison.cells)
        (missing if empty and measure.name not in asked else kept).append(column)
    if not missing:
        return comparison
    names = [comparison.columns[column].name for column in missing]
    told = ", ".join(name for name in names if asked or name != ON_DEVICES)
    return replace(
        comparison,
        columns=tuple(comparison.columns[column] for column in kept),
        cells=tuple(tuple(row[column] for column in kept) for row in comparison.cells),
        notes=(*comparison.notes, *([f"not recorded in these runs: {told}"] if told else [])),
    )


def _listed(group: Group) -> str:
    return ", ".join(map(str, group.seeds))


def _told(left_out: Sequence[Unfinished]) -> str:
    counts = {one.status: 0 for one in left_out}
    for one in left_out:
        counts[one.status] += 1
    plural = "run" if len(left_out) == 1 else "runs"
    return ", ".join(f"{count} {status}" for status, count in counts.items()) + f" {plural}"
