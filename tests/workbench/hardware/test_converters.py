"""Converters by value: levels, range, halves, the ladder of bound management; the kernel equals its reference."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.hardware.converters import (
    Noise,
    convert,
    factors,
    full_scale,
    quantised,
    resolution,
    top_level,
)
from workbench.hardware.counter_noise import normal_at

BITS = st.integers(2, 24)
NUMBERS = st.floats(-100.0, 100.0, width=32)
BOUNDS = st.floats(0.015625, 64.0, width=32)


def vector(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(("bits", "top", "share"), [(2, 1, 2), (7, 63, 126), (8, 127, 254), (9, 255, 510)])
def test_levels_and_resolution_of_the_presets_that_are_cited(bits, top, share):
    assert top_level(bits) == top
    assert resolution(bits) == 1 / share


def test_no_bits_are_an_exact_converter():
    assert (top_level(0), resolution(0)) == (0, 0.0)
    values = vector(1e9, -0.3)
    assert quantised(values, 0, 1.0) is values


def test_three_bits_have_seven_levels():
    values = torch.linspace(-1.5, 1.5, 3001, dtype=torch.float64)
    found = quantised(values, 3, 1.0).unique()
    torch.testing.assert_close(found, torch.linspace(-1, 1, 7, dtype=torch.float64))


def test_halves_go_to_the_even_level_and_what_lies_outside_is_clipped():
    found = quantised(vector(-9.0, -2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 3.49, 9.0), 3, 3.0)
    assert found.tolist() == [-3, -2, -2, 0, 0, 2, 2, 3, 3]


@given(BITS, BOUNDS, st.sampled_from([torch.float32, torch.float64]))
def test_zero_and_both_ends_of_the_range_pass_to_the_last_bit(bits, bound, dtype):
    values = torch.tensor([-bound, 0.0, bound], dtype=dtype)
    assert torch.equal(quantised(values, bits, bound), values)


@given(st.integers(2, 12), BOUNDS, st.lists(NUMBERS, min_size=1, max_size=20))
def test_values_move_by_half_a_level_at_most_in_order_and_once(bits, bound, numbers):
    values = vector(*sorted(numbers))
    found = quantised(values, bits, bound)
    step = bound / top_level(bits)
    inside = values.abs() <= bound
    assert bool(((found - values).abs()[inside] <= step * (0.5 + 1e-9)).all())
    assert torch.equal(found[~inside].abs(), torch.full_like(found[~inside], bound))
    assert bool((found.diff() >= 0).all())
    assert torch.equal(quantised(found, bits, bound), found)
    assert torch.equal(quantised(-values, bits, bound), -found)


def test_each_read_has_its_own_range():
    found = quantised(vector(0.4, 4.0).view(2, 1), 2, vector(1.0, 4.0).view(2, 1))
    assert found.flatten().tolist() == [0.0, 4.0]


def test_full_scale_is_the_largest_magnitude_and_one_for_silence():
    assert full_scale(vector(0.25, 0.0, 8.0)).tolist() == [0.25, 1.0, 8.0]


@pytest.mark.parametrize(
    ("bits", "ladder"),
    # A quarter of the range is 126 / 4 levels of 7 bits; exact drivers stop at a thousandth.
    [(7, [2, 4, 8, 16]), (4, [2]), (3, [2]), (2, []), (0, [2.0**n for n in range(1, 10)])],
)
def test_inputs_are_halved_until_they_would_be_too_coarse(bits, ladder):
    expected = [divisor for divisor in ladder if not bits or divisor * resolution(bits) <= 0.25]
    assert factors(bits) == expected == ladder[: len(expected)]


def converted(sums, noisy, variance, deviation, step, top, start):
    """Return what a converter makes of sums, and the noise that it drew, of seed 6."""
    out = torch.zeros_like(sums) if start is None else start.clone()
    noise = Noise(torch.Generator().manual_seed(6)) if noisy else None
    drawn = torch.zeros_like(sums)
    if noise is not None:
        drawn = normal_at(noise.seed, torch.arange(sums.numel())).view_as(sums).to(sums.dtype)
    convert(sums, noise, variance, deviation, step, top, out, add=start is not None)
    return out, drawn


def test_what_a_converter_makes_of_sums_by_value():
    sums = vector(0.2, 0.9, -7.0).view(1, 3)
    quiet = (sums, False, None, vector(0.2), vector(0.5))
    assert converted(*quiet, 0, None)[0].flatten().tolist() == [0.2, 0.9, -7.0]
    # 0.4 and 1.8 levels, and what is beyond three of them.
    assert converted(*quiet, 3, None)[0].flatten().tolist() == [0.0, 1.0, -1.5]
    assert converted(*quiet, 3, torch.ones_like(sums))[0].flatten().tolist() == [1.0, 2.0, -0.5]


def test_noise_is_added_before_the_levels():
    sums, variance = vector(0.2, 0.9, -7.0).view(1, 3), vector(0.0225, 0.0, 1.0).view(1, 3)
    found, drawn = converted(sums, True, None, vector(0.2), vector(0.5), 0, None)
    assert bool((drawn != 0).all())
    torch.testing.assert_close(found, sums + 0.2 * drawn)
    # Output noise and single reads together: sqrt(0.04 + 0.0225) is a quarter.
    found, drawn = converted(sums, True, variance, vector(0.2), vector(0.5), 0, None)
    torch.testing.assert_close(found, sums + drawn * vector(0.25, 0.2, 1.04**0.5))
    found, drawn = converted(sums, True, None, vector(0.9), vector(0.5), 3, None)
    torch.testing.assert_close(found, quantised(sums + 0.9 * drawn, 3, 1.5))


def test_no_number_is_drawn_twice_in_one_look():
    noise = Noise(torch.Generator().manual_seed(0))
    assert [noise.take(count) for count in (5, 0, 3, 1)] == [0, 5, 5, 8]
    other = Noise(torch.Generator().manual_seed(1))
    assert other.seed != noise.seed


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("top", [0, 1, 127])
@pytest.mark.parametrize("kind", ["none", "output", "reads", "both"])
@pytest.mark.parametrize("add", [False, True])
def test_kernel_is_the_reference(dtype, top, kind, add, monkeypatch):
    generator = torch.Generator().manual_seed(1)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)

    sums, step = 5 * draw(9, 37), draw(9).abs() * 0.1 + 0.01
    variance = draw(9, 37).square() if kind in ("reads", "both") else None
    deviation = draw(9).abs() if kind in ("output", "both") else torch.zeros(9, dtype=dtype)
    start = draw(9, 37) if add else None
    fast, _ = converted(sums, kind != "none", variance, deviation, step, top, start)
    monkeypatch.setenv("WORKBENCH_KERNELS", "reference")
    plain, _ = converted(sums, kind != "none", variance, deviation, step, top, start)
    # Torch's square root is one of the two nearest numbers.
    ulps = 0.0 if variance is None else 4 * torch.finfo(dtype).eps
    torch.testing.assert_close(plain, fast, rtol=ulps, atol=ulps)
