"""Exponentials and powers in sums, products, quotients and tables alone, so that Numba and torch agree to the last bit.

Those of libraries differ there from one to the other.

    2^(y / 256) = 2^n 2^(j / 256) exp(r),   256 n + j = floor(y),  r = (y - floor(y)) ln 2 / 256 < 0.0028
    ln(x)       = e ln 2 + 2 artanh(s),     x = m 2^e, 1 / sqrt 2 <= m < sqrt 2,  s = (m - 1) / (m + 1), |s| < 0.172
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from workbench.neurons.kernels import Array, _inline

PARTS = 256
PER_UNIT = PARTS / math.log(2.0)
"""What y grows by while the exponential grows by e."""
_PART = math.log(2.0) / PARTS
_LOG_2, _MIDDLE = math.log(2.0), math.sqrt(0.5)
_SMALLEST, _LARGEST = -1022, 1023
_FRACTIONAL: Array = np.exp2(np.arange(PARTS) / PARTS)
_WHOLE: Array = np.ldexp(1.0, np.arange(_SMALLEST, _LARGEST + 1))
_LEAST, _MOST = _SMALLEST * PARTS, _LARGEST * PARTS
_TERMS: Array = 2.0 / np.arange(21, 0, -2)
"""Of 2 artanh(s) / s as a polynomial of s^2, from the last one."""


@_inline
def exp_part(y: float) -> float:
    """Return 2^(y / 256) to 2e-15, with the whole of y / 256 held within the range of ordinary numbers; |y| < 2^63."""
    place = np.floor(y)
    r = (y - place) * _PART
    # What is no number becomes some integer here, and must not leave the tables.
    index = min(max(int(place), _LEAST), _MOST)
    scale = _FRACTIONAL[index & 255] * _WHOLE[(index >> 8) - _SMALLEST]
    r2 = r * r
    return float(scale + scale * ((r + 0.5 * r2) + (r * r2) * (1.0 / 6.0 + r * (1.0 / 24.0))))


@_inline
def log(x: float) -> float:
    """Return the natural logarithm of x > 0."""
    mantissa, exponent = math.frexp(x)
    if mantissa < _MIDDLE:
        mantissa, exponent = 2.0 * mantissa, exponent - 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2, total = s * s, 0.0
    for term in _TERMS:
        total = total * s2 + term
    return float(exponent * _LOG_2 + s * total)


@_inline
def power(x: float, y: float) -> float:
    """Return x^y for x, y >= 0; 0^0 = 1."""
    if y == 0.0:
        return 1.0
    return exp_part(y * log(x) * PER_UNIT) if x > 0.0 else 0.0


def exp_part_of(y: Tensor) -> Tensor:
    """As `exp_part`, for float64 of any shape."""
    place = y.floor()
    r = (y - place) * _PART
    index = place.long().clamp(_LEAST, _MOST)
    fractional, whole = (torch.from_numpy(table).to(y.device) for table in (_FRACTIONAL, _WHOLE))
    scale = fractional[index & 255] * whole[(index >> 8) - _SMALLEST]
    r2 = r * r
    return scale + scale * ((r + 0.5 * r2) + (r * r2) * (1.0 / 6.0 + r * (1.0 / 24.0)))


def log_of(x: Tensor) -> Tensor:
    """As `log`, for float64 of any shape."""
    mantissa, exponent = torch.frexp(x)
    low = mantissa < _MIDDLE
    mantissa = torch.where(low, 2.0 * mantissa, mantissa)
    exponent = torch.where(low, exponent - 1, exponent).double()
    s = (mantissa - 1.0) / (mantissa + 1.0)
    s2, total = s * s, torch.zeros_like(s)
    for term in _TERMS.tolist():
        total = total * s2 + term
    return exponent * _LOG_2 + s * total


def power_of(x: Tensor, y: Tensor) -> Tensor:
    """As `power`, for float64 of the same shape."""
    positive = x > 0
    found = exp_part_of(y * log_of(torch.where(positive, x, 1.0)) * PER_UNIT)
    return torch.where(y == 0, 1.0, torch.where(positive, found, 0.0))
