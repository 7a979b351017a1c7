"""Tiki-Taka: a fast array takes the changes, its columns move into the weights, and nothing else does."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.pulses import generator, plain, settings
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from workbench.hardware.pulsed_array import PulsedArray

STEP = 0.0078125
VERSIONS = ("tiki-taka", "tiki-taka-2", "tiki-taka-chopped")


def array(rows=3, inputs=4, version="tiki-taka", make=plain, **chosen):
    """Return devices of exact steps whose weights are in device units, all at zero, with wide bounds."""
    chosen = {"dw_min": STEP, "w_max": 2.0, "w_min": -2.0, "headroom": 1.0} | chosen
    made = PulsedArray(
        torch.full((rows, inputs), chosen["w_max"]), make(update=version, **chosen), generator()
    )
    assert made.scale == 1.0
    return made


def fast(made, weights):
    """Bring the fast array to some weights."""
    weights = torch.as_tensor(weights).expand(made.way.fast.read().shape)
    made.way.fast.set(weights, torch.ones_like(weights, dtype=torch.bool), generator())


def transfer(made, times=1, seed=1):
    """Let the fast array be read into the weights; returns the weights then."""
    drawn = generator(seed)
    for _ in range(times):
        made.way._transfer(drawn)
    return made.cells.read()


def change(made, by, drawn=None):
    shown = made.read(0.0).clone()
    made.update(shown + by, shown, 0.0, drawn or generator(1))


@pytest.mark.parametrize("version", VERSIONS)
def test_changes_go_to_the_fast_array_and_weights_are_those_of_the_slow_one(version):
    made = array(version=version, transfer_every=1000)
    by = STEP * torch.tensor([[3.0, 0.0, -2.0, 31.0]]).expand(3, 4)
    for _ in range(5):
        change(made, by)
    # Whole steps as long as their train: every slot carries one.
    torch.testing.assert_close(made.way.fast.read().float()[:, 3], 5 * by[:, 3])
    assert (made.way.fast.read()[:, 1] == 0).all()
    assert (made.read(0.0) == 0).all()
    assert made.wear.writes[0].sum() == 0
    assert made.wear.writes[1].sum() > 0


def test_the_first_version_moves_one_column_after_the_other_into_the_weights():
    """Of one row, so that a whole number of steps is a train without chance."""
    made = array(rows=1)
    held = STEP * torch.tensor([[3.0, -5.0, 31.0, 40.0]])
    fast(made, held)
    arrived = torch.zeros(1, 4)
    for column, steps in enumerate((3, -5, 31, 31)):
        arrived[0, column] = STEP * steps
        torch.testing.assert_close(transfer(made).float(), arrived)
    # And again from the first one; reading does not empty the fast array.
    arrived[0, 0] += 3 * STEP
    torch.testing.assert_close(transfer(made).float(), arrived)
    torch.testing.assert_close(made.way.fast.read().float(), held)
    assert made.facts()["transfers"] == 5


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_a_transfer_is_what_was_read_times_its_rate_on_average(rate):
    made = array(rows=300, inputs=200, transfer_lr=rate, w_max=20.0, w_min=-20.0)
    held = 0.1 * torch.randn(300, 200, generator=generator(3))
    fast(made, held)
    arrived = transfer(made, 200).float()
    carried = float((arrived * held).sum() / (held * held).sum())
    assert carried == pytest.approx(rate, rel=0.02)


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_column_is_read_after_every_so_many_updates(version, every):
    made = array(version=version, transfer_every=every)
    for number in range(1, 13):
        change(made, STEP)
        assert made.facts()["transfers"] == number // every
    assert made.way.column == (12 // every) % 4


@pytest.mark.parametrize("momentum", [0.0, 0.25, 0.5])
@testing(max_examples=40, deadline=None)
@given(
    reads=st.lists(st.integers(-300, 300), min_size=1, max_size=40),
    threshold=st.sampled_from([0.5, 1.0, 4.0]),
)
def test_the_buffer_conserves_what_is_read(momentum, reads, threshold):
    """Without forgetting: what was read is what is held and (1 - momentum) of each pulse that was sent, exactly."""
    made = array(1, 1, "tiki-taka-2", forget_buffer=False, momentum=momentum, threshold=threshold)
    total, pulses = 0, 0
    for number in reads:
        total += number
        due = made.way.collect(
            torch.full((1, 1), number * STEP * threshold / 256, dtype=torch.float64), slice(0, 1)
        )
        assert abs(int(due)) <= 1
        pulses += int(due)
        held = float(made.way.buffer)
        assert held + (1 - momentum) * pulses == total / 256


def test_a_buffer_that_forgets_keeps_the_momentum_of_what_it_held():
    made = array(1, 1, "tiki-taka-2", momentum=0.1)
    column = slice(0, 1)
    held = 0.0
    for number in (0.4, 0.4, 0.4, -0.9, -0.9, 2.5, 0.9):
        held += number
        due = math.trunc(max(-1, min(1, held)))
        assert int(made.way.collect(torch.full((1, 1), number * STEP).double(), column)) == due
        held = 0.1 * held if due else held
        assert float(made.way.buffer) == pytest.approx(held, abs=1e-6)


def test_the_second_version_sends_a_pulse_once_the_buffer_is_over_its_threshold():
    made = array(rows=1, inputs=2, version="tiki-taka-2", threshold=4.0, forget_buffer=False, momentum=0.0)
    fast(made, STEP * torch.tensor([[1.5, -3.0]]))
    weights = [transfer(made).div(STEP)[0].tolist() for _ in range(8)]
    # 1.5, 3, 4.5 and 6 steps read of the first input, -3, -6, -9 and -12 of the second one: over 4, over -4 and -8.
    assert weights == [[0, 0], [0, 0], [0, 0], [0, -1], [1, -1], [1, -2], [1, -2], [1, -3]]
    assert float(made.way.buffer[0, 0]) == pytest.approx(6 / 4 - 1)
    assert made.wear.writes[0].tolist() == [[1, 3]]


def test_a_threshold_may_depend_on_how_often_columns_are_read():
    chosen = {"version": "tiki-taka-chopped", "inputs": 40, "threshold": 3.0}
    assert array(**chosen).way.threshold == pytest.approx(3 * STEP)
    automatic = array(**chosen, auto_granularity=1000.0, transfer_every=5)
    assert automatic.way.threshold == pytest.approx(3 * STEP * 1000 / (40 * 5))


def test_what_the_fast_array_holds_for_no_reason_moves_weights_unless_it_is_chopped():
    """It stands at a symmetry point that is not zero, and no changes come."""
    plainly, chopped = (
        array(rows=20, inputs=5, version=version, in_chop_prob=1.0, momentum=0.0, forget_buffer=False)
        for version in ("tiki-taka-2", "tiki-taka-chopped")
    )
    for made in (plainly, chopped):
        fast(made, 0.4 * STEP)
    # 200 reads of each column: 80 steps, or nothing.
    torch.testing.assert_close(
        transfer(plainly, 1000), torch.full((20, 5), 80 * STEP).double(), atol=STEP, rtol=0
    )
    assert transfer(chopped, 1000).abs().max() <= STEP


@pytest.mark.parametrize("probability", [0.0, 0.3, 1.0])
def test_signs_flip_at_random_after_transfers(probability):
    made = array(rows=1, inputs=50, version="tiki-taka-chopped", in_chop_prob=probability)
    flips, before, drawn = 0, made.way.chopper.clone(), generator(4)
    for _ in range(2000):
        column = made.way.column
        made.way._transfer(drawn)
        changed = (made.way.chopper != before).nonzero().flatten().tolist()
        assert changed in ([], [column])
        flips += len(changed)
        before = made.way.chopper.clone()
    spread = math.sqrt(2000 * probability * (1 - probability))
    assert abs(flips - 2000 * probability) <= 5 * spread
    assert set(before.unique().tolist()) <= {1.0, -1.0}


def test_a_chopped_array_takes_and_gives_with_the_same_sign():
    made = array(rows=1, inputs=2, version="tiki-taka-chopped", in_chop_prob=0.0, threshold=31.0)
    made.way.chopper[1] = -1.0
    change(made, STEP * torch.full((1, 2), 31.0))
    # The first column was read, and asked for a pulse; the second one is next.
    torch.testing.assert_close(made.way.fast.read(), STEP * torch.tensor([[31.0, -31.0]]).double())
    change(made, STEP * torch.full((1, 2), 31.0))
    torch.testing.assert_close(made.cells.read(), STEP * torch.tensor([[1.0, 1.0]]).double())


def test_changes_may_be_scaled_to_the_train():
    made = array(1, 3, auto_scale=True, fast_lr=0.5, transfer_every=1000, w_max=50.0, w_min=-50.0)
    change(made, torch.tensor([[1e-3, -1e-3, 0.5e-3]]))
    # The largest one is sent as half of 31 pulses.
    assert made.way.mean_largest == pytest.approx(1e-3, rel=1e-4)
    assert float(made.way.fast.read().abs().max()) == pytest.approx(15.5 * STEP, abs=4 * STEP)
    change(made, torch.tensor([[2e-3, 0.0, 0.0]]))
    assert made.way.mean_largest == pytest.approx(0.99 * 1e-3 + 0.01 * 2e-3, rel=1e-4)


@pytest.mark.parametrize(
    ("version", "expected"), [("tiki-taka", 0), ("tiki-taka-2", 4 * 33), ("tiki-taka-chopped", 4 * 33 + 2)]
)
def test_digital_memory_is_the_buffer_and_a_sign_for_each_input(version, expected):
    assert array(3, 11, version).buffer_bytes() == expected


def test_what_is_set_forgets_what_was_to_come():
    made = array(1, 2, "tiki-taka-2")
    made.way.buffer.fill_(0.5)
    made.program(torch.zeros(1, 2), torch.tensor([[True, False]]), 0.0, generator())
    assert made.way.buffer.tolist() == [[0.0, 0.5]]


def learned_share(**chosen):
    """Return the share of their targets that weights on soft bounds reach, whose targets are noisy."""
    config = settings(
        "soft-bounds", dw_min=0.01, w_max=1.0, w_min=-1.0, headroom=1.0, w_max_dtod=0.0, w_min_dtod=0.0,
        up_down_dtod=0.0, **chosen,
    )  # fmt: skip
    target = torch.tensor([[0.45, -0.45, 0.3, -0.3]]).repeat(30, 1)
    made, drawn, mean = PulsedArray(torch.ones(30, 4), config, generator()), generator(9), torch.zeros(30, 4)
    for number in range(400):
        shown = made.read(0.0).clone()
        noisy = target + 2.0 * torch.randn(30, 4, generator=drawn)
        made.update(shown - 0.05 * (shown - noisy), shown, 0.0, drawn)
        mean += made.read(0.0) / 200 if number >= 200 else 0.0
    return float((mean * target).sum() / (target * target).sum())


def test_weights_get_past_the_pull_of_soft_bounds():
    """Pulses that cancel pull a weight to zero by |change| w: plain ones end where that balances the gradient.

    Changes are 0.1 xi, so plain pulses reach 0.05 / (0.05 + 0.1 sqrt(2 / pi)) of the target.
    """
    plainly = learned_share(update="stochastic")
    assert plainly == pytest.approx(0.05 / (0.05 + 0.1 * math.sqrt(2 / math.pi)), abs=0.04)
    assert learned_share(update="tiki-taka", transfer_lr=0.1) > plainly + 0.25
    for version in VERSIONS[1:]:
        assert learned_share(update=version, threshold=5.0, forget_buffer=False, momentum=0.0) > plainly + 0.4
