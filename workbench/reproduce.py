"""Published tables that this project can rerun: what was published, the runs beside it, and how they compare.

A table is a YAML file in `workbench/reproductions`, checked by `Table`. Its rows are run as a sweep, seeds as an axis.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, model_validator

from workbench.errors import ConfigurationError, DataError, nearest

if TYPE_CHECKING:
    from workbench.compare.statistics import Interval
    from workbench.registry import Registry
    from workbench.sweep.grid import Grid
    from workbench.sweep.jobs import Job

Measure = Literal["acc", "bwt", "forgetting", "test_loss"]
Provenance = Literal["C", "P", "S", "K"]
PROVENANCE: Mapping[Provenance, str] = {
    "C": "read in the authors' program, README or checkpoint",
    "P": "read in the paper's abstract or first page",
    "S": "second-hand, from a citing text",
    "K": "quoted from memory and not verified: check the paper before citing it; no difference is taken",
}
LABELS: Mapping[Measure, tuple[str, float]] = {
    "acc": ("ACC, %", 100.0),
    "bwt": ("BWT, points", 100.0),
    "forgetting": ("forgetting, points", 100.0),
    "test_loss": ("test loss", 1.0),
}
"""How a measure is told, and the factor from results.json to the published unit."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Figure(_Strict):
    """A published number; spread: what stands behind ±; provenance: None for the table's."""

    value: float
    spread: float | None = None
    provenance: Provenance | None = None


class Row(_Strict):
    """A row of the table: settings of its runs by dotted key, and what was published of it."""

    name: str = Field(min_length=1)
    settings: dict[str, Any]
    published: dict[Measure, Figure] = Field(min_length=1)


class Data(_Strict):
    """What the runs need; option: the setting that names its place; training_samples: of the first task, as published.

    required: whether a place must be named; otherwise the scenario looks in its cache or fetches it.
    """

    what: str
    fetch: str
    option: str = "scenario.path"
    required: bool
    training_samples: int = Field(ge=1)


class Budget(_Strict):
    """How much to run: seeds 0, 1, ...; minutes of one core, about; rows: None for all; settings win over the rows."""

    seeds: int = Field(ge=1)
    minutes: float = Field(gt=0)
    rows: list[str] | None = None
    settings: dict[str, Any] = {}


class Table(_Strict):
    """A published table. spread: what ± means in it, None where it has none; differs: what the runs do otherwise."""

    title: str
    source: str
    provenance: Provenance
    spread: str | None
    data: Data
    settings: dict[str, Any]
    rows: list[Row] = Field(min_length=1)
    full: Budget
    quick: Budget
    differs: list[str] = Field(min_length=1)

    @model_validator(mode="after")
    def _rows_of_budgets_exist(self) -> Self:
        names = [row.name for row in self.rows]
        if len(set(names)) < len(names):
            raise ValueError("rows: two have the same name")
        for name in [*(self.full.rows or ()), *(self.quick.rows or ())]:
            if name not in names:
                raise ValueError(f"rows of a budget: {name!r} is no row")
        figures = [figure for row in self.rows for figure in row.published.values()]
        if self.spread is None and any(figure.spread is not None for figure in figures):
            raise ValueError("spread: must say what ± means")
        return self

    def budget(self, quick: bool) -> Budget:
        """Return the small or the whole budget."""
        return self.quick if quick else self.full

    def chosen(self, budget: Budget) -> list[Row]:
        """Return the rows that a budget runs."""
        return [row for row in self.rows if budget.rows is None or row.name in budget.rows]


@dataclass(frozen=True)
class Line:
    """A published figure beside what was measured of it, both in the published unit.

    measured: None without a finished run. difference: measured minus published; None for an unverified figure.
    """

    row: str
    measure: str
    published: Figure
    provenance: Provenance
    measured: Interval | None

    @property
    def difference(self) -> float | None:
        """Measured minus published."""
        if self.measured is None or self.provenance == "K":
            return None
        return self.measured.mean - self.published.value


def tables() -> dict[str, Table]:
    """Return the tables by name, sorted."""
    found = {}
    for file in resources.files("workbench.reproductions").iterdir():
        if file.name.endswith(".yaml"):
            found[file.name.removesuffix(".yaml")] = Table.model_validate(
                yaml.safe_load(file.read_text(encoding="utf-8"))
            )
    return dict(sorted(found.items()))


def table_named(name: str) -> Table:
    """Return a table. Raises ConfigurationError naming those there are."""
    known = tables()
    if name not in known:
        guess = nearest(name, known)
        hint = f"; did you mean {guess}?" if guess else ""
        raise ConfigurationError(f"{name}: no such table, there are {', '.join(known)}{hint}")
    return known[name]


def grids_of(table: Table, budget: Budget, data: Path | None) -> dict[str, Grid]:
    """Return the grid of each row that the budget runs. Raises DataError when data must be named and is not."""
    from workbench.sweep.grid import Grid

    if data is None and table.data.required:
        raise DataError(f"needs {table.data.what}: name them with --data. To be had: {table.data.fetch}")
    if data is not None and not data.exists():
        raise DataError(f"--data {data}: does not exist. To be had: {table.data.fetch}")
    place = {} if data is None else {table.data.option: str(data.resolve())}
    return {
        row.name: Grid(
            {**table.settings, **place, **row.settings, **budget.settings},
            {"seed": list(range(budget.seeds))},
        )
        for row in table.chosen(budget)
    }


def jobs_by_row(grids: Mapping[str, Grid], registry: Registry) -> dict[str, list[Job]]:
    """Return the jobs of each row. Raises ConfigurationError when a setting is no longer valid."""
    from workbench.sweep.jobs import jobs_of

    return {name: jobs_of(grid, registry) for name, grid in grids.items()}


def check_data(table: Table, job: Job, registry: Registry) -> str | None:
    """Return what is to be said of the data of a job, if it is not that of the table.

    Raises DataError when it is missing, damaged or synthetic.
    """
    from workbench.data.catalogue import cache_folder
    from workbench.tasks import ScenarioContext

    choice = job.config.scenario
    scenario: Any = registry.load("scenario", choice.name)(choice.config)
    try:
        stream = scenario.build(ScenarioContext(job.config.seed, cache_folder(), True))
    except DataError as error:
        raise DataError(f"{error}\nneeds {table.data.what}. To be had: {table.data.fetch}") from error
    if stream.dataset.synthetic:
        raise DataError(f"{stream.dataset.name} is synthetic. To be had: {table.data.fetch}")
    samples = len(stream.tasks[0].train)
    if samples != table.data.training_samples:
        return f"{samples:,} training samples in the first task, and not {table.data.training_samples:,}"
    return None


def lines_of(table: Table, budget: Budget, results: Mapping[str, Sequence[Mapping[str, Any]]]) -> list[Line]:
    """Return the lines of the table from the results of each row's finished runs."""
    from workbench.compare.statistics import interval

    lines = []
    for row in table.chosen(budget):
        for measure, figure in row.published.items():
            label, factor = LABELS[measure]
            values = [
                value for one in results.get(row.name, ()) if (value := measured(one, measure)) is not None
            ]
            found = interval([factor * value for value in values])
            lines.append(Line(row.name, label, figure, figure.provenance or table.provenance, found))
    return lines


def measured(results: Mapping[str, Any], measure: Measure) -> float | None:
    """Return a measure of a run in the unit of results.json; the test loss is that at the end, mean over tasks."""
    if measure != "test_loss":
        value = results[measure]
        return None if value is None else float(value)
    losses = results["test_loss"][-1]
    return None if not losses or None in losses else float(sum(losses) / len(losses))
