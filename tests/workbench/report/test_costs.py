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


def test_words_have_a_column_and_a_part_of_the_energy() -> None:
    words = {"forward": 8_322.4, "learning": 118_008.6, "total": 126_331.0}
    energy = {**ENERGY, "arithmetic": 2.8e-7, "words": 1.13e-6, "cells": None, "periphery": None}
    text = text_of(operations={**OPERATIONS, "words": words, "reads": None}, writes=WRITES, energy=energy)
    assert row(text, "forward") == ["520", "3.18 k", "8.32 k", "5.26 nJ"]
    assert row(text, "total") == ["35.3 k", "3.20 k", "126 k", "165 nJ"]
    assert "energy: arithmetic 280 nJ, words 1.13 µJ" in text
    assert "devices" not in text


def test_devices_have_their_reads_writes_and_energy() -> None:
    reads = {"forward": {}, "total": {"tiles": 43.1, "driven": 213.7, "converted": 916.6, "cells": 12_976.2}}
    energy = {**ENERGY, "table": "spikesim-rram", "assumed": ["a lot"]}
    energy |= {"cells": 5.2e-11, "periphery": 2.61e-8, "digital": 1.34e-6, "writes": 7.6e-12}
    devices = {"writes": {"total": 2917.0, "max": 14.0, "p99": 11.0, "per_sample": 2.2456}}
    text = text_of(operations={**OPERATIONS, "reads": reads}, writes=WRITES, energy=energy, devices=devices)
    text = " ".join(text.split())
    assert "each weight to be written 44 times" in text
    assert (
        "devices written 2.25 times a sample; in all, the most written one 14 times, 99 of 100 at most 11"
        in text
    )
    assert "reads a sample: 43.1 of tiles, 13.0 k devices, 917 conversions" in text
    assert "energy: cells 52.0 pJ (writes 7.60 pJ), periphery 26.1 nJ, digital 1.34 µJ" in text
    assert "energy.assumed in results.json" in text


def test_writes_of_devices_are_told_whatever_else_is_known() -> None:
    text = text_of(devices={"writes": {"total": 5.0, "max": 3.0, "p99": 2.0, "per_sample": 0.5}})
    assert "the most written one 3 times" in " ".join(text.split())


def test_what_is_not_counted_is_said() -> None:
    unknown = {**ENERGY, "table": "loihi", "picojoules": {"ac": 23.6}, "learning": None, "total": None}
    unknown["left_out"] = ["errors.mac", "gradients.mac"]
    text = text_of(operations={**OPERATIONS, "modifiers": False}, writes=WRITES, energy=unknown)
    assert row(text, "learning") == ["34.8 k", "16", "–"]
    assert "the table has no price for errors.mac, gradients.mac" in " ".join(text.split())
    assert "modifiers: what they compute is not counted" in text


def test_a_rule_that_does_not_say_has_dashes_and_writes() -> None:
    text = text_of(operations=None, writes=WRITES, energy=None)
    assert row(text, "total") == ["–", "–", "–"]
    assert "this rule does not say" in text


@pytest.mark.parametrize("results", [{}, {"operations": None, "writes": None, "energy": None}])
def test_results_of_before_have_no_table(results: dict[str, Any]) -> None:
    assert cost_table(results) is None
