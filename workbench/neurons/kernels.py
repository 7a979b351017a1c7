"""Fused scans of the leaky integrate-and-fire layer in Numba: forward, adjoint, and the recurrent adjoint's step.

Each kernel walks a slice of the batch, so that a thread pool can share a layer without locks; the result of a sample
does not depend on the slicing, hence not on the number of threads. Equations stand in `lif.py`; `lif_reference.py`
holds the same functions in torch, and the tests hold the two equal.

Time is the outer loop, and a step of the slice is one flat row: memory is read in order. Loops are short, because the
compiler vectorises a loop only if few comparisons tell its arrays apart.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


_kernel = numba.njit(nogil=True, cache=True, error_model="numpy")
"""No checks for division by zero: nothing divides by zero here, and a check keeps a loop from being vectorised."""
_inline = numba.njit(nogil=True, cache=True, error_model="numpy", inline="always")


@_inline
def _row(array: Array, first: int, last: int) -> Array:
    """Return samples first..last of `[B, N]` as one flat view."""
    return array[first:last].reshape((last - first) * array.shape[1])


@_inline
def _repeated(values: Array, count: int) -> Array:
    """Return `[N]` values over again for each of `count` samples, flat."""
    out = np.empty(count * values.size, values.dtype)
    for b in range(count):
        for n in range(values.size):
            out[b * values.size + n] = values[n]
    return out


@_inline
def _slope_row(row: Array, threshold: float, kind: int, k: float, psi: Array) -> None:
    """Write the surrogate slope of one row of membranes to `psi`; `kind` counts in the order of SURROGATES."""
    one = row.dtype.type(1.0)
    zero = row.dtype.type(0.0)
    sharp = row.dtype.type(k)
    edge = row.dtype.type(threshold)
    if kind == 0:
        for n in range(row.size):
            d = one + sharp * abs(row[n] - edge)
            psi[n] = one / (d * d)
    elif kind == 1:
        for n in range(row.size):
            s = one / (one + math.exp(-sharp * (row[n] - edge)))
            psi[n] = sharp * s * (one - s)
    elif kind == 2:
        for n in range(row.size):
            psi[n] = max(zero, one - sharp * abs(row[n] - edge))
    elif kind == 3:
        half = row.dtype.type(0.5)
        for n in range(row.size):
            d = row.dtype.type(math.pi) * half * sharp * (row[n] - edge)
            psi[n] = half * sharp / (one + d * d)
    else:
        for n in range(row.size):
            h = math.tanh(sharp * (row[n] - edge))
            psi[n] = one - h * h


@_inline
def _decayed_row(before: Array, rate: Array, edge: Any, hard: bool, current: Array, out: Array) -> None:
    """Write rate * reset(before) + current to `out`."""
    zero = before.dtype.type(0.0)
    if hard:
        for n in range(before.size):
            u = before[n]
            out[n] = rate[n] * (zero if u >= edge else u) + current[n]
    else:
        for n in range(before.size):
            u = before[n]
            out[n] = rate[n] * (u - (edge if u >= edge else zero)) + current[n]


@_inline
def _fire_row(membrane: Array, edge: Any, spikes: Array) -> None:
    """Write H(membrane - edge) to `spikes`."""
    one = membrane.dtype.type(1.0)
    zero = membrane.dtype.type(0.0)
    for n in range(membrane.size):
        spikes[n] = one if membrane[n] >= edge else zero


@_kernel
def forward(
    currents: Array, decay: Array, start: Array, threshold: float, hard: bool, membrane: Array, spikes: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """u_t = decay * reset(u_{t-1}) + I_t, y_t = H(u_t - threshold), for samples first..last."""
    edge = currents.dtype.type(threshold)
    rate = _repeated(decay, last - first)
    before = _row(start, first, last)
    for t in range(currents.shape[0]):
        here = _row(membrane[t], first, last)
        _decayed_row(before, rate, edge, hard, _row(currents[t], first, last), here)
        _fire_row(here, edge, _row(spikes[t], first, last))
        before = here


@_kernel
def forward_recurrent(
    currents: Array, recurrent: Array, decay: Array, start: Array, threshold: float, hard: bool, membrane: Array,
    spikes: Array, first: int, last: int,
) -> None:  # fmt: skip
    """As `forward`, plus the recurrent current: row j of `recurrent` `[from, to]` for each unit j that fired.

    Spikes are few, so adding rows costs a fraction of the dense product.
    """
    steps, _, units = currents.shape
    edge = currents.dtype.type(threshold)
    fired = np.empty(units, np.int64)
    for t in range(steps):
        for b in range(first, last):
            before = membrane[t - 1, b] if t > 0 else start[b]
            here = membrane[t, b]
            _decayed_row(before, decay, edge, hard, currents[t, b], here)
            count = 0
            for n in range(units):
                # Written always and kept if it fired: a branch would be guessed wrong too often.
                fired[count] = n
                count += before[n] >= edge
            _add_rows(recurrent, fired, count, here)
            _fire_row(here, edge, spikes[t, b])


@_inline
def _add_rows(matrix: Array, chosen: Array, count: int, out: Array) -> None:
    """Add the first `count` chosen rows of a matrix to `out`, four at a time to spare loads and stores of `out`."""
    for i in range(0, count - 3, 4):
        a, b = matrix[chosen[i]], matrix[chosen[i + 1]]
        c, d = matrix[chosen[i + 2]], matrix[chosen[i + 3]]
        for n in range(out.size):
            out[n] += (a[n] + b[n]) + (c[n] + d[n])
    for i in range(count - count % 4, count):
        a = matrix[chosen[i]]
        for n in range(out.size):
            out[n] += a[n]


@_inline
def _pass_row(
    u_row: Array, psi: Array, rate: Array, edge: Any, hard: bool, cut: bool, out: Array
) -> None:  # fmt: skip
    """Write rate * d reset(u) / du of one row to `out`."""
    one = u_row.dtype.type(1.0)
    zero = u_row.dtype.type(0.0)
    if hard and cut:
        for n in range(u_row.size):
            out[n] = rate[n] * (zero if u_row[n] >= edge else one)
    elif hard:
        for n in range(u_row.size):
            keep = zero if u_row[n] >= edge else one
            out[n] = rate[n] * (keep - u_row[n] * psi[n])
    elif cut:
        for n in range(u_row.size):
            out[n] = rate[n]
    else:
        for n in range(u_row.size):
            out[n] = rate[n] * (one - edge * psi[n])


@_inline
def _add_decay_gradient(gradient: Array, before: Array, edge: Any, hard: bool, decay_sum: Array) -> None:
    """Add dE/dI_t * reset(u_{t-1}), the decay's share of one step."""
    zero = before.dtype.type(0.0)
    if hard:
        for n in range(before.size):
            u = before[n]
            decay_sum[n] += gradient[n] * (zero if u >= edge else u)
    else:
        for n in range(before.size):
            u = before[n]
            decay_sum[n] += gradient[n] * (u - (edge if u >= edge else zero))


@_kernel
def adjoint(
    membrane: Array, start: Array, signal: Array, final: Array, decay: Array, threshold: float, hard: bool, cut: bool,
    kind: int, k: float, own: Array, gradient: Array, start_gradient: Array, decay_gradient: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Reverse scan of `forward` without the cross-unit part of recurrence.

    signal `[T, B, N]`, or `[1, B, N]` if it stays the same, is dE/dy, final `[B, N]` dE/du_T besides; gradient
    `[T, B, N]` becomes dE/dI, start_gradient `[B, N]` dE/du_0, decay_gradient `[B, N]` the decay's gradient of each
    sample. `own` `[N]` is each unit's weight on itself (zeros without recurrence).
    """
    steps = membrane.shape[0]
    edge = membrane.dtype.type(threshold)
    rate, weight = _repeated(decay, last - first), _repeated(own, last - first)
    psi, through, later = np.empty_like(rate), np.empty_like(rate), np.zeros_like(rate)
    decay_sum = _row(decay_gradient, first, last)
    decay_sum[:] = 0
    for t in range(steps - 1, -1, -1):
        here = _row(membrane[t], first, last)
        by_output = _row(signal[min(t, signal.shape[0] - 1)], first, last)
        before = _row(membrane[t - 1], first, last) if t > 0 else _row(start, first, last)
        g = _row(gradient[t], first, last)
        _slope_row(here, threshold, kind, k, psi)
        _pass_row(here, psi, rate, edge, hard, cut, through)
        for n in range(g.size):
            g[n] = psi[n] * (by_output[n] + weight[n] * later[n]) + through[n] * later[n]
        if t == steps - 1:
            g += _row(final, first, last)
        _add_decay_gradient(g, before, edge, hard, decay_sum)
        later = g
    u = _row(start, first, last)
    out = _row(start_gradient, first, last)
    _slope_row(u, threshold, kind, k, psi)
    _pass_row(u, psi, rate, edge, hard, cut, through)
    for n in range(out.size):
        out[n] = through[n] * later[n] + psi[n] * weight[n] * later[n]


@_kernel
def adjoint_step(
    t: int, membrane: Array, start: Array, signal: Array, final: Array, feedback: Array, decay: Array,
    threshold: float, hard: bool, cut: bool, kind: int, k: float, gradient: Array, decay_gradient: Array,
) -> None:  # fmt: skip
    """Step t of the reverse scan with full recurrence: writes `gradient[t]` and adds to `decay_gradient` `[B, N]`.

    feedback `[B, N]` is `gradient[t + 1] @ recurrent`, zeros at the last step; other arrays as in `adjoint`, whole.
    """
    steps, batch, _ = membrane.shape
    edge = membrane.dtype.type(threshold)
    rate = _repeated(decay, batch)
    psi, through = np.empty_like(rate), np.empty_like(rate)
    here, by_output, onto = _row(membrane[t], 0, batch), _row(signal[t], 0, batch), _row(feedback, 0, batch)
    before = _row(membrane[t - 1], 0, batch) if t > 0 else _row(start, 0, batch)
    g = _row(gradient[t], 0, batch)
    _slope_row(here, threshold, kind, k, psi)
    for n in range(g.size):
        g[n] = psi[n] * (by_output[n] + onto[n])
    if t == steps - 1:
        g += _row(final, 0, batch)
    else:
        later = _row(gradient[t + 1], 0, batch)
        _pass_row(here, psi, rate, edge, hard, cut, through)
        for n in range(g.size):
            g[n] += through[n] * later[n]
    _add_decay_gradient(g, before, edge, hard, _row(decay_gradient, 0, batch))


@_kernel
def leaky_forward(currents: Array, decay: Array, start: Array, out: Array, first: int, last: int) -> None:
    """o_t = decay * o_{t-1} + I_t, for samples first..last."""
    rate = _repeated(decay, last - first)
    before = _row(start, first, last)
    for t in range(currents.shape[0]):
        current, here = _row(currents[t], first, last), _row(out[t], first, last)
        for n in range(here.size):
            here[n] = rate[n] * before[n] + current[n]
        before = here


@_kernel
def leaky_adjoint(
    out: Array, start: Array, signal: Array, decay: Array, gradient: Array, start_gradient: Array,
    decay_gradient: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Reverse scan of `leaky_forward`; arguments as in `adjoint`."""
    rate = _repeated(decay, last - first)
    later = np.zeros_like(rate)
    decay_sum = _row(decay_gradient, first, last)
    decay_sum[:] = 0
    for t in range(out.shape[0] - 1, -1, -1):
        before = _row(out[t - 1], first, last) if t > 0 else _row(start, first, last)
        by_output, g = _row(signal[t], first, last), _row(gradient[t], first, last)
        for n in range(g.size):
            g[n] = by_output[n] + rate[n] * later[n]
        for n in range(g.size):
            decay_sum[n] += g[n] * before[n]
        later = g
    by_start = _row(start_gradient, first, last)
    for n in range(by_start.size):
        by_start[n] = rate[n] * later[n]
