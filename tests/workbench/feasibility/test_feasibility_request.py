"""What is asked for: typed, from a file, stored and read again."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.feasible import request

from workbench.errors import ConfigurationError
from workbench.feasibility.axes import AXES
from workbench.feasibility.request import (
    DEVICES,
    FILE,
    LEARNERS,
    budgets_alone,
    read_request,
    rebudgeted,
    request_of,
    write_request,
)
from workbench.registry import Registry


def test_what_is_not_said_is_the_default():
    found = request()
    assert (found.learners, found.devices, found.seeds) == (LEARNERS, DEVICES, (0, 1, 2))
    assert found.axes == {axis.name: axis.values for axis in AXES}
    assert found.axis_seeds == found.seeds
    assert found.scenario == "split-digits"
    assert found.settings["backbone.hidden"] == [16]


def test_what_is_said():
    found = request(
        "learner=osttp,bptt+replay",
        "hardware=ideal,pcm",
        "seed=3..5",
        "sensitivity.noise=4,1",
        "sensitivity.up_down=0,0.3",
        "budget.sram=64KiB",
        "budget.endurance=1e6",
        only=["asymmetry", "noise"],
        axis_seeds=2,
    )
    assert (found.learners, found.devices) == (("osttp", "bptt+replay"), ("pcm",))
    assert (found.seeds, found.axis_seeds) == ((3, 4, 5), (3, 4))
    assert found.axes == {"noise": (1, 4), "asymmetry": (0, 0.3)}
    assert found.budget == {"sram": "64KiB", "endurance": 1e6}
    assert found.budgets.sram == 65_536


def test_no_axis():
    assert request(only=[]).axes == {}


def test_a_study_file_and_what_is_typed_over_it(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text(
        "settings: {scenario: split-digits, train: {epochs: 3}}\n"
        "axes: {learner: [osttp, sltt], seed: 0..1}\n"
        "cases: [{when: {learner: sltt}, set: {learner.lr: 0.01}}]\n"
    )
    found = request_of(["seed=7", "hardware=pcm"], Registry.discover(), file)
    assert (found.learners, found.devices, found.seeds) == (("osttp", "sltt"), ("pcm",), (7,))
    assert found.settings == {"scenario": "split-digits", "train.epochs": 3}
    assert found.cases[0].set == {"learner.lr": 0.01}


@pytest.mark.parametrize(
    ("overrides", "options", "told"),
    [
        (["hardware=ideal"], {}, "hardware=ideal: is the reference"),
        (["train.batch_size=8,16"], {}, "train.batch_size: takes one value.*workbench sweep"),
        (["budget.sram=1KiB", "budget.sram=2KiB"], {}, "budget.sram: given twice"),
        (["budget.srma=1KiB"], {}, "did you mean budget.sram"),
        (["budget=1KiB"], {}, "write budget.KEY=VALUE"),
        (["sensitivity.nois=1"], {}, r"sensitivity\.nois: 'nois' is no axis; did you mean noise"),
        (["sensitivity.noise=much"], {}, "sensitivity.noise=much: wants numbers"),
        (["sensitivity.bits=0,4"], {}, "0 stands for floating point"),
        (["sensitivity.noise=1"], {"only": ["bits"]}, "sensitivity.noise: given, and not to be followed"),
        ([], {"only": ["nois"]}, "--only: 'nois' is no axis; did you mean noise"),
        ([], {"axis_seeds": 0}, "--sensitivity-seeds 0: wants 1 or more"),
        (["seed=0", "seed=1"], {}, "seed: given twice"),
    ],
)
def test_faults_are_told(overrides, options, told):
    with pytest.raises(ConfigurationError, match=told):
        request(*overrides, **options)


def test_a_study_that_leaves_something_out_is_refused(tmp_path: Path):
    file = tmp_path / "study.yaml"
    file.write_text("axes: {learner: [osttp, sltt]}\nexclude: [{learner: sltt}]\n")
    with pytest.raises(ConfigurationError, match="exclude: a feasibility study leaves nothing out"):
        request_of([], Registry.discover(), file)


def test_a_request_is_stored_and_read_again(tmp_path: Path):
    found = request(
        "budget.sram=64KiB", "budget.energy=none", "learner.lr=0.01", only=["noise"], axis_seeds=1
    )
    write_request(tmp_path, found)
    assert read_request(tmp_path) == found


def test_a_stored_request_that_is_damaged_is_told(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=f"no feasibility study, it holds no {FILE}"):
        read_request(tmp_path)
    (tmp_path / FILE).write_text("learners: [osttp]\ndevices: [pcm]\nseeds: [a]\n")
    with pytest.raises(ConfigurationError, match=rf"seeds.*\(in .*{FILE}\)"):
        read_request(tmp_path)
    (tmp_path / FILE).write_text("learners: [osttp]\ndevices: [pcm]\nseeds: [0]\naxes: {nois: [1]}\n")
    with pytest.raises(ConfigurationError, match="did you mean noise"):
        read_request(tmp_path)


def test_other_budgets_for_the_same_runs():
    found = request("budget.sram=64KiB", "budget.power=1W")
    other = rebudgeted(found, ["budget.sram=1MiB", "budget.loss=1%"])
    assert other.budget == {"sram": "1MiB", "power": "1W", "loss": "1%"}
    assert (other.learners, other.axes) == (found.learners, found.axes)


@pytest.mark.parametrize("text", ["learner=bptt", "sensitivity.noise=1", "train.epochs=2"])
def test_nothing_but_budgets_may_change_without_running(text: str):
    with pytest.raises(ConfigurationError, match=f"--from: {text}: runs nothing, so only budget.KEY=VALUE"):
        rebudgeted(request(), [text])
    assert not budgets_alone([text, "budget.sram=1KiB"])


def test_budgets_alone():
    assert budgets_alone([])
    assert budgets_alone(["budget.sram=1KiB"])
