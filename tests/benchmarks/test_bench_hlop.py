"""The permuted-MNIST study in small: hlop forgets far less than plain training; finished runs are read."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks import hlop
from benchmarks.studies import configured

PIXELS, CLASSES = (8, 8), 10


def made_up_digits(path: Path) -> Path:
    """Write images of ten classes: a blurred pattern for each, varied in a few directions, and noise."""
    generator = np.random.default_rng(0)
    patterns = generator.random((CLASSES, 64)) < 0.3
    strokes = generator.normal(size=(CLASSES, 3, 64))
    archive = {}
    for split, count in (("train", 640), ("test", 200)):
        labels = np.arange(count) % CLASSES
        varied = np.einsum("nk,nkp->np", generator.normal(size=(count, 3)), strokes[labels])
        images = 160 * patterns[labels] + 20 * varied + generator.normal(scale=10, size=(count, 64)) + 30
        archive[f"{split}_x"] = images.clip(0, 255).astype(np.uint8).reshape(count, *PIXELS)
        archive[f"{split}_y"] = labels.astype(np.uint8)
    np.savez(path, **archive)
    return path


def arguments(tmp_path: Path, learners: str) -> list[str]:
    """Return the command line of a study of three small tasks."""
    chosen = ["--path", str(made_up_digits(tmp_path / "made-up.npz")), "--learners", learners, "--tasks", "3"]
    chosen += ["--units", "60", "--default-sizes", "--threads", "1", "--out", str(tmp_path / "runs")]
    chosen += ["--json", str(tmp_path / "lines.json"), "--markdown", str(tmp_path / "table.md")]
    return [*chosen, "train.epochs=3", "train.batch_size=32", "learner.lr=0.5"]


def test_hlop_forgets_far_less_than_plain_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = ["learner.hlop.rows=0.5", "learner.hlop.later_rows=0.2"]
    assert hlop.main([*arguments(tmp_path, "bptt,bptt+hlop,bptt+gpm"), *sizes]) == 0
    plain, projected, exact = json.loads((tmp_path / "lines.json").read_text())
    for line in (plain, projected, exact):
        assert line["first"] > 0.9, line
    for line in (projected, exact):
        assert line["bwt"] > plain["bwt"] + 0.06, (line, plain)
        assert line["acc"] > plain["acc"] + 0.04, (line, plain)
    assert plain["bwt"] < -0.08
    assert projected["memory_measured"] > plain["memory_measured"]
    table = (tmp_path / "table.md").read_text()
    assert table in capsys.readouterr().out
    assert table.count("\n") == 5


def test_finished_runs_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = [*arguments(tmp_path, "bptt"), "scenario.train_samples=64", "train.epochs=1"]
    assert hlop.main(chosen) == 0
    monkeypatch.setattr("workbench.experiment.run_experiment", lambda *_, **__: pytest.fail("run again"))
    assert hlop.main(chosen) == 0


def test_the_experiment_is_the_paper_s() -> None:
    options = hlop.parser().parse_args([])
    config = configured(hlop.overrides(options, "ottt+hlop", 0)).to_dict()
    assert config["backbone"]["hidden"] == [800, 800]
    assert (config["scenario"]["tasks"], config["scenario"]["steps"]) == (10, 6)
    assert config["learner"]["hlop"]["rows"] == [80, 200, 100]
    assert sum(config["learner"]["hlop"]["later_rows"]) + 80 == 470
    assert (config["learner"]["lr"], config["learner"]["momentum"]) == (0.1, 0)


def test_wrong_settings_are_told_before_anything_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert hlop.main([*arguments(tmp_path, "bptt,bptt+hlop"), "learner.hlop.row=1"]) == 2
    assert "learner.hlop.row" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
