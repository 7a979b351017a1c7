"""Exponentials and powers: exact to some last bits, and to the very last alike in Numba and torch."""

from __future__ import annotations

import math

import numba
import pytest
import torch

from workbench.hardware import elementary
from workbench.hardware.elementary import PER_UNIT, exp_part_of, log_of, power_of

# Numba takes these from the names around a function.
_exp_part, _log, _power = elementary.exp_part, elementary.log, elementary.power


@numba.njit
def exponentials(y, out):
    for i in range(y.size):
        out[i] = _exp_part(y[i])


@numba.njit
def logarithms(x, out):
    for i in range(x.size):
        out[i] = _log(x[i])


@numba.njit
def powers(x, y, out):
    for i in range(x.size):
        out[i] = _power(x[i], y[i])


def numbers(count=50_000, seed=0):
    return torch.rand(count, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def filled(kernel, *arguments):
    found = torch.empty_like(arguments[0])
    kernel(*(argument.numpy() for argument in arguments), found.numpy())
    return found


def test_exponentials():
    x = torch.cat([(numbers() - 0.5) * 40, torch.tensor([0.0, 500.0, -500.0], dtype=torch.float64)])
    found = exp_part_of(x * PER_UNIT)
    assert torch.equal(filled(exponentials, x * PER_UNIT), found)
    # An argument of 500 is itself known to 1e-13; what the series leaves out is below r^5 / 120 = 1.3e-15.
    torch.testing.assert_close(found, x.exp(), rtol=2e-13, atol=0)
    near = x.abs() < 1
    torch.testing.assert_close(found[near], x[near].exp(), rtol=2e-15, atol=0)
    assert exp_part_of(torch.zeros(1, dtype=torch.float64)) == 1


@pytest.mark.parametrize("y", [1e6, -1e6, 1e18, 1e300, math.inf, -math.inf, math.nan])
def test_nothing_leaves_the_tables(y):
    one = torch.tensor([y], dtype=torch.float64)
    found, other = exp_part_of(one), filled(exponentials, one)
    assert torch.equal(found.nan_to_num(7.0), other.nan_to_num(7.0))
    if abs(y) < 2**63:
        assert (found > 1e300) if y > 0 else (found < 1e-300)


def test_logarithms():
    x = torch.cat([numbers() + 1e-9, 1e9 * numbers(seed=1) + 1e-9, torch.tensor([1.0, 2.0]).double()])
    found = log_of(x)
    assert torch.equal(filled(logarithms, x), found)
    torch.testing.assert_close(found, x.log(), rtol=1e-15, atol=1e-16)
    assert log_of(torch.ones(1, dtype=torch.float64)) == 0


def test_powers():
    x, y = numbers(), 3 * numbers(seed=1)
    x[:200], y[100:300] = 0.0, 0.0
    found = power_of(x, y)
    assert torch.equal(filled(powers, x, y), found)
    torch.testing.assert_close(found, x**y, rtol=1e-13, atol=0)
    assert (found[:100] == 0).all()
    assert (found[100:300] == 1).all()
