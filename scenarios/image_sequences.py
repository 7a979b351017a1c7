"""Images as sequences that are made when they are asked for: pixels are stored once, whatever the number of tasks.

coding=static: the image at every step, a constant current; the array has stride 0 over time, so that T steps take the
memory of one, and a layer that notices computes its input product once. coding=poisson: a spike at each step with a
probability proportional to the pixel, drawn from a generator of the sample's own, so that a sample is the same spikes
at every showing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy_module("numpy")

Coding = Literal["static", "poisson"]

BRIGHTEST = 255


@dataclass(frozen=True)
class ImageCoding:
    """How an image becomes a sequence of `steps` steps.

    mean, deviation: of the intensities x in [0, 1]; static input is (x - mean) / deviation. rate: probability of a
    spike in a step where x is 1. key: the number that, with the sample's, seeds its spikes.
    """

    coding: Coding
    steps: int
    mean: float = 0.0
    deviation: float = 1.0
    rate: float = 0.5
    key: int = 0

    def static(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return `[k, T, N]` float32 for pixels `[k, N]`; stride 0 over T, so do not write to it."""
        levels = ((np.arange(BRIGHTEST + 1) / BRIGHTEST - self.mean) / self.deviation).astype(np.float32)
        images = levels[pixels]
        # Not `broadcast_to`, whose result is read-only, which torch warns about.
        return np.lib.stride_tricks.as_strided(
            images, (len(images), self.steps, images.shape[1]), (images.strides[0], 0, images.strides[1])
        )

    def spikes(self, pixels: npt.NDArray[np.uint8], samples: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """Return `[k, T, N]` of 0 and 1 for pixels `[k, N]` and the numbers `[k]` of their samples."""
        chance = pixels.astype(np.float32) * np.float32(self.rate / BRIGHTEST)
        result = np.empty((len(pixels), self.steps, pixels.shape[1]), dtype=np.uint8)
        for row, sample in enumerate(samples.tolist()):
            generator = np.random.Generator(np.random.Philox(key=[self.key, sample]))
            draws = generator.random((self.steps, pixels.shape[1]), dtype=np.float32)
            np.less(draws, chance[row], out=result[row], casting="unsafe")
        return result


@dataclass(frozen=True)
class ImageSequences:
    """Sequences `[tasks * n, T, N]` of n images, in each task with the pixels permuted in another way.

    pixels: `[n, N]` uint8. permutations: `[tasks, N]`, pixel of the image that each channel shows, or None for one
    task of images as they are. Sample s is image s % n in task s // n.
    """

    pixels: npt.NDArray[np.uint8]
    coding: ImageCoding
    permutations: npt.NDArray[np.int64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, steps, channels."""
        tasks = 1 if self.permutations is None else len(self.permutations)
        return tasks * len(self.pixels), self.coding.steps, self.pixels.shape[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, indices: Any) -> npt.NDArray[Any]:
        """Return `[k, T, N]` for an array of indices or a slice, `[T, N]` for one index."""
        if isinstance(indices, slice):
            indices = np.arange(*indices.indices(len(self)))
        chosen = np.asarray(indices)
        samples = chosen.reshape(-1)
        if len(samples) and not 0 <= samples.min() <= samples.max() < len(self):
            raise IndexError(f"samples {samples.min()} to {samples.max()} of {len(self)}")
        pixels = self._permuted(samples)
        if self.coding.coding == "static":
            sequences: npt.NDArray[Any] = self.coding.static(pixels)
        else:
            sequences = self.coding.spikes(pixels, samples)
        return sequences if chosen.ndim else sequences[0]

    def _permuted(self, samples: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        tasks, images = np.divmod(samples, len(self.pixels))
        pixels = self.pixels[images]
        if self.permutations is None:
            return pixels
        present = np.unique(tasks)
        if len(present) == 1:
            permuted: npt.NDArray[np.uint8] = np.take(pixels, self.permutations[present[0]], axis=1)
        else:
            permuted = np.take_along_axis(pixels, self.permutations[tasks], axis=1)
        return permuted
