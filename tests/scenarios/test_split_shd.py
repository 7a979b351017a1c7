"""The scenario on files, on a download that works or does not, and on the embedded set."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixtures.faulty_server import FaultyServer, faulty_server
from fixtures.spike_files import write_pair
from pydantic import ValidationError

from scenarios import split_shd
from scenarios.split_shd import SplitSHD
from scenarios.spoken_digits import EmbeddedSpokenDigits, default_path
from workbench.data.download import OFFLINE, RemoteFile
from workbench.errors import DataError
from workbench.tasks import ScenarioContext, TaskStream

ROOT = Path(__file__).parents[2]
NOTICE = "Synthetic, for tests."


def real_files() -> Path:
    """Return the folder of real recordings: beside the repository, or where WORKBENCH_TEST_DATA says."""
    data = Path(os.environ.get("WORKBENCH_TEST_DATA", ROOT.parent / "shared" / "data"))
    return data / "spoken-digits"


def build(cache: Path, seed: int = 0, **settings: Any) -> TaskStream:
    """Build the scenario with 20 bins of 50 ms."""
    config = SplitSHD.Config(**{"bins": 20, "bin_ms": 50.0} | settings)
    return SplitSHD(config).build(ScenarioContext(seed, cache, progress=False))


@pytest.fixture
def embedded(monkeypatch: pytest.MonkeyPatch) -> EmbeddedSpokenDigits:
    """Put a small set in place of the embedded one: 2 speakers train, 1 other tests."""
    generator = np.random.default_rng(0)
    parts: list[Any] = []
    for count, voices in ((40, (0, 1)), (10, (2,))):
        parts += [
            generator.integers(0, 2, (count, 30, 12), dtype=np.uint8),
            np.arange(count, dtype=np.int64) % 5,
            np.resize(np.repeat(voices, 5), count).astype(np.int64),
        ]
    digits = EmbeddedSpokenDigits(*parts, class_names=tuple("abcde"), bin_ms=10.0, digest="d", notice=NOTICE)
    monkeypatch.setattr("scenarios.spoken_digits.load", lambda: digits)
    return digits


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyServer]:
    """Serve small files as SHD's; any other address would be an error."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", OFFLINE):
        monkeypatch.delenv(name, raising=False)
    folder = write_pair(tmp_path / "served", ".h5.zip")
    with faulty_server() as running:
        running.content = {path.name: path.read_bytes() for path in folder.iterdir()}
        files = [RemoteFile(name, hashlib.md5(data).hexdigest()) for name, data in running.content.items()]
        monkeypatch.setattr(split_shd, "SHD_FILES", tuple(files))
        yield running


@pytest.mark.parametrize("ending", [".h5", ".h5.gz", ".h5.zip"])
@pytest.mark.parametrize("setting", ["class", "task", "domain"])
def test_files_become_tasks(tmp_path: Path, ending: str, setting: str) -> None:
    folder = write_pair(tmp_path / "my-digits", ending)
    stream = build(tmp_path / "cache", path=folder, setting=setting, pool=5, clip=1)
    assert stream.setting == setting
    assert len(stream.tasks) == (3 if setting == "domain" else 4)
    assert stream.training_pool.inputs.shape == (48, 20, 20)
    assert stream.training_pool.inputs.dtype == np.uint8
    assert stream.training_pool.inputs.max() == 1
    assert (stream.dataset.name, stream.dataset.synthetic, stream.dataset.notice) == ("my-digits", False, "")
    assert stream.class_names == ("zero", "one", "two", "three")


def test_the_digest_follows_data_and_transform_and_not_the_seed(tmp_path: Path) -> None:
    folder, cache = write_pair(tmp_path / "data"), tmp_path / "cache"
    first = build(cache, path=folder).dataset.digest
    assert build(cache, path=folder, seed=1, setting="task", tasks=2).dataset.digest == first
    assert build(cache, path=folder, bins=21).dataset.digest != first
    assert build(tmp_path / "other", path=folder).dataset.digest == first


def test_a_missing_folder_is_an_error_and_never_replaced_by_other_data(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        build(tmp_path, path=tmp_path / "nowhere")


def test_auto_downloads_once(server: FaultyServer, tmp_path: Path) -> None:
    for source in ("auto", "auto", "shd"):
        stream = build(tmp_path / "cache", source=source, url=server.url)
        assert (stream.dataset.name, stream.dataset.synthetic) == ("shd", False)
        assert len(stream.training_pool.targets) == 48
    assert len(server.requests) == 2


def test_auto_falls_back_on_the_embedded_set_and_says_why(
    server: FaultyServer, embedded: EmbeddedSpokenDigits, tmp_path: Path
) -> None:
    server.content = dict.fromkeys(server.content, b"wrong")
    stream = build(tmp_path / "cache", url=server.url)
    assert stream.dataset.synthetic
    assert stream.dataset.name == "embedded-spoken-digits"
    assert stream.dataset.notice.startswith(NOTICE)
    assert "could not be fetched" in stream.dataset.notice
    assert "wrong bytes" in stream.dataset.notice


def test_shd_insists_and_explains_how_to_get_the_files(
    server: FaultyServer, embedded: EmbeddedSpokenDigits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(OFFLINE, "1")
    with pytest.raises(
        DataError, match=r"WORKBENCH_OFFLINE is set.*shd_test.*scenario\.path=DIR.*source=embedded"
    ):
        build(tmp_path / "cache", source="shd", url=server.url)
    assert server.requests == []


def test_embedded_asks_no_network(
    server: FaultyServer, embedded: EmbeddedSpokenDigits, tmp_path: Path
) -> None:
    stream = build(tmp_path, source="embedded", bins=10, bin_ms=20.0, pool=3, clip=4, url=server.url)
    assert (stream.dataset.synthetic, stream.dataset.notice) == (True, NOTICE)
    blocks = embedded.train_inputs[:, :20].reshape(40, 10, 2, 4, 3).sum(axis=(2, 4))
    np.testing.assert_array_equal(stream.training_pool.inputs, np.minimum(blocks, 4))
    assert server.requests == []
    digests = {build(tmp_path, source="embedded", bins=bins).dataset.digest for bins in (5, 6)}
    assert len(digests) == 2


def test_embedded_speakers_get_a_test_of_their_own(embedded: EmbeddedSpokenDigits, tmp_path: Path) -> None:
    stream = build(tmp_path, source="embedded", setting="domain", validation=0.0)
    assert [task.name for task in stream.tasks] == ["speaker 0", "speaker 1"]
    assert [len(task.test) for task in stream.tasks] == [5, 5]
    assert [len(task.train) for task in stream.tasks] == [15, 15]


@pytest.mark.parametrize(
    "settings",
    [
        {"path": "x", "source": "embedded"},
        {"bin_ms": 0.0},
        {"bins": 0},
        {"clip": 0},
        {"clip": 256},
        {"pool": 0},
        {"tasks": 0},
        {"validation": 1.0},
        {"setting": "speaker"},
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SplitSHD.Config(**settings)


def test_every_setting_has_a_description() -> None:
    assert all(field.description for field in SplitSHD.Config.model_fields.values())


def test_importing_the_scenario_imports_nothing_heavy() -> None:
    heavy = ["torch", "numpy", "h5py", "pooch", "requests", "sklearn", "avalanche"]
    code = f"import scenarios.split_shd, scenarios.split_digits, sys; print(sys.modules.keys() & {heavy})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.skipif(not default_path().exists(), reason="the embedded set has not been made")
def test_the_embedded_set_as_it_ships(tmp_path: Path) -> None:
    stream = build(tmp_path, source="embedded", bins=100, bin_ms=10.0, tasks=5)
    assert stream.classes == 20
    assert stream.channels <= 70
    assert stream.dataset.synthetic
    assert "ynthetic" in stream.dataset.notice
    assert all(len(task.classes) == 4 for task in stream.tasks)
    domain = build(tmp_path, source="embedded", bins=100, bin_ms=10.0, setting="domain")
    assert all(len(task.test) for task in domain.tasks)


@pytest.mark.skipif(not real_files().is_dir(), reason="no real recordings beside the repository")
def test_real_recordings(tmp_path: Path) -> None:
    settings = {"path": real_files(), "bins": 100, "bin_ms": 10.0}
    stream = build(tmp_path, **settings)
    assert stream.training_pool.inputs.shape == (1800, 100, 70)
    assert stream.test_pool.inputs.shape == (200, 100, 70)
    assert stream.class_names[0] == "zero"
    assert [task.classes for task in stream.tasks] == [(0, 1), (2, 3), (4, 5), (6, 7), (8, 9)]
    assert 0.1 < (stream.training_pool.inputs > 0).mean() < 0.2
    domain = build(tmp_path, setting="domain", **settings)
    assert [task.name for task in domain.tasks] == ["speaker 0", "speaker 1", "speaker 3", "speaker 4"]
    assert [len(task.test) for task in domain.tasks] == [50] * 4
