"""Converters at the edge of a tile, and how their range is used: quantisers, noise and bound management.

A converter of b bits has 2^b - 1 levels, -top..top with top = 2^(b - 1) - 1, evenly spaced over its range -r..r: 7, 8
and 9 bits resolve 1/126, 1/254 and 1/510 of it (the presets of IBM's aihwkit, `simulator/presets/utils.py`). Halves are
rounded to even. Full scale, its negative and zero are levels, so that spikes pass a driver of any resolution exactly.

    noise management    the inputs of a read are divided by their largest magnitude, its outputs multiplied by it
    bound management    a read that clips is repeated with half the input, up to `LARGEST_FACTOR` times less, while the
                        input's resolution does not become coarser than `COARSEST` of its range
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from workbench.hardware.counter_noise import draw_seed, normal_at, quantiles
from workbench.neurons.native import fast_kernels_apply, share

LARGEST_FACTOR = 1000.0
COARSEST = 0.25


def top_level(bits: int) -> int:
    """Return the highest level of a converter, 0 for an exact one.

    >>> [top_level(bits) for bits in (0, 2, 7, 8, 9)]
    [0, 1, 63, 127, 255]
    """
    return 2 ** (bits - 1) - 1 if bits else 0


def resolution(bits: int) -> float:
    """Return the distance of two levels as a share of the range -r..r; 0 for an exact converter.

    >>> 1 / resolution(7)
    126.0
    """
    return 1.0 / (2 * top_level(bits)) if bits else 0.0


def quantised(values: Tensor, bits: int, bound: Tensor | float) -> Tensor:
    """Return the nearest levels of a converter with range -bound..bound; values beyond it are clipped.

    >>> quantised(torch.tensor([-9.0, -3.0, 0.2, 0.8, 1.3]), 3, 3.0)
    tensor([-3., -3.,  0.,  1.,  1.])
    """
    top = top_level(bits)
    if not top:
        return values
    # In this order the range's ends are levels to the last bit.
    return torch.round(values / bound * top).clamp(-top, top) / top * bound


def full_scale(peaks: Tensor) -> Tensor:
    """Return what noise management divides each read by, `[R]`: the largest magnitude, 1 for a silent input.

    The largest magnitude of spikes is 1: they pass as they are.
    """
    return torch.where(peaks > 0, peaks, torch.ones_like(peaks))


def factors(dac_bits: int) -> list[float]:
    """Return by what bound management divides the inputs, one after the other.

    >>> factors(7)
    [2.0, 4.0, 8.0, 16.0]
    >>> len(factors(0))
    9
    """
    most = LARGEST_FACTOR
    if dac_bits:
        most = min(most, COARSEST / resolution(dac_bits))
    found, factor = [], 2.0
    while factor <= most:
        found.append(factor)
        factor *= 2.0
    return found


class Noise:
    """Standard normal numbers for one look at a matrix, each of which is used once."""

    def __init__(self, generator: torch.Generator) -> None:
        self.seed = draw_seed(generator)
        self._used = 0

    def take(self, count: int) -> int:
        """Return the first place (see `counter_noise.py`) of `count` numbers that are nobody else's."""
        first = self._used
        self._used += count
        return first


def convert(
    sums: Tensor,
    noise: Noise | None,
    variance: Tensor | None,
    deviation: Tensor,
    step: Tensor,
    top: int,
    out: Tensor,
    *,
    add: bool,
) -> None:
    """Write to `out` `[R, N]`, or add to it, what converters make of sums + sqrt(deviation^2 + variance) xi.

    sums, variance `[R, N]`. noise: where xi comes from; None for none. deviation, step `[R]`: noise of the outputs of
    each read, and the distance of two levels. top: highest level, 0 for exact converters.
    """
    place = 0 if noise is None else noise.take(sums.numel())
    if not fast_kernels_apply(sums):
        total = sums
        if noise is not None:
            places = torch.arange(place, place + sums.numel(), device=sums.device).view_as(sums)
            spread = deviation[:, None] if variance is None else (deviation[:, None] ** 2 + variance).sqrt()
            total = sums + spread * normal_at(noise.seed, places).to(sums.dtype)
        size = step[:, None]
        found = torch.round(total / size).clamp(-top, top) * size if top else total
        out.copy_(out + found if add else found)
        return
    from workbench.hardware import tile_kernels

    random = (0, 0, np.empty((0, 0))) if noise is None else (noise.seed, place, quantiles())
    parts = (sums, sums[:0] if variance is None else variance, deviation, step)
    arrays = [part.contiguous().numpy() for part in parts]
    share(tile_kernels.convert, len(sums), sums.numel(), *random, *arrays, float(top), add, out.numpy())
