"""Arrays that are written and verified: mapping, pairs, writes, mixed precision, faults, wear."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from fixtures.programmed import EVERY, QUIET, array_of, generator, normals
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from workbench.hardware.drift import PowerLaw
from workbench.hardware.pcm import PCM
from workbench.hardware.programmed import Generic
from workbench.hardware.programmed_array import ProgrammedArray
from workbench.hardware.programmed_device import Device
from workbench.hardware.reram_wan import ReRAMWan

# Mapping


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", EVERY)
@pytest.mark.parametrize("update", ["program", "mixed-precision"])
def test_without_imperfections_what_is_read_is_what_was_wanted_to_the_last_bit(kind, update, dtype):
    wanted = normals(9, 13, dtype=dtype)
    array = array_of(wanted, kind, update=update)
    assert torch.equal(array.read(0.0), wanted)
    assert torch.equal(array.read(1e9), wanted)
    array.program(-wanted / 3, wanted > 0.3, 7.0, generator())
    assert torch.equal(array.read(7.0), torch.where(wanted > 0.3, -wanted / 3, wanted))


@given(
    # Not so small that a quarter of it is rounded.
    st.lists(st.floats(-3, 3, width=32).filter(lambda w: not 0 < abs(w) < 1e-30), min_size=12, max_size=12),
    st.sampled_from([1, 2, 4]),
    st.floats(0, 900),
)
def test_any_weights_are_read_as_they_were_wanted(values, sharing, g_min):
    wanted = torch.tensor(values, dtype=torch.float32).view(3, 4)
    array = array_of(wanted, sharing=sharing, g_min=g_min)
    assert torch.equal(array.read(0.0), wanted)


@pytest.mark.parametrize("sharing", [1, 2, 4])
def test_a_weight_is_a_pair_one_side_of_which_is_at_the_least_conductance(sharing):
    wanted = torch.tensor([[0.5, -1.0, 0.0]])
    array = array_of(wanted, sharing=sharing, g_min=100.0, g_max=1000.0, headroom=1.0)
    found = array.cells.conductances(0.0)
    assert found.shape == (2 * sharing, 1, 3)
    assert len(array.wear.writes) == 2 * sharing
    # Devices that share a conductance carry equal parts of it.
    up = torch.tensor([[550.0, 100.0, 100.0]]) / sharing
    down = torch.tensor([[100.0, 1000.0, 100.0]]) / sharing
    torch.testing.assert_close(found, torch.stack([up] * sharing + [down] * sharing))


@pytest.mark.parametrize("headroom", [0.5, 1.0, 2.0])
def test_the_range_follows_from_the_largest_initial_weight(headroom):
    wanted = torch.tensor([[0.5, -2.0, 3.0, -8.0]])
    array = array_of(wanted, headroom=headroom, update="program")
    largest = 8.0 * headroom
    assert array.facts()["largest_weight"] == largest
    assert torch.equal(array.read(0.0), wanted.clamp(-largest, largest))
    shown = array.read(0.0)
    array.update(torch.full_like(wanted, 100.0), shown, 0.0, generator())
    assert torch.equal(array.read(0.0), torch.full_like(wanted, largest))
    assert array.facts()["saturated"] == 1.0


def test_a_matrix_of_zeros_has_a_range_too():
    array = array_of(torch.zeros(2, 3), headroom=2.0)
    assert array.largest == 2.0
    assert not array.read(0.0).any()


def test_no_conductance_is_below_zero():
    # Devices that aim at zero: half of the errors are cut off.
    array = array_of(torch.zeros(100, 200), ReRAMWan, programming_noise=1.0)
    found = array.cells.conductances(0.0)
    assert found.min() == 0
    assert (found == 0).double().mean() == pytest.approx(0.5, abs=5 * 0.5 / 200)
    assert found.double().mean() == pytest.approx(
        0.348 / math.sqrt(2 * math.pi), rel=5 * math.sqrt(math.pi - 1) / 200
    )


def test_devices_that_share_a_conductance_average_their_errors():
    """The fit is of the sum: of each of two devices the relative error is larger by the root of two."""
    wanted = torch.full((200, 200), 0.5)
    spread = {}
    for sharing in (1, 2, 4):
        array = array_of(wanted, sharing=sharing, programming_noise=1.0, headroom=2.0)
        width = array.device.g_max - array.device.g_min
        spread[sharing] = float(array.read(0.0).double().std()) * width / array.largest
        single = array.cells.conductances(0.0)[0].double().std() * sharing
        assert single == pytest.approx(20 * math.sqrt(sharing), rel=5 / math.sqrt(2 * 40_000))
    for found in spread.values():
        # Of the weight, two sides of a pair with 20 microsiemens each.
        assert found == pytest.approx(20 * math.sqrt(2), rel=5 / math.sqrt(2 * 40_000))


# Writing


def changes_by_hand(before, after, sharing, largest):
    """Count the devices of every weight whose target changes, one weight after the other."""
    counts = np.zeros((2 * sharing, *before.shape), int)
    for place in np.ndindex(*before.shape):
        old, new = (min(max(float(w[place]), -largest), largest) for w in (before, after))
        for device in range(2 * sharing):
            side = 1 if device < sharing else -1
            counts[(device, *place)] += max(side * old, 0.0) != max(side * new, 0.0)
    return counts


@pytest.mark.parametrize("sharing", [1, 2])
def test_writes_are_the_devices_whose_target_changes(sharing):
    array = array_of(normals(6, 7), sharing=sharing, update="program", headroom=0.7)
    expected = np.zeros((2 * sharing, 6, 7), int)
    for step in range(8):
        shown = array.read(0.0)
        wanted = shown + 0.5 * normals(6, 7, seed=step) * (normals(6, 7, seed=50 + step) > 0)
        expected += changes_by_hand(shown, wanted, sharing, float(torch.tensor(array.largest)))
        array.update(wanted, shown, 0.0, generator())
    assert np.array_equal(array.wear.writes.numpy(), expected)
    # Weights that change sign write both sides, those that do not only one, those at their end none.
    assert 0 < expected.sum() < 8 * 6 * 7 * 2 * sharing / 2


def test_tolerance_leaves_small_changes():
    shown = torch.tensor([[0.0, 1.0, -0.5]])
    array = array_of(shown, update="program", headroom=1.0, tolerance=0.05)
    # A twentieth of the range from -1 to 1.
    array.update(shown + torch.tensor([[0.11, -0.09, 0.1]]), shown, 0.0, generator())
    torch.testing.assert_close(array.read(0.0), torch.tensor([[0.11, 1.0, -0.5]]))
    assert array.wear.writes.sum() == 1


@pytest.mark.parametrize("update", ["program", "mixed-precision"])
def test_what_is_written_is_the_change_of_what_was_shown(update):
    """The chip knows a weight only by reading it: errors of earlier writings stay where they are."""
    array = array_of(normals(30, 40), ReRAMWan, programming_noise=1.0, update=update, granularity=0.01)
    shown = array.read(0.0)
    wanted = shown.clone()
    wanted[:, ::2] += 0.5
    array.update(wanted, shown, 0.0, generator())
    read = array.read(0.0)
    assert torch.equal(read[:, 1::2], shown[:, 1::2])
    assert (read - shown)[:, ::2].mean() == pytest.approx(0.5, abs=0.1)


# Mixed precision


@given(
    st.lists(st.lists(st.integers(-600, 600), min_size=6, max_size=6), min_size=1, max_size=10),
    st.sampled_from([1, 2]),
)
def test_mixed_precision_loses_nothing(steps, sharing):
    """What is still collected and what was written sum to what was asked for, exactly."""
    start = torch.tensor([[0.5, -0.25, 0.0], [1.0, -1.0, 0.125]])
    array = array_of(start, sharing=sharing, headroom=64.0, granularity=2.0**-9)
    assert array.accumulator.quantum == 0.25
    asked = [Fraction(0)] * 6
    for step in steps:
        # Multiples of 1/256, which float32 adds up exactly.
        change = torch.tensor(step, dtype=torch.float32).view(2, 3) / 256
        asked = [sum_ + Fraction(one, 256) for sum_, one in zip(asked, step, strict=True)]
        shown = array.read(0.0)
        array.update(shown + change, shown, 0.0, generator())
    written = (array.read(0.0) - start).flatten().tolist()
    collected = (array.accumulator.chi * 0.25).flatten().tolist()
    assert [Fraction(w) + Fraction(c) for w, c in zip(written, collected, strict=True)] == asked
    assert all(Fraction(w) % Fraction(1, 4) == 0 for w in written)
    assert (array.accumulator.chi.abs() < 1).all()


def test_granularity_is_a_fraction_of_the_range_of_a_weight():
    shown = torch.tensor([[1.0, -1.0, 0.5]])
    array = array_of(shown, headroom=2.0, granularity=0.1)
    # Range from -2 to 2, hence quanta of 0.4.
    change = torch.tensor([[0.39, 0.41, -0.85]])
    array.update(shown + change, shown, 0.0, generator())
    torch.testing.assert_close(array.read(0.0), shown + torch.tensor([[0.0, 0.4, -0.8]]))
    torch.testing.assert_close(array.accumulator.chi * 0.4, torch.tensor([[0.39, 0.01, -0.05]]))


def test_programming_drops_what_was_collected():
    shown = torch.tensor([[1.0, -1.0]])
    array = array_of(shown, granularity=0.1)
    array.update(shown + 0.1, shown, 0.0, generator())
    assert array.accumulator.chi.all()
    array.program(torch.zeros(1, 2), torch.tensor([[True, False]]), 0.0, generator())
    assert array.accumulator.chi[0, 0] == 0
    assert array.accumulator.chi[0, 1] != 0
    assert array.read(0.0).tolist() == [[0.0, -1.0]]


def test_the_buffer_is_a_number_a_weight():
    wanted = normals(5, 6)
    assert array_of(wanted).buffer_bytes() == 4 * 30
    assert array_of(wanted.double()).buffer_bytes() == 8 * 30
    assert array_of(wanted, update="program").buffer_bytes() == 0


# Faults and wear


@pytest.mark.parametrize("kind", [PCM, Generic])
@pytest.mark.parametrize("stuck_at", ["random", "g_min", "g_max"])
def test_stuck_devices_never_change(stuck_at, kind):
    noise = {"programming_noise": 1.0, **({"drift": 1.0, "compensation": "off"} if kind is PCM else {})}
    array = array_of(normals(40, 50), kind, stuck=0.2, stuck_at=stuck_at, update="program", **noise)
    stuck = array.wear.stuck
    before = array.cells.conductances(0.0)[stuck]
    least, most = array.device.g_min, array.device.g_max
    if stuck_at == "random":
        assert before.min() >= least
        assert before.max() <= most
        share = (before - least) / (most - least)
        assert share.mean() == pytest.approx(0.5, abs=5 / math.sqrt(12 * len(share)))
        assert share.std() == pytest.approx(1 / math.sqrt(12), rel=5 / math.sqrt(len(share)))
    else:
        torch.testing.assert_close(before, torch.full_like(before, least if stuck_at == "g_min" else most))
    for step in range(3):
        shown = array.read(1e3 * step)
        array.update(shown + normals(40, 50, seed=step), shown, 1e3 * step, generator(step))
    assert torch.equal(array.cells.conductances(1e6)[stuck], before)
    assert (array.wear.writes[stuck] == 0).all()
    assert (array.wear.writes[~stuck] > 0).double().mean() > 0.5
    assert stuck.double().mean() == pytest.approx(0.2, abs=5 * 0.4 / math.sqrt(stuck.numel()))


def test_worn_out_devices_stay_where_they_are():
    array = array_of(normals(20, 30), update="program", wearout=True, endurance=4.0, endurance_spread=0.5)
    limits = array.wear.limit
    assert limits.min() < 4 < limits.max()
    last = torch.full((2, 20, 30), math.nan)
    for step in range(40):
        worn = array.wear.writes >= limits
        shown = array.read(0.0)
        array.update(shown + normals(20, 30, seed=step), shown, 0.0, generator())
        now = array.cells.conductances(0.0)
        assert torch.equal(now[worn], last[worn])
        last = now
    assert (array.wear.writes <= limits).all()
    assert array.wear.worn() > 500


def test_a_device_needs_a_range():
    with pytest.raises(ValidationError, match=r"g_min=500 .* g_max=500"):
        array_of(normals(2, 2), g_min=500.0, g_max=500.0)


def test_an_array_of_one_own_device():
    """What another package may build: any range, any law."""
    law = PowerLaw(1.0, lambda g: torch.full_like(g, 0.5), torch.zeros_like)
    config = Generic.Config(**QUIET, compensation="off", headroom=1.0)
    wanted = torch.tensor([[1.0, -0.5]])
    array = ProgrammedArray(wanted, Device(0.0, 7.0, drift=law), config, generator())
    array.program(wanted, torch.ones(1, 2, dtype=torch.bool), 0.0, generator())
    torch.testing.assert_close(array.read(3.0), wanted / 2)
