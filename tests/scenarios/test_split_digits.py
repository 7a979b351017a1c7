"""Scikit-learn's digits as spike sequences."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from scenarios import split_digits
from scenarios.split_digits import SplitDigits, encode
from workbench.errors import DataError
from workbench.tasks import ScenarioContext, TaskStream


def build(seed: int = 0, **settings: Any) -> TaskStream:
    """Build the scenario; it needs no cache."""
    return SplitDigits(SplitDigits.Config(**settings)).build(ScenarioContext(seed, Path("unused")))


def test_five_tasks_of_two_classes_in_twenty_steps() -> None:
    stream = build()
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert (stream.steps, stream.channels, stream.classes) == (20, 64, 10)
    assert (stream.dataset.name, stream.dataset.synthetic) == ("digits", False)
    assert len(stream.training_pool.targets) + len(stream.test_pool.targets) == 1797
    assert set(np.unique(stream.training_pool.inputs)) == {0, 1}
    counts = np.bincount(stream.test_pool.targets)
    assert counts.min() >= 34
    assert counts.max() <= 37


def test_the_encoded_set_is_the_same_for_every_seed() -> None:
    first, second = build(seed=0), build(seed=1)
    np.testing.assert_array_equal(first.training_pool.inputs, second.training_pool.inputs)
    assert first.dataset == second.dataset
    assert first.dataset.digest != build(bins=21).dataset.digest
    assert not np.array_equal(first.tasks[0].validation, second.tasks[0].validation)


def test_the_images_are_scikit_learn_s() -> None:
    from sklearn.datasets import load_digits

    pixels, targets = split_digits._images()
    wanted, classes = load_digits(return_X_y=True)
    np.testing.assert_array_equal(pixels, wanted)
    np.testing.assert_array_equal(targets, classes)


def test_rates_follow_the_pixels() -> None:
    pixels = np.array([[0.0, 0.25, 1.0]])
    spikes = encode(pixels, "rate", 20_000, 0.5, np.random.default_rng(0))
    np.testing.assert_allclose(spikes.mean(axis=1)[0], [0.0, 0.125, 0.5], atol=0.015)
    assert spikes[0, :, 0].sum() == 0
    assert encode(pixels, "rate", 50, 1.0, np.random.default_rng(0))[0, :, 2].all()


def test_latency_is_shorter_for_brighter_pixels() -> None:
    spikes = encode(np.array([[0.0, 0.25, 0.5, 1.0]]), "latency", 9, 0.5, np.random.default_rng(0))
    assert spikes.sum(axis=1).tolist() == [[0, 1, 1, 1]]
    assert spikes.argmax(axis=1)[0, 1:].tolist() == [6, 4, 0]
    assert encode(np.array([[0.3, 1.0]]), "latency", 1, 0.5, np.random.default_rng(0)).all()


@pytest.mark.parametrize(
    "content",
    [b"", b"not gzip", gzip.compress(b"1,2\n3,4\n"), gzip.compress(b"a,b\n")],
    # Compressed content tells the time, and a test must be called the same in every process.
    ids=["empty", "plain", "few columns", "no numbers"],
)
def test_a_damaged_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    path = tmp_path / "digits.csv.gz"
    path.write_bytes(content)
    monkeypatch.setattr(split_digits, "_location", lambda: path)
    with pytest.raises(DataError, match=r"digits\.csv\.gz"):
        build()


def test_the_catalogue_verifies_it(tmp_path: Path) -> None:
    (digits,) = SplitDigits.data_sets()
    assert digits.verify(tmp_path) == []
    assert digits.verify(tmp_path, tmp_path / "missing")
