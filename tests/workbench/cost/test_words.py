"""Formulas of words moved against a machine that counts its memory accesses, and comes to the rules' own gradients."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fixtures import counting_memory as counting
from fixtures.backbones import build
from fixtures.small import gradients, rule
from test_operations import (
    CLASSES,
    LEARNERS,
    SETTINGS,
    SIZE,
    STEPS,
    activity_of,
    assert_gradients,
    data,
    small,
)

from workbench.cost.counts import MeanActivity, Signals, WordCount, Words
from workbench.cost.words import optimiser
from workbench.plugin import SequenceBatch
from workbench.rules.loss import goals
from workbench.rules.signals import readout_leak, readout_weights


class Found:
    """A layer's gradients, as `assert_gradients` takes them."""

    def __init__(self, units: counting.Units) -> None:
        self.gradient = units.gradient.numbers.tolist()


def learn(learner: str, net, bound, given: SequenceBatch, tally: counting.Tally) -> list[list[Found]]:
    """Let every sequence be learned from by a machine of its own."""
    found = []
    for sample in range(given.size):
        machine = counting.Machine(net, tally, given.inputs[:, sample].double().numpy())
        goal = goals(given, net.classes, torch.float64)[0, sample].numpy()
        scale = 1.0 / (STEPS * given.size)
        name, settings = LEARNERS[learner]
        if name == "bptt":
            counting.back_propagate(machine, [], goal, scale)
        else:
            online(name, settings, net, bound, machine, goal, scale)
        found.append([Found(units) for units in machine.units])
    return found


def online(name, settings, net, bound, machine, goal, scale) -> None:
    leaks = counting.leaks_of(machine) if name == "ottt" else None
    traces = [] if name in ("sltt", "ottt") else traces_of(name, settings, net, machine)
    last = len(machine.units) - 1
    projected = target_signals(bound, machine, goal * scale) if name == "osttp" else []
    for t in range(STEPS):
        outputs = machine.forward(t)
        error = (np.exp(outputs) / np.exp(outputs).sum() - goal) * scale
        if name in ("sltt", "ottt"):
            counting.in_space(machine, t, error, leaks)
            continue
        if name == "eprop":
            machine.errors[last].write(..., error)
        for index in reversed(range(len(traces))):
            direct = through = None
            if index == last:
                direct = error
            elif name == "osttp":
                direct = projected[index].read()
            elif name == "eprop":
                through = machine.errors[last].read() @ feedback(bound, machine, index).T
            else:
                parts = machine.sent_down(index)
                direct, through = parts.get("above"), parts.get("readout")
            if name == "ostl" and index > 0:
                units = machine.units[index]
                total = sum(part for part in (direct, through) if part is not None)
                machine.errors[index].write(..., total * units.psi(units.now["u"]))
            traces[index].step(t, direct, through)


def traces_of(name, settings, net, machine):
    kappa = readout_leak(net) if name != "osttp" and settings.get("readout_filter", True) else 0.0
    read = [weight is not None for weight in readout_weights(net)] + [False]
    found = []
    for index, units in enumerate(machine.units):
        seen = kappa if index < len(machine.units) - 1 and (read[index] or name == "eprop") else 0.0
        if settings.get("traces") == "full" and units.own is not None:
            found.append(counting.ThreeIndexTraces(machine, units, seen))
            continue
        decays = sorted(set(units.layer.cell_parameters()["decay"].tolist()))
        plain = not units.spiking or (units.cell.reset, units.cell.reset_gradient) == ("soft", "cut")
        shared = plain and not units.learned and units.own is None and len(decays) < units.n
        rows = {decay: row for row, decay in enumerate(decays)} if shared else None
        found.append(counting.Traces(machine, units, seen, rows))
    return found


def feedback(bound, machine, index: int) -> np.ndarray:
    """Read B_l."""
    return counting.Store(machine.tally, "transported", bound.matrices()[index].numpy()).read()


def target_signals(bound, machine, goal: np.ndarray) -> list[counting.Store]:
    """Project the target to each hidden layer, and store the signal."""
    found = []
    for matrix in bound.feedback:
        targets = counting.Store(machine.tally, "errors", goal[None])
        places, values = targets.active(0)
        weights = counting.Store(machine.tally, "transported", matrix.numpy()).read((slice(None), places))
        signal = counting.Store(machine.tally, "errors", np.zeros(len(matrix)))
        signal.write(..., weights @ values)
        found.append(signal)
    return found


def moved(count: WordCount) -> dict[str, tuple[float, float]]:
    parts = {name: (round(p.reads, 6), round(p.writes, 6)) for name, p in count.by_purpose().items()}
    return {name: part for name, part in parts.items() if any(part)}


def told(tally: counting.Tally) -> dict[str, tuple[float, float]]:
    """Return the counts of a sequence."""
    purposes = [name for name in {*tally.reads, *tally.writes} if tally.reads[name] or tally.writes[name]]
    return {
        name: (round(tally.reads[name] / SIZE, 6), round(tally.writes[name] / SIZE, 6)) for name in purposes
    }


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_formula_equals_counted_accesses_of_a_machine_that_learns_as_the_rule(learner, setting):
    name, settings = LEARNERS[learner]
    net, given = small(**SETTINGS[setting]), data(counts=setting == "side by side")
    bound, tally = rule(name, net, **settings), counting.Tally()
    found = learn(learner, net, bound, given, tally)
    expected = moved(bound.words(STEPS, SIZE, activity_of(net, given)))
    if learner == "eprop" and setting == "three layers":
        # B of the lower layers, made once a batch.
        reads, writes = expected["transported"]
        made = (4 * 3 + 3 * 4) * CLASSES
        expected["transported"] = (round(reads - made / SIZE, 6), round(writes - (3 + 4) * CLASSES / SIZE, 6))
    assert told(tally) == expected
    bound.train_step(given)
    assert_gradients(net, found, gradients(net))


def steady(net) -> MeanActivity:
    return MeanActivity.steady(Signals(ones=2.0), [Signals(ones=1.5) for _ in net.layers[:-1]], STEPS)


def test_steps_that_do_not_learn_move_nothing_for_learning():
    net = small(hidden=(4, 3))
    every = rule("sltt", net).words(STEPS, SIZE, steady(net))
    some = rule("sltt", net, steps=2).words(STEPS, SIZE, steady(net))
    assert some.forward == every.forward
    assert some.learning == pytest.approx(every.learning * 2 / STEPS)


def test_feedback_that_follows_the_readout_is_read_and_written_once_a_batch():
    net = small(hidden=(4,))
    fixed, adaptive = (
        rule("eprop", net, feedback=kind).words(STEPS, SIZE, steady(net)).transported
        for kind in ("random", "adaptive")
    )
    # B, the readout's weights and those as they were are read; the first and the last are written.
    assert adaptive.reads - fixed.reads == 3 * 4 * CLASSES / SIZE
    assert adaptive.writes - fixed.writes == 2 * 4 * CLASSES / SIZE


def test_products_of_weights_are_made_anew_with_every_change_of_the_weights():
    net = small(hidden=(4, 3), readout_reads="last")
    activity = steady(net)
    whole, stepwise = (
        rule("eprop", net, update=update).words(STEPS, 1, activity).transported
        for update in ("sequence", "step")
    )
    assert stepwise.reads - whole.reads == (STEPS - 1) * 4 * 3 * CLASSES
    assert stepwise.writes - whole.writes == (STEPS - 1) * 4 * CLASSES


def test_memories_hold_what_is_in_them():
    net = small(hidden=(4, 3), recurrent=(True, False), bias=True)
    activity = steady(net)
    weights = sum(p.numel() for p in net.parameters())
    ottt = rule("ottt", net).words(STEPS, SIZE, activity)
    assert (ottt.weights.held, ottt.gradients.held, ottt.state.held) == (weights, weights, 4 + 3 + CLASSES)
    # Both layers; the recurrent one still reads what it sent a step ago.
    assert ottt.activity.held == ottt.history.held == 4 + 4 + 4 + 3
    bptt = rule("bptt", net).words(STEPS, SIZE, activity)
    numbers = 2.0 + 1.5 + 1.5 * (STEPS - 1) / STEPS + 1.5 * 2
    assert bptt.history.held == pytest.approx(STEPS * (4 + 3 + CLASSES + numbers))


def test_updates_move_gradient_moments_and_weight():
    found = optimiser(writes=10, weights=40, moments=2)
    assert found.optimiser == Words(30, 30, 120)
    assert found.updates == Words(10, 10, 40)
    assert (found.forward, found.learning) == (0, 80)


@pytest.mark.parametrize("learner", ["bptt", "sltt", "ottt", "ostl", "eprop"])
@pytest.mark.parametrize("reads", ["all", "last"])
def test_arrays_that_read_backwards_leave_no_weights_to_carry_errors_digitally(learner, reads):
    net = small(hidden=(4, 3), readout_reads=reads, readout_decay=0.9)
    bound, activity = rule(learner, net), steady(net)
    found = bound.transposed(STEPS, SIZE)
    count, words = bound.operations(STEPS, SIZE, activity), bound.words(STEPS, SIZE, activity)
    assert words.transported.reads == pytest.approx(found.words.reads)
    assert words.transported.writes == pytest.approx(found.words.writes)
    units = 4 + 3 + CLASSES
    # What is left are slopes and, for BPTT, ways through a unit's own time: a few MACs a unit and step.
    left = count.errors.mac - found.instead.mac
    assert 0 <= left <= 2 * units * STEPS
    names = {"readout.synapse.weight"} | (
        {"hidden.1.synapse.weight"} if (learner, reads) != ("eprop", "all") else set()
    )
    assert dict(found.times) == dict.fromkeys(names, STEPS)


def test_back_propagation_reads_recurrent_arrays_backwards_too():
    net = small(hidden=(4,), recurrent=True)
    found = rule("bptt", net).transposed(STEPS, SIZE)
    assert set(found.times) == {"readout.synapse.weight", "hidden.0.recurrent.weight"}
    assert found.instead.mac == found.words.reads == STEPS * (4 * CLASSES + 16)
    half = found * 0.5
    assert set(half.times.values()) == {STEPS / 2}
    assert (half.instead.mac, half.words.reads) == (found.instead.mac / 2, found.words.reads / 2)


@pytest.mark.parametrize(("learner", "settings"), [("osttp", {}), ("eprop", {"feedback": "random"})])
def test_own_feedback_weights_need_no_array_read_backwards(learner, settings):
    found = rule(learner, small(hidden=(4,)), **settings).transposed(STEPS, SIZE)
    assert (found.times, found.instead.total, found.words.moved) == ({}, 0, 0)


def test_chosen_steps_alone_read_backwards():
    found = rule("sltt", small(hidden=(4,)), steps=2).transposed(STEPS, SIZE)
    assert dict(found.times) == {"readout.synapse.weight": 2}


def test_targets_of_every_step_make_the_signal_of_each_step_anew():
    net = small(hidden=(4,))
    once = rule("osttp", net).words(STEPS, SIZE, steady(net)).errors
    activity = steady(net)
    each = MeanActivity(activity.inputs, activity.hidden, activity.earlier, Signals(ones=2.0 * STEPS))
    found = rule("osttp", net).words(STEPS, SIZE, each).errors
    assert (once.writes, found.writes) == (4, 4 * STEPS)
    assert found.reads - once.reads == 2 * STEPS - 1


@pytest.mark.parametrize(("name", "traces"), [("snu", 2 * 5 * (3 + 5 + 1)), ("lru", 2 * 5 * (3 + 3))])
def test_other_cells_count_two_states_and_two_numbers_a_trace(name, traces):
    # A trained threshold; three trained parameters of a complex unit, whose trace is one complex number.
    settings = {"readout_decay": 0.0} if name == "snu" else {}
    net = build(name, 3, CLASSES, **settings)
    sent = [Signals(others=float(layer.width)) for layer in net.layers[:-1]]
    found = rule("osttp", net).words(STEPS, SIZE, MeanActivity.steady(Signals(others=3.0), sent, STEPS))
    assert found.state.held == 2 * 5
    assert found.traces == Words(STEPS * traces, STEPS * traces, traces)
