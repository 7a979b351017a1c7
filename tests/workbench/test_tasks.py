"""Jitter of training sequences."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from workbench.tasks import Jitter, SequencePool


@given(channels=st.integers(0, 6), steps=st.integers(0, 8), seed=st.integers(0, 1000))
def test_jitter_shifts_each_sequence_as_a_whole(channels, steps, seed):
    inputs = np.zeros((6, 12, 9), np.uint8)
    inputs[:, 6, 4] = 3
    shifted = Jitter(channels, steps).apply(inputs, np.random.default_rng(seed))
    assert shifted.shape == inputs.shape
    for sequence in shifted:
        places = np.argwhere(sequence)
        assert len(places) <= 1  # one event stays one event, or leaves the frame
        for step, channel in places:
            assert abs(step - 6) <= steps
            assert abs(channel - 4) <= channels
            assert sequence[step, channel] == 3


def test_jitter_reaches_both_ends_and_no_jitter_changes_nothing():
    inputs = np.zeros((500, 5, 5), np.uint8)
    inputs[:, 2, 2] = 1
    shifted = Jitter(2, 2).apply(inputs, np.random.default_rng(0))
    assert shifted.any(axis=0).all()
    assert Jitter().apply(inputs, np.random.default_rng(0)) is inputs


def test_jitter_may_be_wider_than_the_sequence():
    inputs = np.ones((5000, 3, 2), np.uint8)
    shifted = Jitter(7, 5).apply(inputs, np.random.default_rng(0))
    left = np.unique(shifted.sum(axis=(1, 2)))
    assert left.tolist() == [0, 1, 2, 3, 4, 6]  # any rectangle of at most 3 x 2, or nothing


def test_a_number_takes_the_bytes_in_which_sequences_are_handed_out():
    for kind, size in ((np.uint8, 1), (np.float32, 4)):
        assert SequencePool(np.zeros((2, 3, 4), kind), np.zeros(2, np.int64)).number_bytes == size
        assert SequencePool(np.zeros((0, 3, 4), kind), np.zeros(0, np.int64)).number_bytes == size
