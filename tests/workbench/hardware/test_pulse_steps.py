"""What pulses do: kernels and torch alike to the last bit, noise as in the equations, no device beyond its bounds."""

from __future__ import annotations

import math

import pytest
import torch
from fixtures.pulses import STEPS, devices, generator, plain, settings, states
from hypothesis import given
from hypothesis import settings as testing
from hypothesis import strategies as st

from workbench.hardware.pulse_steps import (
    apply_pulses,
    change_at,
    draw_binomial,
    draw_rounded,
    draw_written_noise,
)

COUNT = 200_000
KINDS = sorted(STEPS)
OTHERS = [kind for kind in KINDS if kind != "neurosim"]
"""Without steps that are linear ones with other constants; their curve is in test_pulsed_devices.py."""


def counts(*shape, most=62, seed=1):
    """Return pulses up and down, and for a third of the devices none."""
    drawn = torch.randint(-most, most + 1, (1, *shape), generator=generator(seed), dtype=torch.int32)
    return torch.where(torch.rand(drawn.shape, generator=generator(seed)) < 1 / 3, 0, drawn)


def sent(drawn, pulses, start, seed=5):
    """Return the weights after `pulses` at each device (a number, or counts) from the weights `start`."""
    state = torch.as_tensor(start, dtype=torch.float64).expand(drawn.lower.shape).clone()
    pulses = torch.as_tensor(pulses, dtype=torch.int32).expand(state.shape).contiguous()
    apply_pulses(drawn, pulses, seed, state)
    return state


@pytest.fixture
def in_torch(monkeypatch):
    """Let the functions of torch serve, not the kernels; called with what to do."""

    def run(do):
        with monkeypatch.context() as patch:
            patch.setenv("WORKBENCH_KERNELS", "reference")
            return do()

    return run


@pytest.mark.parametrize("noise", [{"dw_min_std": 0.0}, {}, {"multiplicative_noise": False}])
@pytest.mark.parametrize("kind", KINDS)
def test_kernels_do_what_torch_does_to_the_last_bit(kind, noise, in_torch):
    drawn = devices(settings(kind, up_down=0.1, **noise), 60, 50)
    drawn.upper[0, 0], drawn.lower[0, 1] = drawn.lower[0, 0], drawn.upper[0, 1]  # Devices without a range.
    start, pulses = states(drawn), counts(60, 50)
    found = sent(drawn, pulses, start)
    assert torch.equal(found, in_torch(lambda: sent(drawn, pulses, start)))
    assert torch.equal(found[pulses == 0], start[pulses == 0])
    assert (found != start)[:, 2:][pulses[:, 2:] != 0].double().mean() > 0.8


def test_the_number_of_threads_changes_nothing(monkeypatch):
    drawn = devices(settings("soft-bounds"), 200, 300)
    wish = 5 * torch.randn(200, 300, generator=generator())
    slots = torch.full((300,), 31)

    def everything():
        noise = torch.zeros(1, 200, 300)
        draw_written_noise(counts(200, 300), 0.3, 9, noise)
        return sent(drawn, counts(200, 300), states(drawn)), draw_binomial(wish, slots, 3), noise

    alone = everything()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(alone, everything(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("size", [0.01, 0.5, 3.0, 40.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_draws_are_alike_in_kernels_and_torch(size, dtype, in_torch):
    wish = size * torch.randn(70, 90, generator=generator(), dtype=dtype)
    wish[:, 3] = 0.0
    slots = wish.abs().amax(0).ceil().clamp(max=31).long()
    slots[10:20] = 31
    for draw in (lambda: draw_binomial(wish, slots, 11), lambda: draw_rounded(wish, 31, 11)):
        found = draw()
        assert found.dtype == torch.int32
        assert torch.equal(found, in_torch(draw))
        assert (found[:, 3] == 0).all()
        assert (found * wish >= 0).all()
        assert found.abs().max() <= 31

    def noise():
        held = torch.full((1, 70, 90), 7.0)
        draw_written_noise(counts(70, 90), 0.25, 4, held)
        return held

    assert torch.equal(noise(), in_torch(noise))
    assert torch.equal(noise() == 7.0, counts(70, 90) == 0)


@pytest.mark.parametrize(
    ("n", "p"), [(1, 0.3), (5, 0.02), (31, 0.1), (31, 0.5), (31, 0.85), (62, 0.4), (7, 1.0)]
)
def test_trains_are_binomial(n, p):
    wish = torch.full((200, 1000), -n * p)
    drawn = -draw_binomial(wish, torch.full((1000,), n), 17).double()
    assert drawn.min() >= 0
    assert drawn.max() <= n
    for k in range(n + 1):
        share = math.comb(n, k) * p**k * (1 - p) ** (n - k)
        spread = math.sqrt(share * (1 - share) / COUNT)
        assert abs(float((drawn == k).double().mean()) - share) <= 5 * spread + 2 / COUNT, k


def test_a_train_carries_no_more_than_its_length():
    wish = torch.tensor([[40.0, -40.0, 3.0, 2.0]])
    assert draw_binomial(wish, torch.tensor([31, 31, 3, 0]), 0).tolist() == [[31, -31, 3, 0]]


@pytest.mark.parametrize("size", [0.0, 0.2, 1.0, 1.7, 30.4, 35.0])
def test_rounding_keeps_the_mean_up_to_the_most(size):
    drawn = draw_rounded(torch.full((200, 1000), size), 31, 3).double()
    kept = min(size, 31.0)
    share = kept - math.floor(kept)
    assert abs(float(drawn.mean()) - kept) <= 5 * math.sqrt(share * (1 - share) / COUNT) + 1e-6
    assert set(drawn.unique().tolist()) <= {math.floor(kept), math.ceil(kept)}


def test_written_noise_is_normal_and_drawn_where_something_was_written():
    noise = torch.zeros(1, 200, 1000)
    draw_written_noise(torch.ones(1, 200, 1000, dtype=torch.int32), 0.25, 3, noise)
    assert abs(float(noise.mean())) < 5 * 0.25 / math.sqrt(COUNT)
    assert abs(float(noise.std()) - 0.25) < 5 * 0.25 / math.sqrt(2 * COUNT)
    before = noise.clone()
    where = counts(200, 1000)
    draw_written_noise(where, 0.25, 4, noise)
    assert torch.equal(noise != before, where != 0)


@pytest.mark.parametrize("multiplicative", [True, False])
@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("kind", OTHERS)
def test_noise_of_a_pulse_has_the_mean_and_spread_of_its_equation(kind, direction, multiplicative):
    """Of a pulse at the weight 0.2, in bounds that are far away."""
    sigma, start = 0.4, 0.2
    chosen = plain(
        kind, dw_min_std=sigma, multiplicative_noise=multiplicative, up_down=0.2, w_max=2.0, w_min=-2.0
    )
    if kind == "exponential":
        chosen = chosen.model_copy(update={"dw_min_std_add": 0.004, "dw_min_std_slope": 0.1})
    drawn = devices(chosen, 200, 1000)
    moved = direction * (sent(drawn, direction, start) - start)
    place = torch.full(drawn.lower.shape, start, dtype=torch.float64)
    change = float(change_at(drawn, torch.full(place.shape, direction > 0), place)[0, 0, 0])
    spread = sigma * change
    if kind == "exponential":
        spread = sigma * (change + 0.004 + 0.1 * start)
    elif kind != "power" and not multiplicative:
        spread = sigma * float((drawn.up if direction > 0 else drawn.down)[0, 0, 0])
    assert change > 0
    assert abs(float(moved.mean()) - change) < 5 * spread / math.sqrt(COUNT)
    assert abs(float(moved.std()) - spread) < 5 * spread / math.sqrt(2 * COUNT)


def test_noise_is_new_at_every_pulse():
    drawn = devices(plain(dw_min=0.001, dw_min_std=0.5, w_max=2.0, w_min=-2.0), 200, 1000)
    moved = sent(drawn, 20, 0.0)
    spread = 0.001 * 0.5 * math.sqrt(20)
    assert abs(float(moved.mean()) - 0.02) < 5 * spread / math.sqrt(COUNT)
    assert abs(float(moved.std()) - spread) < 5 * spread / math.sqrt(2 * COUNT)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("kind", OTHERS)
def test_a_pulse_does_what_its_equation_says(kind, direction):
    """Each kind of step as published, worked out by hand from a weight of 0.2."""
    chosen, u = plain(kind, up_down=0.2, w_max=0.8, w_min=-0.6), 0.2
    drawn = devices(chosen, 1, 1)
    up = direction > 0
    dw = 0.02 * (1.0 if up else 0.8)
    gamma = chosen.gamma_up if up else chosen.gamma_down
    if kind == "linear":
        dw *= 1 - gamma * (u / 0.8 if up else u / -0.6)
    elif kind == "soft-bounds":
        dw *= 1 - (u / 0.8 if up else u / -0.6)
    elif kind == "power":
        dw *= ((0.8 - u if up else u + 0.6) / 1.4) ** gamma
    elif kind == "exponential":
        z = 2 * chosen.a * u / 1.4 + chosen.b
        height = chosen.a_up if up else chosen.a_down
        dw *= max(1 - height * math.exp(gamma * z if up else -gamma * z), 0.0)
    moved = float(sent(drawn, direction, u)) - u
    assert moved == pytest.approx(direction * dw, rel=1e-6)


def test_steps_of_soft_bounds_shrink_geometrically_towards_the_bound():
    drawn = devices(plain("soft-bounds", dw_min=0.1, w_max=0.5, w_min=-1.0), 1, 1)
    for n in range(1, 30):
        assert float(sent(drawn, n, 0.0)) == pytest.approx(0.5 * (1 - (1 - 0.1 / 0.5) ** n), rel=1e-6)
        assert float(sent(drawn, -n, 0.0)) == pytest.approx(-(1 - (1 - 0.1) ** n), rel=1e-6)


@pytest.mark.parametrize("reach", [0.3, 1.7])
def test_an_exponential_step_does_not_turn_round(reach):
    # a_up exp(gamma_up z) passes 1 on the way up: from there on pulses do nothing.
    drawn = devices(plain("exponential", a=1.0, b=0.0, gamma_up=1.0, a_up=0.5, w_max=2.0, w_min=-2.0), 1, 1)
    moved = float(sent(drawn, 1, reach)) - reach
    # z = 2 a u / 4, and a_up exp(z) = 1 at u = 2 ln 2 = 1.386.
    assert (moved > 0) if reach < 2 * math.log(2) else (moved == 0)


@pytest.mark.parametrize("kind", KINDS)
@testing(max_examples=40, deadline=None)
@given(
    pulses=st.lists(st.integers(-62, 62), min_size=1, max_size=8),
    noise=st.floats(0, 20),
    dw_min=st.floats(1e-4, 2.0),
    seed=st.integers(0, 2**40),
)
def test_no_pulse_leaves_the_bounds(kind, pulses, noise, dw_min, seed):
    drawn = devices(settings(kind, dw_min=dw_min, dw_min_std=noise), 3, 5, seed=seed % 1000)
    state = states(drawn)
    for number, count in enumerate(pulses):
        state = sent(drawn, count, state, seed + number)
        assert (state >= drawn.lower.double()).all()
        assert (state <= drawn.upper.double()).all()
