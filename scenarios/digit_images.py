"""Images of digits from a local file, or the few that scikit-learn brings: for scenarios that need images alone."""

from __future__ import annotations

import gzip
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import DataError
from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy_module("numpy")

_IDX_IMAGES = 2051
"""Magic number of an IDX file of bytes in three dimensions (LeCun, Cortes and Burges, the format of MNIST)."""


def local_digits(path: Path | None) -> npt.NDArray[np.float32]:
    """Return images `[n, pixels]` in [0, 1]; without a path scikit-learn's 1,797 digits of 8 x 8 pixels.

    path: a `.npz` that holds `x_train` `[n, rows, columns]` in 0..255, or IDX images, gzipped or not.
    Raises DataError if the file is missing, damaged or of another kind.
    """
    if path is None:
        from sklearn.datasets import load_digits

        return np.asarray(load_digits().data / 16.0, dtype=np.float32)
    if not path.is_file():
        raise DataError(
            f"{path}: no such file; scenario.path names an .npz with x_train, or MNIST's IDX images"
        )
    try:
        images = _from_npz(path) if path.suffix == ".npz" else _from_idx(path)
    except (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{path}: no images of digits ({reason})") from error
    if not len(images) or images.min() < 0 or images.max() > 255:
        raise DataError(f"{path}: no images of digits (pixels must lie in 0 to 255)")
    return (images.reshape(len(images), -1) / 255.0).astype(np.float32)


def _from_npz(path: Path) -> npt.NDArray[np.uint8]:
    # The file is opened here, since NumPy leaves it open when it turns out to be damaged.
    with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
        images: npt.NDArray[np.uint8] = archive["x_train"]
    if images.ndim < 2 or images.dtype.kind not in "uif":
        raise ValueError(f"x_train has shape {images.shape} and type {images.dtype}")
    return images


def _from_idx(path: Path) -> npt.NDArray[np.uint8]:
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        content = gzip.decompress(content)
    header = np.frombuffer(content[:16], dtype=">u4")
    if len(header) < 4 or header[0] != _IDX_IMAGES:
        raise ValueError("not an IDX file of images")
    count, rows, columns = (int(number) for number in header[1:])
    if len(content) != 16 + count * rows * columns:
        raise ValueError(f"{len(content) - 16} bytes where {count} x {rows} x {columns} were announced")
    return np.frombuffer(content, dtype=np.uint8, offset=16).reshape(count, rows, columns)
