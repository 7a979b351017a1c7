"""Make the embedded spoken-digits set: `python -m scenarios.spoken_digits.generate --out FILE`.

Needs the extra `voices` (espeak-ng). On the same espeak-ng it makes the stored file again, bit for
bit; version and settings go into the file's metadata. See PROVENANCE.md.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import json
import multiprocessing
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from scenarios.spoken_digits import CLASS_NAMES, FORMAT
from scenarios.spoken_digits.encoder import REFERENCE_PRESSURE, Cochlea, CochleaParameters
from scenarios.spoken_digits.espeak import Engine, Utterance
from workbench.randomness import RandomStreams

Spikes = npt.NDArray[np.uint8]
Arrays = dict[str, npt.NDArray[np.generic]]
Result = TypeVar("Result")


@dataclass(frozen=True)
class Voice:
    """A speaker: an espeak-ng voice variant and its accent in English (there is one German accent)."""

    variant: str
    english: str

    def language(self, label: int) -> str:
        """Return the espeak-ng voice, "de+f3" say, in which this speaker says class `label`."""
        return f"{self.english if label < 10 else 'de'}+{self.variant}"


TRAINING_VOICES = (
    Voice("m1", "en-us"),
    Voice("f1", "en-gb-x-rp"),
    Voice("m3", "en-gb-scotland"),
    Voice("f4", "en-us"),
    Voice("m5", "en-gb-x-gbclan"),
    Voice("Andrea", "en-us-nyc"),
    Voice("m7", "en-gb-x-rp"),
    Voice("steph", "en-us"),
    Voice("klatt4", "en-029"),
    Voice("f5", "en-gb-scotland"),
    Voice("Michael", "en-us"),
    Voice("david", "en-gb-x-rp"),
)
TEST_VOICES = (
    Voice("belinda", "en-us"),
    Voice("Hugo", "en-gb-x-rp"),
    Voice("f3", "en-gb-scotland"),
    Voice("benjamin", "en-us-nyc"),
)
VOICES = TRAINING_VOICES + TEST_VOICES
"""Speaker number = position. Test speakers never appear in training."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides the recordings; ranges are drawn uniformly for each recording."""

    seed: int = 0
    training_takes: int = 8
    test_takes: int = 6
    bins: int = 200
    bin_ms: float = 5.0
    rate: tuple[int, int] = (95, 165)
    """Words per minute."""
    pitch: tuple[int, int] = (25, 75)
    pitch_range: tuple[int, int] = (20, 80)
    endings: tuple[str, ...] = (".", "?", "!")
    """Punctuation after the word: statement, question, exclamation differ in melody."""
    tract: tuple[float, float] = (0.94, 1.06)
    """Factor by which the sound is stretched: formants and pitch move as with a longer vocal tract."""
    tilt: tuple[float, float] = (-3.0, 3.0)
    """Slope of the microphone's response, dB per octave."""
    loudness: tuple[float, float] = (55.0, 65.0)
    """Level of the word, dB SPL."""
    noise: tuple[float, float] = (30.0, 45.0)
    """Level of the background noise, dB SPL."""
    onset: tuple[float, float] = (0.02, 0.10)
    """Silence before the word, in seconds."""


@dataclass(frozen=True)
class Session:
    """One take of one speaker: all classes, in a seeded order, spoken by one fresh engine."""

    settings: Settings
    parameters: CochleaParameters
    speaker: int
    take: int


def pink_noise(samples: int, generator: np.random.Generator) -> npt.NDArray[np.float64]:
    """Return noise `[samples]` of root mean square 1 whose power falls as 1/f: room noise has that tilt."""
    spectrum = np.fft.rfft(generator.standard_normal(samples))
    shaped = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1.0)), samples)
    return np.asarray(shaped / np.sqrt(np.mean(shaped**2)), dtype=np.float64)


def _pressure(level: float) -> float:
    """Return the root-mean-square pressure in pascal of a level in dB SPL."""
    return float(REFERENCE_PRESSURE * 10.0 ** (level / 20.0))


def record(
    speech: npt.NDArray[np.float64], sampling_rate: int, settings: Settings, generator: np.random.Generator
) -> npt.NDArray[np.float64]:
    """Return the sound in pascal `[samples]`: the word as some microphone hears it, with noise over all."""
    heard = np.flatnonzero(np.abs(speech) > 0.02 * np.abs(speech).max())
    word = speech[heard[0] : heard[-1] + 1]
    stretched = round(word.size * generator.uniform(*settings.tract))
    word = np.interp(np.linspace(0.0, word.size - 1.0, stretched), np.arange(word.size), word)
    spectrum = np.fft.rfft(word)
    octaves = np.log2(np.maximum(np.fft.rfftfreq(stretched, 1.0 / sampling_rate), 50.0) / 1000.0)
    word = np.fft.irfft(spectrum * 10.0 ** (generator.uniform(*settings.tilt) * octaves / 20.0), stretched)
    word = word * (_pressure(generator.uniform(*settings.loudness)) / np.sqrt(np.mean(word**2)))
    sound = np.zeros(round(settings.bins * settings.bin_ms * 1e-3 * sampling_rate))
    start = round(generator.uniform(*settings.onset) * sampling_rate)
    word = word[: sound.size - start]
    sound[start : start + word.size] = word
    return sound + _pressure(generator.uniform(*settings.noise)) * pink_noise(sound.size, generator)


def speak(session: Session) -> tuple[npt.NDArray[np.float64], int]:
    """Return one session's sounds in pascal `[classes, samples]` and their rate; in a process of its own."""
    settings = session.settings
    name = f"speaker {session.speaker} take {session.take}"
    streams = RandomStreams(settings.seed)
    generator = streams.numpy(name)
    engine = Engine(streams.integer(name) % 2**31)
    voice = VOICES[session.speaker]
    sounds: dict[int, npt.NDArray[np.float64]] = {}
    for label in generator.permutation(len(CLASS_NAMES)).tolist():
        utterance = Utterance(
            CLASS_NAMES[label] + str(generator.choice(settings.endings)),
            voice.language(label),
            int(generator.integers(*settings.rate)),
            int(generator.integers(*settings.pitch)),
            int(generator.integers(*settings.pitch_range)),
        )
        sounds[label] = record(engine.say(utterance), engine.sampling_rate, settings, generator)
    return np.stack([sounds[label] for label in range(len(CLASS_NAMES))]), engine.sampling_rate


def perform(session: Session) -> Spikes:
    """Return one session's recordings `[classes, bins, channels]`. Needs a process of its own."""
    sounds, sampling_rate = speak(session)
    cochlea = Cochlea(sampling_rate, session.settings.bins, session.settings.bin_ms, session.parameters)
    return np.stack([cochlea.encode(sound) for sound in sounds])


def in_fresh_processes(
    work: Callable[[Session], Result], sessions: Sequence[Session], workers: int = 1
) -> list[Result]:
    """Return `work` of every session, each in a process of its own, `workers` at a time."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, maxtasksperchild=1) as pool:
        return pool.map(work, sessions, chunksize=1)


def _engine_version() -> str:
    return Engine(0).version


def _sessions(settings: Settings, parameters: CochleaParameters, split: str) -> list[Session]:
    """Return a split's sessions, takes outermost, so that any stretch of the set holds all its speakers."""
    speakers = range(len(TRAINING_VOICES)) if split == "train" else range(len(TRAINING_VOICES), len(VOICES))
    takes = settings.training_takes if split == "train" else settings.test_takes
    return [Session(settings, parameters, speaker, take) for take in range(takes) for speaker in speakers]


def describe(settings: Settings, parameters: CochleaParameters) -> dict[str, object]:
    """Return the file's metadata: what made it, with which settings, and its form."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1) as pool:
        version = pool.apply(_engine_version)
    return {
        "format": FORMAT,
        "espeak_ng": version,
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "settings": dataclasses.asdict(settings),
        "encoder": dataclasses.asdict(parameters),
        "speakers": [f"{voice.variant} ({voice.english}, de)" for voice in VOICES],
        "class_names": list(CLASS_NAMES),
        "bins": settings.bins,
        "bin_ms": settings.bin_ms,
        "channels": parameters.channels,
    }


def assemble(settings: Settings, parameters: CochleaParameters, workers: int) -> Arrays:
    """Return the arrays of the file: packed spikes, labels and speakers of both splits, and the metadata."""
    metadata = json.dumps(describe(settings, parameters), sort_keys=True)
    arrays: Arrays = {"metadata": np.array(metadata)}
    classes = len(CLASS_NAMES)
    for split in ("train", "test"):
        sessions = _sessions(settings, parameters, split)
        spikes = np.concatenate(in_fresh_processes(perform, sessions, workers))
        arrays[f"{split}_spikes"] = np.packbits(spikes.transpose(0, 2, 1), axis=2)
        arrays[f"{split}_targets"] = np.tile(np.arange(classes, dtype=np.uint8), len(sessions))
        arrays[f"{split}_speakers"] = np.repeat(
            np.array([session.speaker for session in sessions], dtype=np.uint8), classes
        )
    return arrays


def save(path: Path, arrays: Arrays) -> None:
    """Write the file in one piece: a file of that name is replaced only when the new one is whole."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    temporary = path.with_name(path.name + ".part")
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, path)


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the set and write it."""
    parser = argparse.ArgumentParser(prog="python -m scenarios.spoken_digits.generate", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="the .npz file to write")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of every take (default: 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes at a time (default: 1)")
    options = parser.parse_args(arguments)
    arrays = assemble(Settings(seed=options.seed), CochleaParameters(), options.workers)
    save(options.out, arrays)
    recordings = arrays["train_targets"].size + arrays["test_targets"].size
    print(f"{recordings} recordings, {options.out.stat().st_size / 1e6:.2f} MB: {options.out}")


if __name__ == "__main__":
    main()
