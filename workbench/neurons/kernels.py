"""Fused scans of the leaky integrate-and-fire layer in Numba: forward, adjoint, and the recurrent adjoint's step.

Each kernel walks a slice of the batch, so that a thread pool can share a layer without locks; the result of a sample
does not depend on the slicing, hence not on the number of threads. Equations stand in `lif.py`; `lif_reference.py`
holds the same functions in torch, and the tests hold the two equal.

Loops over a row of units are short, because the compiler vectorises a loop only if few comparisons tell its arrays
apart; and they are written out, because array arithmetic and reshaping compile for seconds.
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


@_kernel
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


@_kernel
def _add_decayed_row(before: Array, rate: Array, edge: Any, hard: bool, out: Array) -> None:
    """Add rate * reset(before) to `out`."""
    zero = before.dtype.type(0.0)
    if hard:
        for n in range(out.size):
            u = before[n]
            out[n] += rate[n] * (zero if u >= edge else u)
    else:
        for n in range(out.size):
            u = before[n]
            out[n] += rate[n] * (u - (edge if u >= edge else zero))


@_kernel
def _fire_row(membrane: Array, edge: Any, spikes: Array) -> None:
    """Write H(membrane - edge) to `spikes`."""
    one = membrane.dtype.type(1.0)
    zero = membrane.dtype.type(0.0)
    for n in range(membrane.size):
        spikes[n] = one if membrane[n] >= edge else zero


_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_PLACES = np.zeros(64, np.int64)
for _place in range(64):
    _PLACES[((1 << _place) * 0x03F79D71B4CB0A89 % (1 << 64)) >> 58] = _place
"""The place of a number's only bit, by the highest six bits of its product with a de Bruijn sequence."""


@_kernel
def find_row(words: Array, columns: Array, at: int) -> int:
    """Write the places of the bits that are set in `words` to `columns` from `at` on; return where they end."""
    none, one, shift = np.uint64(0), np.uint64(1), np.uint64(58)
    for i in range(words.size):
        left = words[i]
        while left != none:
            others = left & (left - one)
            columns[at] = 64 * i + _PLACES[((left ^ others) * _DE_BRUIJN) >> shift]
            at += 1
            left = others
    return at


@_kernel
def add_rows(matrix: Array, columns: Array, begin: int, end: int, out: Array) -> None:
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
def _pack_row(membrane: Array, edge: Any, words: Array) -> int:
    """Write H(membrane - edge) as bits, bit j of word i for unit 64 i + j; return how many are set."""
    count = 0
    for i in range(words.size):
        part = membrane[64 * i : min(64 * i + 64, membrane.size)]
        word = np.uint64(0)
        for j in range(part.size):
            there = part[j] >= edge
            count += there
            word |= np.uint64(there) << np.uint64(j)
        words[i] = word
    return count


@_kernel
def forward(
    reads: Array, by_input: Array, bias: Array, recurrent: Array, decay: Array, start: Array, threshold: float,
    hard: bool, membrane: Array, spikes: Array, words: Array, counts: Array, first: int, last: int,
) -> None:  # fmt: skip
    """u_t = decay * reset(u_{t-1}) + I_t + V y_{t-1}, y_t = H(u_t - threshold), for samples first..last.

    I is the sum of rows of `by_input` `[in, N]`, one for each bit set in `reads` `[T B, in / 64 rounded up]`, and
    `bias` `[N]`; if `reads` is empty, `membrane` holds I, and u takes its place. V y is a sum of rows of `recurrent`
    `[from, to]` likewise; `[0, 0]`: there is none. spikes `[T, B, N]`, words `[T B, N / 64 rounded up]` and counts
    `[T B]`: y as numbers, as bits, and how many of each row, each of them unless empty.
    """
    steps, batch, units = membrane.shape
    edge = membrane.dtype.type(threshold)
    earlier = np.empty((batch, (units + 63) // 64), np.uint64)
    present = np.empty(64 * max(reads.shape[1], earlier.shape[1]), np.int32)
    # A literal 0 would be a type of its own, and its callees compiled again.
    nought = first - first
    for b in range(first, last if recurrent.size > 0 else first):
        _pack_row(start[b], edge, earlier[b])
    for t in range(steps):
        for b in range(first, last):
            r = t * batch + b
            before = membrane[t - 1, b] if t > 0 else start[b]
            here = membrane[t, b]
            if reads.size > 0:
                for n in range(units):
                    here[n] = bias[n]
                add_rows(by_input, present, nought, find_row(reads[r], present, nought), here)
            _add_decayed_row(before, decay, edge, hard, here)
            if recurrent.size > 0:
                add_rows(recurrent, present, nought, find_row(earlier[b], present, nought), here)
                _pack_row(here, edge, earlier[b])
            if words.size > 0:
                counts[r] = _pack_row(here, edge, words[r])
            if spikes.size > 0:
                _fire_row(here, edge, spikes[t, b])


@_kernel
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


@_kernel
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
    sample unless empty. `own` `[N]` is each unit's weight on itself, `[0]` without recurrence.
    """
    steps, _, units = membrane.shape
    edge = membrane.dtype.type(threshold)
    psi, through, silence = np.empty_like(decay), np.empty_like(decay), np.zeros_like(decay)
    for t in range(steps - 1, -1, -1):
        for b in range(first, last):
            g = gradient[t, b]
            later = gradient[t + 1, b] if t + 1 < steps else silence
            _slope_row(membrane[t, b], threshold, kind, k, psi)
            _pass_row(membrane[t, b], psi, decay, edge, hard, cut, through)
            _backward_row(signal[min(t, signal.shape[0] - 1), b], psi, through, own, later, g)
            if t + 1 == steps:
                for n in range(units):
                    g[n] += final[b, n]
            if decay_gradient.size > 0:
                before = membrane[t - 1, b] if t > 0 else start[b]
                _add_decay_gradient(g, before, edge, hard, decay_gradient[b])
    for b in range(first, last):
        _slope_row(start[b], threshold, kind, k, psi)
        _pass_row(start[b], psi, decay, edge, hard, cut, through)
        _backward_row(silence, psi, through, own, gradient[0, b], start_gradient[b])


@_kernel
def _backward_row(
    signal: Array, psi: Array, through: Array, weight: Array, later: Array, out: Array
) -> None:  # fmt: skip
    """Write psi (signal + weight later) + through later; `weight` may be empty."""
    if weight.size > 0:
        for n in range(out.size):
            out[n] = psi[n] * (signal[n] + weight[n] * later[n]) + through[n] * later[n]
    else:
        for n in range(out.size):
            out[n] = psi[n] * signal[n] + through[n] * later[n]


@_kernel
def adjoint_step(
    t: int, membrane: Array, start: Array, signal: Array, final: Array, feedback: Array, decay: Array,
    threshold: float, hard: bool, cut: bool, kind: int, k: float, gradient: Array, decay_gradient: Array,
) -> None:  # fmt: skip
    """Step t of the reverse scan with full recurrence: writes `gradient[t]` and adds to `decay_gradient` `[B, N]`.

    feedback `[B, N]` is `gradient[t + 1] @ recurrent`, zeros at the last step; other arrays as in `adjoint`, whole.
    """
    steps, batch, units = membrane.shape
    edge = membrane.dtype.type(threshold)
    psi, through = np.empty_like(decay), np.empty_like(decay)
    for b in range(batch):
        g, later = gradient[t, b], gradient[t + 1, b] if t + 1 < steps else final[b]
        _slope_row(membrane[t, b], threshold, kind, k, psi)
        for n in range(units):
            g[n] = psi[n] * (signal[t, b, n] + feedback[b, n])
        if t + 1 < steps:
            _pass_row(membrane[t, b], psi, decay, edge, hard, cut, through)
            for n in range(units):
                g[n] += through[n] * later[n]
        else:
            for n in range(units):
                g[n] += later[n]
        _add_decay_gradient(g, membrane[t - 1, b] if t > 0 else start[b], edge, hard, decay_gradient[b])


@_kernel
def leaky_forward(currents: Array, decay: Array, start: Array, out: Array, first: int, last: int) -> None:
    """o_t = decay * o_{t-1} + I_t, for samples first..last."""
    for t in range(currents.shape[0]):
        for b in range(first, last):
            before = out[t - 1, b] if t > 0 else start[b]
            current, here = currents[t, b], out[t, b]
            for n in range(here.size):
                here[n] = decay[n] * before[n] + current[n]


@_kernel
def leaky_adjoint(
    out: Array, start: Array, signal: Array, decay: Array, gradient: Array, start_gradient: Array,
    decay_gradient: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Reverse scan of `leaky_forward`; arguments as in `adjoint`, start_gradient and decay_gradient zero before."""
    for t in range(out.shape[0] - 1, -1, -1):
        for b in range(first, last):
            before = out[t - 1, b] if t > 0 else start[b]
            # What later steps owe waits where dE/do_0 will stand.
            g, total, later = gradient[t, b], decay_gradient[b], start_gradient[b]
            for n in range(g.size):
                g[n] = signal[t, b, n] + later[n]
            for n in range(g.size):
                later[n] = decay[n] * g[n]
                total[n] += g[n] * before[n]
