"""The resistor network of a tile in Numba: wires are chains, solved exactly one after the other.

At cell (j, i) a row wire has the voltage r and a column wire c; w is the conductance of a piece of wire, g of a cell:

    row j       (2w + g_i) r_i - w r_{i-1} - w r_{i+1} = g_i c_i,   r_{-1} = V_j, no right neighbour at the end
    column i    (2w + g_j) c_j - w c_{j-1} - w c_{j+1} = g_j r_j,   c_{-1} = 0, no neighbour below at the end

Each is tridiagonal: elimination along the wire and back. The pivots are the same for all voltages. `LANES` drivers are
looked at side by side, each alone at one volt, because a step along a wire cannot begin before the last one ended.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _kernel

LANES = 8
TOLERANCE = 1e-12
_MOST_ROUNDS = 20_000


@_kernel
def pivots(cells: Array, wire: float, along_rows: Array, along_columns: Array) -> None:
    """Write the inverse pivots of the elimination along rows and along columns; all `[rows, columns]`."""
    rows, columns = cells.shape
    for j in range(rows):
        for i in range(columns):
            pivot = cells[j, i] + (wire if i == columns - 1 else 2.0 * wire)
            if i > 0:
                pivot -= wire * wire * along_rows[j, i - 1]
            along_rows[j, i] = 1.0 / pivot
            pivot = cells[j, i] + (wire if j == rows - 1 else 2.0 * wire)
            if j > 0:
                pivot -= wire * wire * along_columns[j - 1, i]
            along_columns[j, i] = 1.0 / pivot


@_kernel
def _solve_rows(cells: Array, inverse: Array, wire: float, driven: int, c: Array, r: Array) -> None:
    """Solve all rows for r `[rows, columns, LANES]`; in lane s row driven + s has one volt, the others none."""
    rows, columns = cells.shape
    for j in range(rows):
        for i in range(columns):
            g = cells[j, i]
            for s in range(LANES):
                r[j, i, s] = g * c[j, i, s]
            if i == 0:
                if driven <= j < driven + LANES:
                    r[j, 0, j - driven] += wire
            else:
                factor = wire * inverse[j, i - 1]
                for s in range(LANES):
                    r[j, i, s] += factor * r[j, i - 1, s]
        for i in range(columns - 1, -1, -1):
            factor = inverse[j, i]
            if i == columns - 1:
                for s in range(LANES):
                    r[j, i, s] *= factor
            else:
                for s in range(LANES):
                    r[j, i, s] = (r[j, i, s] + wire * r[j, i + 1, s]) * factor


@_kernel
def _solve_columns(cells: Array, inverse: Array, wire: float, r: Array, c: Array) -> None:
    """Solve all columns for c `[rows, columns, LANES]`."""
    rows, columns = cells.shape
    for j in range(rows):
        for i in range(columns):
            g = cells[j, i]
            for s in range(LANES):
                c[j, i, s] = g * r[j, i, s]
            if j > 0:
                factor = wire * inverse[j - 1, i]
                for s in range(LANES):
                    c[j, i, s] += factor * c[j - 1, i, s]
    for j in range(rows - 1, -1, -1):
        for i in range(columns):
            factor = inverse[j, i]
            if j == rows - 1:
                for s in range(LANES):
                    c[j, i, s] *= factor
            else:
                for s in range(LANES):
                    c[j, i, s] = (c[j, i, s] + wire * c[j + 1, i, s]) * factor


@_kernel
def solve(
    cells: Array, along_rows: Array, along_columns: Array, wire: float, out: Array, change: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Write to `out` `[rows, columns]` the current at each column's end for one volt at each row's, and no other.

    Parts first..last of `LANES` rows each; `change[p]` becomes by what the currents changed last, as a share.
    """
    rows, columns = cells.shape
    r, c = np.empty((rows, columns, LANES)), np.empty((rows, columns, LANES))
    before = np.empty((columns, LANES))
    for part in range(first, last):
        driven = part * LANES
        c[:] = 0.0
        before[:] = 0.0
        for _ in range(_MOST_ROUNDS):
            _solve_rows(cells, along_rows, wire, driven, c, r)
            _solve_columns(cells, along_columns, wire, r, c)
            largest = moved = 0.0
            for i in range(columns):
                for s in range(LANES):
                    current = wire * c[0, i, s]
                    largest = max(largest, abs(current))
                    moved = max(moved, abs(current - before[i, s]))
                    before[i, s] = current
            change[part] = moved / largest if largest > 0.0 else 0.0
            if change[part] <= TOLERANCE:
                break
        for s in range(min(LANES, rows - driven)):
            for i in range(columns):
                out[driven + s, i] = before[i, s]
