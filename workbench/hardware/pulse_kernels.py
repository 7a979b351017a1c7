"""Pulses on devices in Numba, one device after the other and one pulse after the other.

`pulse_steps.py` holds the same functions in torch, and the tests hold the two equal. Numbers are float64 inside, which
takes `np.float64`: Numba's `float` leaves a float32 what it is. All arrays are flat, one entry a device. counts: pulses
of each device, negative for down.
"""

from __future__ import annotations

import math

import numpy as np

from workbench.hardware import elementary
from workbench.hardware.counter_noise import PLACES, normal, uniform
from workbench.neurons.kernels import Array, _inline, _kernel

RECIPROCALS: Array = 1.0 / np.maximum(np.arange(PLACES), 1)


@_inline
def _held(u: float, low: float, high: float) -> float:
    u = high if u > high else u
    return low if u < low else u


@_kernel
def affine(
    counts: Array, up: Array, slope_up: Array, down: Array, slope_down: Array, lower: Array, upper: Array,
    sigma: float, multiplicative: bool, seed: np.uint64, table: Array, state: Array, first: int, last: int,
) -> None:  # fmt: skip
    """A pulse changes u by +-(step + slope u), with noise on all of it or on `step` alone."""
    for cell in range(first, last):
        n = counts[cell]
        if n == 0:
            continue
        u, low, high = state[cell], np.float64(lower[cell]), np.float64(upper[cell])
        step = np.float64(up[cell]) if n > 0 else -np.float64(down[cell])
        slope = np.float64(slope_up[cell]) if n > 0 else -np.float64(slope_down[cell])
        place = np.uint64(cell) * np.uint64(PLACES)
        for k in range(abs(n)):
            change = step + slope * u
            if sigma > 0.0:
                noise = sigma * normal(seed, place + np.uint64(k), table)
                change += (change if multiplicative else step) * noise
            u = _held(u + change, low, high)
        state[cell] = u


@_kernel
def exponential(
    counts: Array, up: Array, down: Array, lower: Array, upper: Array, shape: Array, noise: Array,
    seed: np.uint64, table: Array, state: Array, first: int, last: int,
) -> None:  # fmt: skip
    """A pulse changes u by +-step max(1 - A exp(+-gamma z), 0), z = 2 a u / (upper - lower) + b.

    shape: a, b, gamma up, A up, gamma down, A down. noise: sigma, and what adds to the change under it: a constant
    and a multiple of |u|.
    """
    a, b, sigma, add, grow = shape[0], shape[1], noise[0], noise[1], noise[2]
    for cell in range(first, last):
        n = counts[cell]
        low, high = np.float64(lower[cell]), np.float64(upper[cell])
        if n == 0 or high <= low:
            continue
        u, sign = state[cell], 1.0 if n > 0 else -1.0
        step = np.float64(up[cell]) if n > 0 else np.float64(down[cell])
        gamma, height = (shape[2], step * shape[3]) if n > 0 else (-shape[4], step * shape[5])
        slope = gamma * (2.0 * a / (high - low)) * elementary.PER_UNIT
        offset = gamma * b * elementary.PER_UNIT
        place = np.uint64(cell) * np.uint64(PLACES)
        for k in range(abs(n)):
            change = step - height * elementary.exp_part(slope * u + offset)
            change = change if change > 0.0 else 0.0
            xi = sign * sigma * normal(seed, place + np.uint64(k), table) if sigma > 0.0 else 0.0
            # In the order in which the least waits for the exponential.
            u = _held(u + (change * (sign + xi) + xi * (add + grow * abs(u))), low, high)
        state[cell] = u


@_kernel
def power(
    counts: Array, up: Array, gamma_up: Array, down: Array, gamma_down: Array, lower: Array, upper: Array,
    sigma: float, seed: np.uint64, table: Array, state: Array, first: int, last: int,
) -> None:  # fmt: skip
    """A pulse changes u by +-step (distance to the bound ahead / range)^gamma."""
    for cell in range(first, last):
        n = counts[cell]
        low, high = np.float64(lower[cell]), np.float64(upper[cell])
        if n == 0 or high <= low:
            continue
        u, sign = state[cell], 1.0 if n > 0 else -1.0
        step = np.float64(up[cell]) if n > 0 else np.float64(down[cell])
        gamma = np.float64(gamma_up[cell]) if n > 0 else np.float64(gamma_down[cell])
        place = np.uint64(cell) * np.uint64(PLACES)
        for k in range(abs(n)):
            ahead = (high - u if n > 0 else u - low) / (high - low)
            change = step * elementary.power(ahead, gamma)
            if sigma > 0.0:
                change += change * sigma * normal(seed, place + np.uint64(k), table)
            u = _held(u + sign * change, low, high)
        state[cell] = u


@_kernel
def written_noise(
    counts: Array, deviation: float, seed: np.uint64, table: Array, noise: Array, first: int, last: int
) -> None:
    """Draw the noise of devices that got pulses."""
    for cell in range(first, last):
        if counts[cell] != 0:
            place = np.uint64(cell) * np.uint64(PLACES) + np.uint64(PLACES - 1)
            noise[cell] = deviation * normal(seed, place, table)


@_kernel
def binomial(
    wish: Array, slots: Array, seed: np.uint64, counts: Array, first: int, last: int
) -> None:  # fmt: skip
    """Draw Binomial(n, min(|wish| / n, 1)) with the sign of `wish` `[N, in]`, n = slots of the input `[in]`.

    By inversion of one uniform number a device; slices are of rows.
    """
    inputs = wish.shape[1]
    for row in range(first, last):
        for j in range(inputs):
            value, n = np.float64(wish[row, j]), slots[j]
            if value == 0.0 or n == 0:
                counts[row, j] = 0
                continue
            p = min(abs(value) / n, 1.0)
            fewer = p <= 0.5
            p = p if fewer else 1.0 - p
            rest = uniform(seed, np.uint64(row * inputs + j))
            # (1 - p)^n is no less than 1 - n p: most devices get nothing, and are done.
            if fewer and rest < 1.0 - n * p - 1e-12:
                counts[row, j] = 0
                continue
            mass, squared, left = 1.0, 1.0 - p, n
            while left > 0:
                mass = mass * squared if left & 1 else mass
                squared *= squared
                left >>= 1
            ratio = p / (1.0 - p)
            k = 0
            while rest >= mass and k < n:
                rest -= mass
                mass *= (n - k) * ratio * RECIPROCALS[k + 1]
                k += 1
            k = k if fewer else n - k
            counts[row, j] = k if value > 0.0 else -k


@_kernel
def rounded(wish: Array, most: int, seed: np.uint64, counts: Array, first: int, last: int) -> None:
    """Round |wish| down, or up with the chance of its fraction; at most `most`."""
    for cell in range(first, last):
        value = np.float64(wish[cell])
        if value == 0.0:
            counts[cell] = 0
            continue
        size = min(abs(value), float(most))
        whole = math.floor(size)
        k = int(whole) + (1 if uniform(seed, np.uint64(cell)) < size - whole else 0)
        counts[cell] = k if value > 0.0 else -k
