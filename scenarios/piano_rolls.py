"""Reading piano rolls, steps by 88 keys, from the files in which the JSB chorales are passed around.

.npz: `train`, `valid`, `test` hold the steps of all sequences in a row, 88 keys packed in 11 bytes
    (`numpy.packbits`); `train_off`, ... where each sequence starts, and the end.
.pickle, .pkl, .json: a dictionary of the three splits; a split is a list of sequences, a sequence a list of steps, a
    step a list of MIDI notes (Boulanger-Lewandowski et al. 2012); -1 or NaN is a silent voice.
.mat: cell arrays `traindata`, `validdata`, `testdata` of matrices `[steps, 88]`.

A pickle is read without running anything in it: what is no list, tuple, dictionary, number or text is refused.
"""

from __future__ import annotations

import json
import pickle
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from workbench.errors import DataError
from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Roll = npt.NDArray[np.uint8]
else:
    np = lazy_module("numpy")

Resolution = Literal["quarter", "8th", "16th"]

KEYS, LOWEST = 88, 21
"""Keys of a piano, and the MIDI note of the lowest."""
SPLITS = ("train", "valid", "test")
SUFFIXES = (".npz", ".json", ".pickle", ".pkl", ".mat")

_PACKED = 11
_OFFICIAL = (229, 76, 77)
_OFFICIAL_STEPS = {"quarter": 13_807, "8th": 27_614, "16th": 55_228}
"""Training steps of the official split, by resolution."""


@dataclass(frozen=True)
class PianoRolls:
    """Sequences `[steps, 88]` uint8, 0 or 1, of three splits."""

    train: list[Roll]
    valid: list[Roll]
    test: list[Roll]

    @property
    def official(self) -> bool:
        """Whether the sizes are those of Boulanger-Lewandowski's split: 229, 76 and 77 chorales."""
        return (len(self.train), len(self.valid), len(self.test)) == _OFFICIAL

    def resolution(self) -> str | None:
        """Return the note value of a step, told by the official split's length; None of any other split."""
        steps = sum(len(roll) for roll in self.train)
        near = [name for name, count in _OFFICIAL_STEPS.items() if abs(steps / count - 1) < 0.1]
        return near[0] if self.official and near else None


def find_file(path: Path, resolution: Resolution) -> Path:
    """Return the file of that resolution in a folder, or the file itself. Raises DataError if there is none."""
    if path.is_file():
        return path
    if not path.is_dir():
        raise DataError(f"{path}: there is no such file or folder")
    names = [f"jsb_{resolution}.npz", f"jsb-chorales-{resolution}.json", f"jsb-chorales-{resolution}.pkl"]
    if resolution == "quarter":
        names += ["JSB Chorales.pickle", "JSB_Chorales.pickle", "JSB_Chorales.mat"]
    for name in names:
        if (path / name).is_file():
            return path / name
    raise DataError(f"{path}: holds none of {', '.join(names)}; name the file itself")


def read_rolls(path: Path) -> PianoRolls:
    """Return the sequences of a file. Raises DataError if it is missing, damaged, or of another form."""
    readers = {".npz": _from_npz, ".json": _from_json, ".mat": _from_mat}
    readers |= dict.fromkeys((".pickle", ".pkl"), _from_pickle)
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(f"{path}: unknown form {path.suffix!r}; read are {', '.join(SUFFIXES)}")
    try:
        rolls = reader(path)
    except (OSError, EOFError, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise DataError(f"{path}: {_said(error)}") from error
    except (pickle.UnpicklingError, zipfile.BadZipFile, RecursionError, NotImplementedError) as error:
        raise DataError(f"{path}: {_said(error)}") from error
    for split in SPLITS:
        sequences = getattr(rolls, split)
        if not sequences:
            raise DataError(f"{path}: the split {split!r} is empty")
        if min(len(roll) for roll in sequences) < 2:
            raise DataError(f"{path}: {split} holds a sequence of fewer than 2 steps; nothing to predict")
    return rolls


def roll_of(steps: Sequence[Sequence[float]]) -> Roll:
    """Return `[steps, 88]` for steps given as MIDI notes, -1 or NaN being a silent voice.

    Raises ValueError on a note that no piano has.

    >>> np.argwhere(roll_of([[21, 108], [], [60, -1]])).tolist()
    [[0, 0], [0, 87], [2, 39]]
    """
    roll = np.zeros((len(steps), KEYS), dtype=np.uint8)
    for place, notes in enumerate(steps):
        for note in notes:
            if note == -1 or note != note:
                continue
            key = int(note) - LOWEST
            if key + LOWEST != note or not 0 <= key < KEYS:
                raise ValueError(
                    f"step {place} holds {note!r}, no MIDI note from {LOWEST} to {LOWEST + KEYS - 1}"
                )
            roll[place, key] = 1
    return roll


def _said(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"lacks {error.args[0]!r}"
    return str(error).splitlines()[0] if str(error) else "damaged"


def _from_npz(path: Path) -> PianoRolls:
    # Opened here: NumPy leaves a damaged file open.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
        return PianoRolls(*(_unpacked(stored[name], stored[f"{name}_off"], name) for name in SPLITS))


def _unpacked(rows: npt.NDArray[Any], starts: npt.NDArray[Any], name: str) -> list[Roll]:
    if rows.dtype != np.uint8 or rows.ndim != 2 or rows.shape[1] != _PACKED:
        raise ValueError(f"{name} is {rows.dtype} {rows.shape}, expected uint8 (steps, {_PACKED})")
    ascending = (
        starts.ndim == 1 and len(starts) > 0 and starts.dtype.kind in "iu" and (np.diff(starts) > 0).all()
    )
    if not ascending or (starts[0], starts[-1]) != (0, len(rows)):
        raise ValueError(f"{name}_off must ascend from 0 to {len(rows)}, the number of rows")
    keys = np.unpackbits(rows, axis=1)[:, :KEYS]
    return [keys[first:last] for first, last in pairwise(starts.tolist())]


def _from_json(path: Path) -> PianoRolls:
    return _from_notes(json.loads(path.read_text(encoding="utf-8")))


def _from_pickle(path: Path) -> PianoRolls:
    with path.open("rb") as file:
        return _from_notes(_PlainUnpickler(file, encoding="latin1").load())


class _PlainUnpickler(pickle.Unpickler):
    """Reads containers, numbers and texts; every other class, and with it all code, is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(
            f"the pickle asks for {module}.{name}; for safety only lists, tuples and numbers are read. "
            "Convert the file to .json or .npz"
        )

    def persistent_load(self, pid: Any) -> Any:
        raise pickle.UnpicklingError("the pickle refers to things outside of it")


def _from_notes(content: Any) -> PianoRolls:
    if not isinstance(content, Mapping):
        raise TypeError(f"holds a {type(content).__name__}, expected the splits {', '.join(SPLITS)}")
    return PianoRolls(*([roll_of(sequence) for sequence in content[name]] for name in SPLITS))


def _from_mat(path: Path) -> PianoRolls:
    from scipy.io import loadmat

    stored = loadmat(path)
    return PianoRolls(*([_matrix(cell, name) for cell in stored[f"{name}data"].ravel()] for name in SPLITS))


def _matrix(cell: npt.NDArray[Any], name: str) -> Roll:
    if cell.ndim != 2 or cell.shape[1] != KEYS or not np.isin(cell, (0, 1)).all():
        raise ValueError(f"{name}data holds a matrix {cell.shape}, expected (steps, {KEYS}) of 0 and 1")
    return cell.astype(np.uint8)
