"""What a run on devices says it cost."""

from __future__ import annotations

import json

import pytest

from workbench.config import resolve
from workbench.cost.learning import learning_costs, planned_costs
from workbench.cost.prices import load_table
from workbench.cost.writes import TrainingWork
from workbench.experiment import build_experiment, run_experiment
from workbench.feasibility import numbers
from workbench.feasibility.runs import Run
from workbench.plugin import RuleContext

SMALL = (
    "scenario=split-digits",
    "scenario.tasks=2",
    "backbone.hidden=[6]",
    "train.epochs=1",
    "device=cpu",
    "threads=1",
    "track.mlflow=false",
)
SHOWN = TrainingWork(samples=64, sequences=64, steps=64 * 20, batches=2, updates=2, writes=2 * 444)


def made(*overrides: str):
    experiment = build_experiment(resolve([*SMALL, *overrides]), progress=False)
    context = RuleContext(experiment.streams, experiment.stream.classes, update=lambda: None)
    experiment.rule.setup(experiment.network, context)
    return experiment


def costs(*overrides: str) -> dict:
    found = learning_costs(made(*overrides), SHOWN, [[0.1]])
    assert "costs_error" not in found, found
    return found


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost") / "run"
    return run_experiment(resolve([*SMALL, "learner=sltt", "hardware=pcm"]), folder, progress=False), folder


def test_a_run_on_devices_knows_all_its_energy(finished):
    results, folder = finished
    assert json.loads((folder / "results.json").read_text())["energy"] == results["energy"]
    energy, reads, devices = results["energy"], results["operations"]["reads"], results["devices"]
    table = load_table("spikesim-rram")
    assert (energy["table"], energy["left_out"]) == ("spikesim-rram", [])
    assert energy["total"] == pytest.approx(energy["forward"] + energy["learning"])
    assert energy["total"] == pytest.approx(energy["cells"] + energy["periphery"] + energy["digital"])
    assert energy["writes"] == pytest.approx(3.4e-12 * devices["writes"]["per_sample"])
    # Spikes are one bit; errors eight.
    cells = reads["forward"]["cells"] + 8 * reads["transposed"]["cells"]
    assert energy["cells"] == pytest.approx(1e-12 * table.cell.energy_pj * cells + energy["writes"])
    assert energy["picojoules"]["pulse"] == 3.4
    assert energy["assumed"][: len(table.assumes)] == table.assumes


def test_reads_are_those_of_every_step(finished):
    results, _ = finished
    reads, steps = results["operations"]["reads"], results["operations"]["steps"]
    share = results["operations"]["activity"]
    assert reads["forward"]["tiles"] == 2 * steps
    assert reads["forward"]["converted"] == steps * (6 + 10)
    driven = [64 * share["inputs"], 6 * share["hidden"][0]]
    assert reads["forward"]["driven"] == pytest.approx(steps * sum(driven))
    assert reads["forward"]["cells"] == pytest.approx(steps * 2 * (driven[0] * 6 + driven[1] * 10))
    assert reads["transposed"] == {
        "tiles": steps,
        "driven": 10 * steps,
        "converted": 6 * steps,
        "cells": 120 * steps,
    }
    assert "transfers" not in reads


def test_the_feasibility_study_reads_the_energy(finished):
    results, folder = finished
    found = numbers.energy([Run(results["seed"], folder.name, results)])
    assert found.total == results["energy"]["total"]
    assert set(found.parts) == set(numbers.PARTS)
    assert found.left_out == ()


@pytest.mark.parametrize("hardware", ["pcm", "reram-om", "ecram", "capacitor", "sonos", "pcm-pair"])
@pytest.mark.parametrize("learner", ["bptt", "osttp"])
def test_the_energy_of_every_device_is_known(hardware, learner):
    energy = costs(f"hardware={hardware}", f"learner={learner}")["energy"]
    assert energy["table"] == "spikesim-rram"
    assert energy["left_out"] == []
    assert energy["total"] > 0


def test_weights_of_few_bits_are_digital_memory():
    ideal = costs("learner=osttp")
    found = costs("learner=osttp", "hardware=quantised")
    assert found["energy"]["table"] == "horowitz-45nm"
    assert found["operations"]["reads"] is None
    assert found["energy"]["cells"] is None
    # Nothing was changed in this memory: reading for updates is left, writing is not.
    assert 0 < ideal["energy"]["words"] - found["energy"]["words"] < 0.1 * ideal["energy"]["words"]


def test_what_rounding_leaves_is_read_and_written_at_every_update():
    found = {}
    for residual in ("false", "true"):
        experiment = made("learner=osttp", "hardware=quantised", f"hardware.residual={residual}")
        experiment.chip.updates = SHOWN.updates
        found[residual] = learning_costs(experiment, SHOWN, [[0.1]])["energy"]
    weights = 64 * 6 + 6 * 10
    products = found["true"]["arithmetic"] - found["false"]["arithmetic"]
    assert products == pytest.approx(4.6e-12 * weights * SHOWN.updates / SHOWN.samples)
    moved = load_table("horowitz-45nm").word.energy_pj(4 * weights) * 2 * weights
    words = found["true"]["words"] - found["false"]["words"]
    assert words == pytest.approx(1e-12 * moved * SHOWN.updates / SHOWN.samples)


def test_a_table_without_devices_leaves_their_energy_unknown():
    energy = costs("learner=osttp", "hardware=pcm", "cost.table=horowitz-45nm")["energy"]
    assert energy["table"] == "horowitz-45nm"
    assert (energy["total"], energy["cells"], energy["periphery"]) == (None, None, None)
    assert "reads.cell" in energy["left_out"]
    assert energy["digital"] > 0


def test_ideal_hardware_may_be_priced_by_the_same_table():
    ideal, devices = (
        costs("learner=osttp", "cost.table=spikesim-rram", f"hardware={name}")["energy"]
        for name in ("ideal", "ecram")
    )
    assert ideal["digital"] == ideal["total"]
    assert ideal["cells"] is None
    # What is left digital on devices is part of what is digital without.
    assert devices["digital"] < ideal["digital"]


def test_a_rule_that_does_not_say_how_errors_get_back_leaves_reads_unknown():
    experiment = made("learner=sltt", "hardware=pcm")
    experiment.rule.transposed = lambda *_: None
    found = learning_costs(experiment, SHOWN, [[0.1]])
    assert found["operations"]["reads"] is None
    assert found["energy"]["left_out"] == ["reads"]
    assert found["energy"]["total"] is None
    experiment.rule.words = lambda *_: None
    found = learning_costs(experiment, SHOWN, [[0.1]])
    assert found["operations"]["words"] is None
    assert found["energy"]["left_out"] == ["words", "reads"]


def test_a_plan_on_devices_tells_reads_and_energy_but_for_writes(finished):
    results, _ = finished
    plan = planned_costs(made("learner=sltt", "hardware=pcm"))
    told = results["operations"]["reads"]
    assert plan["device_reads"]["transposed"] == {
        kind: round(count) for kind, count in told["transposed"].items()
    }
    assert plan["device_reads"]["forward"]["converted"] == told["forward"]["converted"]
    joules, energy = plan["joules"], results["energy"]
    assert joules["without"] == "writes of devices"
    assert joules["table"] == "spikesim-rram"
    assert joules["learning"] == pytest.approx(energy["learning"] - energy["writes"], rel=0.02)
    assert joules["periphery"] == pytest.approx(energy["periphery"], rel=0.02)
    assert "after training" in plan["device_writes"]
    unpriced = planned_costs(made("learner=sltt", "hardware=pcm", "cost.table=loihi"))
    assert "reads.cell" in unpriced["no_price_for"]
    assert unpriced["joules"]["cells"] is None
