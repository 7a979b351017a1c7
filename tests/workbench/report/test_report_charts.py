"""Specifications that Vega-Lite's own schema accepts, with one colour scale, and few or many groups in them."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import pytest
from fixtures.compared import write_run
from fixtures.reported import write_group, write_groups

from workbench.compare.collect import Group, collect, grouped
from workbench.report import charts, cost_charts
from workbench.report.encodings import Axis, Chart, Palette, range_of
from workbench.report.pictures import height_of, svg
from workbench.report.sections import sections
from workbench.report.series import Row

FEW = ("bptt", "osttp", "osttp+hlop")
MANY = tuple(f"rule{number}" for number in range(11))


def drawn(folder: Path, learners: Sequence[str]) -> tuple[list[Group], list[Chart]]:
    """Return the groups of learners and all charts on them."""
    groups = grouped(collect([write_groups(folder, learners, ["class"])]))
    palette = Palette(["elsewhere", *(group.name for group in groups)])
    return groups, [chart for section in sections(groups, palette) for chart in section.charts]


def walk(value: Any) -> list[dict[str, Any]]:
    """Return all objects within a specification."""
    if isinstance(value, dict):
        return [value, *(found for inside in value.values() for found in walk(inside))]
    return [found for inside in value for found in walk(inside)] if isinstance(value, list) else []


@pytest.mark.parametrize("learners", [FEW, MANY], ids=["few", "many"])
def test_every_chart_is_valid_vega_lite(learners: tuple[str, ...], tmp_path: Path) -> None:
    groups, found = drawn(tmp_path, learners)
    assert len(groups) == len(learners)
    assert len(found) == 13
    for chart in found:
        alt.Chart.from_json(json.dumps(chart.spec), validate=True)
        assert chart.spec["datasets"]["rows"], chart.title
        assert chart.spec["description"] == chart.title
        # The page sets it; Altair gives its parameters names of its own.
        assert [one["name"] for one in chart.spec["params"]] == ["chosen"]


@pytest.mark.parametrize("learners", [FEW, MANY], ids=["few", "many"])
def test_groups_have_one_scale_in_all_charts(learners: tuple[str, ...], tmp_path: Path) -> None:
    groups, found = drawn(tmp_path, learners)
    names = ["elsewhere", *(group.name for group in groups)]
    scales = [
        part["color"]["scale"]
        for chart in found
        for part in walk(chart.spec)
        if isinstance(part.get("color"), dict) and part["color"].get("field") == "group"
    ]
    assert len(scales) >= 10
    assert all(scale == {"domain": names} for scale in scales)


def test_many_groups_get_a_panel_each(tmp_path: Path) -> None:
    for learners, folder in ((FEW, "few"), (MANY, "many")):
        _, found = drawn(tmp_path / folder, learners)
        panels = {chart.title: bool(chart.panel) for chart in found}
        assert (
            panels["Accuracy while tasks come in"]
            == panels["Memory over the sequence length"]
            == (learners is MANY)
        )
        assert panels["Accuracy matrix R"]
        assert not panels["Forgetting against memory"]


def test_a_picture_is_the_same_every_time_and_stands_apart_from_others(tmp_path: Path) -> None:
    _, found = drawn(tmp_path, FEW)
    first, again, other = (svg(found[0].spec, name) for name in ("a-", "a-", "b-"))
    assert first == again
    assert first.count('id="a-') == other.count('id="b-') > 0
    assert 'id="a-' not in other
    assert height_of(first) > charts.HEIGHT
    assert all(name in first for name in FEW)


def rows_of(*means: float, **further: float) -> list[Row]:
    return [{"group": "a", "tasks": place + 1, "mean": mean, **further} for place, mean in enumerate(means)]


AXIS = Axis("mean", "accuracy [%]", limits=(0.0, 100.0))


def test_an_axis_holds_all_means_and_no_interval_flattens_them() -> None:
    low, high = range_of(rows_of(40.0, 60.0, low=-500.0, high=900.0), AXIS)
    assert low <= 20.0
    assert 80.0 <= high < 90.0
    assert range_of(rows_of(5.0), AXIS)[1] > 5.0
    assert range_of(rows_of(0.0, 0.0), AXIS)[1] > 0.0
    assert range_of(rows_of(-3.0, -1.0), Axis("mean", "forgetting"))[0] < -3.0
    assert range_of(rows_of(1.0, 100.0), Axis("mean", "memory", log=True)) == (1 / 1.5, 150.0)


@pytest.mark.parametrize("draw", [charts.curves, cost_charts.bars])
def test_a_single_seed_has_no_band(draw: Any) -> None:
    palette, x = Palette(["a"]), Axis("tasks", "tasks learned", whole=True)
    axes = (x, AXIS) if draw is charts.curves else (AXIS,)
    marks = [
        {part["mark"]["type"] for part in walk(draw(rows, *axes, palette, title="t").spec) if "mark" in part}
        for rows in (rows_of(40.0, 60.0), rows_of(40.0, 60.0, low=30.0, high=70.0))
    ]
    assert "area" in marks[1] or draw is cost_charts.bars
    assert "area" not in marks[0]


def test_the_front_is_joined_from_left_to_right(tmp_path: Path) -> None:
    _, found = drawn(tmp_path, FEW)
    [front] = [chart.spec["datasets"]["front"] for chart in found if chart.title == "Accuracy against memory"]
    assert [row["group"] for row in front] == list(FEW)
    assert all(row["at"] > row["mean"] for row in front)  # names stand above, where no point can be
    memory = [row["memory"] for row in front]
    assert memory == sorted(memory)


def test_a_run_of_one_task_without_further_numbers_has_a_page_too(tmp_path: Path) -> None:
    write_run(tmp_path / "a", R=[[0.5]], tasks=["all"], samples=[9], forgetting=None, bwt=None, fwt=None)
    groups = grouped(collect([tmp_path]))
    found = list(sections(groups, Palette([groups[0].name])))
    assert [section.title for section in found if section.missing] == [
        "Memory",
        "Gradient alignment",
        "Activity",
        "Dormant units",
        "Time, operations, energy, writes",
    ]
    assert "diagnose.gradient=50" in next(one.missing for one in found if one.title == "Gradient alignment")
    for section in found:
        for chart in section.charts:
            assert svg(chart.spec).startswith("<svg")


def test_runs_on_devices_show_what_takes_the_energy_and_what_wears(tmp_path: Path) -> None:
    energy = {"table": "spikesim-rram", "forward": 1e-8, "learning": 4e-8, "total": 5e-8}
    energy |= {"digital": 4e-8, "cells": 2e-9, "periphery": 8e-9}
    devices = {"writes": {"total": 50, "max": 7, "p99": 5, "per_sample": 2}}
    write_group(tmp_path, "bptt", 0, energy=energy, devices=devices)
    groups = grouped(collect([tmp_path]))
    found = {
        chart.title: chart for section in sections(groups, Palette(["bptt"])) for chart in section.charts
    }
    rows = found["Energy by what takes it"].spec["datasets"]["rows"]
    assert {row["part"]: row["mean"] for row in rows} == {"digital": 40, "periphery": 8, "devices": 2}
    assert [row["mean"] for row in found["Writes of devices"].spec["datasets"]["rows"]] == [7]
    assert "spikesim-rram" in str(found["Energy"].caption)


def test_prediction_says_frame_accuracy(tmp_path: Path) -> None:
    write_group(tmp_path, "bptt", 0, predicts_steps=True)
    groups = grouped(collect([tmp_path]))
    [first, *_] = sections(groups, Palette(["bptt"]))
    assert "frame accuracy" in json.dumps(first.charts[0].spec)
    assert math.isclose(first.charts[0].spec["datasets"]["rows"][0]["mean"], 90.0)
