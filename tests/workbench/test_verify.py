"""A finished run is run again and compared; the command says what is equal, what is not, and why perhaps."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from workbench import cli
from workbench.checkpoint import Checkpoint
from workbench.config import resolve
from workbench.errors import ConfigurationError, DataError
from workbench.events import Observer
from workbench.experiment import run_experiment
from workbench.verify import circumstances, load_saved, verify

SMALL = (
    "scenario=split-digits",
    "scenario.tasks=2",
    "scenario.bins=6",
    "learner=osttp+replay",
    "backbone.hidden=[8]",
    "train.epochs=1",
    "track.mlflow=false",
    "device=cpu",
)
Edit = Callable[[dict[str, Any]], None]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a finished run."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    run_experiment(resolve(SMALL), folder)
    return folder


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """Return a copy of it, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit(file: Path, change: Edit) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def contents(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def test_a_run_is_equal_to_itself_and_is_left_alone(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert cli.main(["verify", str(run), "--keep", str(tmp_path / "again")]) == 0
    shown = capsys.readouterr()
    assert shown.err == ""
    assert "equal: the rerun gives the same, bit for bit" in shown.out
    assert "task 2/2 learned again: accuracies as saved" in shown.out
    table = [line.split() for line in shown.out.splitlines()]
    told = {line[0]: line[1] for line in table if len(line) > 2 and line[1] == "equal"}
    assert told.keys() >= {"data", "R", "measures", "memory", "metrics", "weights", "optimiser"}
    assert contents(run) == before
    assert (tmp_path / "again" / "results.json").is_file()


def test_the_rerun_is_removed_and_a_difference_is_told_with_its_likely_reason(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    found = json.loads((run / "results.json").read_text())["R"][1][0]
    edit(run / "results.json", lambda content: content["R"][1].__setitem__(0, found + 1e-9))
    edit(run / "environment.json", lambda content: content.update(code={"commit": "c0ffee", "dirty": True}))
    saved = Checkpoint.load(run / "checkpoint.pt")
    [name, weight] = next(iter(saved.network.items()))
    weight.view(-1)[1] += 1
    saved.save(run / "checkpoint.pt")
    assert cli.main(["verify", str(run)]) == 1
    out = capsys.readouterr().out
    assert f"R[1][0]: saved {found + 1e-9!r}, rerun {found!r}" in out
    assert f"{name}[" in out
    assert "DIFFERENT: R, weights" in out
    assert "code: commit was c0ffee, here" in out
    assert "the saved run's checkout held changes that no commit has" in out
    assert "task 2/2 learned again: accuracies DIFFERENT" in out
    assert list((tmp_path / "temporary").iterdir()) == []


def test_without_a_checkpoint_the_rest_is_compared_as_json_says(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoint.pt").unlink()
    assert cli.main(["verify", str(run), "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["equal"]
    omitted = [one["name"] for one in verdict["comparisons"] if one["omitted"]]
    assert omitted == ["weights"]


def test_nothing_is_trained_on_other_data(run: Path, tmp_path: Path) -> None:
    edit(run / "results.json", lambda content: content["dataset"].update(digest="other"))

    class Watch(Observer):
        def task_started(self, task: int) -> None:
            raise AssertionError("training has begun")

    verdict = verify(load_saved(run), tmp_path / "again", (Watch(),))
    assert not verdict.equal
    told = {one.name: one for one in verdict.comparisons}
    assert "dataset.digest: saved other" in str(told["data"].difference)
    assert told["what is learned"].omitted == "the data is another one"


def test_threads_device_and_working_folder_are_those_of_the_saved_run(run: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "digits.npz").touch()
    edit(
        run / "environment.json",
        lambda content: content.update(threads=3, device="cpu", folder=str(tmp_path / "elsewhere")),
    )
    stored = yaml.safe_load((run / "config.yaml").read_text())
    assert (stored["threads"], stored["device"]) == (None, "cpu")
    stored["scenario"] = {"name": "permuted-mnist", "path": "digits.npz"}
    stored["track"]["mlflow"] = True
    (run / "config.yaml").write_text(yaml.safe_dump(stored))
    config = load_saved(run).config
    assert (config.threads, config.device, config.track.mlflow) == (3, "cpu", False)
    assert config.scenario.config.path == tmp_path / "elsewhere" / "digits.npz"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda run: (run / "metrics.parquet").unlink(), "holds no metrics.parquet"),
        (lambda run: (run / "environment.json").unlink(), "holds no environment.json"),
        (lambda run: (run / "results.json").write_text("{"), "is damaged"),
        (
            lambda run: edit(run / "results.json", lambda content: content.update(status="interrupted")),
            "workbench run --resume",
        ),
        (
            lambda run: edit(run / "results.json", lambda content: content.update(status="failed")),
            "the run is failed",
        ),
        (lambda run: (run / "config.yaml").write_text("learner: osttq\n"), "osttq"),
        (lambda run: (run / "config.yaml").write_text("learner: {name: osttp, chonk: 3}\n"), "learner.chonk"),
        (shutil.rmtree, "no such folder"),
    ],
)
def test_what_cannot_be_verified_is_misuse(
    change: Callable[[Path], Any], told: str, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change(run)
    assert cli.main(["verify", str(run)]) == 2
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""


def test_a_place_in_use_or_in_the_run_itself_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    assert cli.main(["verify", str(run), "--keep", str(run.parent)]) == 2
    assert "is in use" in capsys.readouterr().err
    assert cli.main(["verify", str(run), "--keep", str(run / "again")]) == 2
    assert "is left as it is" in capsys.readouterr().err
    assert contents(run) == before
    with pytest.raises(ConfigurationError, match="is left as it is"):
        verify(load_saved(run), run / "again")


def test_an_interrupt_ends_it_like_any_command(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("workbench.trainer.Trainer.train_task", pressed)
    assert cli.main(["verify", str(run)]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_differing_circumstances_are_listed_one_by_one() -> None:
    saved = {
        "machine": {"cpu": "A", "cores": 2},
        "packages": {"torch": "2.4", "numpy": "1"},
        "threads": 1,
        "code": {"commit": "a", "dirty": False},
        "started": "then",
    }
    now = {
        "machine": {"cpu": "B", "cores": 4},
        "packages": {"torch": "2.5", "numpy": "1", "numba": "0.60"},
        "threads": 2,
        "code": None,
        "started": "now",
    }
    assert circumstances(saved, saved) == ()
    assert circumstances(saved, now) == (
        "machine: cpu was A, here B",
        "versions: numba was unknown, here 0.60",
        "versions: torch was 2.4, here 2.5",
        "threads was 1, here 2",
        "code: commit was a, here unknown",
    )


def test_a_missing_device_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has one")
    edit(run / "environment.json", lambda content: content.update(device="cuda"))
    assert cli.main(["verify", str(run)]) == 2
    assert "device=cuda" in capsys.readouterr().err
    with pytest.raises(DataError):
        load_saved(run / "nothing")
