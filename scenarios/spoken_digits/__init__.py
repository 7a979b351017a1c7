"""The embedded spoken-digits set: synthetic speech by espeak-ng, as spikes. See PROVENANCE.md.

It stands in for the Spiking Heidelberg Digits where these cannot be had; every result on it says
so (`notice`).
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

FORMAT = 1

CLASS_NAMES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"),
)
"""Class 0 to 9: the English digits; 10 to 19: the German ones."""

NOTICE = (
    "Synthetic speech: embedded digits spoken by espeak-ng, not the Spiking Heidelberg Digits; "
    "accuracies on it say nothing about human speech and do not compare with published ones."
)


@dataclass(frozen=True)
class EmbeddedSpokenDigits:
    """Binary spikes `[n, T, C]` uint8, classes and speakers `[n]` int64; no speaker is in both splits.

    Channel 0 has the highest pitch. Any stretch of a multiple of 240 training recordings (80 test recordings)
    holds each class spoken once by every speaker of the split.
    """

    train_inputs: npt.NDArray[np.uint8]
    train_targets: npt.NDArray[np.int64]
    train_speakers: npt.NDArray[np.int64]
    test_inputs: npt.NDArray[np.uint8]
    test_targets: npt.NDArray[np.int64]
    test_speakers: npt.NDArray[np.int64]
    class_names: tuple[str, ...]
    bin_ms: float
    """Width of a time bin in milliseconds."""
    digest: str
    """SHA-256 of the file."""
    notice: str
    """Must accompany every result."""


def default_path() -> Path:
    """Return the path of the set that comes with the package."""
    return Path(__file__).with_name("spoken_digits.npz")


def load(path: Path | None = None) -> EmbeddedSpokenDigits:
    """Return the embedded set, or one that `generate` made. Raises DataError if missing or damaged."""
    path = path or default_path()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: the embedded spoken digits cannot be read ({error.strerror})") from error
    try:
        return _decode(content)
    except (ValueError, KeyError, TypeError, EOFError, OSError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(
            f"{path}: the embedded spoken digits are damaged ({error}); install the package again, "
            f"or make the file anew: python -m scenarios.spoken_digits.generate --out {path}"
        ) from error


def _decode(content: bytes) -> EmbeddedSpokenDigits:
    with np.load(io.BytesIO(content), allow_pickle=False) as archive:
        arrays = dict(archive)
    metadata = json.loads(str(arrays["metadata"]))
    if metadata["format"] != FORMAT:
        raise ValueError(f"format {metadata['format']}, this version reads {FORMAT}")
    train = _split(arrays, "train", metadata)
    test = _split(arrays, "test", metadata)
    return EmbeddedSpokenDigits(
        *train,
        *test,
        class_names=tuple(metadata["class_names"]),
        bin_ms=float(metadata["bin_ms"]),
        digest=hashlib.sha256(content).hexdigest(),
        notice=NOTICE,
    )


def _split(
    arrays: dict[str, npt.NDArray[Any]], split: str, metadata: dict[str, Any]
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Unpack one split. Bits are packed along time, channel by channel: a channel's runs compress best."""
    packed, targets, speakers = (arrays[f"{split}_{part}"] for part in ("spikes", "targets", "speakers"))
    bins, channels = metadata["bins"], metadata["channels"]
    expected = (targets.size, channels, -(-bins // 8))
    if packed.dtype != np.uint8 or packed.shape != expected or speakers.shape != targets.shape:
        raise ValueError(f"{split}_spikes has shape {packed.shape}, expected {expected}")
    if targets.size == 0 or targets.max() >= len(metadata["class_names"]):
        raise ValueError(f"{split}_targets holds a class beyond {len(metadata['class_names']) - 1}")
    inputs = np.unpackbits(packed, axis=2, count=bins).transpose(0, 2, 1)
    return np.ascontiguousarray(inputs), targets.astype(np.int64), speakers.astype(np.int64)
