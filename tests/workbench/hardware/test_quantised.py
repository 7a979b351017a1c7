"""Few bits: unbiased or conserving updates, levels within their range, and the float learner in the limit."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
import torch
from fixtures import small
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from workbench.hardware.quantised import Quantised, QuantisedConfig
from workbench.hardware.quantised_array import QuantisedArray

SEED = 7


def generator(seed=SEED):
    return torch.Generator().manual_seed(seed)


def array(weights, **chosen):
    """Return the array of some initial weights, programmed as a chip does it."""
    drawn = generator()
    made = Quantised(QuantisedConfig(**chosen)).array(weights, drawn)
    made.program(weights.clone(), torch.ones_like(weights, dtype=torch.bool), 0.0, drawn)
    made.wear.writes.zero_()
    return made


def at_zero(shape, bits=8, **chosen):
    """Return an array of the step 1 whose levels are all 0."""
    top = 2 ** (bits - 1) - 1
    made = QuantisedArray(
        torch.full(shape, float(top)), QuantisedConfig(bits=bits, headroom=1.0, **chosen), generator()
    )
    assert made.step == 1.0
    return made


def change(made, by, drawn=None):
    """Ask for a change of all weights; returns how far they moved."""
    shown = made.read(0.0).clone()
    made.update(shown + by, shown, 0.0, drawn or generator())
    return made.read(0.0) - shown


def chip(**chosen):
    """Return what puts a network on a grid."""
    return lambda net, streams: Quantised(QuantisedConfig(**chosen)).attach(net, streams)


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


@pytest.mark.parametrize("update", ["sequence", "step"])
@pytest.mark.parametrize("rule", ["bptt", "sltt", "osttp", "eprop"])
def test_without_bits_it_is_the_float_learner_bit_for_bit(rule, update):
    if rule == "bptt" and update == "step":
        return  # It learns from whole sequences.
    chosen = {} if update == "sequence" else {"update": update}
    alone = learned(small.trainer(rule, settings=chosen))
    for residual in (False, True):
        floats = chip(bits=0, residual=residual)
        assert_equal(learned(small.trainer(rule, settings=chosen, chip=floats)), alone)


def test_more_bits_come_closer_to_the_float_learner():
    def weights(**options):
        made = small.trainer("osttp", settings={"optimiser": "sgd"}, **options)
        made.train_task(0)
        return torch.cat([p.detach().flatten() for p in made.network.parameters()])

    floats = weights()
    away = [
        float((weights(chip=chip(bits=bits, rounding="nearest", residual=True)) - floats).abs().max())
        for bits in (4, 8, 12, 16, 20)
    ]
    assert all(more < less / 4 for less, more in pairwise(away)), away


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_weights_are_levels_of_the_grid(bits):
    weights = torch.randn(20, 30, generator=generator())
    made = array(weights, bits=bits)
    top = 2 ** (bits - 1) - 1
    assert made.step == pytest.approx(2.0 * float(weights.abs().max()) / top)
    for seed in range(5):
        change(made, 3 * torch.randn(weights.shape, generator=generator(seed)), generator(seed))
        levels = made.read(0.0) / made.step
        torch.testing.assert_close(levels, levels.round(), atol=1e-5, rtol=0)
        assert levels.abs().max() <= top + 1e-5
    assert made.levels.max() == top
    assert made.levels.min() == -top


def test_initial_weights_go_to_the_nearest_level_or_on_average_to_themselves():
    weights = torch.rand(400, 500, generator=generator()) * 2 - 1
    near = array(weights, bits=4, rounding="nearest", headroom=1.0)
    assert (near.read(0.0) - weights).abs().max() <= near.step / 2 + 1e-6
    drawn = array(weights, bits=2)
    # A weight between 0 and the one level, which is `step`: of variance p (1 - p), summed over all.
    share = weights.abs() / drawn.step
    error = drawn.read(0.0) - weights
    spread = drawn.step * float((share * (1 - share)).sum().sqrt())
    assert abs(float(error.sum())) < 5 * spread
    assert set(drawn.levels.unique().tolist()) == {-1, 0, 1}


@pytest.mark.parametrize("by", [0.03, -0.03, 0.5, -1.25, 2.75])
def test_stochastic_rounding_is_unbiased(by):
    made = at_zero((400, 500))
    moved = change(made, torch.full((400, 500), by)).double()
    share = by - torch.tensor(by).floor().item()
    spread = (share * (1 - share) / moved.numel()) ** 0.5
    assert abs(float(moved.mean()) - by) < 5 * spread
    assert set(moved.unique().tolist()) == {float(torch.tensor(by).floor()), float(torch.tensor(by).ceil())}


def test_small_changes_vanish_to_the_nearest_but_for_what_is_kept_of_them():
    forgets, keeps = (at_zero((1, 1), rounding="nearest", residual=kept) for kept in (False, True))
    for _ in range(1000):
        assert change(forgets, 0.25) == 0
    assert forgets.wear.writes.sum() == 0
    assert [int(change(keeps, 0.375)) for _ in range(8)] == [0, 1, 0, 0, 1, 0, 1, 0]
    assert keeps.wear.writes.sum() == 3


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
@settings(deadline=None, max_examples=30)
@given(changes=st.lists(st.integers(-(2**12), 2**12), min_size=1, max_size=30), seed=st.integers(0, 1000))
def test_weight_and_residual_are_the_sum_of_all_changes(rounding, changes, seed):
    made, drawn = at_zero((1, 1), bits=20, rounding=rounding, residual=True), generator(seed)
    for by in changes:  # Multiples of 2^-8 whose sums float32 holds exactly.
        change(made, by / 256, drawn)
        assert abs(made.residual.item()) <= (0.5 if rounding == "nearest" else 1.0)
    held = Fraction(made.read(0.0).item()) + Fraction(made.residual.item())
    assert held == Fraction(sum(changes), 256)


def test_a_residual_kept_leaves_the_mean_change_and_takes_its_spread():
    drawn = generator()
    plain, kept = at_zero((100, 100)), at_zero((100, 100), residual=True)
    for _ in range(40):
        change(plain, 0.1, drawn)
        change(kept, 0.1, drawn)
    for made in (plain, kept):
        assert abs(float(made.read(0.0).mean()) - 4) < 5 * (40 * 0.09) ** 0.5 / 100
    assert plain.read(0.0).var() == pytest.approx(40 * 0.1 * 0.9, rel=0.1)
    assert (kept.read(0.0) - 4).abs().max() <= 1


def test_the_end_of_the_range_is_left_at_the_first_step_back():
    made = at_zero((1, 1), bits=4, rounding="nearest", residual=True)
    for _ in range(10):
        change(made, 100.0)
    assert made.read(0.0) == 7
    assert made.facts()["saturated"] == 1
    change(made, -1.0)
    assert made.read(0.0) == 6


def test_a_write_is_a_weight_that_changed():
    made = small.trainer("osttp", chip=chip(bits=4, residual=True))
    shown = [stored.shown.clone() for stored in made.chip.stored]
    changes = [torch.zeros_like(value, dtype=torch.int32) for value in shown]
    update = made.chip.update

    def watched():
        update()
        for stored, before, count in zip(made.chip.stored, shown, changes, strict=True):
            count += (stored.parameter != before).to(torch.int32)
            before.copy_(stored.parameter.detach())

    made.chip.update = watched
    made.train_task(0)
    for stored, count in zip(made.chip.stored, changes, strict=True):
        assert torch.equal(stored.array.wear.writes[0], count)
        facts = stored.array.facts()
        assert facts["changes_made"] == count.sum() > 0
        assert facts["changes_asked"] >= facts["changes_made"]


@pytest.mark.parametrize("bits", [0, 3])
def test_stuck_weights_are_anywhere_and_stay_there(bits):
    weights = torch.full((200, 200), 0.5)
    made = array(weights, bits=bits, stuck=0.25)
    stuck = made.wear.stuck[0]
    before = made.read(0.0).clone()
    change(made, 0.5)
    assert torch.equal(made.read(0.0)[stuck], before[stuck])
    assert (made.read(0.0)[~stuck] != before[~stuck]).float().mean() > 0.5
    held, count = before[stuck].double(), int(stuck.sum())
    assert held.abs().max() <= 1.0 + 1e-6
    # Uniform over the range +-1, or over the seven levels of three bits.
    spread = (1 / 3 if bits == 0 else (1 + 4 + 9) * 2 / 7 / 9) ** 0.5
    assert abs(float(held.mean())) < 5 * spread / count**0.5
    assert float(held.std()) == pytest.approx(spread, rel=0.05)
    assert made.wear.writes[0][stuck].sum() == 0


def test_worn_weights_no_longer_change():
    made = at_zero((10, 10), wearout=True, endurance=3)
    for _ in range(5):
        change(made, 2.0)
    assert (made.levels == 6).all()
    assert (made.wear.writes == 3).all()
    assert made.wear.worn() == 100


def test_programming_what_is_held_changes_nothing():
    weights = torch.randn(50, 50, generator=generator())
    for bits in (2, 5, 8, 12):
        made = array(weights, bits=bits)
        levels = made.levels.clone()
        made.program(made.read(0.0).clone(), torch.ones_like(weights, dtype=torch.bool), 0.0, generator())
        assert torch.equal(made.levels, levels)
        assert made.wear.writes.sum() == 0


def test_programming_drops_the_residual_there_and_leaves_the_rest():
    made = at_zero((1, 2), rounding="nearest", residual=True)
    change(made, 0.375)
    made.program(torch.full((1, 2), 5.0), torch.tensor([[True, False]]), 0.0, generator())
    assert made.levels.tolist() == [[5, 0]]
    assert made.residual.tolist() == [[0.0, 0.375]]


def test_the_residual_is_the_only_memory_besides():
    weights = torch.randn(30, 40, generator=generator())
    assert array(weights).buffer_bytes() == 0
    assert array(weights, residual=True).buffer_bytes() == 30 * 40 * 4
    assert array(weights, residual=True).read_deviation() is None
    assert not array(weights).restless


@pytest.mark.parametrize("rounding", ["nearest", "stochastic"])
def test_what_is_no_number_moves_nothing(rounding):
    made = at_zero((2, 2), rounding=rounding, residual=True)
    change(made, torch.tensor([[float("nan"), 2.0], [float("inf"), -3.0]]))
    assert made.levels.tolist() == [[0, 2], [0, -3]]
    assert made.residual.abs().sum() == 0


def test_a_matrix_of_zeros_has_a_grid():
    made = array(torch.zeros(2, 3), bits=3)
    assert made.step == pytest.approx(2 / 3)
    assert torch.equal(made.read(0.0), torch.zeros(2, 3))


@pytest.mark.parametrize("update", ["sequence", "step"])
def test_learning_goes_on_from_a_state_as_if_nothing_had_been(update):
    chosen = {"bits": 4, "residual": True, "stuck": 0.05, "wearout": True, "endurance": 30}
    rule = {"update": update}
    whole = small.trainer("osttp", settings=rule, chip=chip(**chosen))
    whole.train_task(0)
    state = {name: value.clone() for name, value in whole.chip.state_dict().items()}
    fresh = small.trainer("osttp", settings=rule, chip=chip(**chosen), seed=0)
    fresh.network.load_state_dict(whole.network.state_dict())
    fresh.chip.load_state_dict(state)
    for made in (whole, fresh):
        made.train_task(1)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, fresh.network.state_dict()[name]), name
    ours, theirs = whole.chip.state_dict(), fresh.chip.state_dict()
    for name, value in ours.items():
        assert torch.equal(value, theirs[name]), name


def test_a_state_is_no_part_of_the_array_it_was_taken_of():
    made = at_zero((2, 2), residual=True)
    state = made.state_dict()
    change(made, 1.5)
    assert state["levels"].sum() == 0
    assert state["residual"].sum() == 0


def test_one_bit_is_refused():
    with pytest.raises(ValidationError, match="one bit has no level besides zero"):
        QuantisedConfig(bits=1)
