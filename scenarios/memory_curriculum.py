"""Memory tasks over binary streams whose reach N grows from task to task: what n-parity and n-dms share.

Khajehabdollahi, Zeraati, Giannakakis, Schäfer, Martius and Levina 2024, Emergent mechanisms for long timescales depend
on training curriculum and affect performance in memory tasks (ICLR; arXiv 2309.12927; code:
LevinaLab/rnn_timescale_public).

Theirs: the two tasks, the answer asked at the last step, lengths uniform from N + 2 to 4 N + 1 (their code's range for
N-DMS; N the largest so far), parity streams of varying rates of ones, both curricula, N from 2 on. Ours: a fixed number
of sequences for each N in place of training until 98 %, a length and a rate for every sequence in place of every batch,
labels that are fair by construction, and one question a sequence in place of one a head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, Self

from pydantic import Field, model_validator

from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig
from workbench.randomness import RandomStreams
from workbench.tasks import DatasetInfo, SequencePool, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Bits = npt.NDArray[np.uint8]
    Indices = npt.NDArray[np.int64]
else:
    np = lazy_module("numpy")


class Ask(Protocol):
    """Draws the last bits of sequences so that the answer is `labels`."""

    def __call__(
        self, bits: Bits, lengths: Indices, reach: int, labels: Indices, generator: np.random.Generator
    ) -> None:
        """Change `bits` `[n, T]` in place; sequence i ends after `lengths[i]` bits, labels are 0 or 1."""


class CurriculumConfig(PluginConfig):
    """Settings of `scenario=n-parity` and `scenario=n-dms`."""

    start: int = Field(2, ge=2, le=1000, description="N of the first task")
    stop: int = Field(6, ge=2, le=1000, description="N of the last task")
    curriculum: Literal["single-head", "multi-head"] = Field(
        "single-head",
        description="single-head: each task trains its own N alone, on one readout; "
        "multi-head: all N so far, each on a readout of its own",
    )
    train: int = Field(2000, ge=1, description="training sequences of each N that a task trains")
    validation: int = Field(200, ge=0, description="validation sequences of each N")
    test: int = Field(500, ge=1, description="test sequences of each N")
    encoding: Literal["binary", "one-hot"] = Field(
        "binary", description="binary: one channel, 1 or silence; one-hot: a channel for each symbol"
    )

    @model_validator(mode="after")
    def _ascending(self) -> Self:
        if self.stop < self.start:
            raise ValueError(f"stop={self.stop} is below start={self.start}")
        return self


@dataclass
class _Part:
    """Sequences of one N, drawn for one purpose."""

    bits: Bits
    lengths: Indices
    labels: Indices


def build_curriculum(name: str, settings: CurriculumConfig, ask: Ask, fair: bool, seed: int) -> TaskStream:
    """Return one task for each N from `start` to `stop`; `fair`: bits are fair coins before `ask` changes them.

    Single head: targets 0 and 1. Multi-head: head k has targets 2k and 2k + 1, and only its own two compete.
    """
    from workbench.data.cache import content_key

    streams = RandomStreams(seed)
    reaches = range(settings.start, settings.stop + 1)
    heads = settings.curriculum == "multi-head"
    width = 4 * settings.stop + 1
    training, test, tasks = _Collector(width, heads), _Collector(width, heads), []

    def draw(split: str, count: int, reach: int, largest: int) -> _Part:
        # Named by both: what a task draws for an N does not hang on how many tasks there are.
        generator = streams.numpy(f"{name}/{split}/{reach}/{largest}")
        return _draw(count, reach, largest, ask, fair, generator)

    for number, largest in enumerate(reaches):
        asked = range(number + 1) if heads else range(number, number + 1)
        train = [training.add(draw("train", settings.train, reaches[k], largest), k) for k in asked]
        held = training.add(draw("validation", settings.validation, largest, largest), number)
        tested = test.add(draw("test", settings.test, largest, largest), number)
        origins = np.repeat(np.array(asked), settings.train) if heads else None
        classes = (2 * number, 2 * number + 1) if heads else (0, 1)
        tasks.append(Task(f"N = {largest}", classes, np.concatenate(train), held, tested, origins))
    digest = content_key([], {"kind": name, "seed": seed, **settings.model_dump()})
    names = tuple(f"N = {reach}: {answer}" for reach in reaches for answer in (0, 1)) if heads else ("0", "1")
    return TaskStream(
        DatasetInfo(name, synthetic=True, digest=digest),
        "task" if heads else "domain",
        training.pool(settings.encoding),
        test.pool(settings.encoding),
        tuple(tasks),
        names,
    )


def _draw(
    count: int, reach: int, largest: int, ask: Ask, fair: bool, generator: np.random.Generator
) -> _Part:
    """Draw sequences that ask over `reach` bits, long enough for the largest reach of the task."""
    lengths = generator.integers(largest + 2, 4 * largest + 1, count, endpoint=True)
    rates = np.full(count, 0.5) if fair else generator.random(count)
    bits = (generator.random((count, 4 * largest + 1)) < rates[:, None]).astype(np.uint8)
    labels = generator.integers(0, 2, count)
    ask(bits, lengths, reach, labels, generator)
    bits[np.arange(bits.shape[1]) >= lengths[:, None]] = 0
    return _Part(bits, lengths, labels)


class _Collector:
    """Puts parts behind one another into one pool."""

    def __init__(self, width: int, heads: bool) -> None:
        self.width, self.heads, self.count = width, heads, 0
        self.parts: list[_Part] = []

    def add(self, part: _Part, head: int) -> Indices:
        """Add a part for a head; returns where its sequences stand."""
        if self.heads:
            part.labels = part.labels + 2 * head
        first, self.count = self.count, self.count + len(part.labels)
        self.parts.append(part)
        return np.arange(first, self.count, dtype=np.int64)

    def pool(self, encoding: str) -> SequencePool:
        """Return inputs `[n, T, 1 or 2]`, targets `[n]`, scored at the last step of each sequence alone."""
        bits = np.zeros((self.count, self.width), dtype=np.uint8)
        lengths = np.concatenate([part.lengths for part in self.parts])
        first = 0
        for part in self.parts:
            bits[first : first + len(part.bits), : part.bits.shape[1]] = part.bits
            first += len(part.bits)
        step = np.arange(self.width)
        inputs = bits[:, :, None]
        if encoding == "one-hot":
            inputs = np.stack([(bits == 0) & (step < lengths[:, None]), bits == 1], axis=2).astype(np.uint8)
        targets = np.concatenate([part.labels for part in self.parts]).astype(np.int64)
        return SequencePool(inputs, targets, step == lengths[:, None] - 1)
