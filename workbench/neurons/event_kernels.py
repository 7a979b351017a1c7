"""Products with sparse rows in Numba: reading out what is not zero, turning rows into columns, adding up rows.

Rows r of `[R, in]` are given as events: `columns[offsets[r]:offsets[r + 1]]` are the places that are not zero, `values`
what stands there, empty if ones. Kernels share work over rows of the result, so that a sum is formed in the same order
whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _kernel, add_rows, find_row


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
    for r in range(first, last):
        find_row(words[r], columns, offsets[r])


@_kernel
def transpose(
    offsets: Array, columns: Array, values: Array, turned: Array, rows: Array, weights: Array
) -> None:
    """Sort events by column: column c has `rows[turned[c]:turned[c + 1]]`, in order, with `weights`.

    turned `[in + 2]`; rows `[E]`; weights `[E]`, or `[0]` as `values`.
    """
    turned[:] = 0
    begin = offsets[0]
    for i in range(begin, offsets[-1]):
        turned[columns[i] + 2] += 1
    for c in range(2, turned.size):
        turned[c] += turned[c - 1]
    # Entry c + 1 is where the next event of column c goes; when all are in place it is where column c + 1 begins.
    for r in range(offsets.size - 1):
        for i in range(offsets[r], offsets[r + 1]):
            c = columns[i] + 1
            rows[turned[c]] = r
            if values.size > 0:
                weights[turned[c]] = values[i]
            turned[c] += 1


@_kernel
def product(
    offsets: Array, columns: Array, values: Array, matrix: Array, start: Array, out: Array, first: int, last: int
) -> None:  # fmt: skip
    """out[r] = start + sum over the row's events of value times matrix[column]; matrix `[in, N]`.

    start `[N]`, or `[0]`: the sum is added to what stands in `out`.
    """
    for r in range(first, last):
        here, begin, end = out[r], offsets[r], offsets[r + 1]
        for n in range(start.size):
            here[n] = start[n]
        if values.size == 0:
            add_rows(matrix, columns, begin, end, here)
        else:
            for i in range(begin, end):
                a, value = matrix[columns[i]], values[i]
                for n in range(here.size):
                    here[n] += value * a[n]
