"""Numbers with units as they are typed, and as they are told."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.feasibility.quantities import (
    ENERGIES,
    POWERS,
    RATES,
    SHARES,
    SIZES,
    TIMES,
    number,
    quantity,
    seconds,
    watts,
)

UNITS = [(units, unit) for units in (SIZES, POWERS, ENERGIES, TIMES, RATES, SHARES) for unit in units]


@given(st.floats(1e-6, 1e6), st.sampled_from(UNITS), st.sampled_from(["", " "]))
def test_a_number_counts_as_often_as_its_unit_says(value, kind, between):
    units, unit = kind
    assert quantity(f"{value!r}{between}{unit}", units, "1") == value * units[unit]


@pytest.mark.parametrize(
    ("text", "units", "wanted"),
    [
        ("256KiB", SIZES, 262_144),
        ("1e3kB", SIZES, 1e6),
        (".5 GiB", SIZES, 2**29),
        ("1mW", POWERS, 1e-3),
        ("3uW", POWERS, quantity("3µW", POWERS, "")),
        ("2.5pJ", ENERGIES, 2.5e-12),
        ("5y", TIMES, 5 * 365.25 * 24 * 3600),
        ("90min", TIMES, 5400),
        ("2Hz", RATES, 2),
        ("7200/h", RATES, 2),
        ("5%", SHARES, 0.05),
        ("0.05", SHARES, 0.05),
        (0.05, SHARES, 0.05),
    ],
)
def test_what_people_write(text, units, wanted):
    assert quantity(text, units, "1") == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize(
    ("text", "units", "told"),
    [
        ("256", SIZES, "the unit is missing"),
        (262_144, SIZES, "the unit is missing"),
        ("256KB", SIZES, "did you mean kB"),
        ("256kib", SIZES, "did you mean KiB"),
        ("1mw", POWERS, "did you mean mW"),
        ("1parsec", TIMES, "'parsec' is no unit here .*ms, s, min, h, d, y"),
        ("much", SIZES, "wants a number with a unit .*256KiB say"),
        ("1e999y", TIMES, "wants a number"),
        (True, SIZES, "wants a number"),
        (None, SIZES, "wants a number"),
        ([1], SIZES, "wants a number"),
    ],
)
def test_what_is_no_quantity_is_refused_with_what_is_allowed(text, units, told):
    with pytest.raises(ValueError, match=told):
        quantity(text, units, "256KiB")


@given(st.floats(1e-3, 1e12))
def test_a_time_is_told_to_three_digits(value):
    amount, unit = seconds(value).replace(",", "").split()
    assert float(amount) * TIMES[unit] == pytest.approx(value, rel=5.1e-3)


@given(st.floats(1e-12, 1e3))
def test_a_power_is_told_to_three_digits(value):
    amount, unit = watts(value).split()
    assert float(amount) * {**POWERS, "pW": 1e-12}[unit] == pytest.approx(value, rel=5.1e-3)


@given(st.floats(1e-9, 1e30))
def test_a_count_is_told_to_three_digits_or_whole(value):
    assert float(number(value).replace(",", "")) == pytest.approx(value, rel=5.1e-3)


def test_what_is_unknown_has_a_dash():
    assert [seconds(None), watts(None), number(None), number(math.inf)] == ["–"] * 4
