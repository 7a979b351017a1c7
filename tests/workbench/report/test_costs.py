"""The table of what learning costs: right numbers, and dashes where nothing is known."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from workbench.report.costs import cost_table

OPERATIONS = {
    "forward": {"mac": 520.0, "ac": 3_184.7},
    "learning": {"mac": 34_800.6, "ac": 16.0},
    "total": 38_521.3,
    "modifiers": None,
}
WRITES = {"updates": 44, "parameters": 1184, "total": 52_096, "per_sample": 40.1, "per_parameter": 44.0}
ENERGY = {
    "table": "horowitz-45nm",
    "scope": "arithmetic",
    "picojoules": {"mac": 4.6, "ac": 0.9},
    "forward": 5.258e-9,
    "learning": 1.601e-7,
    "total": 1.654e-7,
}


def text_of(**results: Any) -> str:
    table = cost_table(results)
    assert table is not None
    console = Console(file=io.StringIO(), width=80, force_terminal=False, legacy_windows=False)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def row(text: str, label: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.strip().startswith(label))
    return re.split(r"\s{2,}", line.strip().removeprefix(label).strip())


def test_phases_add_up_to_the_total() -> None:
    text = text_of(operations=OPERATIONS, writes=WRITES, energy=ENERGY)
    assert row(text, "forward") == ["520", "3.18 k", "5.26 nJ"]
    assert row(text, "learning") == ["34.8 k", "16", "160 nJ"]
    assert row(text, "total") == ["35.3 k", "3.20 k", "165 nJ"]
    assert "each weight written 44 times; 40.1 writes a sample" in text
    assert "energy: arithmetic, table horowitz-45nm" in text
    assert "modifiers" not in text


def test_what_is_not_counted_is_said() -> None:
    unknown = {**ENERGY, "table": "loihi", "picojoules": {"ac": 23.6}, "learning": None, "total": None}
    text = text_of(operations={**OPERATIONS, "modifiers": False}, writes=WRITES, energy=unknown)
    assert row(text, "learning") == ["34.8 k", "16", "–"]
    assert "the table prices ac alone" in text
    assert "modifiers: what they compute is not counted" in text


def test_a_rule_that_does_not_say_has_dashes_and_writes() -> None:
    text = text_of(operations=None, writes=WRITES, energy=None)
    assert row(text, "total") == ["–", "–", "–"]
    assert "this rule does not say" in text


@pytest.mark.parametrize("results", [{}, {"operations": None, "writes": None, "energy": None}])
def test_results_of_before_have_no_table(results: dict[str, Any]) -> None:
    assert cost_table(results) is None
