"""Products with sparse rows in Numba: reading out what is not zero, adding rows of weights, adding to their gradient.

Rows r of `[R, in]` are given as events: `columns[offsets[r]:offsets[r + 1]]` are the places that are not zero, `values`
what stands there, empty if ones. Kernels share work over rows, or over columns of the result where rows add up, so that
a sum is formed in the same order whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _inline, _kernel

_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_PLACES = np.zeros(64, np.int64)
for _place in range(64):
    _PLACES[((1 << _place) * 0x03F79D71B4CB0A89 % (1 << 64)) >> 58] = _place
"""The place of a number's only bit, by the highest six bits of its product with a de Bruijn sequence."""


@_kernel
def pack(rows: Array, one: int, words: Array, offsets: Array, odd: Array, first: int, last: int) -> None:
    """Write rows first..last as bits: a bit is set where an entry is not zero.

    rows `[R, in]` unsigned integers: the numbers themselves, or floating-point ones as they lie in memory, `one`
    being 1 in the same form. words `[R, in / 64 rounded up]` uint64. `offsets[r + 1]` becomes the number of bits
    set in row r, `odd[r]` how many entries are neither 0 nor 1.
    """
    inputs = rows.shape[1]
    for r in range(first, last):
        row = rows[r]
        present = ones = 0
        for i in range(words.shape[1]):
            part = row[64 * i : min(64 * i + 64, inputs)]
            word = np.uint64(0)
            for j in range(part.size):
                there = part[j] != 0
                present += there
                ones += part[j] == one
                word |= np.uint64(there) << np.uint64(j)
            words[r, i] = word
        offsets[r + 1] = present
        odd[r] = present - ones


@_kernel
def find(words: Array, offsets: Array, columns: Array, first: int, last: int) -> None:
    """Write the places of the bits that are set in rows first..last to `columns`."""
    none, one, shift = np.uint64(0), np.uint64(1), np.uint64(58)
    for r in range(first, last):
        at = offsets[r]
        for i in range(words.shape[1]):
            left = words[r, i]
            while left != none:
                others = left & (left - one)
                columns[at] = 64 * i + _PLACES[((left ^ others) * _DE_BRUIJN) >> shift]
                at += 1
                left = others


@_inline
def _add_rows(matrix: Array, columns: Array, begin: int, end: int, out: Array) -> None:
    """Add rows `columns[begin:end]` of a matrix to `out`, four at a time to spare loads and stores of `out`."""
    for i in range(begin, end - 3, 4):
        a, b = matrix[columns[i]], matrix[columns[i + 1]]
        c, d = matrix[columns[i + 2]], matrix[columns[i + 3]]
        for n in range(out.size):
            out[n] += (a[n] + b[n]) + (c[n] + d[n])
    for i in range(end - (end - begin) % 4, end):
        a = matrix[columns[i]]
        for n in range(out.size):
            out[n] += a[n]


@_kernel
def product(
    offsets: Array, columns: Array, values: Array, matrix: Array, start: Array, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out[r] = start + sum over the row's events of value times matrix[column]; matrix `[in, N]`, start `[N]`."""
    for r in range(first, last):
        here, begin, end = out[r], offsets[r], offsets[r + 1]
        for n in range(here.size):
            here[n] = start[n]
        if values.size == 0:
            _add_rows(matrix, columns, begin, end, here)
        else:
            for i in range(begin, end):
                a, value = matrix[columns[i]], values[i]
                for n in range(here.size):
                    here[n] += value * a[n]


@_kernel
def outer(
    offsets: Array, columns: Array, values: Array, delta: Array, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out[column, first:last] += value times delta[r, first:last] over all events; out `[in, N]`, delta `[R, N]`."""
    for r in range(delta.shape[0]):
        row = delta[r, first:last]
        for i in range(offsets[r], offsets[r + 1]):
            here = out[columns[i], first:last]
            if values.size == 0:
                for n in range(row.size):
                    here[n] += row[n]
            else:
                value = values[i]
                for n in range(row.size):
                    here[n] += value * row[n]
