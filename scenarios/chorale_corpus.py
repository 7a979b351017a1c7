"""Bach's chorales out of the corpus that the library music21 brings along, as piano rolls.

A stand-in for the official split of the JSB chorales: the scores are other editions, in their own keys, and who is
training and who is test is ours. music21 (BSD) is an optional dependency; its corpus is said to be free to distribute.
"""

from __future__ import annotations

import warnings
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scenarios.piano_rolls import KEYS, LOWEST, SPLITS, PianoRolls, Resolution
from workbench.errors import DataError
from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np

    from scenarios.piano_rolls import Roll
    from workbench.data.cache import Built
else:
    np = lazy_module("numpy")

NOTICE = (
    "NOT THE OFFICIAL JSB SPLIT: chorales of music21's corpus, in their own keys, divided into training, "
    "validation and test by us. Likelihoods do not compare with published ones; for those give the official file "
    "as scenario.path=FILE."
)
VOICES = 4
STEPS_A_QUARTER = {"quarter": 1, "8th": 2, "16th": 4}
# As the official split: 229, 76 and 77 of 382.
_PARTS = (0.6, 0.2)


def is_installed() -> bool:
    """Return whether music21 is there; it is not imported."""
    return find_spec("music21") is not None


def load_corpus(resolution: Resolution, cache: Path, progress: bool = True) -> tuple[PianoRolls, str]:
    """Return the corpus in three splits, and its digest; converted once (minutes), then read from the cache.

    Raises DataError if music21 is not installed.
    """
    from importlib.metadata import version

    from workbench.data.cache import content_key, load_or_build

    if not is_installed():
        raise DataError("music21 is not installed")
    transform = {"kind": "music21-chorales", "version": version("music21"), "resolution": resolution}
    entry = load_or_build(cache, content_key([], transform), lambda: _convert(resolution, progress))
    rolls = []
    for name in SPLITS:
        starts = entry.arrays[f"{name}_off"]
        keys = np.unpackbits(entry.arrays[name], axis=1)[:, :KEYS]
        rolls.append([keys[first:last] for first, last in pairwise(starts.tolist())])
    return PianoRolls(*rolls), entry.key


def roll_of_score(score: Any, resolution: Resolution) -> Roll:
    """Return `[steps, 88]`: which notes of the first four voices sound at each point of the grid.

    The grid counts from the first full beat, so that an upbeat of an eighth does not shift it. Held and repeated notes
    look the same, as they do in the official files.
    """
    grid = STEPS_A_QUARTER[resolution]
    notes = [
        (float(element.offset), float(element.offset + element.quarterLength), pitch.midi - LOWEST)
        for part in list(score.parts)[:VOICES]
        for element in part.flatten().notes
        for pitch in element.pitches
    ]
    if not notes:
        return np.zeros((0, KEYS), dtype=np.uint8)
    measure = score.parts[0].getElementsByClass("Measure").first()
    padding = float(measure.paddingLeft) if measure is not None else 0.0
    first = -padding % 1.0
    end = max(last for _, last, _ in notes)
    roll = np.zeros((max(0, int(np.ceil((end - first) * grid - 1e-6))), KEYS), dtype=np.uint8)
    for begin, last, key in notes:
        # Triplets are fractions; a thousandth of a step decides for the point they mean.
        low = max(0, int(np.ceil((begin - first) * grid - 1e-3)))
        high = int(np.ceil((last - first) * grid - 1e-3))
        if 0 <= key < KEYS:
            roll[low:high, key] = 1
    return roll


def chorale_names() -> list[str]:
    """Return the names of all chorales in the corpus, each once, in alphabetical order."""
    from music21 import corpus

    return sorted(set(corpus.chorales.Iterator(returnType="filename")))


def chorale_roll(name: str, resolution: Resolution) -> Roll:
    """Return one chorale, `bach/bwv269`, as a piano roll."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from music21 import corpus

        return roll_of_score(corpus.parse(name), resolution)


def _convert(resolution: Resolution, progress: bool) -> Built:
    from tqdm import tqdm

    from workbench.randomness import RandomStreams

    rolls = []
    for name in tqdm(chorale_names(), desc="converting chorales", disable=None if progress else True):
        roll = chorale_roll(name, resolution)
        if len(roll) > 1:
            rolls.append(roll)
    # Of no seed: the split is part of the data set.
    order = RandomStreams(0).numpy("music21-chorales-split").permutation(len(rolls))
    bounds = [0, *(round(sum(_PARTS[: i + 1]) * len(rolls)) for i in range(len(_PARTS))), len(rolls)]
    arrays = {}
    for number, name in enumerate(SPLITS):
        chosen = [rolls[one] for one in order[bounds[number] : bounds[number + 1]]]
        arrays[name] = np.packbits(np.concatenate(chosen), axis=1)
        arrays[f"{name}_off"] = np.cumsum([0, *(len(roll) for roll in chosen)])
    return arrays, {"chorales": len(rolls)}
