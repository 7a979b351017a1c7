"""Arrays of pulsed devices: what arrives of an update, what is counted, stuck, worn, leaked, refreshed and kept."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from fixtures import small
from fixtures.pulses import EXACT, generator, plain, settings

from workbench.hardware.pulsed import ReRamOM
from workbench.hardware.pulsed_array import PulsedArray, weight_scale
from workbench.hardware.pulsed_settings import PulsedConfig

WAYS = (
    "stochastic",
    "deterministic",
    "stochastic-rounding",
    "mixed-precision",
    "tiki-taka",
    "tiki-taka-2",
    "tiki-taka-chopped",
)
PAIR = {"cell": "pair", "w_min": 0.0, "w_max": 1.0, "reset": 0.01}


def array(weights, chosen, seed=0):
    """Return the devices of some initial weights, programmed as a chip does it."""
    drawn = generator(seed)
    made = PulsedArray(weights, chosen, drawn)
    made.program(weights.clone(), torch.ones_like(weights, dtype=torch.bool), 0.0, drawn)
    made.wear.writes.zero_()
    return made


def at_scale_one(*shape, value=0.0, **chosen):
    """Return devices of which weights are in device units, at a weight, with bounds at +-0.5 unless told otherwise."""
    chosen = plain(**({"headroom": 1.0, "w_max": 0.5, "w_min": -0.5} | chosen))
    weights = torch.full(shape, value)
    weights[0, 0] = chosen.reach
    made = PulsedArray(weights, chosen, generator())
    assert made.scale == 1.0
    made.program(torch.full(shape, value), torch.ones(shape, dtype=torch.bool), 0.0, generator())
    made.wear.writes.zero_()
    return made


def change(made, by, drawn=None):
    """Ask for a change of the weights; returns how far they moved."""
    shown = made.read(0.0).clone()
    made.update(shown + by, shown, 0.0, drawn or generator(1))
    return made.read(0.0) - shown


def watch_pulses(made):
    """Return a list that gets the size of all pulses that are sent from now on."""
    sent = []
    for cells in [made.cells, *([made.way.fast] if hasattr(made.way, "fast") else [])]:
        real = cells.pulse

        def watched(counts, drawn, real=real):
            sent.append(int(counts.abs().sum()))
            real(counts, drawn)

        cells.pulse = watched
    return sent


@pytest.mark.parametrize("outer", [True, False])
def test_updates_arrive_on_average_as_they_were_asked_for(outer):
    """Below clipping, of devices that have spread but no asymmetry, within two percent."""
    chosen = PulsedConfig(dw_min=0.002, w_max=4.0, w_min=-4.0, headroom=4.0)
    weights = 0.1 * torch.randn(200, 300, generator=generator())
    made = array(weights, chosen)
    made_of = 0.002 * made.scale
    if outer:
        by = torch.outer(torch.randn(200, generator=generator(2)), torch.randn(300, generator=generator(3)))
    else:
        by = torch.randn(200, 300, generator=generator(2))
    by = by * (12 * made_of / by.abs().max())
    moved, drawn = torch.zeros_like(by), generator(4)
    for _ in range(20):
        moved += change(made, by, drawn) / 20
    assert float((moved * by).sum() / (by * by).sum()) == pytest.approx(1.0, abs=0.02)
    sent = made.facts()
    assert (sent["outer_products"], sent["matrix_transfers"]) == ((20, 0) if outer else (0, 20))
    assert sent["clipped"] == 0


@pytest.mark.parametrize("extra", [{}, PAIR, {"stuck": 0.3}, {"wearout": True, "endurance": 20}])
@pytest.mark.parametrize("way", WAYS)
def test_writes_are_the_pulses_that_were_sent(way, extra):
    weights = torch.randn(12, 9, generator=generator())
    made = array(weights, settings(update=way, refresh_every=0, dw_min=0.01, **extra))
    sent, drawn = watch_pulses(made), generator(1)
    for _ in range(10):
        change(made, 0.1 * torch.randn(12, 9, generator=drawn), drawn)
    assert sum(sent) > 100
    assert int(made.wear.writes.sum()) == sum(sent)


def test_a_device_moves_by_its_pulses():
    made = at_scale_one(3, 4, dw_min=0.01, update="deterministic")
    by = torch.tensor([[0.0, 0.03, -0.03, 0.014], [0.016, -0.1, 0.1, 0.0], [0.0, 0.0, 0.0, 0.01]])
    moved = change(made, by)
    expected = torch.tensor([[0, 3, -3, 1], [2, -10, 10, 0], [0, 0, 0, 1]])
    torch.testing.assert_close(moved, 0.01 * expected)
    assert torch.equal(made.wear.writes[0], expected.abs().to(torch.int32))


def test_the_range_is_a_multiple_of_the_largest_initial_weight():
    weights = torch.tensor([[0.1, -0.25]])
    assert weight_scale(weights, PulsedConfig(headroom=3.0)) == pytest.approx(3.0 * 0.25 / 0.6)
    # What holds both signs is the nearer bound.
    assert weight_scale(weights, PulsedConfig(w_max=1.2, w_min=-0.8)) == pytest.approx(2.0 * 0.25 / 0.8)
    assert weight_scale(torch.zeros(2, 2), PulsedConfig()) == 1.0
    made = array(weights, plain(headroom=3.0, update="deterministic", dw_min=0.3))
    for _ in range(3):
        change(made, 10.0)
    torch.testing.assert_close(made.read(0.0), torch.full((1, 2), 0.75))
    assert made.facts()["saturated"] == 1


@pytest.mark.parametrize("extra", [{}, PAIR])
def test_programming_sets_weights_as_far_as_bounds_allow(extra):
    weights = torch.randn(30, 40, generator=generator())
    made = array(weights, plain(headroom=0.5, **extra))
    torch.testing.assert_close(
        made.read(0.0),
        weights.clamp(-made.scale * 0.6, made.scale * 0.6)
        if not extra
        else weights.clamp(-made.scale, made.scale),
    )
    where = torch.zeros(30, 40, dtype=torch.bool)
    where[3] = True
    before = made.read(0.0).clone()
    made.program(torch.zeros(30, 40), where, 0.0, generator())
    assert (made.read(0.0)[3] == 0).all()
    assert torch.equal(made.read(0.0)[~where], before[~where])
    assert torch.equal(made.wear.writes, where.int().expand_as(made.wear.writes))


def test_a_read_differs_by_what_was_drawn_when_the_device_was_written():
    weights = torch.full((200, 1000), 0.5)
    made = array(weights, plain(dw_min=0.01, write_noise=3.0, update="deterministic"))
    spread = 0.03 * made.scale
    noise = (made.read(0.0) - weights).double()
    assert abs(float(noise.mean())) < 5 * spread / math.sqrt(noise.numel())
    assert abs(float(noise.std()) - spread) < 5 * spread / math.sqrt(2 * noise.numel())
    assert torch.equal(made.read(0.0), made.read(100.0))
    by = torch.zeros(200, 1000)
    by[:, :500] = 0.05
    moved = change(made, by)
    assert (moved[:, 500:] == 0).all()
    # Noise is no part of the weight: what was there is gone with the next.
    held = (made.cells.state[0] * made.scale).float()[:, :500]
    torch.testing.assert_close(
        held, torch.full_like(held, 0.5 + 0.01 * made.scale * round(0.05 / made.scale / 0.01))
    )


def test_references_are_taken_off_what_is_read():
    weights = torch.randn(40, 50, generator=generator())
    chosen = plain(
        "soft-bounds", subtract_symmetry_point=True, reference_std=0.1, up_down_dtod=0.05, w_max_dtod=0.2
    )
    made = PulsedArray(weights, chosen, generator())
    assert made.cells.devices.reference.std() > 0.1
    # Devices begin where they read zero, if they can.
    assert (made.read(0.0).abs() < 1e-6).double().mean() > 0.9
    small_ones = 0.05 * weights
    made.program(small_ones, torch.ones(40, 50, dtype=torch.bool), 0.0, generator())
    torch.testing.assert_close(made.read(0.0), small_ones, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("extra", [{}, PAIR])
def test_stuck_devices_hold_anything_within_their_range_and_never_move(way, extra):
    chosen = plain(update=way, stuck=0.25, stuck_range=0.3, write_noise=0.5, **extra)
    made = array(torch.full((30, 40), 0.2), chosen)
    stuck = made.wear.stuck
    assert abs(float(stuck.double().mean()) - 0.25) < 5 * math.sqrt(0.25 * 0.75 / stuck.numel())
    cells = [made.cells, *([made.way.fast] if "tiki" in way else [])]
    before = [one.state.clone() for one in cells]
    drawn = generator(3)
    for _ in range(4):
        change(made, 0.2 * torch.randn(30, 40, generator=drawn), drawn)
    for one, state in zip(cells, before, strict=True):
        here = stuck[one.slice]
        assert torch.equal(one.state[here], state[here])
        assert state[here].abs().max() <= 0.3
        low = 0.0 if extra else -0.3
        spread = (0.3 - low) / math.sqrt(12)
        middle, count = (0.3 + low) / 2, int(here.sum())
        assert abs(float(state[here].mean()) - middle) < 5 * spread / math.sqrt(count)
    moved = cells[0].state != before[0]
    assert moved[~stuck[made.cells.slice]].any()


def test_worn_devices_take_the_pulses_they_have_left_and_no_more():
    made = at_scale_one(2, 3, dw_min=0.01, update="deterministic", wearout=True, endurance=7)
    torch.testing.assert_close(change(made, 0.05), torch.full((2, 3), 0.05))
    torch.testing.assert_close(change(made, -0.05), torch.full((2, 3), -0.02))
    assert (change(made, 0.05) == 0).all()
    # Pulses arrive all the same.
    assert (made.wear.writes == 15).all()
    assert made.wear.worn() == 6
    made.program(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool), 0.0, generator())
    torch.testing.assert_close(made.read(0.0), torch.full((2, 3), 0.03))


@pytest.mark.parametrize("reference", [0.0, 0.2])
def test_charge_leaks_from_update_to_update(reference):
    made = at_scale_one(4, 5, value=0.3, lifetime=50.0, step="soft-bounds", reference_std=reference)
    same = made.read(0.0).clone()
    for _ in range(30):
        made.update(same, same, 0.0, generator())
    torch.testing.assert_close(made.read(0.0), same * (1 - 1 / 50) ** 30)
    assert made.wear.writes.sum() == 0


@pytest.mark.parametrize("way", ["tiki-taka", "tiki-taka-2"])
def test_charge_leaks_from_the_fast_array_too(way):
    made = at_scale_one(4, 5, lifetime=50.0, update=way)
    fast = made.way.fast
    fast.set(torch.full((4, 5), 0.4), torch.ones(4, 5, dtype=torch.bool), generator())
    same = made.read(0.0).clone()
    for _ in range(30):
        made.update(same, same, 0.0, generator())
    torch.testing.assert_close(fast.read(), torch.full((4, 5), 0.4 * (1 - 1 / 50) ** 30, dtype=torch.float64))


def pair(**chosen):
    return at_scale_one(2, 3, dw_min=0.01, update="deterministic", **(PAIR | chosen))


def test_a_pair_goes_up_on_the_side_of_the_sign():
    made = pair(refresh_every=0)
    torch.testing.assert_close(change(made, 0.05), torch.full((2, 3), 0.05))
    torch.testing.assert_close(change(made, -0.08), torch.full((2, 3), -0.08))
    torch.testing.assert_close(
        made.cells.state[:, 0, 0], torch.tensor([0.05, 0.08]).double(), atol=1e-6, rtol=0
    )
    assert made.wear.writes[:, 0, 0].tolist() == [5, 8]


def test_a_pair_that_is_far_up_is_reset_and_its_difference_written_anew():
    made = pair(refresh_upper=0.75, refresh_lower=0.25)
    state = (
        torch.tensor([[0.80, 0.80, 0.70], [0.30, 0.90, 0.20]]).double(),
        torch.tensor([[0.50, 0.20, 0.60], [0.90, 0.60, 0.80]]).double(),
    )
    made.cells.state = torch.stack(state)
    worn = torch.tensor([[True, False, False], [True, True, False]])
    before = made.read(0.0).clone()
    same = before.clone()
    made.update(same, same, 0.0, generator())
    assert made.facts()["refreshed"] == 3
    assert torch.equal(made.read(0.0)[~worn], before[~worn])
    # 0.30, -0.60 and 0.30 in steps of 0.01, on devices that were reset to 0.01; 31 pulses are the longest train.
    torch.testing.assert_close(made.read(0.0)[worn], torch.tensor([0.30, -0.31, 0.30]), atol=0.0101, rtol=0)
    assert (made.cells.state[:, worn].amin(0) - 0.01).abs().max() < 1e-6
    pulses = made.wear.writes.sum(0)
    assert (pulses[~worn] == 0).all()
    torch.testing.assert_close(pulses[worn].float(), torch.tensor([32.0, 33.0, 32.0]), atol=1, rtol=0)


@pytest.mark.parametrize(("every", "count"), [(0, 0), (1, 4), (3, 1)])
def test_pairs_are_refreshed_after_every_so_many_updates(every, count):
    made = pair(refresh_every=every)
    for _ in range(4):
        made.cells.state = torch.full((2, 2, 3), 0.8, dtype=torch.float64)
        same = made.read(0.0).clone()
        made.update(same, same, 0.0, generator())
    assert made.facts()["refreshed"] == 6 * count


@pytest.mark.parametrize("every", [1, 3])
@pytest.mark.parametrize("granularity", [0.0, 0.03125])
def test_mixed_precision_loses_nothing(every, granularity):
    """All numbers are multiples of 2^-12 of a size that float32 adds exactly."""
    made = at_scale_one(
        6, 5, dw_min=0.015625, update="mixed-precision", transfer_every=every, granularity=granularity,
        w_max=8.0, w_min=-8.0,
    )  # fmt: skip
    quantum = granularity or 0.015625
    drawn, asked = generator(2), torch.zeros(6, 5)
    for _ in range(12):
        by = torch.randint(-500, 500, (6, 5), generator=drawn) / 4096
        asked += by
        change(made, by, drawn)
        chi = made.way.accumulator.chi
        pulses = made.read(0.0) / 0.015625
        assert torch.equal(pulses * quantum + chi * quantum, asked)
    assert made.facts()["transfers"] == 12 // every
    assert chi.abs().max() < 1
    assert made.buffer_bytes() == 6 * 5 * 4


def test_mixed_precision_sends_later_what_a_train_is_too_short_for():
    made = at_scale_one(1, 2, dw_min=0.0078125, update="mixed-precision", w_max=8.0, w_min=-8.0)
    change(made, 100 * 0.0078125)
    assert made.wear.writes.tolist() == [[[31, 31]]]
    for _ in range(4):
        change(made, torch.tensor([[2.0**-20, 2.0**-20]]))
    assert made.wear.writes.tolist() == [[[100, 100]]]
    assert float(made.read(0.0)[0, 0]) == 100 * 0.0078125


def test_what_is_set_forgets_what_was_to_come():
    made = at_scale_one(1, 2, dw_min=0.01, update="mixed-precision")
    change(made, 0.005)
    made.program(torch.full((1, 2), 0.2), torch.tensor([[True, False]]), 0.0, generator())
    change(made, 0.006)
    torch.testing.assert_close(made.read(0.0), torch.tensor([[0.2, 0.01]]))


@pytest.mark.parametrize("way", WAYS)
def test_what_is_no_number_moves_nothing(way):
    made = array(torch.randn(8, 9, generator=generator()), settings(update=way))
    shown = made.read(0.0).clone()
    wanted = shown.clone()
    wanted[2, 3], wanted[4, 5] = math.nan, math.inf
    made.update(wanted, shown, 0.0, generator(1))
    assert torch.equal(made.read(0.0), shown)
    assert made.wear.writes.sum() == 0
    # And of the others as much as ever.
    wanted[0] += 0.5
    made.update(wanted, shown, 0.0, generator(1))
    assert made.wear.writes[:, 0].sum() > 0
    assert made.wear.writes[:, 1:].sum() == 0


def chip(chosen):
    """Return what puts a network on the devices."""
    return lambda net, streams: ReRamOM(chosen).attach(net, streams)


@pytest.mark.parametrize("extra", [{}, PAIR])
@pytest.mark.parametrize("way", WAYS)
def test_learning_goes_on_from_a_state_as_if_nothing_had_been(way, extra):
    chosen = settings(
        update=way, dw_min=0.01, write_noise=0.5, lifetime=2000.0, stuck=0.05, wearout=True, endurance=60,
        transfer_every=2, auto_scale=True, refresh_upper=0.3, refresh_lower=0.05, **extra,
    )  # fmt: skip
    whole = small.trainer("osttp", epochs=1, chip=chip(chosen))
    whole.train_task(0)
    state = {name: value.clone() for name, value in whole.chip.state_dict().items()}
    fresh = small.trainer("osttp", epochs=1, chip=chip(chosen))
    fresh.network.load_state_dict(whole.network.state_dict())
    fresh.chip.load_state_dict(state)
    for made in (whole, fresh):
        made.train_task(1)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, fresh.network.state_dict()[name]), name
    ours, theirs = whole.chip.state_dict(), fresh.chip.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name
    assert [one.array.facts() for one in whole.chip.stored] == [
        one.array.facts() for one in fresh.chip.stored
    ]


def test_a_state_brings_back_other_devices():
    weights = torch.randn(5, 6, generator=generator())
    chosen = ReRamOM.Config(stuck=0.2, wearout=True, endurance=50, update="tiki-taka-chopped")
    made, other = array(weights, chosen, seed=1), array(2 * weights, chosen, seed=2)
    change(made, 0.3)
    assert not torch.equal(made.read(0.0), other.read(0.0))
    other.load_state_dict({name: value.clone() for name, value in made.state_dict().items()})
    assert torch.equal(made.read(0.0), other.read(0.0))
    for seed in range(3):
        by = 0.2 * torch.randn(5, 6, generator=generator(seed))
        assert torch.equal(change(made, by, generator(seed)), change(other, by, generator(seed)))


@pytest.mark.parametrize("update", ["step", "sequence"])
def test_finer_steps_come_closer_to_the_float_learner(update):
    """Of devices without spread, in steps of which none is lost."""

    def weights(**options):
        made = small.trainer("osttp", settings={"optimiser": "sgd", "update": update}, **options)
        made.train_task(0)
        return torch.cat([p.detach().flatten() for p in made.network.parameters()])

    floats = weights()
    away = []
    for dw_min in (1e-2, 1e-3, 1e-4):  # Of still finer ones 31 pulses are too few.
        chosen = PulsedConfig(**(EXACT | {"dw_min": dw_min, "update": "mixed-precision"}))
        away.append(float((weights(chip=chip(chosen)) - floats).abs().max()))
    assert all(more < less / 3 for less, more in pairwise(away)), away
