"""A study in words: the table, budgets, what is tolerated, the commands, the text file, the terminal."""

from __future__ import annotations

import io
import shlex
from dataclasses import replace

import pytest
from fixtures.feasible import request
from rich.console import Console

from workbench.feasibility.axes import axis_named
from workbench.feasibility.budget import budget_of
from workbench.feasibility.request import request_of
from workbench.feasibility.sensitivity import Tolerance
from workbench.feasibility.terminal import print_study
from workbench.feasibility.words import (
    HEADS,
    UNITS,
    budgets,
    commands,
    markdown,
    not_followed,
    rows,
    tolerances,
)
from workbench.registry import Registry
from workbench.sweep.grid import Case


def printed(study, width):
    page = io.StringIO()
    print_study(Console(file=page, width=width, color_system=None), study)
    return page.getvalue()


def test_a_row_for_each_pair_and_for_ideal_hardware(study):
    found = {one.cells[:2]: dict(zip(HEADS, one.cells, strict=True)) for one in rows(study)}
    assert len(found) == 2 * 3 + 2
    assert found["osttp", "pcm"] == {
        "learner": "osttp",
        "hardware": "pcm",
        "verdict": "not feasible",
        "memory": "2.05 KiB",
        "writes": "0.5",
        # 1e6 writes, 20 in 40 sequences of 2 s.
        "lifetime": "46.3 d",
        "energy": "200 nJ",
        "power": "100 nW",
        "accuracy": "77.5",
        "vs ideal": "-2.0",
        "forgetting": "12.0",
    }
    assert found["osttp", "ideal"]["memory"] == "2.93 KiB*"
    assert found["osttp", "ideal"]["vs ideal"] == "–"
    assert len(HEADS) == len(UNITS)


def test_budgets_are_told_with_their_units():
    told = dict(budgets(budget_of({"energy": "2uJ", "rate": "10Hz", "endurance": 1e6})))
    assert told == {
        "memory": "256 KiB besides the weights",
        "endurance": "1e6 writes",
        "lifetime": "5 y",
        "rate": "10 sequences a second",
        "power": "1 mW",
        "energy": "2.00 µJ a sequence",
        "accuracy lost": "5.0 points against ideal hardware",
    }
    assert "energy" not in dict(budgets(budget_of({})))


def test_what_is_tolerated(study):
    told = {(device, learner, axis): text for device, learner, axis, text in tolerances(study)}
    # Two points are lost by the device, one more with every step along the axis.
    noise = axis_named("noise").title
    assert told["pcm", "osttp", noise] == "up to ×2"
    assert told["quantised", "bptt", axis_named("bits").title] == "nowhere within the budget"
    assert told["reram-om", "osttp", axis_named("asymmetry").title] == "all tried, to 0.4"


@pytest.mark.parametrize(
    ("axis", "found", "text"),
    [
        ("noise", Tolerance(None, "unknown", 0), "unknown at ×0"),
        ("noise", Tolerance(1, "unknown", 2), "up to ×1, unknown at ×2"),
        ("bits", Tolerance(4, "lost", 3), "down to 4"),
        ("bits", Tolerance(4, "unknown", 3), "down to 4, unknown at 3"),
        ("stuck", Tolerance(0.2, "all", None), "all tried, to 20 %"),
    ],
)
def test_a_hole_is_told(axis, found, text, study, monkeypatch):
    one = replace(study.curves[0], axis=axis_named(axis))
    monkeypatch.setattr(type(one), "tolerance", lambda self, allowed: found)
    assert tolerances(replace(study, curves=(one,)))[0][3] == text


def test_axes_that_no_device_has(study):
    assert not_followed(study) == []
    told = not_followed(replace(study, not_followed=(axis_named("drift"),)))
    assert told == [
        "time between learning and use: not followed, none of the devices has hardware.t_read with drift"
    ]


def test_the_commands_ask_for_the_same_study(study):
    run, again = map(shlex.split, commands(study))
    assert again == ["workbench", "feasibility", "--from", "study"]
    words, options = run[2:], {}
    for option in ("--only", "--sensitivity-seeds", "--out"):
        place = words.index(option)
        options[option], words = words[place + 1], words[:place] + words[place + 2 :]
    found = request_of(
        words,
        Registry.discover(),
        None,
        only=options["--only"].split(","),
        axis_seeds=int(options["--sensitivity-seeds"]),
    )
    assert found == study.request
    assert options["--out"] == "study"


def test_the_commands_with_values_and_cases_of_ones_own(study, tmp_path):
    case = Case(when={"learner": "bptt"}, set={"learner.lr": 0.02})
    wanted = replace(request("learner=osttp,bptt", "sensitivity.noise=0,3", only=["noise"]), cases=(case,))
    first = commands(replace(study, request=wanted))[0]
    head, _, rest = first.partition("<<'END'\n")
    text, _, line = rest.partition("END\n")
    assert head == "cat > cases.yaml "
    (tmp_path / "cases.yaml").write_text(text)
    words = shlex.split(line)
    overrides = [word for word in words[2:] if "=" in word]
    found = request_of(overrides, Registry.discover(), tmp_path / "cases.yaml", only=["noise"])
    assert found == wanted
    none = commands(replace(study, request=replace(wanted, axes={})))[0]
    assert "--no-sensitivity" in none


def test_the_text_file_says_it_all(study):
    text = markdown(study)
    for verdict in study.verdicts:
        assert f"## {verdict.learner} on {verdict.device}: {verdict.answer}" in text
        for one in verdict.findings:
            assert one.reason in text
            assert all(run in text for run in one.runs)
    for one in study.missing:
        assert f"- {one.job}: failed: RuntimeError: no more luck" in text
    table = [line for line in text.splitlines() if line.startswith("| ")]
    assert len({line.count("|") for line in table[:9]}) == 1
    assert "- horowitz-45nm: leakage is nothing" in text
    assert "Run folders are below this folder" in text
    assert "Run folders are below ../study" in markdown(study, "../study")


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_the_terminal_never_hides_the_verdict(width, study):
    text = printed(study, width)
    head = next(line for line in text.splitlines() if line.startswith("learner"))
    assert head.split()[:3] == ["learner", "hardware", "verdict"]
    assert "accuracy %" in head
    assert "…" not in text
    table = text[: text.index("budgets:")]
    assert max(len(line.rstrip()) for line in table.splitlines()) <= width
    assert ("forgetting %" in head) == (width >= 120)


def test_the_terminal_tells_reasons_and_what_is_missing(study):
    text = " ".join(printed(study, 200).split())
    assert "osttp on pcm: not feasible endurance missed: devices fail from 46.3 d on" in text
    assert len(study.missing) == 1
    assert "1 run of the study is not finished" in text
    assert f"To go on: workbench feasibility --out {study.folder}" in text
    assert "Lost no more than allowed" in text
