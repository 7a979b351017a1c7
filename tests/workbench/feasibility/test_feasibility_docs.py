"""docs/feasibility.md tells the budgets, axes, criteria and files that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from workbench.cli.feasibility import HELP
from workbench.cost.endurance import surveyed
from workbench.feasibility import saved
from workbench.feasibility.axes import AXES
from workbench.feasibility.budget import SURVEYED, Budget, budget_of
from workbench.feasibility.cells import UNLIMITED
from workbench.feasibility.quantities import ENERGIES, POWERS, RATES, SIZES, TIMES
from workbench.feasibility.request import FILE
from workbench.feasibility.verdict import CRITERIA

TEXT = (Path(__file__).parents[3] / "docs" / "feasibility.md").read_text(encoding="utf-8")
UNITS = {"sram": SIZES, "lifetime": TIMES, "rate": RATES, "power": POWERS, "energy": ENERGIES}


def rows(first):
    """Return the rows of the table whose first head is `first`."""
    table = TEXT[TEXT.index(f"| {first} |") :].split("\n\n")[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_every_budget_with_its_default_and_units():
    told = {
        name.strip("`").removeprefix("budget."): (default, units) for name, default, units in rows("budget")
    }
    assert set(told) == set(Budget.model_fields)
    for name, (default, units) in told.items():
        assert budget_of({name: default.strip("`")}) == Budget()
        words = re.findall(r"[\w/µ%]+", units)
        # One way to write micro is enough.
        assert {unit for unit in UNITS.get(name, ()) if "µ" not in unit} <= set(words), name


def test_every_axis_with_its_setting_and_values():
    told = {name.strip("`"): (setting, values) for name, setting, values, _ in rows("axis")}
    assert set(told) == {axis.name for axis in AXES}
    for axis in AXES:
        assert f"`{axis.key}`" in told[axis.name][0]
    numbers = {name: re.findall(r"[\d.]+", values) for name, (_, values) in told.items()}
    assert numbers["bits"] == ["2", "8"]
    assert [float(one) for one in numbers["noise"]] == list(AXES[1].values)
    assert [float(one) for one in numbers["asymmetry"]] == list(AXES[2].values)
    assert [float(one) / 100 for one in numbers["stuck"]] == pytest.approx(list(AXES[3].values))
    units = (0, 3600, 86_400, 86_400, 86_400)
    drift = [float(one) * unit for one, unit in zip(numbers["drift"], units, strict=True)]
    assert drift == list(AXES[4].values)


def test_every_criterion_source_of_endurance_and_file():
    for name in CRITERIA:
        assert f"**{name.capitalize()}.**" in TEXT
    assert {row[0].strip("`") for row in rows("`budget.endurance`")} == {"a number", *map(str, SURVEYED)}
    assert {row[0].strip("`") for row in rows("file")} == {
        saved.PAGE,
        saved.TEXT,
        saved.NUMBERS,
        f"{saved.PICTURES}/",
        FILE,
    }
    for kind in UNLIMITED:
        assert f"`{kind}`" in TEXT
    assert any(f"`{kind}`" in TEXT for kind in surveyed())


def test_the_help_names_every_budget_with_its_default():
    for name in Budget.model_fields:
        [text] = re.findall(rf"^  budget\.{name}=(\S+)(.*)$", HELP, re.MULTILINE)
        default = next((word for word in SURVEYED if f"{word} (default)" in text[1]), None)
        default = default or ("none" if "default none" in text[1] else text[0])
        assert budget_of({name: default}) == Budget()
    for axis in AXES:
        assert axis.name in HELP
