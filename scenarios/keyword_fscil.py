"""Few-shot class-incremental keywords: NeuroBench's protocol on recordings of spoken digits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pydantic import Field

from scenarios.split_shd import (
    RecordingsConfig,
    embedded_spoken_digits,
    load_recordings,
    spiking_heidelberg_digits,
)
from scenarios.splitting import LabelledSequences, Order, arrange, slice_strata
from workbench.data.catalogue import AnyDataSet
from workbench.errors import ConfigurationError, DataError
from workbench.lazy import lazy_module
from workbench.plugin import Scenario
from workbench.randomness import RandomStreams
from workbench.tasks import Jitter, ScenarioContext, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Indices = npt.NDArray[np.int64]
else:
    np = lazy_module("numpy")


class KeywordFSCIL(Scenario):
    """Few-shot class-incremental keywords: base classes, then sessions of a few shots of new ones (NeuroBench).

    The protocol of NeuroBench's keyword benchmark (Yik et al. 2025, arXiv 2304.04640): session 0 learns the base
    classes from all their recordings; every later session brings `ways` new classes with `shots` recordings each.
    After each session the test is on the base classes' test recordings and the queries of all classes so far, and
    classes yet unseen are masked. NeuroBench itself has 100 base words, 10 sessions of 10 ways, 5 shots and 100
    queries of the Multilingual Spoken Words Corpus; here the recordings are those of split-shd (`path`, `source`),
    so figures do not compare with its leaderboard.

    Task i of the stream is session i: its classes are all seen so far, its test is the session's whole test. R[i, i]
    therefore is the accuracy of session i, and the protocol's score, the mean over sessions, is the mean of R's
    diagonal. R[i, j] for j < i asks the earlier session's question again, so that bwt is forgetting alone, free of
    the growing number of classes; acc is the mean of all questions at the end.

    Which classes are base, their order, the shots and the queries are drawn from the seed (class_order=label: by
    label). Unseen classes do not compete in training either; replayed recordings compete with all classes so far.
    There is no validation in few-shot sessions.
    """

    default_epochs = 30
    default_batch_size = 32

    class Config(RecordingsConfig):
        """Settings of `scenario=keyword-fscil`."""

        base_classes: int | None = Field(
            None, ge=1, description="classes of session 0; null: half of them, rounded up"
        )
        ways: int = Field(2, ge=1, description="new classes of each later session")
        sessions: int | None = Field(
            None,
            ge=1,
            description="sessions after the base session; null: as many as the classes suffice for",
        )
        shots: int = Field(5, ge=1, description="training recordings of each new class")
        queries: int | None = Field(
            None, ge=1, description="test recordings of each new class, at most; null: all there are"
        )
        class_order: Order = Field("seeded", description="order of classes: drawn from the seed, or by label")
        validation: float = Field(
            0.1,
            ge=0,
            le=0.5,
            description="part of the base classes' recordings kept for validation, of each class",
        )

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return SHD and the embedded set."""
        return (spiking_heidelberg_digits(), embedded_spoken_digits())

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the sessions.

        Raises DataError when the data is missing or damaged, ConfigurationError when it has too few classes.
        """
        settings = self.config
        data = load_recordings(settings, context)
        streams = RandomStreams(context.seed)
        order = arrange(range(len(data.class_names)), settings.class_order, streams.numpy("class-order"))
        groups = session_classes(order, settings.base_classes, settings.ways, settings.sessions)
        return TaskStream(
            data.dataset,
            "task",
            data.training,
            data.test,
            self._sessions(data, groups, streams),
            data.class_names,
            Jitter(settings.jitter_channels, settings.jitter_steps),
        )

    def _sessions(
        self, data: LabelledSequences, groups: Sequence[tuple[int, ...]], streams: RandomStreams
    ) -> tuple[Task, ...]:
        settings = self.config
        base = _of(data.training.targets, groups[0])
        train, held = slice_strata(
            base, data.training.targets[base], settings.validation, streams.numpy("validation")
        )
        seen, test = groups[0], _of(data.test.targets, groups[0])
        tasks = [Task(f"base: {len(seen)} classes", seen, train, held, test)]
        for number, new in enumerate(groups[1:], start=1):
            for one in new:
                # Named by the class: its shots do not hang on the sessions before it.
                shots = _drawn(data.training.targets, one, settings.shots, streams.numpy(f"shots/{one}"))
                if len(shots) < settings.shots:
                    raise DataError(
                        f"{data.dataset.name}: class {data.class_names[one]!r} has {len(shots)} training recordings; "
                        f"scenario.shots={settings.shots} wants more"
                    )
                train = shots if one == new[0] else np.concatenate([train, shots])
                test = np.concatenate(
                    [test, _drawn(data.test.targets, one, settings.queries, streams.numpy(f"queries/{one}"))]
                )
            seen = (*seen, *new)
            name = f"session {number}: {', '.join(data.class_names[one] for one in new)}"
            tasks.append(Task(name, seen, train, held[:0], test))
        return tuple(tasks)


def session_classes(
    order: Sequence[int], base: int | None, ways: int, sessions: int | None
) -> tuple[tuple[int, ...], ...]:
    """Return the base classes, then the new classes of each session; what is left over takes no part.

    Raises ConfigurationError if there are too few classes.

    >>> session_classes(range(7), None, 2, None)
    ((0, 1, 2, 3), (4, 5))
    """
    base = -(-len(order) // 2) if base is None else base
    possible = (len(order) - base) // ways
    if possible < 1 or (sessions or 1) > possible:
        raise ConfigurationError(
            f"scenario.base_classes={base}, ways={ways}, sessions={sessions or 1} want "
            f"{base + ways * (sessions or 1)} classes; the data has {len(order)}"
        )
    starts = [base + ways * session for session in range(sessions or possible)]
    return tuple(order[:base]), *(tuple(order[start : start + ways]) for start in starts)


def _of(targets: Indices, classes: Sequence[int]) -> Indices:
    return np.flatnonzero(np.isin(targets, classes)).astype(np.int64)


def _drawn(targets: Indices, label: int, count: int | None, generator: np.random.Generator) -> Indices:
    """Return where up to `count` recordings of a class stand, drawn at random, ascending; all if None."""
    return np.sort(generator.permutation(_of(targets, (label,)))[:count])
