"""Vectorised float32 functions: how far from the true ones, and exact where devices rely on it."""

from __future__ import annotations

import numba
import numpy as np
import pytest

from workbench.hardware import float_functions

# Numba takes these from the names around a function.
_exponential, _logarithm = float_functions.exponential, float_functions.logarithm


@numba.njit
def exponentials(x, out):
    for i in range(x.size):
        out[i] = _exponential(x[i])


@numba.njit
def logarithms(x, out):
    for i in range(x.size):
        out[i] = _logarithm(x[i])


def filled(kernel, x):
    out = np.empty_like(x)
    kernel(x, out)
    return out


def test_exponentials():
    x = np.linspace(-87, 88, 400_001, dtype=np.float32)
    true = np.exp(x.astype(np.float64))
    assert np.abs(filled(exponentials, x) / true - 1).max() < 1e-7


def test_logarithms():
    x = np.exp(np.linspace(-80, 80, 400_001)).astype(np.float32)
    near = 1 + np.linspace(-0.3, 0.4, 100_000, dtype=np.float32)
    for values in (x, near):
        true = np.log(values.astype(np.float64))
        apart = np.abs(filled(logarithms, values) - true)
        assert (apart <= 1e-7 * np.abs(true)).all()


@pytest.mark.parametrize(
    ("kernel", "x", "y"), [(logarithms, 1, 0), (exponentials, 0, 1), (exponentials, -0.0, 1)]
)
def test_what_has_not_drifted_stays_exact(kernel, x, y):
    assert filled(kernel, np.full(1, x, np.float32))[0] == y


def test_what_is_far_below_stays_a_small_number():
    found = filled(exponentials, np.array([-87.5, -1e4, -np.inf], np.float32))
    assert (found > 0).all()
    assert (found < 2e-38).all()
