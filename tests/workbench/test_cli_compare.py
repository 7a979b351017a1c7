"""`workbench compare` as it is typed: output, files, exit codes, and errors that say what to do."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet
import pytest
from fixtures.compared import DIGITS, write_run

from workbench import cli


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two learners, three seeds, in the working folder."""
    monkeypatch.chdir(tmp_path)
    for learner in ("bptt", "sltt"):
        for seed in range(3):
            write_run(tmp_path / "runs" / f"{learner}{seed}", learner, seed, acc=0.5 + 0.01 * seed)
    return tmp_path


def test_a_table_is_printed(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["compare", "runs"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("split-digits on digits, setting=class\n")
    assert "51.0 ± 2.5" in out
    assert "--columns all" in out
    assert err == ""


@pytest.mark.parametrize(
    ("name", "start"),
    [("t.md", "### split"), ("t.csv", "table,mixed,group"), ("t.tex", "% needs"), ("t.txt", "split-digits")],
)
def test_the_suffix_tells_the_format(
    runs: Path, name: str, start: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["compare", "runs", "--out", name]) == 0
    assert (runs / name).read_text().startswith(start)
    assert capsys.readouterr().out.startswith(f"{name}: ")


def test_rows_of_runs_go_to_parquet(runs: Path) -> None:
    assert cli.main(["compare", "runs", "--runs", "--columns", "acc", "--out", "t.parquet"]) == 0
    assert pyarrow.parquet.read_table(runs / "t.parquet").num_rows == 6


def test_standard_output_holds_the_table_alone(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for kind, lines in (("csv", 3), ("markdown", 9)):
        assert cli.main(["compare", "runs", "--format", kind, "--columns", "acc"]) == 0
        out = capsys.readouterr().out
        assert len(out.splitlines()) == lines


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "Missing argument"),
        (["nowhere"], "nowhere does not exist"),
        (["empty"], "empty holds no run"),
        (["runs", "--columns", "forgeting"], "did you mean forgetting?"),
        (["runs", "--sort", "mem"], "no column 'mem'"),
        (["runs", "--reference", "slt"], "did you mean 'sltt'?"),
        (["runs/bptt0", "runs/sltt1", "--reference", "bptt"], "shares no seed"),
        (["runs", "--format", "latec"], "did you mean latex?"),
        (["runs", "--out", "t.pdf"], "its suffix must be one of"),
        (["runs", "--out", "none/t.md"], "the folder none does not exist"),
        (["runs", "--out", "empty", "--format", "csv"], "is a folder"),
        (["runs", "--format", "parquet"], "--out FILE.parquet"),
        (["runs", "--runs"], "--format csv or parquet"),
    ],
)
def test_faulty_input_is_told_and_exits_with_2(
    runs: Path, arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "empty").mkdir()
    assert cli.main(["compare", *arguments]) == 2
    assert told in capsys.readouterr().err
    assert not [path for path in runs.iterdir() if path.is_file()]


def test_damaged_results_and_other_data_exit_with_2(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = write_run(runs / "runs" / "other", dataset={**DIGITS, "name": "letters"})
    assert cli.main(["compare", "runs"]) == 2
    assert "--mix" in capsys.readouterr().err
    assert cli.main(["compare", "runs", "--mix"]) == 0
    assert "MIXED" in capsys.readouterr().out
    (other / "results.json").write_text("{")
    assert cli.main(["compare", "runs", "--mix"]) == 2
    assert "results.json is damaged" in capsys.readouterr().err
