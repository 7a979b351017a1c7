"""Random labels, task after task: can the network still learn as quickly as it did at first?"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from workbench.errors import ConfigurationError
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig, Scenario
from workbench.tasks import DatasetInfo, ScenarioContext, SequencePool, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from workbench.randomness import RandomStreams
else:
    np = lazy_module("numpy")

Inputs = Literal["fixed", "fresh", "digits"]
Coding = Literal["static", "poisson"]

_KEPT_BLOCKS = 2
"""Tasks whose sequences stay in memory: the one that is trained, and one that is looked at."""


class RandomLabels(Scenario):
    """Plasticity: a long stream of tasks, each to memorise fresh random labels.

    Every task has `samples` patterns x in [0, 1] of `channels` channels and a label for each, drawn evenly and
    at random from the same classes (one readout for all, setting `domain`). Nothing carries over from task to
    task, so a learner that stays plastic learns task 100 as well as task 1. There is nothing to generalise to:
    the test samples of a task are its training samples, and the number that counts is the diagonal of R, the
    accuracy on each task right after it was learned. Use train.evaluate=current to evaluate nothing else.

    inputs=fixed: the same patterns in every task, each channel on (x = 1) with probability `density`.
    inputs=fresh: new such patterns in every task.
    inputs=digits: images, drawn anew for every task and their pixels permuted anew: MNIST's training images
    from `path` (as permuted-mnist takes it), or, without a path, scikit-learn's 1,797 digits of 8 x 8 pixels.
    Their true labels are not used.

    coding=static: x itself at each of `steps` steps. coding=poisson: a spike at each step with probability
    x * rate, drawn once for each sample. Everything follows from the seed; sequences are made when they are
    asked for, task by task, and only two tasks' sequences are in memory at a time. In the manner of the
    random-label tasks of Lyle et al. 2023 (arXiv 2303.01486) and Kumar et al. 2023 (arXiv 2308.11958), both
    cited from memory; time and sizes are ours.
    """

    default_epochs = 20
    default_batch_size = 32

    class Config(PluginConfig):
        """Settings of `scenario=random-labels`."""

        inputs: Inputs = Field(
            "fixed", description="patterns: the same in all tasks, fresh ones in each, or permuted digits"
        )
        path: Path | None = Field(
            None, description="MNIST's file or folder for inputs=digits; null: scikit-learn's digits"
        )
        tasks: int = Field(100, ge=1, le=100_000, description="number of tasks")
        samples: int = Field(128, ge=1, le=60_000, description="patterns of each task")
        classes: int = Field(10, ge=2, description="number of labels")
        channels: int | None = Field(
            None, ge=1, description="input channels; null: 64, or with inputs=digits one a pixel"
        )
        density: float = Field(0.2, gt=0, le=1, description="probability that a channel is on (fixed, fresh)")
        coding: Coding = Field(
            "static", description="the pattern at every step, or spikes with its probability"
        )
        rate: float = Field(
            0.5, gt=0, le=1, description="probability of a spike in a step where x is 1 (poisson)"
        )
        steps: int = Field(8, ge=1, le=10_000, description="time steps")

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks. Raises DataError if the file of digits is missing or damaged, ConfigurationError
        if settings contradict each other.
        """
        from workbench.data.cache import content_key
        from workbench.randomness import RandomStreams

        settings = self.config
        streams = RandomStreams(context.seed)
        images, name, source = self._images()
        patterns = _Patterns(settings, images, streams)
        targets = np.concatenate(
            [
                balanced_labels(
                    settings.samples, settings.classes, streams.numpy(f"random-labels/labels/{task}")
                )
                for task in range(settings.tasks)
            ]
        )
        transform = {"kind": "random-labels", "seed": context.seed, **settings.model_dump(exclude={"path"})}
        pool = SequencePool(RandomSequences(patterns, settings, streams), targets)
        classes = tuple(range(settings.classes))
        nothing = np.empty(0, dtype=np.int64)
        tasks = []
        for task in range(settings.tasks):
            ours = np.arange(task * settings.samples, (task + 1) * settings.samples)
            tasks.append(Task(f"labels-{task}", classes, ours, nothing, ours))
        return TaskStream(
            DatasetInfo(name, synthetic=True, digest=content_key([source], transform), notice=_NOTICE),
            "domain",
            pool,
            pool,
            tuple(tasks),
            tuple(str(label) for label in classes),
        )

    def _images(self) -> tuple[npt.NDArray[np.float32] | None, str, str]:
        """Return images `[n, pixels]` in [0, 1] or None, the name of the data, and its digest."""
        settings = self.config
        if settings.inputs != "digits":
            if settings.path is not None:
                raise ConfigurationError("scenario.path: only inputs=digits reads a file")
            return None, f"random-labels-{settings.inputs}", "drawn from the seed"
        if settings.channels is not None:
            raise ConfigurationError("scenario.channels: inputs=digits has one channel a pixel")
        images = digits(settings.path)
        if settings.samples > len(images):
            raise ConfigurationError(
                f"scenario.samples={settings.samples}: there are only {len(images)} images to draw from"
            )
        kind = "digits" if settings.path is None else "mnist"
        return images, f"random-labels-{kind}", hashlib.sha256(images.tobytes()).hexdigest()


_NOTICE = "Labels are random: accuracy is that of memorising the training samples."


def balanced_labels(samples: int, classes: int, generator: np.random.Generator) -> npt.NDArray[np.int64]:
    """Return `[samples]` labels in random order, each class as often as any other, give or take one.

    >>> sorted(balanced_labels(5, 2, np.random.default_rng(0)).tolist())
    [0, 0, 0, 1, 1]
    """
    return generator.permutation(np.arange(samples, dtype=np.int64) % classes)


def digits(path: Path | None) -> npt.NDArray[np.float32]:
    """Return images `[n, pixels]` in [0, 1]: MNIST's for training, or scikit-learn's. Raises DataError."""
    if path is None:
        from sklearn.datasets import load_digits

        return np.asarray(load_digits().data / 16.0, dtype=np.float32)
    from scenarios.mnist import read_local

    return (read_local(path.expanduser()).train_pixels / 255.0).astype(np.float32)


class _Patterns:
    """The patterns x `[samples, N]` in [0, 1] of each task."""

    def __init__(
        self, settings: RandomLabels.Config, images: npt.NDArray[np.float32] | None, streams: RandomStreams
    ) -> None:
        self.settings = settings
        self.images = images
        self.streams = streams
        self.channels = int(images.shape[1]) if images is not None else settings.channels or 64

    def of_task(self, task: int) -> npt.NDArray[np.float32]:
        """Return the patterns of one task, `[samples, N]`."""
        settings = self.settings
        number = 0 if settings.inputs == "fixed" else task
        generator = self.streams.numpy(f"random-labels/patterns/{number}")
        if self.images is not None:
            chosen = generator.choice(len(self.images), settings.samples, replace=False)
            return self.images[chosen][:, generator.permutation(self.channels)]
        draws = generator.random((settings.samples, self.channels), dtype=np.float32)
        return (draws < settings.density).astype(np.float32)


class RandomSequences:
    """Sequences `[tasks * samples, T, N]` of all tasks, made when asked for; a task's samples follow each other."""

    def __init__(self, patterns: _Patterns, settings: RandomLabels.Config, streams: RandomStreams) -> None:
        self._patterns = patterns
        self._settings = settings
        self._streams = streams
        self._blocks: OrderedDict[int, npt.NDArray[Any]] = OrderedDict()
        self.shape = (settings.tasks * settings.samples, settings.steps, patterns.channels)

    def __getitem__(self, indices: Any, /) -> npt.NDArray[Any]:
        """Return `[k, T, N]` for an array of indices, `[T, N]` for one: uint8 spikes, or float32 (static digits)."""
        samples = self._settings.samples
        if np.ndim(indices) == 0:
            task, sample = divmod(int(indices), samples)
            return np.array(self._block(task)[sample])
        indices = np.asarray(indices)
        owners = indices // samples
        found = np.unique(owners)
        if len(found) == 1:
            rows: npt.NDArray[Any] = self._block(int(found[0]))[indices - found[0] * samples]
            return rows
        picked = np.empty((len(indices), *self.shape[1:]), dtype=self._block(0).dtype)
        for task in found:
            mine = owners == task
            picked[mine] = self._block(int(task))[indices[mine] - task * samples]
        return picked

    def _block(self, task: int) -> npt.NDArray[Any]:
        """Return the sequences of one task, `[samples, T, N]`, from memory if it was looked at lately."""
        if task in self._blocks:
            self._blocks.move_to_end(task)
            return self._blocks[task]
        self._blocks[task] = block = self._made(task)
        while len(self._blocks) > _KEPT_BLOCKS:
            self._blocks.popitem(last=False)
        return block

    def _made(self, task: int) -> npt.NDArray[Any]:
        settings = self._settings
        patterns = self._patterns.of_task(task)[:, None, :]
        shape = (settings.samples, settings.steps, self.shape[2])
        if settings.coding == "static":
            # Patterns that are only on or off travel as bytes, a quarter of the memory.
            kind = np.float32 if settings.inputs == "digits" else np.uint8
            return np.ascontiguousarray(np.broadcast_to(patterns.astype(kind), shape))
        number = 0 if settings.inputs == "fixed" else task
        draws = self._streams.numpy(f"random-labels/spikes/{number}").random(shape, dtype=np.float32)
        spikes: npt.NDArray[np.uint8] = (draws < patterns * settings.rate).astype(np.uint8)
        return spikes
