"""Events to counts: each spike falls into one time bin and one group of neighbouring channels.

count[t, c] = min(clip, number of spikes with floor(1000 * time / bin_ms) = t and floor(unit / pool) = c)
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import ConfigurationError

MOST_CHANNELS = 70
"""Automatic pooling groups channels until at most this many are left: SHD's 700 become 70."""

_CHANNEL_STEP = 100
# Counts are made for this many cells at once (8 bytes each), whatever the size of the data set.
_BLOCK_CELLS = 1 << 21


@dataclass(frozen=True)
class Binning:
    """How events become counts: number of time bins, their width, channels summed into one, largest count
    kept.
    """

    bins: int
    bin_ms: float
    pool: int | None = None
    """None: the smallest group that leaves at most `MOST_CHANNELS` channels."""
    clip: int = 1

    def as_dict(self) -> dict[str, Any]:
        """Return the settings as plain data."""
        return asdict(self)


def channel_count(declared: int | None, largest_unit: int) -> int:
    """Return the number of channels: the declared one, else the largest unit plus one, rounded up to a
    hundred.

    A split in which the outermost channels happen to be silent then still has the width of the whole: SHD
    has 700.

    >>> channel_count(None, 697), channel_count(None, 700), channel_count(64, 63)
    (700, 800, 64)
    """
    if declared is not None:
        return declared
    return max(1, -(-(largest_unit + 1) // _CHANNEL_STEP)) * _CHANNEL_STEP


def group_size(channels: int, pool: int | None) -> int:
    """Return how many neighbouring channels are summed into one.

    >>> group_size(700, None), group_size(128, None), group_size(700, 7)
    (10, 2, 7)
    """
    return pool if pool is not None else -(-channels // MOST_CHANNELS)


def bin_events(
    times: npt.NDArray[np.floating[Any]],
    units: npt.NDArray[np.integer[Any]],
    starts: npt.NDArray[np.int64],
    channels: int,
    binning: Binning,
) -> npt.NDArray[np.uint8]:
    """Return counts `[n, bins, ceil(channels / pool)]` uint8; events after the last bin are dropped.

    times: `[events]` seconds, not negative. units: `[events]` below `channels`. Recording i holds events
    `starts[i]:starts[i + 1]`.
    """
    pool = group_size(channels, binning.pool)
    recordings, width = len(starts) - 1, -(-channels // pool)
    cells = binning.bins * width
    counts = np.empty((recordings, binning.bins, width), dtype=np.uint8)
    block = max(1, _BLOCK_CELLS // cells)
    for first in range(0, recordings, block):
        last = min(first + block, recordings)
        events = slice(starts[first], starts[last])
        # Compared as floats: a time far beyond the last bin need not fit an integer.
        steps = np.floor(times[events].astype(np.float64) * 1000.0 / binning.bin_ms)
        kept = steps < binning.bins
        rows = np.repeat(np.arange(last - first), np.diff(starts[first : last + 1]))[kept]
        flat = (
            rows * cells + steps[kept].astype(np.int64) * width + units[events][kept].astype(np.int64) // pool
        )
        block_counts = np.bincount(flat, minlength=(last - first) * cells)
        np.minimum(block_counts, binning.clip, out=block_counts)
        counts[first:last] = block_counts.reshape(last - first, binning.bins, width)
    return counts


def rebin(counts: npt.NDArray[np.uint8], counted_ms: float, binning: Binning) -> npt.NDArray[np.uint8]:
    """Return counts `[n, bins, ceil(C / pool)]` uint8 from counts `[n, T, C]` made with bins of `counted_ms`.

    Shorter recordings are padded with silence, longer ones cut. Raises ConfigurationError unless
    `binning.bin_ms` is a whole multiple of `counted_ms`.
    """
    merged = round(binning.bin_ms / counted_ms)
    if merged < 1 or abs(merged * counted_ms - binning.bin_ms) > 1e-6 * counted_ms:
        raise ConfigurationError(
            f"bin_ms={binning.bin_ms:g}: this data set is stored in bins of {counted_ms:g} ms, "
            f"so bin_ms must be a whole multiple of {counted_ms:g}"
        )
    pool = group_size(counts.shape[2], binning.pool)
    pooled = _merge(_merge(counts[:, : binning.bins * merged], 1, merged), 2, pool)
    result = np.zeros((len(counts), binning.bins, pooled.shape[2]), dtype=np.uint8)
    result[:, : pooled.shape[1]] = np.minimum(pooled, binning.clip)
    return result


def _merge(counts: npt.NDArray[Any], axis: int, size: int) -> npt.NDArray[Any]:
    """Sum neighbouring groups of `size` along an axis; the last group may be smaller."""
    if size == 1 or counts.shape[axis] == 0:
        return counts
    moved = np.moveaxis(counts, axis, 0)
    # Strided sums: several times faster than np.add.reduceat on groups this small.
    sums = np.zeros((-(-len(moved) // size), *moved.shape[1:]), dtype=np.uint32)
    for offset in range(min(size, len(moved))):
        members = moved[offset::size]
        sums[: len(members)] += members
    return np.moveaxis(sums, 0, axis)
