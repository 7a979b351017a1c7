"""Devices that are written and verified in Numba: which are written, what is noted of them, what is read.

`programmed_cells.py` holds the same functions in torch, and the tests hold the two equal. All arrays are flat unless
their shape is given; an array of no entries stands for one that does not exist.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from workbench.hardware.float_functions import exponential, logarithm
from workbench.neurons.kernels import Array, _kernel

_STRIP = 2048
"""Weights worked on at once: what is written of them stays in the first-level cache."""


@_kernel
def take_quanta(chi: Array, quantum: Any, shown: Array, places: Array, wanted: Array) -> int:
    """List the weights for which at least a quantum was collected and what is wanted of them; keep the remainder."""
    unit, count = chi.dtype.type(quantum), 0
    for k in range(chi.size):
        if not abs(chi[k]) < 1.0:
            whole = np.trunc(chi[k])
            chi[k] -= whole
            places[count] = k
            wanted[count] = whole * unit + shown[k]
            count += 1
    return count


@_kernel
def find_changes(
    places: Array,
    aim: Array,
    target: Array,
    free: Array,
    sharing: int,
    devices: Array,
    levels: Array,
    writes: Array,
) -> int:
    """List the devices that are written for the weights at `places`, or all, to become `aim`, and count their writes.

    free: devices that still change. Returns how many devices and levels there are; then sets `target` to `aim`.
    """
    zero, count, shares = aim.dtype.type(0.0), 0, aim.dtype.type(sharing)
    for side in range(2):
        sign = aim.dtype.type(1.0 if side == 0 else -1.0)
        for share in range(sharing):
            first = (side * sharing + share) * target.size
            for k in range(aim.size):
                place = places[k] if places.size else k
                wanted, before = sign * aim[k], sign * target[place]
                # Written so that NaN, which is what was never written, stays.
                end = zero if wanted < zero else wanted
                earlier = zero if before < zero else before
                device = first + place
                written = end != earlier and (free.size == 0 or free[device])
                # Without a branch: which side of a pair a weight is on cannot be foretold.
                devices[count] = device
                levels[count] = end / shares
                writes[device] += np.int32(written)
                count += int(written)
    for k in range(aim.size):
        target[places[k] if places.size else k] = aim[k]
    return count


@_kernel
def settle(
    devices: Array, now: Any, levels: Array, level: Array, written: Array, drawn: Array, course: Array, noted: Array,
    fluctuation: Array,
) -> None:  # fmt: skip
    """Note levels, time and the coefficients of drift (`drawn`) and of read noise (`noted`) of some devices."""
    clock = level.dtype.type(now)
    for k in range(devices.size):
        device = devices[k]
        level[device] = levels[k]
        if written.size:
            written[device] = clock
        if course.size:
            course[device] = drawn[k]
        if fluctuation.size:
            fluctuation[device] = noted[k]


@_kernel
def show(places: Array, weights: Array, deviation: Array, draw: Array, clean: Array, noise: Array) -> None:
    """Note what the weights at `places` are read as, apart and noise."""
    for k in range(weights.size):
        place = places[k]
        clean[place] = weights[k]
        if noise.size:
            noise[place] = deviation[k] * draw[place]


@_kernel
def _add_row(
    level: Array, course: Array, fluctuation: Array, written: Array, now: Any, t_0: Any, gathered: Any, unit: Any,
    least: Any, sign: Any, weights: Array, variance: Array,
) -> None:  # fmt: skip
    """Add what devices of one kind read, and the variance of that; all arrays of one length."""
    zero, one = np.float32(0.0), np.float32(1.0)
    for k in range(weights.size):
        time = logarithm(max(now - written[k], zero) / t_0 + one)
        left = (level[k] * unit + least) * exponential(-course[k] * time)
        size = left * fluctuation[k]
        weights[k] += sign * left
        variance[k] += size * size * max(time + gathered, zero)


@_kernel
def read_drifting(
    places: Array, level: Array, course: Array, fluctuation: Array, written: Array, now: float, t_0: float,
    gathered: float, unit: float, least: float, weights: Array, deviation: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Write what weights are read as that drift by a power law and fluctuate as 1/f, and the deviation of it; float32.

    places: which weights, first..last of them; without entries, all. level, course, fluctuation, written: `[D, n]`,
    half of the devices counting positive, the others negative. unit, least: microsiemens for a unit of level, and at
    level zero. gathered: a device's read noise has variance (g Q)^2 (ln((t + t_0) / t_0) + gathered).
    """
    half = level.shape[0] // 2
    zero, one = np.float32(0.0), np.float32(1.0)
    clock, start, gather = np.float32(now), np.float32(t_0), np.float32(gathered)
    size, bottom, devices = np.float32(unit), np.float32(least), np.float32(half)
    found = np.empty((4, _STRIP if places.size else 0), np.float32)
    for begin in range(first, last, _STRIP):
        here = slice(begin, min(begin + _STRIP, last))
        some, spread = weights[here], deviation[here]
        for k in range(some.size):
            some[k] = zero
            spread[k] = zero
        for d in range(2 * half):
            sign = one if d < half else -one
            if places.size:
                for k in range(some.size):
                    place = places[begin + k]
                    found[0, k], found[1, k] = level[d, place], course[d, place]
                    found[2, k], found[3, k] = fluctuation[d, place], written[d, place]
                there = slice(0, some.size)
                y, nu, q, since = found[0, there], found[1, there], found[2, there], found[3, there]
            else:
                y, nu, q, since = level[d, here], course[d, here], fluctuation[d, here], written[d, here]
            _add_row(y, nu, q, since, clock, start, gather, size, bottom, sign, some, spread)
        for k in range(some.size):
            some[k] = some[k] / size
            spread[k] = np.sqrt(spread[k] * devices) / size
