"""Logarithm and exponential of float32 numbers in sums and products alone, so that loops over them are vectorised.

Polynomials of the Cephes library (Moshier 1984-1992, `logf.c` and `expf.c`), on an interval around one and around zero.
Relative error below 1e-7; log(1) is 0 and exp(0) is 1, exactly.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import _inline

_one, _half = np.float32(1.0), np.float32(0.5)
_ln2_high, _ln2_low, _per_ln2 = np.float32(0.693359375), np.float32(-2.12194440e-4), np.float32(1.44269504)
_least = np.float32(-87.0)
_E0, _E1, _E2 = np.float32(1.9875691500e-4), np.float32(1.3981999507e-3), np.float32(8.3334519073e-3)
_E3, _E4, _E5 = np.float32(4.1665795894e-2), np.float32(1.6666665459e-1), np.float32(5.0000001201e-1)
_L0, _L1, _L2 = np.float32(7.0376836292e-2), np.float32(-1.1514610310e-1), np.float32(1.1676998740e-1)
_L3, _L4, _L5 = np.float32(-1.2420140846e-1), np.float32(1.4249322787e-1), np.float32(-1.6668057665e-1)
_L6, _L7, _L8 = np.float32(2.0000714765e-1), np.float32(-2.4999993993e-1), np.float32(3.3333331174e-1)
_fraction, _bits, _bias = np.int32(0x7FFFFF), np.int32(23), np.int32(127)
_root_half = np.int32(0x3F3504F3)
"""Bits of the square root of one half."""


@_inline
def exponential(x: np.float32) -> np.float32:
    """Return exp(x) for x <= 88; below -87 it stays at exp(-87) = 1.6e-38."""
    x = max(x, _least)
    n = np.floor(x * _per_ln2 + _half)
    r = x - n * _ln2_high - n * _ln2_low
    y = ((((_E0 * r + _E1) * r + _E2) * r + _E3) * r + _E4) * r + _E5
    power = np.int32((np.int32(n) + _bias) << _bits).view(np.float32)
    return (y * r * r + r + _one) * power  # type: ignore[no-any-return]


@_inline
def logarithm(x: np.float32) -> np.float32:
    """Return ln(x) for a positive, finite, normal x."""
    shifted = np.int32(np.float32(x).view(np.int32) - _root_half)
    n = np.float32(np.int32(shifted >> _bits))
    z = np.int32((shifted & _fraction) + _root_half).view(np.float32) - _one
    y = (((_L0 * z + _L1) * z + _L2) * z + _L3) * z + _L4
    y = ((((y * z + _L5) * z + _L6) * z + _L7) * z + _L8) * z * z * z
    return z + (y + n * _ln2_low - _half * z * z) + n * _ln2_high
