"""What a scenario hands to the trainer: packed sequences and, for each task, which of them belong to it.

Pure NumPy, no torch and no Avalanche, so that a scenario is a few lines and a test of it takes milliseconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    # For annotations alone: `workbench list` imports this module and need not wait for NumPy.
    import numpy as np
    import numpy.typing as npt

Setting = Literal["class", "task", "domain"]


class Sequences(Protocol):
    """Stored sequences `[n, T, N]`: an array, a memory map, or something that makes them when they are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Samples, steps, channels."""
        ...

    def __getitem__(self, indices: Any, /) -> npt.NDArray[Any]:
        """Return `[k, T, N]` for an array of indices, `[T, N]` for one index."""
        ...


@dataclass(frozen=True)
class DatasetInfo:
    """Where the numbers come from; goes to the terminal, results.json and the tracking tags."""

    name: str
    synthetic: bool
    digest: str
    """Digest of the data as used: source file digests and the transform that was applied."""
    notice: str = ""
    """A sentence that must accompany every result on this data (a synthetic stand-in, say); empty if none."""


@dataclass(frozen=True)
class SequencePool:
    """Sequences of one split, sample-major on disk so that a sample is one contiguous read.

    inputs: `[n, T, N]` uint8 event counts (may be a read-only memory map), or any object with that `shape` whose
    `[indices]` gives `[k, T, N]` uint8 or float32 and whose `[index]` gives `[T, N]`.
    targets: `[n]` int64 class labels, or `[n, T, C]` uint8, what to predict at every step.
    scored: `[n, T]` bool, the steps at which the loss counts (padding does not), or None for all.
    """

    inputs: Sequences
    targets: npt.NDArray[Any]
    scored: npt.NDArray[np.bool_] | None = None

    @property
    def number_bytes(self) -> int:
        """Bytes of one number of a sequence: 1 of uint8, 4 of float32."""
        import numpy as np

        return int(self.inputs[np.arange(min(1, len(self.targets)))].itemsize)


@dataclass(frozen=True)
class Task:
    """One experience of the stream: which samples to train, validate and test on, and which classes it holds.

    `train` and `validation` index the training pool, `test` indexes the test pool.
    origins: which task each training sample belongs to, `[len(train)]`, where some are lent by neighbours (blurred
    boundaries); None: this one.
    """

    name: str
    classes: tuple[int, ...]
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    origins: npt.NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Jitter:
    """Random shifts of each training sequence, by at most so many channels and steps, drawn anew at every showing."""

    channels: int = 0
    steps: int = 0

    def apply(self, inputs: npt.NDArray[np.uint8], generator: np.random.Generator) -> npt.NDArray[np.uint8]:
        """Return `[B, T, N]` sequences, each shifted as a whole in both directions; what leaves is lost."""
        import numpy as np

        if not (self.channels or self.steps):
            return inputs
        batch, steps, channels = inputs.shape
        later = generator.integers(-self.steps, self.steps, (batch,), endpoint=True)
        higher = generator.integers(-self.channels, self.channels, (batch,), endpoint=True)
        shifted = np.zeros_like(inputs)
        for sample in range(batch):
            t, n = int(later[sample]), int(higher[sample])
            # A shift beyond the end leaves nothing; a negative end would count from behind.
            kept = inputs[sample, max(0, -t) : max(0, steps - t), max(0, -n) : max(0, channels - n)]
            shifted[sample, max(0, t) : max(0, t) + len(kept), max(0, n) : max(0, n) + kept.shape[1]] = kept
        return shifted


@dataclass(frozen=True)
class TaskStream:
    """A data set cut into tasks, in the order in which they are learned."""

    dataset: DatasetInfo
    setting: Setting
    training_pool: SequencePool
    test_pool: SequencePool
    tasks: tuple[Task, ...]
    class_names: tuple[str, ...]
    jitter: Jitter = Jitter()
    """What training sequences undergo; validation and test sequences never do."""
    in_order: bool = False
    """Whether training samples are shown in the order of `Task.train` (a live stream) rather than shuffled."""

    @property
    def classes(self) -> int:
        """Number of classes over all tasks: the width of the readout."""
        return len(self.class_names)

    @property
    def predicts_steps(self) -> bool:
        """Whether every step has targets of its own (prediction) rather than the sequence one class."""
        return self.training_pool.targets.ndim == 3

    @property
    def channels(self) -> int:
        """Number of input channels N."""
        return int(self.training_pool.inputs.shape[2])

    @property
    def steps(self) -> int:
        """Number of time steps T."""
        return int(self.training_pool.inputs.shape[1])


@dataclass(frozen=True)
class ScenarioContext:
    """What a scenario may use besides its own configuration."""

    seed: int
    cache: Path
    """Folder for downloads and binned events."""
    progress: bool = True
    """Whether a long wait (a download) may draw a progress bar on a terminal's standard error."""
