"""Fused scans of the leaky integrate-and-fire layer in Numba: forward, adjoint, and the recurrent adjoint's step.

Each kernel walks a slice of the batch, so that a thread pool can share a layer without locks; the result of a sample
does not depend on the slicing, hence not on the number of threads. Equations stand in `lif.py`; `lif_reference.py`
holds the same functions in torch, and the tests hold the two equal.
"""

from __future__ import annotations

import math
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


@numba.njit(nogil=True, cache=True, inline="always")
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


@numba.njit(nogil=True, cache=True)
def forward(
    currents: Array, decay: Array, start: Array, threshold: float, hard: bool, membrane: Array, spikes: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """u_t = decay * reset(u_{t-1}) + I_t, y_t = H(u_t - threshold), for samples first..last."""
    steps, _, units = currents.shape
    edge = currents.dtype.type(threshold)
    one = currents.dtype.type(1.0)
    zero = currents.dtype.type(0.0)
    for b in range(first, last):
        carry = np.empty(units, currents.dtype)
        for n in range(units):
            u = start[b, n]
            s = one if u >= edge else zero
            carry[n] = u * (one - s) if hard else u - edge * s
        for t in range(steps):
            current = currents[t, b]
            u_row = membrane[t, b]
            s_row = spikes[t, b]
            if hard:
                for n in range(units):
                    u = decay[n] * carry[n] + current[n]
                    s = one if u >= edge else zero
                    u_row[n] = u
                    s_row[n] = s
                    carry[n] = u * (one - s)
            else:
                for n in range(units):
                    u = decay[n] * carry[n] + current[n]
                    s = one if u >= edge else zero
                    u_row[n] = u
                    s_row[n] = s
                    carry[n] = u - edge * s


@numba.njit(nogil=True, cache=True)
def forward_recurrent(
    currents: Array, recurrent: Array, decay: Array, start: Array, threshold: float, hard: bool, membrane: Array,
    spikes: Array, first: int, last: int,
) -> None:  # fmt: skip
    """As `forward`, plus recurrence: row j of `recurrent` (`[from, to]`) is added for each unit j that fired.

    Spikes are few, so adding rows costs a fraction of the dense product.
    """
    steps, _, units = currents.shape
    edge = currents.dtype.type(threshold)
    one = currents.dtype.type(1.0)
    zero = currents.dtype.type(0.0)
    for b in range(first, last):
        carry = np.empty(units, currents.dtype)
        total = np.empty(units, currents.dtype)
        fired = np.empty(units, np.int64)
        count = 0
        for n in range(units):
            u = start[b, n]
            s = one if u >= edge else zero
            carry[n] = u * (one - s) if hard else u - edge * s
            if u >= edge:
                fired[count] = n
                count += 1
        for t in range(steps):
            current = currents[t, b]
            u_row = membrane[t, b]
            s_row = spikes[t, b]
            for n in range(units):
                total[n] = current[n]
            for i in range(count):
                weights = recurrent[fired[i]]
                for n in range(units):
                    total[n] += weights[n]
            for n in range(units):
                u = decay[n] * carry[n] + total[n]
                s = one if u >= edge else zero
                u_row[n] = u
                s_row[n] = s
                carry[n] = u * (one - s) if hard else u - edge * s
            count = 0
            for n in range(units):
                if u_row[n] >= edge:
                    fired[count] = n
                    count += 1


@numba.njit(nogil=True, cache=True, inline="always")
def _pass_row(u_row: Array, psi: Array, edge: Any, hard: bool, cut: bool, out: Array) -> None:
    """Write d reset(u) / du of one row to `out`."""
    one = u_row.dtype.type(1.0)
    zero = u_row.dtype.type(0.0)
    if hard and cut:
        for n in range(u_row.size):
            out[n] = zero if u_row[n] >= edge else one
    elif hard:
        for n in range(u_row.size):
            keep = zero if u_row[n] >= edge else one
            out[n] = keep - u_row[n] * psi[n]
    elif cut:
        for n in range(u_row.size):
            out[n] = one
    else:
        for n in range(u_row.size):
            out[n] = one - edge * psi[n]


@numba.njit(nogil=True, cache=True)
def adjoint(
    membrane: Array, start: Array, signal: Array, final: Array, decay: Array, threshold: float, hard: bool, cut: bool,
    kind: int, k: float, own: Array, gradient: Array, start_gradient: Array, decay_gradient: Array, first: int,
    last: int,
) -> None:  # fmt: skip
    """Reverse scan of `forward` without the cross-unit part of recurrence.

    signal `[T, B, N]` is dE/dy, final `[B, N]` dE/du_T besides; gradient `[T, B, N]` becomes dE/dI, start_gradient
    `[B, N]` dE/du_0, decay_gradient `[B, N]` the decay's gradient of each sample. `own` `[N]` is each unit's weight on
    itself (zeros without recurrence).
    """
    steps, _, units = membrane.shape
    edge = membrane.dtype.type(threshold)
    one = membrane.dtype.type(1.0)
    zero = membrane.dtype.type(0.0)
    for b in range(first, last):
        psi = np.empty(units, membrane.dtype)
        through = np.empty(units, membrane.dtype)
        later = np.zeros(units, membrane.dtype)
        decay_sum = np.zeros(units, membrane.dtype)
        for t in range(steps - 1, -1, -1):
            u_row = membrane[t, b]
            signal_row = signal[t, b]
            gradient_row = gradient[t, b]
            before = membrane[t - 1, b] if t > 0 else start[b]
            _slope_row(u_row, threshold, kind, k, psi)
            _pass_row(u_row, psi, edge, hard, cut, through)
            for n in range(units):
                g = psi[n] * (signal_row[n] + own[n] * later[n]) + decay[n] * through[n] * later[n]
                if t == steps - 1:
                    g += final[b, n]
                gradient_row[n] = g
                later[n] = g
                u = before[n]
                s = one if u >= edge else zero
                decay_sum[n] += g * (u * (one - s) if hard else u - edge * s)
        _slope_row(start[b], threshold, kind, k, psi)
        _pass_row(start[b], psi, edge, hard, cut, through)
        for n in range(units):
            start_gradient[b, n] = decay[n] * through[n] * later[n] + psi[n] * own[n] * later[n]
            decay_gradient[b, n] = decay_sum[n]


@numba.njit(nogil=True, cache=True)
def adjoint_step(
    membrane: Array, before: Array, signal: Array, feedback: Array, decay: Array, threshold: float, hard: bool,
    cut: bool, kind: int, k: float, later: Array, gradient: Array, decay_sum: Array, first: int, last: int,
) -> None:  # fmt: skip
    """One reverse step with full recurrence: `feedback` `[B, N]` is `later @ recurrent`; arrays are of one step."""
    units = membrane.shape[1]
    edge = membrane.dtype.type(threshold)
    one = membrane.dtype.type(1.0)
    zero = membrane.dtype.type(0.0)
    psi = np.empty(units, membrane.dtype)
    through = np.empty(units, membrane.dtype)
    for b in range(first, last):
        _slope_row(membrane[b], threshold, kind, k, psi)
        _pass_row(membrane[b], psi, edge, hard, cut, through)
        for n in range(units):
            g = psi[n] * (signal[b, n] + feedback[b, n]) + decay[n] * through[n] * later[b, n]
            gradient[b, n] = g
            u = before[b, n]
            s = one if u >= edge else zero
            decay_sum[b, n] += g * (u * (one - s) if hard else u - edge * s)


@numba.njit(nogil=True, cache=True)
def leaky_forward(currents: Array, decay: Array, start: Array, out: Array, first: int, last: int) -> None:
    """o_t = decay * o_{t-1} + I_t, for samples first..last."""
    steps, _, units = currents.shape
    for b in range(first, last):
        for n in range(units):
            out[0, b, n] = decay[n] * start[b, n] + currents[0, b, n]
        for t in range(1, steps):
            for n in range(units):
                out[t, b, n] = decay[n] * out[t - 1, b, n] + currents[t, b, n]


@numba.njit(nogil=True, cache=True)
def leaky_adjoint(
    out: Array, start: Array, signal: Array, decay: Array, gradient: Array, start_gradient: Array,
    decay_gradient: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Reverse scan of `leaky_forward`; arguments as in `adjoint`."""
    steps, _, units = out.shape
    for b in range(first, last):
        later = np.zeros(units, out.dtype)
        decay_sum = np.zeros(units, out.dtype)
        for t in range(steps - 1, -1, -1):
            before = out[t - 1, b] if t > 0 else start[b]
            for n in range(units):
                g = signal[t, b, n] + decay[n] * later[n]
                gradient[t, b, n] = g
                later[n] = g
                decay_sum[n] += g * before[n]
        for n in range(units):
            start_gradient[b, n] = decay[n] * later[n]
            decay_gradient[b, n] = decay_sum[n]
