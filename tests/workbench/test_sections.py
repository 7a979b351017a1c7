"""Sections of a configuration: what is filled in for an online stream, and what contradicts it."""

from __future__ import annotations

import pytest

from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError

ONLINE = ["scenario=split-digits", "learner=bptt", "stream.mode=online"]


def test_an_online_stream_is_one_pass_of_its_own_batches() -> None:
    config = resolve([*ONLINE, "stream.batch=7", "stream.boundaries=blurred", "stream.blur=0.25"])
    assert (config.train.epochs, config.train.batch_size) == (1, 7)
    assert config.stream.model_dump() == {"mode": "online", "boundaries": "blurred", "blur": 0.25, "batch": 7}
    assert ExperimentConfig.from_dict(config.to_dict()) == config
    assert resolve(ONLINE).train.batch_size == 1
    assert resolve([*ONLINE, "train.epochs=1", "stream.batch=4", "train.batch_size=4"]).train.epochs == 1


def test_tasks_keep_the_scenario_s_defaults() -> None:
    config = resolve(["scenario=split-digits"])
    assert (config.stream.mode, config.train.epochs, config.train.batch_size) == ("tasks", 5, 32)
    assert ExperimentConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["train.epochs=3"], r"train\.epochs=3: an online stream is seen once.*stream\.mode=tasks"),
        (["train.batch_size=32"], r"train\.batch_size=32: stream\.batch=1 says"),
        (["stream.blur=0"], r"stream\.blur"),
        (["stream.batch=0"], r"stream\.batch"),
        (["stream.blurr=1"], r"stream\.blurr.*blur"),
    ],
)
def test_contradictions_are_explained(given: list[str], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        resolve([*ONLINE, *given])


def test_settings_of_an_online_stream_want_one() -> None:
    with pytest.raises(
        ConfigurationError, match=r"stream\.batch: belongs to online streams.*stream\.mode=online"
    ):
        resolve(["scenario=split-digits", "stream.batch=2"])
