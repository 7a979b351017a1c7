"""Random numbers that depend on a seed and a place alone: the pulse number `k` of the cell `c` draws what it draws.

Order, slices and threads do not matter, and cells that get no pulse cost nothing. Bits are those of SplitMix64
(Steele, Lea and Flood 2014) at the index of the place. A normal number is read off a table of quantiles with
interpolation between them, in nothing but sums and products, so that kernels and torch agree to the last bit.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Tensor

from workbench.neurons.kernels import Array, _inline

PLACES = 64
"""Numbers that a cell can draw from one seed; the last one is for what is drawn once a cell."""
_GOLDEN, _FIRST, _SECOND = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB
_CELLS = 4096
_UNIT = 2.0**-53
_FINE, _COARSE = 2.0**-52, 2.0**-40


def draw_seed(generator: torch.Generator) -> int:
    """Return 63 random bits from a CPU generator."""
    return int(torch.randint(2**63 - 1, (), generator=generator))


@cache
def quantiles() -> Array:
    """Return normal quantiles `[3, 4097]`: below 1/4096, all, above 4095/4096; of unit variance between them.

    The outermost reach to 5.5 standard deviations.
    """
    edges = torch.arange(_CELLS + 1, dtype=torch.float64) / _CELLS
    middle, low = torch.special.ndtri(edges), torch.special.ndtri(edges / _CELLS)
    low[0] = torch.special.ndtri(torch.tensor(2.0**-26, dtype=torch.float64))
    middle[0], middle[-1] = low[-1], -low[-1]
    rows = torch.stack([low, middle, -low.flip(0)])
    one, other = rows[:, :-1], rows[:, 1:]
    squares = (one * one + one * other + other * other) / 3
    # The first and the last cell of the middle row are the other two rows.
    variance = (squares[1, 1:-1].sum() + squares[0].mean() + squares[2].mean()) / _CELLS
    table: Array = (rows / variance.sqrt()).numpy()
    return table


@_inline
def bits(seed: np.uint64, place: np.uint64) -> np.uint64:
    """Return 64 random bits of a place."""
    z = seed + (place + np.uint64(1)) * np.uint64(_GOLDEN)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(_FIRST)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(_SECOND)
    return z ^ (z >> np.uint64(31))


@_inline
def uniform(seed: np.uint64, place: np.uint64) -> float:
    """Return a uniform number in [0, 1)."""
    return float(bits(seed, place) >> np.uint64(11)) * _UNIT


@_inline
def normal(seed: np.uint64, place: np.uint64, table: Array) -> float:
    """Return a standard normal number; table: `quantiles()`."""
    z = bits(seed, place)
    row, column = 1, int(z >> np.uint64(52))
    along = float(z & np.uint64(0xFFFFFFFFFFFFF)) * _FINE
    if column == 0 or column == _CELLS - 1:
        row = 0 if column == 0 else 2
        column = int((z >> np.uint64(40)) & np.uint64(0xFFF))
        along = float(z & np.uint64(0xFFFFFFFFFF)) * _COARSE
    one = table[row, column]
    return float(one + along * (table[row, column + 1] - one))


def _signed(number: int) -> int:
    return number - 2**64 if number >= 2**63 else number


def _shifted(z: Tensor, by: int) -> Tensor:
    """Shift to the right without the sign."""
    return (z >> by) & ((1 << (64 - by)) - 1)


def bits_at(seed: int, places: Tensor) -> Tensor:
    """As `bits`, for int64 `places` of any shape; the bits come as int64."""
    z = (places + 1) * _signed(_GOLDEN) + seed
    z = (z ^ _shifted(z, 30)) * _signed(_FIRST)
    z = (z ^ _shifted(z, 27)) * _signed(_SECOND)
    return z ^ _shifted(z, 31)


def uniform_at(seed: int, places: Tensor) -> Tensor:
    """As `uniform`, float64."""
    return _shifted(bits_at(seed, places), 11).to(torch.float64) * _UNIT


def normal_at(seed: int, places: Tensor) -> Tensor:
    """As `normal`, float64."""
    table = torch.from_numpy(quantiles()).to(places.device)
    z = bits_at(seed, places)
    column = _shifted(z, 52)
    tail = (column == 0) | (column == _CELLS - 1)
    row = torch.where(tail, torch.where(column == 0, 0, 2), 1)
    column = torch.where(tail, (z >> 40) & 0xFFF, column)
    # In float64 first: an integer times a Python number is float32.
    coarse = (z & 0xFFFFFFFFFF).to(torch.float64) * _COARSE
    fine = (z & 0xFFFFFFFFFFFFF).to(torch.float64) * _FINE
    along = torch.where(tail, coarse, fine)
    one = table[row, column]
    return one + along * (table[row, column + 1] - one)
