"""Every criterion by worked examples: met, with a reservation, missed, unknown; and the verdict they add up to."""

from __future__ import annotations

import itertools
import math

import pytest
from fixtures.feasible import LOCAL, devices, energy, runs_on

from workbench.feasibility import verdict
from workbench.feasibility.budget import budget_of
from workbench.feasibility.endurance import Cell
from workbench.feasibility.verdict import CRITERIA, Finding, Verdict, judge

DAY = 86_400.0
RRAM = Cell("RRAM", 1e4, 1e9, "a survey", 1e9)
IDEAL = runs_on("ideal", 0.80, 0.82, 0.81)


def budget(**given):
    return budget_of(given)


def whole(runs, **given):
    return judge("osttp", "reram-om", runs, IDEAL, budget(**given), RRAM)


class TestVerdict:
    @pytest.mark.parametrize(
        ("statuses", "answer"),
        [
            (("met", "met"), "feasible"),
            (("met", "reservation"), "feasible with reservations"),
            (("reservation", "unknown"), "unknown"),
            (("met", "unknown"), "unknown"),
            (("unknown", "missed"), "not feasible"),
            (("reservation", "missed"), "not feasible"),
            ((), "unknown"),
        ],
    )
    def test_the_weakest_part_decides(self, statuses, answer):
        findings = tuple(Finding(f"c{place}", status, "why") for place, status in enumerate(statuses))
        assert Verdict("a", "b", findings).answer == answer

    def test_a_pair_is_feasible_only_if_nothing_is_unknown(self):
        statuses = ("met", "reservation", "missed", "unknown")
        for some in itertools.product(statuses, repeat=3):
            answer = Verdict("a", "b", tuple(Finding("c", one, "") for one in some)).answer
            assert (answer == "feasible") == (set(some) == {"met"})
            assert ("unknown" in some) <= (answer in ("unknown", "not feasible"))

    def test_what_stands_against_it_worst_first(self):
        order = ("met", "reservation", "unknown", "missed")
        found = Verdict("a", "b", tuple(Finding(one, one, "") for one in order))
        assert [one.criterion for one in found.reasons] == ["missed", "unknown", "reservation"]

    def test_nothing_is_known_without_a_run(self):
        found = whole([])
        assert found.answer == "unknown"
        assert [(one.criterion, one.status) for one in found.findings] == [
            (name, "unknown") for name in CRITERIA
        ]

    def test_a_whole_example(self):
        # 20 writes in 40 sequences of 2 s: 0.25 a second; 1e4 writes last 40 000 s.
        found = whole(runs_on("reram-om", 0.79, 0.812, 0.80), lifetime="10h")
        assert [one.status for one in found.findings] == ["met"] * 6
        assert found.answer == "feasible"
        assert whole(runs_on("reram-om", 0.79, 0.812, 0.80), lifetime="1d").answer == "not feasible"

    @pytest.mark.parametrize(
        ("key", "criterion"),
        [
            ("locality", "locality"),
            ("memory_at_batch_1", "memory"),
            ("devices", "endurance"),
            ("energy", "energy"),
        ],
    )
    def test_a_run_that_does_not_tell_leaves_its_criterion_unknown(self, key, criterion):
        found = whole(runs_on("reram-om", 0.79, 0.812, 0.80, **{key: None}), lifetime="1h")
        assert {one.criterion for one in found.findings if one.status == "unknown"} == {criterion}
        assert found.answer == "unknown"

    def test_findings_name_their_runs(self):
        found = whole(runs_on("reram-om", 0.79, 0.812, 0.80))
        own = [f"runs/osttp-reram-om-{seed}" for seed in range(3)]
        ideal = [f"runs/osttp-ideal-{seed}" for seed in range(3)]
        for one in found.findings:
            wanted = [*own, *ideal] if one.criterion in ("accuracy", "forgetting") else own
            assert one.runs == wanted


class TestLocality:
    @staticmethod
    def judged(**needs):
        return verdict.locality(runs_on("pcm", 0.5, locality={**LOCAL, **needs}))

    def test_a_local_rule(self):
        found = self.judged()
        assert (found.status, found.numbers) == ("met", LOCAL)

    def test_memory_of_its_own_is_local(self):
        found = self.judged(per_synapse_memory=True)
        assert found.status == "met"
        assert found.reason == "local, with a memory of its own for each synapse"

    @pytest.mark.parametrize("need", ["weight_transport", "future", "other_layers"])
    def test_what_is_elsewhere_is_a_reservation_and_never_a_no(self, need):
        found = self.judged(**{need: True, "why": {need: "for such a reason"}})
        assert found.status == "reservation"
        assert "(for such a reason)" in found.reason


class TestMemory:
    # 2100 bytes, see the test of numbers.
    def test_within_and_beyond_the_budget(self):
        runs = runs_on("pcm", 0.5)
        for sram, status in (("2100B", "met"), ("2099B", "missed"), ("2KiB", "missed"), ("3KiB", "met")):
            found = verdict.memory(runs, budget(sram=sram))
            assert (found.status, found.numbers["bytes"]) == (status, 2100)
        assert found.reason == (
            "2.05 KiB besides the weights, of a budget of 3.00 KiB; most of it gradients (1000 B)"
        )

    def test_no_memory_at_all(self):
        runs = runs_on("ideal", 0.5, memory_at_batch_1={"gradients": 0})
        assert verdict.memory(runs, budget()).status == "met"


class TestEndurance:
    @staticmethod
    def judged(most=20.0, p99=10.0, cell=RRAM, **given):
        return verdict.wear(runs_on("pcm", 0.5, devices=devices(most, p99)), budget(**given), cell)

    def test_lifetimes_of_the_first_device_and_of_99_in_100(self):
        told = self.judged().numbers
        # 20 and 10 writes in 40 sequences, one every 2 s.
        assert told["writes_max_per_sample"] == 0.5
        assert told["samples_per_second"] == 0.5
        assert told["lifetime_seconds"] == 1e4 / 0.25
        assert told["lifetime_p99_seconds"] == 1e4 / 0.125

    @pytest.mark.parametrize(
        ("lifetime", "status"),
        [("40000s", "met"), ("40001s", "reservation"), ("80000s", "reservation"), ("80001s", "missed")],
    )
    def test_the_first_device_decides_then_99_in_100(self, lifetime, status):
        assert self.judged(lifetime=lifetime).status == status

    def test_a_rate_of_ones_own(self):
        told = self.judged(rate="10/d", lifetime="1y")
        # 20 writes in 40 sequences, 10 a day: 5 writes a day.
        assert told.numbers["lifetime_seconds"] == pytest.approx(1e4 / 5 * DAY)
        assert told.status == "met"

    def test_a_number_of_writes_of_ones_own(self):
        assert self.judged(endurance=1e9, lifetime="5y").status == "met"

    def test_unknown_endurance_is_not_taken_for_enough(self):
        found = self.judged(most=0.0, p99=0.0, cell=Cell("ecram"))
        assert (found.status, found.numbers["lifetime_seconds"]) == ("unknown", None)
        assert "give budget.endurance" in found.reason

    def test_devices_that_were_not_written(self):
        found = self.judged(0.0, 0.0)
        assert (found.status, found.numbers["lifetime_seconds"]) == ("met", math.inf)
        assert found.reason.startswith("no device was written")
        found = self.judged(20.0, 0.0)
        assert found.status == "reservation"
        assert "99 of 100 were not written" in found.reason

    def test_memory_that_does_not_wear_out(self):
        free = Cell("static memory", unlimited=True)
        assert self.judged(1e9, 1e9, cell=free).status == "met"
        unwritten = verdict.wear(runs_on("pcm", 0.5, devices=None), budget(), free)
        assert (unwritten.status, unwritten.numbers["lifetime_seconds"]) == ("met", math.inf)

    def test_the_source_of_the_limit_is_told(self):
        found = self.judged()
        assert found.reason.endswith("10,000 writes, the least that a survey found for RRAM")
        assert found.numbers["source"] in found.reason


class TestEnergy:
    @staticmethod
    def judged(known, **given):
        return verdict.energy(runs_on("pcm", 0.5, energy=known), budget(**given))

    def test_power_is_energy_times_rate(self):
        found = self.judged(energy(2e-3))
        # 2 mJ every 2 s.
        assert (found.numbers["watts"], found.status) == (pytest.approx(1e-3), "met")
        assert self.judged(energy(2.1e-3)).status == "missed"
        assert self.judged(energy(2.1e-3), rate="0.4Hz").status == "met"

    def test_a_budget_of_energy(self):
        assert self.judged(energy(2e-6), energy="2uJ").status == "met"
        found = self.judged(energy(3e-6), energy="2uJ")
        assert (found.status, found.reason.endswith("more than 2.00 µJ a sequence")) == ("missed", True)

    def test_parts_are_told_apart(self):
        found = self.judged(energy(3e-6, cells=1e-6, periphery=2e-6))
        assert "3.00 µJ a sequence (cells 1.00 µJ, periphery 2.00 µJ)" in found.reason
        assert found.numbers["parts"] == {"cells": 1e-6, "periphery": 2e-6}

    def test_what_has_no_price_makes_it_unknown(self):
        found = self.judged(energy(None, left_out=["traces.mac", "cells.ac"]))
        assert found.status == "unknown"
        assert found.reason == "the table horowitz-45nm has no price for traces.mac, cells.ac"
        assert found.numbers["watts"] is None


class TestAccuracy:
    @staticmethod
    def judged(*accuracies, ideal=IDEAL, **given):
        changed = given.pop("changed", {})
        return verdict.accuracy(runs_on("pcm", *accuracies, **changed), ideal, budget(**given))

    def test_a_loss_that_is_surely_within_the_budget(self):
        found = self.judged(0.79, 0.812, 0.80)
        assert (found.status, found.numbers["loss"]) == ("met", pytest.approx(0.028 / 3))
        assert found.numbers["by_seed"] == {0: 0.79, 1: 0.812, 2: 0.80}

    def test_a_mean_loss_beyond_it(self):
        assert self.judged(0.74, 0.762, 0.75).status == "missed"
        assert self.judged(0.74, 0.762, 0.75, loss="10%").status == "met"

    def test_an_interval_that_goes_beyond_it(self):
        found = self.judged(0.79, 0.74, 0.81)
        assert found.numbers["loss"] == pytest.approx(0.03)
        assert found.numbers["loss_high"] > 0.05
        assert found.status == "reservation"
        assert "it may be more than allowed" in found.reason

    def test_seeds_that_agree_by_chance_prove_nothing(self):
        found = self.judged(0.79, 0.81, 0.80)
        assert (found.status, found.numbers["loss"]) == ("reservation", pytest.approx(0.01))
        assert "3 seeds: no interval" in found.reason

    def test_a_gain_is_no_loss(self):
        found = self.judged(0.85, 0.87, 0.87)
        assert found.status == "met"
        assert "5.3 points above it" in found.reason

    def test_one_seed_is_no_proof(self):
        found = self.judged(0.79)
        assert (found.status, found.numbers["loss_high"]) == ("reservation", None)
        assert "1 seed: no interval" in found.reason
        assert self.judged(0.6).status == "missed"

    def test_seeds_are_held_against_the_same_seeds(self):
        # Later seeds alone, on which ideal hardware is worse.
        runs = runs_on("pcm", 0.9, 0.61)[1:]
        found = verdict.accuracy(runs, runs_on("ideal", 0.95, 0.6), budget())
        assert found.numbers["loss"] == pytest.approx(-0.01)

    def test_who_is_no_better_than_untrained_does_not_learn(self):
        found = self.judged(0.15, 0.15, ideal=runs_on("ideal", 0.15, 0.15))
        assert found.status == "missed"
        assert "it does not learn" in found.reason

    def test_unknown(self):
        assert self.judged(0.79, ideal=[]).status == "unknown"
        assert self.judged(0.79, changed={"acc": None}).status == "unknown"


class TestForgetting:
    @staticmethod
    def judged(forgetting, ideal=0.1, **changed):
        runs = runs_on("pcm", 0.5, 0.5, 0.5, forgetting=forgetting, **changed)
        reference = [] if ideal is None else runs_on("ideal", 0.5, 0.5, 0.5, forgetting=ideal)
        return verdict.forgetting(runs, reference, budget())

    def test_it_rules_nothing_out(self):
        found = self.judged(0.5)
        assert (found.status, found.numbers["loss"]) == ("reservation", pytest.approx(0.4))
        assert "40.0 points more than on ideal hardware" in found.reason

    def test_no_more_than_on_ideal_hardware(self):
        assert self.judged(0.1).status == "met"

    def test_one_task_has_nothing_to_forget(self):
        assert self.judged(None, tasks=["0, 1"]).status == "met"
        assert self.judged(None).status == "unknown"

    def test_without_a_reference(self):
        assert self.judged(0.1, ideal=None).status == "unknown"
