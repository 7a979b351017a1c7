"""Spoken digits as spike trains, cut into tasks: the Spiking Heidelberg Digits, or files like them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from pydantic import Field, model_validator

from scenarios.splitting import LabelledSequences, Order, cut_by_class, cut_by_speaker
from workbench.data.catalogue import AnyDataSet, DataSet, RemoteDataSet
from workbench.data.download import Patience, RemoteFile
from workbench.errors import DataError
from workbench.plugin import PluginConfig, Scenario
from workbench.tasks import DatasetInfo, Jitter, ScenarioContext, SequencePool, Setting, TaskStream

if TYPE_CHECKING:
    from workbench.data.binning import Binning

SHD_URL = "https://zenkelab.org/datasets/"
SHD_FILES = (
    RemoteFile("shd_train.h5.zip", "f3252aeb598ac776c1b526422d90eecb"),
    RemoteFile("shd_test.h5.zip", "1503a5064faa34311c398fb0a1ed0a6f"),
)
# `source=auto` must not keep a first run waiting for a host that does not answer.
_IMPATIENT = Patience(reach=5.0, stall=15.0, attempts=3, pause=1.0)


class RecordingsConfig(PluginConfig):
    """Which recordings of spoken digits, and how their spikes become counts."""

    path: Path | None = Field(None, description="folder with shd_train.* and shd_test.* (.h5, .h5.gz, .zip)")
    source: Literal["auto", "shd", "embedded"] = Field(
        "auto",
        description="auto: path, else the download, else the embedded synthetic set; "
        "shd: never the embedded set; embedded: only that",
    )
    url: str = Field(SHD_URL, min_length=1, description="address of the folder that serves SHD's zip files")
    bins: int = Field(100, ge=1, le=100_000, description="time steps; later events are dropped")
    bin_ms: float = Field(10.0, gt=0, le=10_000, description="width of a time step in milliseconds")
    pool: int | None = Field(
        None,
        ge=1,
        le=100_000,
        description="neighbouring channels summed into one; null: to leave at most 70",
    )
    clip: int = Field(15, ge=1, le=255, description="largest count in a bin; 1 makes inputs binary")
    jitter_channels: int = Field(
        2, ge=0, description="each training recording is shifted by up to so many (pooled) channels"
    )
    jitter_steps: int = Field(
        5, ge=0, description="each training recording is shifted by up to so many time steps"
    )

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if self.path is not None and self.source == "embedded":
            raise ValueError("path and source=embedded exclude each other; leave one out")
        return self


class SplitSHD(Scenario):
    """Spoken digits as spike trains (SHD), learned class by class or speaker by speaker.

    Data: `path` names a folder with SHD's HDF5 files or files like them (`shd_train.*`, `shd_test.*`;
    `.h5`, `.h5.gz` or `.zip`). Without it the Spiking Heidelberg Digits are taken from the cache or
    downloaded (170 MB, CC BY 4.0, Cramer et al. 2020); and where that fails, `source=auto` runs on an
    embedded set of synthetic speech and says so. Counts are binned once, cached and memory-mapped; the
    number of classes and channels comes from the file.

    setting=class: tasks of disjoint classes, one readout. setting=task: the same, and only the task's own
    classes compete. setting=domain: tasks of disjoint speakers, tested on the same speakers; a speaker
    without test recordings gives up a fifth of the training recordings for that, and speakers only found in
    the test file take no part. tasks=1 is joint training.
    """

    default_epochs = 30
    default_batch_size = 32

    class Config(RecordingsConfig):
        """Settings of `scenario=split-shd`."""

        setting: Setting = Field(
            "class", description="what tells tasks apart: class, task (known) or domain (speaker)"
        )
        tasks: int | None = Field(
            None, ge=1, description="number of tasks; null: 5, or as many as there are classes or speakers"
        )
        class_order: Order = Field(
            "label",
            description="order of classes (domain setting: of speakers): by label, or drawn from the seed",
        )
        validation: float = Field(
            0.1,
            ge=0,
            le=0.5,
            description="part of the training recordings kept for validation, of each class",
        )

    @classmethod
    def data_sets(cls) -> tuple[AnyDataSet, ...]:
        """Return SHD and the embedded set."""
        return (spiking_heidelberg_digits(), embedded_spoken_digits())

    def build(self, context: ScenarioContext) -> TaskStream:
        """Return the tasks.

        Raises DataError when the data is missing or damaged, ConfigurationError when it cannot be cut as
        asked.
        """
        settings = self.config
        data = load_recordings(settings, context)
        if settings.setting == "domain":
            stream = cut_by_speaker(
                data, settings.tasks, settings.class_order, settings.validation, context.seed
            )
        else:
            stream = cut_by_class(
                data,
                settings.setting,
                settings.tasks,
                settings.class_order,
                settings.validation,
                context.seed,
            )
        return replace(stream, jitter=Jitter(settings.jitter_channels, settings.jitter_steps))


def load_recordings(settings: RecordingsConfig, context: ScenarioContext) -> LabelledSequences:
    """Return the recordings, binned. Raises DataError when they are missing or damaged."""
    from workbench.data.binning import Binning

    binning = Binning(settings.bins, settings.bin_ms, settings.pool, settings.clip)
    if settings.path is not None:
        folder = settings.path.expanduser()
        return _from_folder(folder, folder.resolve().name, binning, context.cache)
    if settings.source == "embedded":
        return _from_embedded(binning, "")
    digits = spiking_heidelberg_digits(settings.url)
    try:
        if not digits.is_fetched(context.cache):
            digits.fetch(context.cache, context.progress, _IMPATIENT if settings.source == "auto" else None)
    except DataError as error:
        if settings.source == "auto":
            return _from_embedded(binning, f" The Spiking Heidelberg Digits could not be fetched: {error}.")
        raise DataError(
            f"source=shd, but the Spiking Heidelberg Digits are not here: {error}. "
            f"Fetch {' and '.join(file.name for file in SHD_FILES)} from {settings.url} by other means "
            "and give their folder as scenario.path=DIR, or use source=embedded"
        ) from error
    return _from_folder(digits.folder(context.cache), "shd", binning, context.cache)


def spiking_heidelberg_digits(url: str = SHD_URL) -> RemoteDataSet:
    """Return the Spiking Heidelberg Digits as served at `url`."""

    def problems(folder: Path) -> list[str]:
        from workbench.data.binned import check_folder

        return check_folder(folder)

    return RemoteDataSet(
        "shd",
        "Spiking Heidelberg Digits: 10,420 recordings of 20 spoken digits, 12 speakers, 700 channels",
        "CC BY 4.0, Cramer et al. 2020",
        url,
        SHD_FILES,
        problems,
    )


def embedded_spoken_digits() -> DataSet:
    """Return the catalogue's entry of the embedded synthetic set."""

    def location() -> Path:
        from scenarios.spoken_digits import default_path

        return default_path()

    def problems(path: Path) -> list[str]:
        from scenarios.spoken_digits import load

        try:
            load(path)
        except DataError as error:
            return [str(error)]
        return []

    return DataSet(
        "spoken-digits",
        "Embedded spoken digits: SYNTHETIC speech by espeak-ng, 20 classes; stands in where SHD is not",
        "see PROVENANCE.md beside the file",
        location,
        problems,
    )


def _from_folder(folder: Path, name: str, binning: Binning, cache: Path) -> LabelledSequences:
    from workbench.data.binned import load_binned
    from workbench.data.events import find_split_files

    splits = load_binned(find_split_files(folder), binning, cache)
    return LabelledSequences(
        DatasetInfo(name, synthetic=False, digest=splits.digest),
        splits.training,
        splits.test,
        splits.class_names,
        splits.training_speakers,
        splits.test_speakers,
    )


def _from_embedded(binning: Binning, reason: str) -> LabelledSequences:
    from scenarios.spoken_digits import load
    from workbench.data.binning import rebin
    from workbench.data.cache import content_key

    digits = load()
    digest = content_key([digits.digest], {"kind": "embedded-spoken-digits", **binning.as_dict()})
    return LabelledSequences(
        DatasetInfo("embedded-spoken-digits", synthetic=True, digest=digest, notice=digits.notice + reason),
        SequencePool(rebin(digits.train_inputs, digits.bin_ms, binning), digits.train_targets),
        SequencePool(rebin(digits.test_inputs, digits.bin_ms, binning), digits.test_targets),
        digits.class_names,
        digits.train_speakers,
        digits.test_speakers,
    )
