"""Speech from espeak-ng through its C API (`speak_lib.h`), one fresh engine for each process.

The engine keeps state from one utterance to the next (phases, flutter, its own random generator), so what it
says is reproducible only as a whole session: same library, same seed, same utterances in the same order from
the start of a process. `generate.py` therefore gives every session a process of its own.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from workbench.errors import DataError

_SYNCHRONOUS = 2
"""AUDIO_OUTPUT_SYNCHRONOUS: samples reach the callback before `espeak_Synth` returns."""
_DONT_EXIT = 0x8000
"""espeakINITIALIZE_DONT_EXIT: report missing data instead of ending the process."""
_UTF8 = 1
_RATE, _PITCH, _RANGE = 1, 3, 4
_BUFFER_MS = 200

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


@dataclass(frozen=True)
class Utterance:
    """What to say and how: `voice` as in "en-us+f3"; rate in words per minute; pitch and range 0 to 100."""

    text: str
    voice: str
    rate: int
    pitch: int
    pitch_range: int


def available() -> bool:
    """Return whether the wheel `espeakng-loader` (the extra `voices`) is installed."""
    try:
        import espeakng_loader  # noqa: F401
    except ImportError:
        return False
    return True


class Engine:
    """One espeak-ng engine, seeded. Open only one in the life of a process."""

    def __init__(self, seed: int) -> None:
        """Open the library of the wheel `espeakng-loader`. Raises DataError when it is missing or fails."""
        if not available():
            raise DataError(
                "espeak-ng is not installed; `pip install 'continual-workbench[voices]'` brings it"
            )
        import espeakng_loader

        self._data = Path(espeakng_loader.get_data_path())
        self._library: Any = ctypes.CDLL(espeakng_loader.get_library_path())
        if not hasattr(self._library, "espeak_ng_SetRandSeed"):
            raise DataError(
                "this espeak-ng cannot be seeded (espeak_ng_SetRandSeed); version 1.52 or newer is needed"
            )
        self._chunks: list[npt.NDArray[np.int16]] = []
        self._callback = _Callback(self._collect)
        self.sampling_rate = int(
            self._library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, str(self._data).encode(), _DONT_EXIT)
        )
        if self.sampling_rate <= 0:
            raise DataError(f"espeak-ng does not start with the voices in {self._data}")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(ctypes.c_long(seed))

    @property
    def version(self) -> str:
        """Version of the library, "1.52.0" say."""
        describe: Callable[[Any], bytes] = self._library.espeak_Info
        self._library.espeak_Info.restype = ctypes.c_char_p
        return describe(None).decode().split()[0]

    def say(self, utterance: Utterance) -> npt.NDArray[np.float64]:
        """Return the samples `[n]`, full scale 1. Raises DataError for an unknown voice."""
        self._choose(utterance.voice)
        for parameter, value in (
            (_RATE, utterance.rate),
            (_PITCH, utterance.pitch),
            (_RANGE, utterance.pitch_range),
        ):
            self._library.espeak_SetParameter(parameter, value, 0)
        self._chunks.clear()
        text = utterance.text.encode() + b"\0"
        failed = self._library.espeak_Synth(text, ctypes.c_size_t(len(text)), 0, 0, 0, _UTF8, None, None)
        if failed or not self._chunks:
            raise DataError(f"espeak-ng said nothing for {utterance}")
        return np.concatenate(self._chunks).astype(np.float64) / 32768.0

    def _choose(self, voice: str) -> None:
        # The library passes over an unknown variant in silence and speaks with the plain voice.
        _, _, variant = voice.partition("+")
        if variant and not (self._data / "voices" / "!v" / variant).is_file():
            raise DataError(f"espeak-ng has no voice variant {variant!r} (asked for in {voice!r})")
        if self._library.espeak_SetVoiceByName(voice.encode()):
            raise DataError(f"espeak-ng has no voice {voice!r}")

    def _collect(self, samples: Any, count: int, _events: int | None) -> int:
        if samples and count > 0:
            self._chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0
