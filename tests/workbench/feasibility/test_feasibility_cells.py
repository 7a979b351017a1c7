"""What devices endure: by budget, by a survey of cells of their kind, by their settings, or for ever."""

from __future__ import annotations

import math

import pytest
from fixtures.feasible import runs_on

from workbench.cost.endurance import surveyed
from workbench.feasibility.budget import budget_of
from workbench.feasibility.cells import UNLIMITED, cell_of
from workbench.feasibility.endurance import Cell, endurance
from workbench.registry import Registry

KINDS = {
    "pcm": ("pcm", "pcm-hermes", "pcm-pair"),
    "rram": ("reram-wan", "reram-cmo", "reram-milo", "reram-es", "reram-sb", "reram-om", "reram-hfo2"),
    "eflash": ("sonos",),
    "ecram": ("ecram", "ecram-mo"),
    "capacitor": ("capacitor",),
    "sram": ("quantised",),
    None: ("ideal", "programmed", "pulsed", "idealised", "gokmen-vlasov"),
}


@pytest.fixture(scope="module")
def registry():
    return Registry.discover()


def test_every_device_that_comes_along_declares_its_kind(registry):
    ours = {one.name for one in registry.entries("hardware") if one.package == "continual-workbench"}
    assert ours == {name for names in KINDS.values() for name in names}
    for kind, names in KINDS.items():
        assert {registry.load("hardware", name).cell_kind for name in names} == {kind}


def test_a_surveyed_kind(registry):
    cell = cell_of("reram-om", runs_on("reram-om", 0.5), registry)
    survey = surveyed()["rram"]
    assert (cell.least, cell.most, cell.kind) == (1e4, 1e9, survey.names)
    assert "NVMExplorer" in cell.source
    assert endurance(budget_of({}), cell).writes == 1e4
    most = endurance(budget_of({"endurance": "survey-max"}), cell)
    assert (most.writes, most.source) == (
        1e9,
        "1e9 writes, the most that a survey found for memristor or RRAM",
    )


def test_what_no_survey_says_is_unknown(registry):
    ecram = endurance(budget_of({}), cell_of("ecram", [], registry))
    assert ecram.writes is None
    assert ecram.source == "no survey at hand says what ecram cells endure at least: give budget.endurance"
    assert endurance(budget_of({}), cell_of("programmed", [], registry)).writes is None
    # Surveyed at least, and not at most.
    assert endurance(budget_of({"endurance": "survey-max"}), cell_of("sonos", [], registry)).writes is None


@pytest.mark.parametrize("device", ["quantised", "capacitor"])
@pytest.mark.parametrize("wanted", ["survey-min", "device", 10.0])
def test_some_memory_does_not_wear_out_whatever_the_budget(device, wanted, registry):
    found = endurance(budget_of({"endurance": wanted}), cell_of(device, [], registry))
    assert found.writes == math.inf
    assert "does not wear out" in found.source
    assert not set(UNLIMITED) & set(surveyed())


def test_what_the_settings_say(registry):
    wanted = budget_of({"endurance": "device"})
    [run] = runs_on("pcm", 0.5, config={"hardware": {"name": "pcm", "endurance": 5e7}})
    assert endurance(wanted, cell_of("pcm", [run], registry)).writes == 5e7
    # Of a run that does not tell, and without any run: the default.
    default = registry.load("hardware", "pcm").Config.model_fields["endurance"].default
    for runs in ([], runs_on("pcm", 0.5)):
        assert endurance(wanted, cell_of("pcm", runs, registry)).writes == default


def test_a_device_of_somebody_else_says_nothing(sample_registry):
    cell = cell_of("perfect", [], sample_registry)
    assert cell == Cell()
    for wanted in ("survey-min", "survey-max", "device"):
        found = endurance(budget_of({"endurance": wanted}), cell)
        assert found.writes is None
        assert "budget.endurance" in found.source
    assert endurance(budget_of({"endurance": 1e6}), cell).writes == 1e6
