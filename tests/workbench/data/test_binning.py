"""Vectorised binning against a loop over single events."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.data.binning import Binning, bin_events, channel_count, group_size, rebin
from workbench.errors import ConfigurationError

EVENTS = st.lists(
    st.lists(st.tuples(st.floats(0, 2, width=16), st.integers(0, 22)), max_size=30), min_size=1, max_size=9
)
BINNINGS = st.builds(
    Binning,
    bins=st.integers(1, 12),
    bin_ms=st.sampled_from([0.5, 1.0, 10.0, 33.3, 150.0]),
    pool=st.none() | st.integers(1, 30),
    clip=st.integers(1, 255),
)


def naive(events: list[list[tuple[float, int]]], channels: int, binning: Binning) -> npt.NDArray[np.uint8]:
    """One event at a time."""
    pool = binning.pool or math.ceil(channels / 70)
    counts = np.zeros((len(events), binning.bins, math.ceil(channels / pool)), dtype=np.int64)
    for number, recording in enumerate(events):
        for time, unit in recording:
            step = math.floor(time * 1000 / binning.bin_ms)
            if step < binning.bins:
                counts[number, step, unit // pool] += 1
    return np.minimum(counts, binning.clip).astype(np.uint8)


def flat(
    events: list[list[tuple[float, int]]], dtype: type[np.floating]
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.uint16], npt.NDArray[np.int64]]:
    """Return times, units and starts."""
    every = [event for recording in events for event in recording]
    starts = np.cumsum([0, *map(len, events)])
    times = np.array([time for time, _ in every], dtype=dtype)
    return times, np.array([unit for _, unit in every], dtype=np.uint16), starts


@given(EVENTS, BINNINGS, st.sampled_from([np.float16, np.float32, np.float64]), st.integers(1, 400))
def test_binning_equals_a_loop_over_events_whatever_the_block(
    events: list[list[tuple[float, int]]], binning: Binning, dtype: type[np.floating], cells: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.data.binning._BLOCK_CELLS", cells)
        counts = bin_events(*flat(events, dtype), 23, binning)
    assert counts.dtype == np.uint8
    np.testing.assert_array_equal(counts, naive(events, 23, binning))


def test_events_after_the_last_bin_are_dropped_and_counts_saturate() -> None:
    events = [[(0.0, 0)] * 300 + [(0.0199, 3)] + [(0.02, 1), (1e30, 2)]]
    counts = bin_events(*flat(events, np.float64), 4, Binning(2, 10.0, pool=2, clip=255))
    np.testing.assert_array_equal(counts, [[[255, 0], [0, 1]]])


@pytest.mark.parametrize(
    ("channels", "pool", "size"), [(700, None, 10), (70, None, 1), (71, None, 2), (9, 4, 4)]
)
def test_automatic_pooling_leaves_at_most_70_channels(channels: int, pool: int | None, size: int) -> None:
    assert group_size(channels, pool) == size


def test_channels_are_declared_or_rounded_up() -> None:
    assert [channel_count(None, unit) for unit in (0, 99, 100, 698, 699)] == [100, 100, 200, 700, 700]
    assert channel_count(64, 12) == 64


@given(EVENTS, st.integers(1, 4), st.integers(1, 6), st.integers(1, 8), st.integers(1, 5))
def test_rebinning_counts_equals_binning_events(
    events: list[list[tuple[float, int]]], merged: int, bins: int, pool: int, clip: int
) -> None:
    fine = bin_events(*flat(events, np.float16), 23, Binning(24, 10.0, pool=1, clip=255))
    coarse = Binning(bins, 10.0 * merged, pool, clip)
    np.testing.assert_array_equal(
        rebin(fine, 10.0, coarse), bin_events(*flat(events, np.float16), 23, coarse)
    )


def test_rebinning_pads_with_silence_and_keeps_a_shorter_last_group() -> None:
    counts = np.ones((1, 3, 5), dtype=np.uint8)
    result = rebin(counts, 5.0, Binning(4, 10.0, pool=2, clip=9))
    np.testing.assert_array_equal(result, [[[4, 4, 2], [2, 2, 1], [0, 0, 0], [0, 0, 0]]])


@pytest.mark.parametrize("bin_ms", [2.5, 7.0, 12.0])
def test_rebinning_refuses_bins_that_are_no_multiple(bin_ms: float) -> None:
    with pytest.raises(ConfigurationError, match="whole multiple of 5"):
        rebin(np.ones((1, 3, 5), dtype=np.uint8), 5.0, Binning(4, bin_ms))
