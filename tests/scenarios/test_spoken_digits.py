"""The embedded spoken digits load whole and balanced, and a damaged file is told."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scenarios.spoken_digits import CLASS_NAMES, EmbeddedSpokenDigits, default_path, load
from workbench.errors import DataError


@pytest.fixture(scope="module")
def digits() -> EmbeddedSpokenDigits:
    return load()


def test_the_set_is_what_it_claims(digits: EmbeddedSpokenDigits) -> None:
    for inputs, targets, speakers in (
        (digits.train_inputs, digits.train_targets, digits.train_speakers),
        (digits.test_inputs, digits.test_targets, digits.test_speakers),
    ):
        assert inputs.shape == (targets.size, 200, 140)
        assert inputs.dtype == np.uint8
        assert inputs.max() == 1
        assert inputs.flags.c_contiguous
        assert targets.dtype == speakers.dtype == np.int64
        assert targets.shape == speakers.shape
    assert digits.train_targets.size + digits.test_targets.size >= 1500
    assert digits.bin_ms == 5.0
    assert digits.class_names == CLASS_NAMES
    assert len(set(CLASS_NAMES)) == 20
    assert default_path().stat().st_size <= 5_000_000
    assert digits.digest == hashlib.sha256(default_path().read_bytes()).hexdigest()
    assert "ynthetic" in digits.notice
    assert "not the Spiking Heidelberg Digits" in digits.notice


def test_test_speakers_are_not_in_training(digits: EmbeddedSpokenDigits) -> None:
    training, testing = set(digits.train_speakers.tolist()), set(digits.test_speakers.tolist())
    assert len(training) >= 12
    assert len(testing) >= 3
    assert not training & testing


def test_every_speaker_says_every_class_equally_often(digits: EmbeddedSpokenDigits) -> None:
    for targets, speakers in (
        (digits.train_targets, digits.train_speakers),
        (digits.test_targets, digits.test_speakers),
    ):
        pairs = np.stack([targets, speakers], axis=1)
        _, counts = np.unique(pairs, axis=0, return_counts=True)
        assert counts.size == 20 * np.unique(speakers).size
        assert np.unique(counts).size == 1


@pytest.mark.parametrize("start", [0, 7, 240, 1111])
def test_a_stretch_of_240_holds_every_speaker_and_class_once(
    digits: EmbeddedSpokenDigits, start: int
) -> None:
    chosen = slice(start, start + 240)
    pairs = set(
        zip(digits.train_targets[chosen].tolist(), digits.train_speakers[chosen].tolist(), strict=True)
    )
    assert len(pairs) == 240


def test_spikes_are_as_dense_as_speech(digits: EmbeddedSpokenDigits) -> None:
    for inputs in (digits.train_inputs, digits.test_inputs):
        spikes = inputs.sum(axis=(1, 2), dtype=np.int64)
        assert spikes.min() > 100
        assert 1000 < spikes.mean() < 4000
        assert np.unique(np.packbits(inputs.reshape(len(inputs), -1), axis=1), axis=0).shape[0] == len(inputs)


def test_the_file_tells_how_it_was_made() -> None:
    with np.load(default_path()) as archive:
        metadata = json.loads(str(archive["metadata"]))
    assert metadata["espeak_ng"]
    assert metadata["settings"]["seed"] == 0
    assert len(metadata["speakers"]) == 16
    assert metadata["encoder"]["channels"] == 140


def test_the_loader_imports_nothing_heavy() -> None:
    program = (
        "import sys, scenarios.spoken_digits;"
        "print([m for m in ('torch', 'avalanche', 'scipy', 'sklearn', 'espeakng_loader') if m in sys.modules])"
    )
    answer = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def _damaged(how: str, content: bytes) -> bytes:
    if how == "truncated":
        return content[: len(content) // 2]
    if how == "one byte changed":
        middle = len(content) // 2
        return content[:middle] + bytes([content[middle] ^ 0xFF]) + content[middle + 1 :]
    return {"empty": b"", "not an archive": b"version https://git-lfs.github.com/spec/v1\n"}[how]


@pytest.mark.parametrize("how", ["truncated", "one byte changed", "empty", "not an archive"])
def test_a_damaged_file_is_told(tmp_path: Path, how: str) -> None:
    path = tmp_path / "broken.npz"
    path.write_bytes(_damaged(how, default_path().read_bytes()))
    with pytest.raises(DataError, match=r"broken\.npz.*damaged"):
        load(path)


@pytest.mark.parametrize(
    ("part", "value", "complaint"),
    [
        ("train_spikes", np.zeros((3, 140, 25), dtype=np.uint8), "train_spikes has shape"),
        ("test_targets", np.full(480, 20, dtype=np.uint8), "class beyond 19"),
        ("metadata", np.array('{"format": 99}'), "format 99"),
        ("metadata", np.array("{"), "damaged"),
        ("metadata", np.array("[]"), "damaged"),
    ],
)
def test_a_file_of_another_form_is_told(tmp_path: Path, part: str, value: np.ndarray, complaint: str) -> None:
    with np.load(default_path()) as archive:
        arrays = dict(archive)
    arrays[part] = value
    path = tmp_path / "other.npz"
    np.savez(path, **arrays)
    with pytest.raises(DataError, match=complaint):
        load(path)


def test_a_missing_part_or_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    with np.load(default_path()) as archive:
        np.savez(path, **{name: archive[name] for name in archive if name != "test_speakers"})
    with pytest.raises(DataError, match="test_speakers"):
        load(path)
    with pytest.raises(DataError, match="cannot be read"):
        load(tmp_path / "nowhere.npz")
