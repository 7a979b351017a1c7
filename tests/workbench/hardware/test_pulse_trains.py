"""Pulse trains carry what was asked for on average, with the spread of their length, outer products at once."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.pulses import generator, settings

from workbench.hardware import pulse_trains
from workbench.hardware.pulse_trains import Trains, outer_product

DRAWS = 1000
STEP = 0.02
TINY = 1e-6


def outer(rows=25, inputs=20, largest=1.0, seed=1):
    """Return d x^T of many signs and sizes, and d and x."""
    drawn = generator(seed)
    d, x = torch.rand(rows, generator=drawn) - 0.5, torch.rand(inputs, generator=drawn) - 0.5
    d = d * (largest / (d.abs().max() * x.abs().max()))
    return torch.outer(d, x), d, x


def matrix(rows=25, inputs=20, largest=1.0, seed=1):
    drawn = torch.rand(rows, inputs, generator=generator(seed)) - 0.5
    return drawn * (largest / drawn.abs().max())


def many(trains, change, count=DRAWS, signs=None):
    """Return the pulses of many draws `[count, N, in]` of a change in units of which a pulse moves STEP."""
    drawn = generator(5)
    return torch.stack([trains.draw(change, TINY, 1 / STEP, drawn, signs) for _ in range(count)]).double()


@pytest.mark.parametrize("steps", [0.6, 16.8, 30.5])
@pytest.mark.parametrize("make", [lambda m: outer(largest=m)[0], lambda m: matrix(largest=m)])
def test_the_mean_is_what_was_asked_and_the_spread_that_of_the_train(make, steps):
    """Binomial: n slots, mean m, variance m (1 - m / n)."""
    wish = make(steps).double()
    trains = Trains(settings(dw_min=STEP))
    pulses = many(trains, (wish * STEP).float())
    sent = trains.outer_products if trains.outer_products else trains.matrix_transfers
    assert sent == DRAWS
    assert trains.outer_products == 0 or trains.matrix_transfers == 0
    lengths = wish.abs().amax(0).ceil() if trains.matrix_transfers else wish.abs().max().ceil()
    spread = (wish.abs() * (1 - wish.abs() / lengths)).sqrt()
    # Where there are enough of them for a normal distribution.
    some = (wish.abs() * (1 - wish.abs() / lengths) * DRAWS) > 100
    assert some.double().mean() > 0.2
    away = (pulses.mean(0) - wish).abs()
    assert (away <= 5 * spread / math.sqrt(DRAWS) + 1e-6)[some].all()
    # As a whole within two percent: how much of the change is there in the mean.
    carried = float((pulses.mean(0) * wish).sum() / (wish * wish).sum())
    assert carried == pytest.approx(1.0, abs=0.02)
    # Variance of a binomial's sample variance: mu_4 - sigma^4 over the number of draws.
    share = (wish.abs() / lengths).clamp(max=1.0)
    variance = spread**2
    fourth = variance * (1 + 3 * (lengths - 2) * share * (1 - share))
    error = ((fourth - variance**2).clamp(min=0) / DRAWS).sqrt()
    assert ((pulses.var(0) - variance).abs() <= 5 * error + 1e-6)[some].all()


def test_devices_of_a_row_share_its_train_in_an_outer_product_and_not_otherwise():
    """Covariance in a row: n p (1 - p) q_j q_k; p the chance of a pulse on the row, q on the columns."""
    wish, d, x = outer(4, 3, largest=6.3)
    pulses = many(Trains(settings(dw_min=STEP)), wish * STEP)
    n, m = 7, 6.3
    p = (d.abs() / d.abs().max()).double() * math.sqrt(m / n)
    q = (x / x.abs().max()).double() * math.sqrt(m / n)
    centred = pulses - pulses.mean(0)
    for i in range(4):
        for j, k in ((0, 1), (1, 2)):
            found = float((centred[:, i, j] * centred[:, i, k]).mean())
            expected = float(n * p[i] * (1 - p[i]) * q[j] * q[k])
            spread = float(centred[:, i, j].std() * centred[:, i, k].std()) / math.sqrt(DRAWS)
            assert abs(found - expected) < 6 * spread
    apart = many(Trains(settings(dw_min=STEP)), matrix(4, 3, 6.3) * STEP)
    centred = apart - apart.mean(0)
    for j, k in ((0, 1), (1, 2)):
        found = (centred[:, :, j] * centred[:, :, k]).mean(0)
        spread = centred[:, :, j].std(0) * centred[:, :, k].std(0) / math.sqrt(DRAWS)
        assert (found.abs() < 5 * spread).all()


def chances(monkeypatch, d, x, steps, **chosen):
    """Return the chances of pulses on rows and on columns, and the length of the trains."""
    seen = []
    real = pulse_trains._train

    def watched(chance, slots, drawn):
        seen.append((chance, slots))
        return real(chance, slots, drawn)

    monkeypatch.setattr(pulse_trains, "_train", watched)
    Trains(settings(dw_min=STEP, **chosen)).draw(torch.outer(d, x), TINY, steps, generator())
    (rows, slots), (columns, same) = seen
    assert slots == same
    return rows, columns, slots


@pytest.mark.parametrize(("size", "length"), [(0.004, 1), (0.05, 3), (0.29, 15), (0.61, 31), (4.0, 31)])
def test_chances_and_lengths_are_those_of_managed_updates(monkeypatch, size, length):
    """A = B = sqrt(lr / (dw BL)); A times, B over sqrt(max|x| / max|d|), which the C++ of aihwkit does."""
    d, x = torch.tensor([0.1, -0.4, 0.2]), torch.tensor([0.5, -2.0, 1.0, 0.0])
    lr = size / 0.8  # The largest change is `size`.
    rows, columns, slots = chances(monkeypatch, lr * d, x, 1 / STEP)
    assert slots == length == min(math.ceil(lr * 2.0 * 0.4 / STEP - 1e-6), 31)
    both = math.sqrt(lr / (STEP * slots))
    management = math.sqrt(2.0 / 0.4)
    torch.testing.assert_close(rows.abs(), (both * management * d).abs())
    torch.testing.assert_close(columns.abs(), (both / management * x).abs())
    # Both sides reach a certain pulse together.
    assert float(rows.abs().max()) == pytest.approx(float(columns.abs().max()))


def test_trains_that_are_not_shortened_have_all_their_slots(monkeypatch):
    d, x = torch.tensor([0.1, -0.4]), torch.tensor([0.5, -2.0])
    assert chances(monkeypatch, 0.05 * d, x, 1 / STEP, shorten=False)[2] == 31
    trains = Trains(settings(shorten=False, pulses=10))
    assert trains.slots(torch.tensor([0.0, 0.2, 40.0])).tolist() == [10, 10, 10]
    assert Trains(settings(pulses=10)).slots(torch.tensor([0.0, 0.2, 3.0, 3.1, 40.0])).tolist() == [
        0,
        1,
        3,
        4,
        10,
    ]


@pytest.mark.parametrize("make", [lambda: outer(largest=50.0)[0], lambda: matrix(largest=50.0)])
@pytest.mark.parametrize("way", ["stochastic", "deterministic", "stochastic-rounding"])
def test_what_is_longer_than_the_longest_train_is_cut_off_and_counted(make, way):
    wish = make()
    trains = Trains(settings(dw_min=STEP, update=way))
    pulses = trains.draw(wish * STEP, TINY, 1 / STEP, generator())
    assert pulses.abs().max() == 31
    place = wish.abs().argmax()
    assert pulses.flatten()[place] == 31 * wish.flatten()[place].sign()
    assert trains.facts()["clipped"] == int((wish.abs() > 31).sum()) > 0
    before = trains.clipped
    trains.draw(wish * STEP / 4, TINY, 1 / STEP, generator())
    assert trains.clipped == before


def test_whole_pulses_are_sent_to_the_nearest_or_rounded_at_random():
    wish = matrix(200, 300, largest=4.0)
    near = Trains(settings(dw_min=STEP, update="deterministic")).draw(
        wish * STEP, TINY, 1 / STEP, generator()
    )
    assert ((near - wish).abs() <= 0.5 + 1e-5).all()
    drawn = Trains(settings(dw_min=STEP, update="stochastic-rounding")).draw(
        wish * STEP, TINY, 1 / STEP, generator()
    )
    assert ((drawn - wish).abs() < 1 + 1e-5).all()
    share = wish.abs() - wish.abs().floor()
    spread = float((share * (1 - share)).sum().sqrt())
    assert abs(float((drawn - wish).sum())) < 5 * spread


@pytest.mark.parametrize("make", [lambda: outer(largest=3.0)[0], lambda: matrix(largest=3.0)])
@pytest.mark.parametrize("way", ["stochastic", "deterministic"])
def test_signs_turn_the_changes_of_their_inputs(make, way):
    wish, signs = make(), torch.tensor([1.0, -1.0, 1.0, -1.0, -1.0]).repeat(4)
    one = many(Trains(settings(dw_min=STEP, update=way)), wish * STEP, 50)
    other = many(Trains(settings(dw_min=STEP, update=way)), wish * STEP, 50, signs)
    assert torch.equal(other, one * signs.double())


def test_an_outer_product_is_told_from_other_matrices_up_to_rounding():
    drawn = generator()
    weights = 0.1 * torch.randn(40, 60, generator=drawn)
    d, x = 1e-4 * torch.randn(40, generator=drawn), torch.randn(60, generator=drawn)
    error = 4 * torch.finfo(torch.float32).eps * float(weights.abs().max())
    change = (weights + torch.outer(d, x)) - weights  # With the rounding error of weights.
    found = outer_product(change, error)
    assert found is not None
    torch.testing.assert_close(torch.outer(*found), torch.outer(d, x), atol=3 * error, rtol=0)
    assert float(found[1].abs().max()) == 1.0
    change[17, 30] += 3 * error
    assert outer_product(change, error) is None
    assert outer_product(torch.randn(40, 60, generator=drawn), error) is None
    # So small that rounding could have made it.
    assert outer_product((weights + 1e-3 * torch.outer(d, x)) - weights, error) is None


def test_an_outer_product_is_told_with_zeros_and_in_a_single_row():
    d, x = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.0, -0.5, 0.25, 0.0])
    found = outer_product(torch.outer(d, x), TINY)
    assert found is not None
    assert torch.equal(torch.outer(*found), torch.outer(d, x))
    row = torch.randn(1, 7, generator=generator())
    found = outer_product(row, TINY)
    assert found is not None
    torch.testing.assert_close(torch.outer(*found), row)


def test_counts_survive_in_the_state():
    trains, other = Trains(settings(dw_min=STEP)), Trains(settings(dw_min=STEP))
    trains.draw(outer(largest=50.0)[0] * STEP, TINY, 1 / STEP, generator())
    trains.draw(matrix() * STEP, TINY, 1 / STEP, generator())
    other.load_state_dict(trains.state_dict())
    assert other.facts() == trains.facts()
    assert trains.facts()["outer_products"] == trains.facts()["matrix_transfers"] == 1
