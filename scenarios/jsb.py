"""JSB chorales: which notes sound at the next step, in one task, or in tasks of a mode or of neighbouring keys."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from scenarios.piano_rolls import KEYS, LOWEST, PianoRolls, Resolution
from workbench.data.catalogue import AnyDataSet, DataSet
from workbench.errors import ConfigurationError, DataError
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig, Scenario
from workbench.tasks import DatasetInfo, ScenarioContext, SequencePool, Task, TaskStream

if TYPE_CHECKING:
    import numpy as np

    from scenarios.piano_rolls import Roll
else:
    np = lazy_module("numpy")

TasksBy = Literal["none", "mode", "key-group"]

PITCH_NAMES = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
SIGNATURES = ("Db", "Ab", "Eb", "Bb", "F", "C", "G", "D", "A", "E", "B", "F#")
"""Major keys along the circle of fifths, from five flats to six sharps."""
MAJOR_PROFILE = (6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88)
MINOR_PROFILE = (6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17)
"""How well each pitch class, from the tonic up, fits a major and a minor key: Krumhansl and Kessler 1982."""


class JSB(Scenario):
    """JSB chorales: predict at every step which of 88 notes sound at the next one.

    Bach's four-part chorales as piano rolls (Boulanger-Lewandowski et al. 2012). Of a chorale x[0], ..., x[T-1] the
    inputs are x[0], ..., x[T-2] and the targets x[1], ..., x[T-1], as in IBM's OSTL tutorial; every real step is
    scored, padding is not. The figure of the field is the negative log-likelihood: cross-entropy summed over the 88
    notes, averaged over steps.

    path: a file (.npz, .json, .pickle, .mat; see scenarios/piano_rolls.py) or a folder with one of each resolution,
    with the official split of 229, 76 and 77 chorales for training, validation and test. Without it the chorales of
    the library music21 are converted, if it is installed: not the official split, which is said with every result.

    tasks_by=mode: major, then minor. tasks_by=key-group: `tasks` groups of neighbours on the circle of fifths (minor
    keys with their relative major), about equally many chorales each; not on the official quarter notes, which were
    transposed to C major and C minor. Mode and key are estimated from the notes (Krumhansl and Schmuckler: largest
    correlation of the pitch classes' durations with the 24 key profiles).
    """

    default_epochs = 100
    default_batch_size = 1

    class Config(PluginConfig):
        """Settings of `scenario=jsb`."""

        path: Path | None = Field(None, description="file or folder with the chorales; null: see source")
        source: Literal["auto", "file", "music21"] = Field(
            "auto",
            description="auto: path, else music21's corpus; file: path alone; music21: only that corpus",
        )
        resolution: Resolution = Field("quarter", description="note value of a step")
        tasks_by: TasksBy = Field(
            "none", description="what tells tasks apart: none (one task), mode (major, minor) or key-group"
        )
        tasks: int = Field(3, ge=2, le=12, description="number of key groups (key-group)")

        @model_validator(mode="after")
        def _one_source(self) -> Self:
            if self.path is not None and self.source == "music21":
                raise ValueError("path and source=music21 exclude each other; leave one out")
            if self.path is None and self.source == "file":
                raise ValueError("source=file wants a path")
            return self

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return music21's corpus."""
        return (
            DataSet(
                "music21-chorales",
                "Bach's chorales in the corpus of music21: 350 scores; stands in for the official JSB split",
                "music21's corpus, see music21.org",
                _corpus_location,
                _problems,
                "comes with music21",
            ),
        )

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks.

        Raises DataError when the data is missing or damaged, ConfigurationError when it is of another resolution or
        cannot be cut as asked.
        """
        dataset, rolls = self._load(context)
        training = [*rolls.train, *rolls.valid]
        keys = [estimate_key(roll) for roll in training], [estimate_key(roll) for roll in rolls.test]
        groups = _groups(self.config.tasks_by, self.config.tasks, keys[0][: len(rolls.train)])
        tasks = tuple(_task(name, members, len(rolls.train), *keys) for name, members in groups)
        names = tuple(f"{PITCH_NAMES[note % 12]}{note // 12 - 1}" for note in range(LOWEST, LOWEST + KEYS))
        return TaskStream(
            dataset, "domain", next_step_pool(training), next_step_pool(rolls.test), tasks, names
        )

    def _load(self, context: ScenarioContext) -> tuple[DatasetInfo, PianoRolls]:
        from scenarios.chorale_corpus import NOTICE, is_installed, load_corpus
        from scenarios.piano_rolls import find_file, read_rolls
        from workbench.data.cache import content_key, file_digest

        settings = self.config
        if settings.path is None:
            if not is_installed():
                raise DataError(
                    "scenario=jsb has no chorales: give the file as scenario.path=FILE (jsb_quarter.npz, "
                    "jsb-chorales-quarter.json, 'JSB Chorales.pickle', JSB_Chorales.mat), or install music21 and its "
                    "corpus: pip install music21"
                )
            rolls, digest = load_corpus(settings.resolution, context.cache, context.progress)
            return DatasetInfo("music21-chorales", synthetic=False, digest=digest, notice=NOTICE), rolls
        path = find_file(settings.path.expanduser(), settings.resolution)
        rolls = read_rolls(path)
        found = rolls.resolution()
        if found is not None and found != settings.resolution:
            raise ConfigurationError(
                f"scenario.resolution={settings.resolution}: {path} holds steps of {found} notes; "
                f"write scenario.resolution={found} or name another file"
            )
        counts = f"{len(rolls.train)}, {len(rolls.valid)} and {len(rolls.test)}"
        notice = "" if rolls.official else f"Not the official JSB split: {counts} chorales."
        digest = content_key([file_digest(path, context.cache)], {"kind": "jsb"})
        return DatasetInfo("jsb", synthetic=False, digest=digest, notice=notice), rolls


def next_step_pool(rolls: Sequence[Roll]) -> SequencePool:
    """Return inputs x[0..T-2] and targets x[1..T-1] of all rolls, zero behind the end of each, and the steps scored."""
    longest = max(len(roll) for roll in rolls) - 1
    inputs = np.zeros((len(rolls), longest, KEYS), dtype=np.uint8)
    targets = np.zeros_like(inputs)
    scored = np.zeros((len(rolls), longest), dtype=bool)
    for place, roll in enumerate(rolls):
        steps = len(roll) - 1
        inputs[place, :steps], targets[place, :steps], scored[place, :steps] = roll[:-1], roll[1:], True
    return SequencePool(inputs, targets, scored)


def estimate_key(roll: Roll) -> int:
    """Return the key of `[steps, 88]`: 0 to 11 are C major to B major, 12 to 23 C minor to B minor.

    Krumhansl 1990, Cognitive Foundations of Musical Pitch, chapter 4; ties go to the first.

    >>> triads = np.zeros((3, 88), dtype=np.uint8)
    >>> triads[0, [39, 43, 46]] = triads[1, [44, 48, 51]] = triads[2, [46, 50, 53]] = 1
    >>> estimate_key(triads)  # C, F and G major triads
    0
    """
    durations = np.bincount((np.arange(KEYS) + LOWEST) % 12, weights=roll.sum(axis=0), minlength=12)
    profiles = np.array(
        [np.roll(profile, tonic) for profile in (MAJOR_PROFILE, MINOR_PROFILE) for tonic in range(12)]
    )
    centred = profiles - profiles.mean(axis=1, keepdims=True)
    # The histogram's own mean and length are the same for all keys; a profile's length differs with its mode.
    return int(np.argmax(centred @ durations / np.linalg.norm(centred, axis=1)))


def fifths(key: int) -> int:
    """Return where a key stands on the circle of fifths, -5 to 6: sharps (positive) or flats of its signature.

    >>> [fifths(key) for key in (0, 7, 5, 12 + 9, 12, 6)]  # C, G, F, A minor, C minor, F# major
    [0, 1, -1, 0, -3, 6]
    """
    major = key if key < 12 else (key + 3) % 12
    return (major * 7 + 5) % 12 - 5


def _groups(tasks_by: TasksBy, tasks: int, keys: Sequence[int]) -> list[tuple[str, frozenset[int]]]:
    """Return name and keys of each task, cut so that the training chorales with those `keys` divide evenly."""
    if tasks_by == "none":
        return [("all chorales", frozenset(range(24)))]
    if tasks_by == "mode":
        return [("major", frozenset(range(12))), ("minor", frozenset(range(12, 24)))]
    counts = np.bincount([fifths(key) + 5 for key in keys], minlength=12)
    if np.count_nonzero(counts) < tasks:
        raise ConfigurationError(
            f"scenario.tasks={tasks}: the training chorales have {np.count_nonzero(counts)} key signatures; "
            "allowed: at most as many"
        )
    # The group of a signature: where the middle of its chorales falls among all of them.
    middle = (np.cumsum(counts) - counts / 2) / counts.sum()
    group = np.minimum((middle * tasks).astype(np.int64), tasks - 1)
    sizes = np.bincount(group, weights=counts, minlength=tasks)
    if sizes.min() < counts.sum() / tasks / 2:
        raise ConfigurationError(
            f"scenario.tasks_by=key-group: the chorales do not divide into {tasks} groups of neighbouring keys "
            f"({', '.join(f'{int(size)}' for size in sizes)} chorales). The official quarter-note file is transposed "
            "to C major and C minor: take scenario.resolution=8th or 16th, fewer tasks, or tasks_by=mode"
        )
    named = []
    for number in range(tasks):
        places = np.flatnonzero((group == number) & (counts > 0)) - 5
        name = " to ".join(
            dict.fromkeys(SIGNATURES[place + 5] + " major" for place in (places[0], places[-1]))
        )
        # Keys that only validation or test chorales have belong where their place on the circle is.
        named.append((name, frozenset(key for key in range(24) if group[fifths(key) + 5] == number)))
    return named


def _task(
    name: str, members: frozenset[int], training: int, keys: Sequence[int], test_keys: Sequence[int]
) -> Task:
    chosen = np.flatnonzero([key in members for key in keys]).astype(np.int64)
    tested = np.flatnonzero([key in members for key in test_keys]).astype(np.int64)
    train, held = chosen[chosen < training], chosen[chosen >= training]
    if not len(train) or not len(tested):
        raise DataError(
            f"task {name!r} has {len(train)} training and {len(tested)} test chorales; cut otherwise"
        )
    return Task(name, tuple(range(KEYS)), train, held, tested)


def _corpus_location() -> Path:
    from importlib.util import find_spec

    spec = find_spec("music21")
    if spec is None or not spec.origin:
        return Path("music21 (not installed)/corpus/bach")
    return Path(spec.origin).parent / "corpus" / "bach"


def _problems(path: Path) -> list[str]:
    from scenarios.chorale_corpus import chorale_roll, is_installed
    from scenarios.piano_rolls import read_rolls

    if path.is_file():
        try:
            read_rolls(path)
        except DataError as error:
            return [str(error)]
        return []
    if not is_installed():
        return [f"{path}: music21 is not installed"]
    return [] if len(chorale_roll("bach/bwv66.6", "quarter")) > 1 else [f"{path}: bwv66.6 holds no notes"]
