"""The sections of a configuration that belong to no plug-in, and which of their settings contradict each other."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator

from workbench.errors import ConfigurationError, nearest
from workbench.plugin import PluginConfig


class TrainConfig(PluginConfig):
    """How long to train on each task, and in what portions."""

    epochs: int | None = Field(
        None, ge=1, description="passes over each task's training samples; null: the scenario's default"
    )
    batch_size: int | None = Field(
        None, ge=1, description="sequences per training step; null: the scenario's default"
    )
    evaluate: Literal["all", "seen", "current"] = Field(
        "all", description="tasks tested after each task; what is not tested is null in R"
    )


class StreamConfig(PluginConfig):
    """Whether tasks are trained one after the other, or their samples seen once, as they come.

    A task remains the unit of testing, and of the learning rate's schedule: learner.schedule=constant is the choice
    that does without knowing where a task ends.
    """

    mode: Literal["tasks", "online"] = Field(
        "tasks", description="tasks: train.epochs passes over each; online: one pass, each batch seen once"
    )
    boundaries: Literal["sharp", "blurred"] = Field(
        "sharp", description="whether the next task takes over at once or little by little (online)"
    )
    blur: float = Field(
        0.5, gt=0, le=1, description="width of a blurred boundary as a share of a task (online)"
    )
    batch: int = Field(1, ge=1, description="sequences of each experience (online)")


class DiagnoseConfig(PluginConfig):
    """What is looked at while a learner learns, at a cost in time."""

    gradient: int | None = Field(
        None,
        ge=1,
        description="at every n-th training step, compare the gradient with that of back-propagation through time",
    )


class TrackConfig(PluginConfig):
    """Where the numbers of a run go besides its folder."""

    mlflow: bool = Field(True, description="record the run with MLflow")
    uri: str | None = Field(
        None,
        description="tracking store; null: MLFLOW_TRACKING_URI, else sqlite:///mlflow.db",
    )
    experiment: str | None = Field(None, description="MLflow experiment; null: the scenario's name")


class CostConfig(PluginConfig):
    """What the energy of learning is reckoned with."""

    table: str = Field(
        "auto",
        description="energies of what is counted: horowitz-45nm, spikesim-rram, loihi, or the path of a YAML file of "
        "your own; auto: horowitz-45nm, or spikesim-rram where weights are in arrays of devices",
    )

    @field_validator("table")
    @classmethod
    def _readable(cls, table: str) -> str:
        from workbench.cost.prices import AUTO, load_table, table_names, table_path

        if table == AUTO:
            return table
        try:
            load_table(table)
            # A run may be resumed from another folder.
            return table if table in table_names() else str(table_path(table))
        except ConfigurationError as error:
            raise ValueError("; ".join(str(error).splitlines())) from error


class GeneralConfig(PluginConfig):
    """Settings that belong to no plug-in: the random seed and the machine."""

    seed: int = Field(0, ge=0, description="seed of every random stream; the same seed gives the same run")
    device: str = Field("auto", description="where to compute: auto, cpu, cuda, cuda:N or mps")
    threads: int | None = Field(None, ge=1, description="CPU threads; null: all cores")

    @field_validator("device")
    @classmethod
    def _known_device(cls, device: str) -> str:
        if re.fullmatch(r"auto|cpu|cuda(:\d+)?|mps", device) is None:
            guess = nearest(device, ("auto", "cpu", "cuda", "mps"))
            raise ValueError(
                "must be auto, cpu, cuda, cuda:N or mps" + (f"; did you mean {guess}?" if guess else "")
            )
        return device


def check_compatible(
    rule: PluginConfig, train: TrainConfig, diagnose: DiagnoseConfig, stream: StreamConfig
) -> None:
    """Raise ConfigurationError for settings that are valid one by one and contradict each other."""
    if diagnose.gradient is not None and getattr(rule, "update", "sequence") == "step":
        raise ConfigurationError(
            "diagnose.gradient: compares the gradient of a whole sequence, and learner.update=step changes the "
            "weights within it; use learner.update=sequence to look at the same gradient"
        )
    if stream.mode == "tasks" and stream != StreamConfig():
        unused = next(key for key, value in StreamConfig() if value != getattr(stream, key))
        raise ConfigurationError(
            f"stream.{unused}: belongs to online streams; write stream.mode=online as well"
        )
    if stream.mode == "online" and train.epochs not in (None, 1):
        raise ConfigurationError(
            f"train.epochs={train.epochs}: an online stream is seen once; leave train.epochs out, or use "
            "stream.mode=tasks"
        )
    if stream.mode == "online" and train.batch_size not in (None, stream.batch):
        raise ConfigurationError(
            f"train.batch_size={train.batch_size}: stream.batch={stream.batch} says how many sequences an online "
            "stream brings at once; leave train.batch_size out"
        )
