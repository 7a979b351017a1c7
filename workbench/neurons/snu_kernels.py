"""Fused scans of spiking neural units in Numba; equations in `snu.py`, the reference in torch in `snu_scan.py`.

As in `kernels.py`, a kernel walks a slice of the batch; a step of the slice is one flat row, and loops are short so
that they vectorise.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from workbench.neurons.kernels import Array, _inline, _kernel, _slope_row


@_kernel
def _row(array: Array, first: int, last: int) -> Array:
    """Return samples first..last of `[B, N]` as one flat view."""
    return array[first:last].reshape((last - first) * array.shape[1])


@_kernel
def _repeated(values: Array, count: int) -> Array:
    """Return `[N]` values over again for each of `count` samples, flat."""
    out = np.empty(count * values.size, values.dtype)
    for b in range(count):
        for n in range(values.size):
            out[b * values.size + n] = values[n]
    return out


@_inline
def _forward_row(
    value: Array, output: Array, rate: Array, edge: Array, soft: bool, below: float, here: Array, fired: Array
) -> None:  # fmt: skip
    """Advance one row; `here` holds the current and becomes s, `fired` becomes y."""
    one, zero = value.dtype.type(1.0), value.dtype.type(0.0)
    small = value.dtype.type(below)
    for n in range(here.size):
        here[n] += rate[n] * (value[n] * (one - output[n]))
    if below != 1.0:
        for n in range(here.size):
            here[n] = here[n] if here[n] > zero else small * here[n]
    if soft:
        for n in range(here.size):
            fired[n] = one / (one + math.exp(edge[n] - here[n]))
    else:
        for n in range(here.size):
            fired[n] = one if here[n] - edge[n] >= zero else zero


@_kernel
def forward(
    start: Array, decay: Array, threshold: Array, soft: bool, below: float, values: Array, outputs: Array,
    first: int, last: int,
) -> None:  # fmt: skip
    """Run samples first..last; `values` `[T, B, N]` holds the currents and becomes s, `outputs` becomes y."""
    rate, edge = _repeated(decay, last - first), _repeated(threshold, last - first)
    value, output = _row(start[0], first, last), _row(start[1], first, last)
    for t in range(values.shape[0]):
        here, fired = _row(values[t], first, last), _row(outputs[t], first, last)
        _forward_row(value, output, rate, edge, soft, below, here, fired)
        value, output = here, fired


@_kernel
def forward_step(
    t: int, start: Array, decay: Array, threshold: Array, soft: bool, below: float, values: Array, outputs: Array
) -> None:  # fmt: skip
    """As step t of `forward` for the whole batch; the recurrent current has been added to `values[t]`."""
    batch = values.shape[1]
    rate, edge = _repeated(decay, batch), _repeated(threshold, batch)
    value = _row(values[t - 1], 0, batch) if t > 0 else _row(start[0], 0, batch)
    output = _row(outputs[t - 1], 0, batch) if t > 0 else _row(start[1], 0, batch)
    _forward_row(
        value, output, rate, edge, soft, below, _row(values[t], 0, batch), _row(outputs[t], 0, batch)
    )


@_inline
def _output_slope_row(
    value: Array, output: Array, edge: Array, soft: bool, kind: int, k: float, above: Array, p: Array
) -> None:  # fmt: skip
    """Write h' to `p`; `above` is scratch."""
    if soft:
        one = value.dtype.type(1.0)
        for n in range(p.size):
            p[n] = output[n] * (one - output[n])
    else:
        for n in range(p.size):
            above[n] = value[n] - edge[n]
        _slope_row(above, 0.0, kind, k, p)


@_inline
def _adjoint_row(
    value: Array, output: Array, rate: Array, keep: Any, below: float, p: Array, onto: Array, later: Array, g: Array
) -> None:  # fmt: skip
    """Finish one row: `onto` holds dE/dy but for the reset and becomes all of it, `g` holds dE/ds and becomes dE/dI."""
    one, zero = value.dtype.type(1.0), value.dtype.type(0.0)
    small = value.dtype.type(below)
    for n in range(g.size):
        onto[n] -= keep * rate[n] * value[n] * later[n]
    for n in range(g.size):
        g[n] += rate[n] * (one - output[n]) * later[n]
    for n in range(g.size):
        g[n] += p[n] * onto[n]
    if below != 1.0:
        for n in range(g.size):
            g[n] *= one if value[n] > zero else small


@_inline
def _add_parameter_gradients(
    g: Array, onto: Array, p: Array, value: Array, output: Array, by_decay: Array, by_threshold: Array
) -> None:  # fmt: skip
    """Add one step's gradients of decay and threshold; value and output are those of the step before."""
    one = g.dtype.type(1.0)
    for n in range(g.size):
        by_decay[n] += g[n] * value[n] * (one - output[n])
    for n in range(g.size):
        by_threshold[n] -= p[n] * onto[n]


@_kernel
def adjoint(
    values: Array, outputs: Array, start: Array, signal: Array, final: Array, decay: Array, threshold: Array,
    own: Array, soft: bool, below: float, keep: float, kind: int, k: float, gradient: Array, by_start: Array,
    by_decay: Array, by_threshold: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Reverse scan without the cross-unit part of recurrence, for samples first..last.

    signal `[T, B, N]` is dE/dy, final `[2, B, N]` dE/d(s, y) of the last step besides; gradient `[T, B, N]` becomes
    dE/dI, by_start `[2, B, N]` dE/d(s, y) of the start, by_decay and by_threshold `[B, N]` each sample's gradients.
    """
    count = last - first
    rate, edge, weight = _repeated(decay, count), _repeated(threshold, count), _repeated(own, count)
    p, onto, above = np.empty_like(rate), np.empty_like(rate), np.empty_like(rate)
    later = np.zeros_like(rate)
    stay = rate.dtype.type(keep)
    decay_sum, threshold_sum = _row(by_decay, first, last), _row(by_threshold, first, last)
    decay_sum[:] = 0
    threshold_sum[:] = 0
    for t in range(values.shape[0] - 1, -1, -1):
        value, output = _row(values[t], first, last), _row(outputs[t], first, last)
        g, by_output = _row(gradient[t], first, last), _row(signal[t], first, last)
        _output_slope_row(value, output, edge, soft, kind, k, above, p)
        for n in range(g.size):
            onto[n] = by_output[n] + weight[n] * later[n]
        g[:] = 0
        if t == values.shape[0] - 1:
            onto += _row(final[1], first, last)
            g += _row(final[0], first, last)
        _adjoint_row(value, output, rate, stay, below, p, onto, later, g)
        before = _row(values[t - 1], first, last) if t > 0 else _row(start[0], first, last)
        fired = _row(outputs[t - 1], first, last) if t > 0 else _row(start[1], first, last)
        _add_parameter_gradients(g, onto, p, before, fired, decay_sum, threshold_sum)
        later = g
    value, output = _row(start[0], first, last), _row(start[1], first, last)
    by_value, by_output = _row(by_start[0], first, last), _row(by_start[1], first, last)
    for n in range(by_value.size):
        by_value[n] = rate[n] * (1 - output[n]) * later[n]
        by_output[n] = (weight[n] - stay * rate[n] * value[n]) * later[n]


@_kernel
def adjoint_step(
    t: int, values: Array, outputs: Array, start: Array, onto: Array, final: Array, decay: Array, threshold: Array,
    soft: bool, below: float, keep: float, kind: int, k: float, gradient: Array, by_decay: Array,
    by_threshold: Array,
) -> None:  # fmt: skip
    """Step t of the reverse scan with full recurrence, whole batch; adds to by_decay and by_threshold.

    onto `[B, N]` holds signal[t] + gradient[t + 1] @ recurrent (at the last step signal + final[1]); it is scratch.
    """
    steps, batch, _ = values.shape
    rate, edge = _repeated(decay, batch), _repeated(threshold, batch)
    p, above, later = np.empty_like(rate), np.empty_like(rate), np.zeros_like(rate)
    value, output = _row(values[t], 0, batch), _row(outputs[t], 0, batch)
    g, by_output = _row(gradient[t], 0, batch), _row(onto, 0, batch)
    _output_slope_row(value, output, edge, soft, kind, k, above, p)
    if t == steps - 1:
        g[:] = _row(final[0], 0, batch)
    else:
        g[:] = 0
        later = _row(gradient[t + 1], 0, batch)
    _adjoint_row(value, output, rate, rate.dtype.type(keep), below, p, by_output, later, g)
    before = _row(values[t - 1], 0, batch) if t > 0 else _row(start[0], 0, batch)
    fired = _row(outputs[t - 1], 0, batch) if t > 0 else _row(start[1], 0, batch)
    _add_parameter_gradients(
        g, by_output, p, before, fired, _row(by_decay, 0, batch), _row(by_threshold, 0, batch)
    )
