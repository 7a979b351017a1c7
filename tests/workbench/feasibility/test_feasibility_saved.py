"""The files of a study: all of them, whole, in its own folder or another."""

from __future__ import annotations

import json

import pytest

from workbench.errors import ConfigurationError
from workbench.feasibility import saved
from workbench.feasibility.saved import save
from workbench.feasibility.study import content


def test_the_files_of_a_study(study, drawn, tmp_path):
    files = save(study, drawn, tmp_path / "new" / "folder")
    names = [file.relative_to(tmp_path / "new" / "folder").as_posix() for file in files]
    pictures = [f"pictures/{one.name}.{kind}" for one in drawn for kind in ("svg", "png")]
    assert names == ["feasibility.json", "feasibility.txt", "feasibility.html", *pictures]
    assert all(file.stat().st_size > 100 for file in files)
    # Nothing half-written is left.
    assert {file for file in (tmp_path / "new").rglob("*") if file.is_file()} == set(files)


def test_json_says_where_the_runs_are(study, drawn, tmp_path):
    file = save(study, [], tmp_path)[0]
    told = json.loads(file.read_text())
    for pair in told["pairs"]:
        for criterion in pair["criteria"].values():
            assert all(
                (tmp_path / told["study"] / run / "results.json").is_file() for run in criterion["runs"]
            )
    assert {key: told[key] for key in told if key != "study"} == json.loads(json.dumps(content(study)))


def test_pictures_that_the_study_no_longer_has_are_removed(study, drawn, tmp_path):
    save(study, drawn, tmp_path)
    mine = tmp_path / "pictures" / "my own.png"
    mine.write_bytes(b"kept")
    save(study, drawn[:2], tmp_path)
    left = {file.name for file in (tmp_path / "pictures").iterdir()}
    assert left == {"my own.png", "accuracy.svg", "accuracy.png", "memory.svg", "memory.png"}


def test_a_file_that_cannot_be_written_leaves_the_old_one(study, drawn, tmp_path, monkeypatch):
    page = save(study, [], tmp_path)[2]
    before = page.read_bytes()

    def full(file, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saved, "write_atomically", full)
    with pytest.raises(ConfigurationError, match=r"cannot be written there: .*No space left"):
        save(study, drawn, tmp_path)
    assert page.read_bytes() == before
