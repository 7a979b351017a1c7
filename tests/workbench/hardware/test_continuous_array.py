"""Devices that take any change: without spread they are the float learner, with it the limit of many pulses."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures import small
from fixtures.pulses import EXACT, generator

from workbench.hardware.continuous_array import ContinuousArray
from workbench.hardware.pulsed import Pulsed
from workbench.hardware.pulsed_array import PulsedArray
from workbench.hardware.pulsed_settings import PulsedConfig

INFINITE = EXACT | {"dw_min": 0.0}
"""Bits without end: no steps, no spread. Bounds are wide by `headroom`."""


def chip(**chosen):
    """Return what puts a network on such devices."""
    return lambda net, streams: Pulsed(PulsedConfig(**(INFINITE | chosen))).attach(net, streams)


def array(weights, **chosen):
    made = ContinuousArray(weights, PulsedConfig(**(INFINITE | chosen)), generator())
    made.program(weights.clone(), torch.ones_like(weights, dtype=torch.bool), 0.0, generator())
    made.wear.writes.zero_()
    return made


def change(made, by):
    """Ask for a change of the weights; returns how far they moved."""
    shown = made.read(0.0).clone()
    made.update(shown + by, shown, 0.0, generator(1))
    return made.read(0.0) - shown


def learned(made):
    """Train both tasks; returns every accuracy and the network's state."""
    found = [made.evaluate_tasks().accuracies]
    for task in range(2):
        made.train_task(task)
        found.append(made.evaluate_tasks(task).accuracies)
    return found, {name: value.clone() for name, value in made.network.state_dict().items()}


def assert_equal(one, other):
    assert one[0] == other[0]
    for name, value in one[1].items():
        assert torch.equal(value, other[1][name]), name


def test_an_array_without_steps_is_continuous():
    weights = torch.randn(3, 4, generator=generator())
    assert type(Pulsed(PulsedConfig(dw_min=0.0)).array(weights, generator())) is ContinuousArray
    assert type(Pulsed(PulsedConfig()).array(weights, generator())) is PulsedArray


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize("rule", ["bptt", "sltt", "ottt", "ostl", "eprop", "osttp"])
def test_noise_off_and_infinite_bits_are_the_float_learner_bit_for_bit(rule, update):
    if (rule, update) == ("bptt", "step"):
        return  # It learns from whole sequences.
    chosen = {} if update == "sequence" else {"update": update}
    alone = learned(small.trainer(rule, settings=chosen))
    assert_equal(learned(small.trainer(rule, settings=chosen, chip=chip(headroom=1000.0))), alone)


@pytest.mark.parametrize("step", ["constant", "linear", "power"])
def test_so_are_other_steps_that_do_not_bend(step):
    straight = {"step": step, "gamma_up": 0.0, "gamma_down": 0.0, "headroom": 1000.0}
    assert_equal(learned(small.trainer("osttp", chip=chip(**straight))), learned(small.trainer("osttp")))


def test_soft_bounds_far_away_are_nearly_the_float_learner():
    def weights(**options):
        made = small.trainer("osttp", settings={"optimiser": "sgd"}, **options)
        made.train_task(0)
        return torch.cat([p.detach().flatten() for p in made.network.parameters()])

    floats = weights()
    near, far, farther = (
        float((weights(chip=chip(step="soft-bounds", headroom=headroom)) - floats).abs().max())
        for headroom in (1.5, 15.0, 150.0)
    )
    assert near > 3 * far
    assert far > 3 * farther > 0


def test_the_response_is_that_of_the_device_at_its_weight():
    weights = torch.tensor([[-0.5, 0.0, 0.5, 1.0]])
    soft = array(weights, step="soft-bounds", headroom=2.0, up_down=0.2)
    torch.testing.assert_close(soft.read(0.0), weights)
    torch.testing.assert_close(change(soft, 0.01), 0.01 * (1 - weights / 2))
    soft = array(weights, step="soft-bounds", headroom=2.0, up_down=0.2)
    torch.testing.assert_close(change(soft, -0.01), -0.008 * (1 + weights / 2))


@pytest.mark.parametrize("step", ["constant", "linear", "soft-bounds", "exponential", "power"])
def test_many_small_pulses_come_to_the_same(step):
    """A change in 200 parts, each sent as one pulse of a device that has such steps."""
    weights = 0.3 * torch.randn(4, 5, generator=generator())
    curved = {"step": step, "gamma_up": 0.6, "gamma_down": 0.4, "a_up": 0.5, "a_down": 0.2, "headroom": 3.0}
    limit = array(weights, **curved)
    # So that a pulse is a change of 0.001 in units of the network, before the device has its say.
    stepping = PulsedConfig(**(EXACT | curved | {"dw_min": 0.001 / limit.scale, "update": "deterministic"}))
    pulsed = PulsedArray(weights, stepping, generator())
    pulsed.program(weights.clone(), torch.ones(4, 5, dtype=torch.bool), 0.0, generator())
    assert pulsed.scale == limit.scale
    for sign in (1, -1):
        for _ in range(200):
            change(limit, sign * 0.001)
            pulsed.cells.pulse(torch.full((4, 5), sign, dtype=torch.int32), generator())
        torch.testing.assert_close(limit.read(0.0), pulsed.read(0.0), rtol=1e-4, atol=2e-5)


def test_bounds_hold_and_spread():
    weights = 0.1 * torch.randn(200, 1000, generator=generator())
    made = array(weights, headroom=1.0, w_max_dtod=0.1, w_max=1.0, w_min=-1.0)
    change(made, 1e6)
    largest = float(weights.abs().max())
    assert torch.equal(made.read(0.0), made.upper)
    spread, count = 0.1 * largest, weights.numel()
    assert abs(float(made.upper.double().mean()) - largest) < 5 * spread / math.sqrt(count)
    assert abs(float(made.upper.double().std()) - spread) < 5 * spread / math.sqrt(2 * count)
    assert made.facts()["saturated"] == 1
    change(made, -1e7)
    assert torch.equal(made.read(0.0), made.lower)


def test_responses_spread_from_device_to_device():
    made = array(torch.zeros(200, 1000), dw_min_dtod=0.2, w_max=100.0, w_min=-100.0)
    moved = change(made, 1.0).double()
    assert abs(float(moved.mean()) - 1.0) < 5 * 0.2 / math.sqrt(moved.numel())
    assert abs(float(moved.std()) - 0.2) < 5 * 0.2 / math.sqrt(2 * moved.numel())


def test_a_changed_weight_is_a_write_and_stuck_and_worn_ones_stay():
    weights = torch.full((40, 50), 0.1)
    made = array(weights, stuck=0.2, stuck_range=0.05, wearout=True, endurance=2, headroom=100.0)
    stuck = made.wear.stuck[0]
    before = made.read(0.0).clone()
    assert before[stuck].abs().max() <= 0.05 * made.scale
    assert before[stuck].std() > 0
    by = torch.zeros(40, 50)
    by[:20] = 0.01
    for _ in range(4):
        change(made, by)
    assert torch.equal(made.wear.writes[0], torch.where(by != 0, 4, 0).int())
    moved = made.read(0.0) - before
    expected = torch.where(stuck | (by == 0), 0.0, 0.02)
    torch.testing.assert_close(moved, expected)


def test_charge_leaks():
    made = array(torch.full((2, 3), 0.4), lifetime=20.0)
    same = made.read(0.0).clone()
    for _ in range(10):
        made.update(same, same, 0.0, generator())
    torch.testing.assert_close(made.read(0.0), same * (1 - 1 / 20) ** 10)
    assert made.wear.writes.sum() == 0


@pytest.mark.parametrize("update", ["sequence", "step"])
def test_learning_goes_on_from_a_state_as_if_nothing_had_been(update):
    bad = chip(
        step="soft-bounds", dw_min_dtod=0.3, w_max_dtod=0.2, reference_std=0.05, lifetime=1000.0, stuck=0.05,
        wearout=True, endurance=40,
    )  # fmt: skip
    whole, fresh = (small.trainer("osttp", settings={"update": update}, chip=bad) for _ in range(2))
    whole.train_task(0)
    state = {name: value.clone() for name, value in whole.chip.state_dict().items()}
    fresh.network.load_state_dict(whole.network.state_dict())
    fresh.chip.load_state_dict(state)
    for made in (whole, fresh):
        made.train_task(1)
    for name, value in whole.chip.state_dict().items():
        assert torch.equal(value, fresh.chip.state_dict()[name]), name
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, fresh.network.state_dict()[name]), name


def test_a_state_brings_back_other_devices():
    weights = torch.randn(5, 6, generator=generator())
    chosen = {"step": "soft-bounds", "dw_min_dtod": 0.3, "w_max_dtod": 0.2}
    made, other = array(weights, **chosen), array(2 * weights.flip(0), **chosen)
    change(made, 0.1)
    other.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    assert torch.equal(made.read(0.0), other.read(0.0))
    assert torch.equal(change(made, -0.3), change(other, -0.3))
    assert made.buffer_bytes() == 0
    assert made.read_deviation() is None
