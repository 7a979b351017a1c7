"""Carrying eligibility traces in Numba: credit and decay in one pass over the memory, then what the events add.

Traces of synapses lie as `[S, B, in, N]`, so that an event of input j adds to one row of N numbers. Work is shared over
units where samples add up, over samples elsewhere: sums are formed in the same order whatever the number of threads.
"""

from __future__ import annotations

import numpy as np

from workbench.neurons.kernels import Array, _inline, _kernel


@_inline
def _credit(trace: Array, owed: Array, b: int, j: int, gradient: Array, first: int, last: int) -> None:
    """Add sum_s owed[q, s, b, n] e[s, b, j, n] to gradient[q, j, n]."""
    for q in range(owed.shape[0]):
        total = gradient[q, j, first:last]
        for s in range(owed.shape[1]):
            factor, e = owed[q, s, b, first:last], trace[s, b, j, first:last]
            for n in range(e.size):
                total[n] += factor[n] * e[n]


@_kernel
def credit(trace: Array, owed: Array, gradient: Array, first: int, last: int) -> None:
    """gradient[q, j, n] += sum_{s,b} owed[q, s, b, n] e[s, b, j, n] for units first..last.

    trace `[S, B, in, N]`, owed `[Q, S, B, N]`, gradient `[Q, in, N]`.
    """
    for b in range(trace.shape[1]):
        for j in range(trace.shape[2]):
            _credit(trace, owed, b, j, gradient, first, last)


@_kernel
def credit_and_decay(
    trace: Array, owed: Array, product: Array, gradient: Array, first: int, last: int
) -> None:
    """As `credit`; then e[s] = sum_r product[s, r] e[r], product `[S, S, B, N]`."""
    states = trace.shape[0]
    moved = np.empty((states, last - first), trace.dtype)
    for b in range(trace.shape[1]):
        for j in range(trace.shape[2]):
            _credit(trace, owed, b, j, gradient, first, last)
            for s in range(states):
                out = moved[s]
                out[:] = 0
                for r in range(states):
                    factor, e = product[s, r, b, first:last], trace[r, b, j, first:last]
                    for n in range(e.size):
                        out[n] += factor[n] * e[n]
            for s in range(states):
                trace[s, b, j, first:last] = moved[s]


@_kernel
def add_events(
    offsets: Array, columns: Array, values: Array, drive: Array, trace: Array, first: int, last: int
) -> None:  # fmt: skip
    """e[s, b, j] += value drive[t, s, b] for the events j of step t, samples first..last; drive `[K, S, B, N]`."""
    steps, states, batch, _ = drive.shape
    for b in range(first, last):
        for t in range(steps):
            row = t * batch + b
            for i in range(offsets[row], offsets[row + 1]):
                for s in range(states):
                    e, fresh = trace[s, b, columns[i]], drive[t, s, b]
                    if values.size == 0:
                        for n in range(e.size):
                            e[n] += fresh[n]
                    else:
                        value = values[i]
                        for n in range(e.size):
                            e[n] += value * fresh[n]


@_kernel
def add_powers(
    offsets: Array, columns: Array, values: Array, powers: Array, trace: Array, first: int, last: int
) -> None:  # fmt: skip
    """a[d, b, j] += value powers[d, t] for the events j of step t, samples first..last; trace `[D, B, in]`."""
    groups, steps = powers.shape
    batch = trace.shape[1]
    for t in range(steps):
        for b in range(first, last):
            row = t * batch + b
            for i in range(offsets[row], offsets[row + 1]):
                value = values[i] if values.size > 0 else trace.dtype.type(1)
                for d in range(groups):
                    trace[d, b, columns[i]] += value * powers[d, t]
