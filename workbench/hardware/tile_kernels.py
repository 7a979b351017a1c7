"""What a tile reads, in Numba: its events, their products with the weights, the converters behind it."""

from __future__ import annotations

import math

import numpy as np

from workbench.hardware.counter_noise import normal
from workbench.neurons.kernels import Array, _kernel, add_rows


@_kernel
def split(offsets: Array, columns: Array, borders: Array, begins: Array) -> None:
    """Find where the events of each tile begin: those of row r in tile t are begins[t, r]..begins[t + 1, r].

    columns are in order within a row; borders `[tiles + 1]`; begins `[tiles + 1, R]`.
    """
    for r in range(offsets.size - 1):
        i, end = offsets[r], offsets[r + 1]
        for t in range(borders.size):
            while i < end and columns[i] < borders[t]:
                i += 1
            begins[t, r] = i


@_kernel
def peaks(begin: Array, end: Array, values: Array, out: Array) -> None:
    """Write the largest magnitude of each row's events; events without values are ones."""
    for r in range(out.size):
        peak = out.dtype.type(0.0)
        if values.size == 0:
            peak = out.dtype.type(1.0 if end[r] > begin[r] else 0.0)
        else:
            for i in range(begin[r], end[r]):
                peak = max(peak, abs(values[i]))
        out[r] = peak


@_kernel
def product(
    begin: Array, end: Array, columns: Array, values: Array, matrix: Array, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out[r] = sum over the row's events of value times matrix[column]; matrix `[in, N]`."""
    zero = out.dtype.type(0.0)
    for r in range(first, last):
        here = out[r]
        for n in range(here.size):
            here[n] = zero
        if values.size == 0:
            add_rows(matrix, columns, begin[r], end[r], here)
        else:
            for i in range(begin[r], end[r]):
                a, value = matrix[columns[i]], values[i]
                for n in range(here.size):
                    here[n] += value * a[n]


@_kernel
def convert(
    seed: int, place: int, table: Array, sums: Array, variance: Array, deviation: Array, step: Array, top: float,
    add: bool, out: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Write to `out`, or add to it, what a converter makes of sums + sqrt(deviation^2 + variance) xi.

    sums, variance, out `[R, N]`; variance is `[0, 0]` for none. deviation, step `[R]` of each read. top: highest level
    of the converter, a whole number; 0 for an exact one. xi of the first sum is the number at `place`, and so on;
    table: `counter_noise.quantiles`, `[0, 0]` for no noise.
    """
    one = out.dtype.type(1.0)
    most = out.dtype.type(top)
    columns = sums.shape[1]
    drawn = np.zeros(columns, sums.dtype)
    for r in range(first, last):
        here, given = out[r], sums[r]
        if not add:
            for n in range(columns):
                here[n] = out.dtype.type(0.0)
        size, spread = step[r], deviation[r]
        if table.size > 0:
            begin = place + r * columns
            for n in range(columns):
                drawn[n] = normal(np.uint64(seed), np.uint64(begin + n), table)
            if variance.size > 0:
                own = variance[r]
                for n in range(columns):
                    drawn[n] *= math.sqrt(spread * spread + own[n])
                spread = one
        if top > 0:
            for n in range(columns):
                level = np.rint((given[n] + spread * drawn[n]) / size)
                here[n] += size * min(max(level, -most), most)
        else:
            for n in range(columns):
                here[n] += given[n] + spread * drawn[n]
