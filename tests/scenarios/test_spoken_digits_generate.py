"""The generator makes the stored recordings again, bit for bit, where its espeak-ng is installed."""

from __future__ import annotations

import json
import platform
from pathlib import Path

import numpy as np
import pytest

from scenarios.spoken_digits import default_path, espeak, generate, load
from scenarios.spoken_digits.encoder import REFERENCE_PRESSURE, Cochlea, CochleaParameters

needs_espeak = pytest.mark.skipif(not espeak.available(), reason="the extra `voices` is not installed")


def _say_with_unknown_voice(session: generate.Session) -> str:
    engine = espeak.Engine(session.settings.seed)
    complaints = []
    for voice in ("en-us+nobody", "xx-nowhere"):
        try:
            engine.say(espeak.Utterance("one", voice, 120, 50, 50))
        except espeak.DataError as error:
            complaints.append(str(error))
    return "; ".join(complaints)


def _version(_: generate.Session) -> str:
    return espeak.Engine(0).version


@needs_espeak
def test_the_stored_recordings_are_made_again_bit_for_bit() -> None:
    with np.load(default_path()) as archive:
        metadata = json.loads(str(archive["metadata"]))
    settings, parameters = generate.Settings(), CochleaParameters()
    sessions = [generate.Session(settings, parameters, speaker, take) for speaker, take in ((3, 1), (13, 0))]
    here = (
        generate.in_fresh_processes(_version, sessions[:1])[0],
        f"{platform.system()} {platform.machine()}",
    )
    if here != (metadata["espeak_ng"], metadata["platform"]):
        pytest.skip(f"made with another espeak-ng ({metadata['espeak_ng']}, {metadata['platform']})")
    digits = load()
    splits = (
        (digits.train_inputs, digits.train_targets, digits.train_speakers),
        (digits.test_inputs, digits.test_targets, digits.test_speakers),
    )
    spoken = generate.in_fresh_processes(generate.speak, sessions)
    for session, (sounds, rate), (inputs, targets, speakers) in zip(sessions, spoken, splits, strict=True):
        cochlea = Cochlea(rate, settings.bins, settings.bin_ms, parameters)
        for label in (2, 17):
            stored = inputs[(targets == label) & (speakers == session.speaker)][session.take]
            np.testing.assert_array_equal(cochlea.encode(sounds[label]), stored)


@needs_espeak
def test_an_unknown_voice_is_told_where_espeak_itself_keeps_silent() -> None:
    session = generate.Session(generate.Settings(), CochleaParameters(), 0, 0)
    (complaints,) = generate.in_fresh_processes(_say_with_unknown_voice, [session])
    assert "no voice variant 'nobody'" in complaints
    assert "no voice 'xx-nowhere'" in complaints


def test_the_metadata_of_the_file_are_the_generator_s_own_settings() -> None:
    with np.load(default_path()) as archive:
        metadata = json.loads(str(archive["metadata"]))
    settings = generate.Settings()
    assert metadata["settings"]["rate"] == list(settings.rate)
    assert metadata["encoder"]["efficacy"] == CochleaParameters().efficacy
    assert [name.split()[0] for name in metadata["speakers"]] == [voice.variant for voice in generate.VOICES]


def test_a_recording_has_its_level_its_length_and_follows_its_generator() -> None:
    settings = generate.Settings()
    speech = np.sin(np.arange(8000) * 0.2)
    first = generate.record(speech, 22_050, settings, np.random.default_rng(1))
    assert first.shape == (22_050,)
    np.testing.assert_array_equal(first, generate.record(speech, 22_050, settings, np.random.default_rng(1)))
    assert np.any(first != generate.record(speech, 22_050, settings, np.random.default_rng(2)))
    word = first[2500:7500]
    level = 20.0 * np.log10(np.sqrt(np.mean(word**2)) / REFERENCE_PRESSURE)
    assert settings.loudness[0] - 1.0 < level < settings.loudness[1] + 1.0


def test_a_word_too_long_is_cut_at_the_end_of_the_recording() -> None:
    sound = generate.record(np.ones(60_000), 22_050, generate.Settings(), np.random.default_rng(0))
    assert sound.shape == (22_050,)


def test_pink_noise_falls_by_three_decibels_an_octave() -> None:
    noise = generate.pink_noise(2**16, np.random.default_rng(0))
    assert np.sqrt(np.mean(noise**2)) == pytest.approx(1.0)
    power = np.abs(np.fft.rfft(noise)) ** 2
    low, high = power[500:1000].mean(), power[5000:10_000].mean()
    assert low / high == pytest.approx(10.0, rel=0.2)


def test_saving_replaces_the_file_whole(tmp_path: Path) -> None:
    path = tmp_path / "set.npz"
    path.write_text("old")
    generate.save(path, {"a": np.arange(3)})
    with np.load(path) as archive:
        np.testing.assert_array_equal(archive["a"], [0, 1, 2])
    assert [entry.name for entry in tmp_path.iterdir()] == ["set.npz"]
