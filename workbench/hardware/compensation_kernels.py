"""Drift compensation in Numba; `compensation.py` has the same in torch, and the tests hold the two equal."""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.neurons.kernels import Array, _kernel


@_kernel
def _add_magnitudes(row: Array, sums: Array) -> None:
    for k in range(sums.size):
        sums[k] += abs(row[k])


@_kernel
def tile_sums(weights: Array, rows: int, columns: int, out: Array) -> None:
    """Write the sum of |w| of every tile of `weights` `[N, in]` to `out` `[tiles, tiles]` (outputs, inputs)."""
    units, inputs = weights.shape
    sums = np.empty(inputs)
    for u in range(out.shape[0]):
        for k in range(inputs):
            sums[k] = 0.0
        for n in range(u * columns, min((u + 1) * columns, units)):
            _add_magnitudes(weights[n], sums)
        for t in range(out.shape[1]):
            total = 0.0
            for k in range(t * rows, min((t + 1) * rows, inputs)):
                total += sums[k]
            out[u, t] = total


@_kernel
def _multiply(row: Array, factor: Any) -> None:
    for k in range(row.size):
        row[k] *= factor


@_kernel
def compensate(gains: Array, rows: int, columns: int, weights: Array, noise: Array, gain: Array) -> None:
    """Multiply `weights` and `noise` `[N, in]` by the gain of each tile, and write it out; `noise` may be empty."""
    units, inputs = gain.shape
    for n in range(units):
        for t in range(gains.shape[1]):
            here = slice(t * rows, min((t + 1) * rows, inputs))
            factor = gain.dtype.type(gains[n // columns, t])
            gain[n, here] = factor
            _multiply(weights[n, here], factor)
            if noise.size:
                _multiply(noise[n, here], factor)
