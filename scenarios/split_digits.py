"""Scikit-learn's 8 x 8 handwritten digits as spike sequences, cut into tasks: small and instant."""

from __future__ import annotations

import hashlib
import warnings
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from scenarios.splitting import LabelledSequences, Order, cut_by_class
from workbench.data.catalogue import AnyDataSet, DataSet
from workbench.errors import DataError
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig, Scenario
from workbench.tasks import DatasetInfo, ScenarioContext, SequencePool, TaskStream

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
else:
    np = lazy_module("numpy")

Encoding = Literal["rate", "latency"]

_BRIGHTEST = 16
_EVERY = 5


class SplitDigits(Scenario):
    """Handwritten 8 x 8 digits as spike sequences: small, instant, for tests and first steps.

    1,797 images of scikit-learn (UCI, Alpaydin and Kaynak 1998), 64 channels, one a pixel of intensity x in
    [0, 1]. encoding=rate: a spike at each step with probability x * rate, drawn once for all runs.
    encoding=latency: one spike a pixel, at step round((1 - x) * (bins - 1)), none where x = 0. Every fifth
    image of each class, in the order of the file, is test data. The encoded set is the same for every seed.
    """

    default_epochs = 5
    default_batch_size = 32

    class Config(PluginConfig):
        """Settings of `scenario=split-digits`."""

        setting: Literal["class", "task"] = Field(
            "class", description="class: one readout for all; task: only the task's own classes compete"
        )
        tasks: int | None = Field(None, ge=1, le=10, description="number of tasks; null: 5")
        class_order: Order = Field("label", description="order of classes: by label, or drawn from the seed")
        validation: float = Field(
            0.1, ge=0, le=0.5, description="part of the training images kept for validation, of each class"
        )
        encoding: Encoding = Field(
            "rate", description="how a pixel becomes spikes: by their rate, or by the latency of one"
        )
        bins: int = Field(20, ge=1, le=10_000, description="time steps")
        rate: float = Field(
            0.5, gt=0, le=1, description="probability of a spike in a step of the brightest pixel (rate)"
        )

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return scikit-learn's digits."""
        return (
            DataSet(
                "digits",
                "Optical recognition of handwritten digits: 1,797 images of 8 x 8 pixels, 10 classes",
                "CC BY 4.0, Alpaydin and Kaynak 1998 (UCI)",
                _location,
                _problems,
                "comes with scikit-learn",
            ),
        )

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks. Raises DataError if scikit-learn's file is damaged."""
        settings = self.config
        data = _encoded(settings.encoding, settings.bins, settings.rate)
        return cut_by_class(
            data, settings.setting, settings.tasks, settings.class_order, settings.validation, context.seed
        )


def encode(
    pixels: npt.NDArray[np.float64],
    encoding: Encoding,
    bins: int,
    rate: float,
    generator: np.random.Generator,
) -> npt.NDArray[np.uint8]:
    """Return spikes `[n, bins, N]` 0 or 1 for intensities `[n, N]` in [0, 1]; the formulas are in
    `SplitDigits`.
    """
    if encoding == "rate":
        draws = generator.random((len(pixels), bins, pixels.shape[1]), dtype=np.float32)
        return (draws < pixels[:, None, :] * rate).astype(np.uint8)
    steps = np.rint((1 - pixels) * (bins - 1))
    at_step = steps[:, None, :] == np.arange(bins)[None, :, None]
    spikes: npt.NDArray[np.bool_] = at_step & (pixels[:, None, :] > 0)
    return spikes.astype(np.uint8)


def _encoded(encoding: Encoding, bins: int, rate: float) -> LabelledSequences:
    from workbench.data.cache import content_key
    from workbench.randomness import RandomStreams

    pixels, targets = _images()
    spikes = encode(
        pixels / _BRIGHTEST, encoding, bins, rate, RandomStreams(0).numpy("split-digits-encoding")
    )
    # The place of an image among those of its class.
    place = np.empty(len(targets), dtype=np.int64)
    for label in range(10):
        members = np.flatnonzero(targets == label)
        place[members] = np.arange(len(members))
    test = place % _EVERY == _EVERY - 1
    source = hashlib.sha256(pixels.astype(np.uint8).tobytes() + targets.tobytes()).hexdigest()
    transform = {
        "kind": "digits",
        "encoding": encoding,
        "bins": bins,
        "rate": rate if encoding == "rate" else None,
    }
    return LabelledSequences(
        DatasetInfo("digits", synthetic=False, digest=content_key([source], transform)),
        SequencePool(spikes[~test], targets[~test]),
        SequencePool(spikes[test], targets[test]),
        tuple(str(label) for label in range(10)),
    )


def _images() -> tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Return pixels `[1797, 64]` in 0..16 and targets `[1797]`. Raises DataError if the file is damaged."""
    path = _location()
    if path.is_file():
        # Read directly: importing scikit-learn for it takes ten times as long as everything else here.
        table = _table(path)
        return table[:, :-1], table[:, -1].astype(np.int64)
    from sklearn.datasets import load_digits

    pixels, targets = load_digits(return_X_y=True)
    return np.asarray(pixels, dtype=np.float64), np.asarray(targets, dtype=np.int64)


def _table(path: Path) -> npt.NDArray[np.float64]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "no data": the shape below says so too.
            table = np.loadtxt(path, delimiter=",", ndmin=2)
    except (OSError, EOFError, ValueError, zlib.error) as error:
        raise DataError(f"{path}: damaged ({error}); install scikit-learn again") from error
    if table.shape != (1797, 65) or table.min() < 0 or table.max() > _BRIGHTEST:
        raise DataError(
            f"{path}: holds an array of shape {table.shape}, expected (1797, 65) with values 0 to 16; "
            "install scikit-learn again"
        )
    return table


def _location() -> Path:
    from importlib.util import find_spec

    spec = find_spec("sklearn")
    if spec is None or not spec.origin:
        raise DataError("scikit-learn, which brings the digits, is not installed")
    return Path(spec.origin).parent / "datasets" / "data" / "digits.csv.gz"


def _problems(path: Path) -> list[str]:
    try:
        _table(path)
    except DataError as error:
        return [str(error)]
    return []
