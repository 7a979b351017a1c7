"""Images as lazily made sequences: stored once, the same sequence whoever asks."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch

from scenarios.image_sequences import ImageCoding, ImageSequences


def sequences(coding: str = "static", tasks: int | None = 3, **settings: float) -> ImageSequences:
    """Return sequences of five images of eight pixels in four steps."""
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (5, 8)).astype(np.uint8)
    permutations = None if tasks is None else np.stack([generator.permutation(8) for _ in range(tasks)])
    return ImageSequences(pixels, ImageCoding(coding, 4, **settings), permutations)


def test_static_input_is_the_permuted_image_at_every_step() -> None:
    made = sequences(mean=0.1, deviation=0.5)
    assert made.shape == (15, 4, 8)
    got = made[np.array([7, 3])]
    assert (got.shape, got.dtype) == ((2, 4, 8), np.float32)
    assert made.permutations is not None
    for row, (task, image) in enumerate([(1, 2), (0, 3)]):
        wanted = (made.pixels[image][made.permutations[task]] / 255 - 0.1) / 0.5
        for step in range(4):
            np.testing.assert_allclose(got[row, step], wanted, rtol=1e-6, atol=1e-6)


def test_static_input_takes_the_memory_of_one_step_and_torch_takes_it_silently() -> None:
    got = sequences()[np.arange(5)]
    assert got.strides[1] == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tensor = torch.from_numpy(got)
    assert tensor.transpose(0, 1).stride(0) == 0


@pytest.mark.parametrize("coding", ["static", "poisson"])
@pytest.mark.parametrize("tasks", [None, 3])
def test_a_sequence_does_not_depend_on_how_it_is_asked_for(coding: str, tasks: int | None) -> None:
    made = sequences(coding, tasks)
    count = made.shape[0]
    whole = made[:]
    picked = np.random.default_rng(1).permutation(count)
    np.testing.assert_array_equal(made[picked], whole[picked])
    np.testing.assert_array_equal(np.stack([made[index] for index in range(count)]), whole)
    np.testing.assert_array_equal(made[2:4], whole[2:4])


def test_spikes_follow_the_intensity_and_differ_between_samples_and_keys() -> None:
    pixels = np.tile(np.array([[0, 51, 255]], dtype=np.uint8), (2, 1))
    made = ImageSequences(pixels, ImageCoding("poisson", 20_000, rate=0.5, key=1))
    spikes = made[:]
    assert spikes.dtype == np.uint8
    np.testing.assert_allclose(spikes.mean(axis=1), [[0.0, 0.1, 0.5]] * 2, atol=0.015)
    assert not np.array_equal(spikes[0], spikes[1])
    other = ImageSequences(pixels, ImageCoding("poisson", 20_000, rate=0.5, key=2))
    assert not np.array_equal(spikes[0], other[0])


def test_samples_beyond_the_end_are_refused() -> None:
    with pytest.raises(IndexError, match="of 15"):
        sequences()[np.array([3, 15])]
    with pytest.raises(IndexError, match="of 15"):
        sequences()[-1]
