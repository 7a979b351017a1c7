"""Published tables are valid files with figures that say where they come from; a rerun stands beside them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from workbench import cli, reproduce
from workbench.errors import ConfigurationError, DataError
from workbench.registry import Registry
from workbench.reproduce import Table, grids_of, jobs_by_row, lines_of, measured, table_named, tables
from workbench.runfolder import read_results

TABLE: dict[str, Any] = {
    "title": "Digits, told apart",
    "source": "Somebody 2024",
    "provenance": "P",
    "spread": "± over 5 seeds",
    "data": {"what": "digits", "fetch": "come with scikit-learn", "required": False, "training_samples": 260},
    "settings": {
        "scenario": "split-digits",
        "scenario.tasks": 5,
        "scenario.bins": 6,
        "backbone.hidden": [8],
        "learner.lr": 3e-3,
        "train.epochs": 2,
        "device": "cpu",
        "threads": 1,
        "track.mlflow": False,
    },
    "rows": [
        {
            "name": "back-propagation",
            "settings": {"learner": "bptt"},
            "published": {"acc": {"value": 19.5, "spread": 0.25}, "test_loss": {"value": 2.25}},
        },
        {
            "name": "remembered",
            "settings": {"learner": "sltt"},
            "published": {"bwt": {"value": -90.0, "provenance": "K"}},
        },
    ],
    "full": {"seeds": 2, "minutes": 1},
    "quick": {"seeds": 1, "minutes": 0.5, "settings": {"train.epochs": 1}},
    "differs": ["everything"],
}


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    """Put one small table in the place of the published ones."""
    made = Table.model_validate(TABLE)
    monkeypatch.setattr(reproduce, "tables", lambda: {"digits": made})
    return made


@pytest.mark.parametrize("name", list(tables()))
@pytest.mark.parametrize("quick", [False, True])
def test_every_table_of_the_package_is_a_valid_sweep(name: str, quick: bool, tmp_path: Path) -> None:
    table = table_named(name)
    data = tmp_path / "data.npz"
    data.touch()
    budget = table.budget(quick)
    rows = jobs_by_row(grids_of(table, budget, data), Registry.discover())
    assert list(rows) == [row.name for row in table.chosen(budget)]
    for row in table.chosen(budget):
        jobs = rows[row.name]
        assert [job.config.seed for job in jobs] == list(range(budget.seeds))
        assert {str(job.config.scenario.config.path) for job in jobs} == {str(data)}  # type: ignore[attr-defined]
    # Rows are different runs.
    assert len({job.name for jobs in rows.values() for job in jobs}) == budget.seeds * len(rows)


def test_the_published_curve_of_the_chorales_is_as_in_the_authors_checkpoint() -> None:
    table = table_named("ostl-jsb")
    assert table.provenance == "C"
    figures = {row.name: row.published["test_loss"].value for row in table.rows}
    assert figures["OSTL, epoch 1"] == figures["BPTT, epoch 1"] == 11.551
    assert figures["OSTL, epoch 100"] == figures["BPTT, epoch 100"] == 8.601


def test_figures_from_memory_are_marked_and_no_difference_is_taken() -> None:
    table = table_named("hlop-permuted-mnist")
    lines = lines_of(table, table.full, {"HLOP": [{"acc": 0.9547, "bwt": -0.0133}]})
    assert {line.provenance for line in lines} == {"K"}
    assert all(line.difference is None for line in lines)
    assert lines[0].measured is not None
    assert lines[0].measured.mean == pytest.approx(95.47)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("quick", {"seeds": 1, "minutes": 1, "rows": ["absent"]}, "'absent' is no row"),
        ("rows", [TABLE["rows"][0]] * 2, "same name"),
        ("rows", [], "at least 1"),
        ("spread", None, "what ± means"),
        ("provenance", "X", "'C', 'P', 'S' or 'K'"),
        ("differs", [], "at least 1"),
        ("surprise", 1, "Extra inputs"),
    ],
)
def test_a_faulty_table_is_refused(key: str, value: Any, told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Table.model_validate(TABLE | {key: value})


def test_lines_are_means_with_intervals_in_the_published_unit(table: Table) -> None:
    runs = [
        {"acc": 0.19, "test_loss": [[2.0, 9.0], [2.0, 3.0]]},
        {"acc": 0.21, "test_loss": [[1.0, 1.0], [2.0, 2.0]]},
    ]
    accuracy, loss, remembered = lines_of(table, table.full, {"back-propagation": runs})
    assert accuracy.measured is not None
    assert (accuracy.measured.mean, accuracy.measured.seeds) == (pytest.approx(20.0), 2)
    # Student's t with one degree of freedom: 12.706 standard errors, and that of 19 and 21 is 1.
    assert accuracy.measured.high == pytest.approx(20 + math.tan(math.pi * 0.475))
    assert accuracy.difference == pytest.approx(0.5)
    assert loss.measured is not None
    assert loss.measured.mean == pytest.approx(2.25)
    assert (remembered.measured, remembered.difference) == (None, None)
    assert measured({"bwt": None}, "bwt") is None
    assert measured({"test_loss": [[None, 1.0]]}, "test_loss") is None


def test_data_that_must_be_named_or_is_not_there_is_told(
    table: Table, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DataError, match="scikit-learn"):
        grids_of(table, table.full, tmp_path / "nowhere")
    demanding = table.model_copy(update={"data": table.data.model_copy(update={"required": True})})
    with pytest.raises(DataError, match="--data"):
        grids_of(demanding, table.full, None)
    with pytest.raises(ConfigurationError, match="did you mean digits"):
        table_named("digit")
    assert cli.main(["reproduce", "dgits"]) == 2
    assert cli.main(["reproduce", "digits", "--out", str(tmp_path / "no" / "table.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert cli.main(["reproduce", "--quick"]) == 2


def test_the_listing_says_source_data_time_and_where_figures_come_from(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["reproduce"]) == 0
    shown = capsys.readouterr().out
    for name, table in tables().items():
        assert f"{name}  {table.title}" in shown
        for text in (table.source, table.data.what, table.data.fetch, f"[{table.provenance}]"):
            assert text in shown
    assert "from memory and not verified" in shown


@pytest.mark.usefixtures("table")
def test_a_rerun_is_a_sweep_that_is_printed_beside_the_table_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    command = ["reproduce", "digits", "--quick", "-j", "1", "--out", "table.md"]
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    assert "THESE NUMBERS DO NOT COMPARE WITH THE PUBLISHED ONES" in shown.out
    assert "THESE NUMBERS DO NOT COMPARE WITH THE PUBLISHED ONES" in shown.err
    study = tmp_path / "studies" / "reproduce-digits-quick"
    runs = {read_results(folder)["learner"]: read_results(folder) for folder in (study / "runs").iterdir()}
    assert runs.keys() == {"bptt", "sltt"}
    assert {run["epochs"] for run in runs.values()} == {1}
    text = (tmp_path / "table.md").read_text()
    acc, loss = 100 * runs["bptt"]["acc"], sum(runs["bptt"]["test_loss"][-1]) / 5
    assert f"| back-propagation | ACC, % | 19.50 ± 0.25 [P] | {acc:.2f} | – | 1 | {acc - 19.5:+.2f} |" in text
    assert f"| back-propagation | test loss | 2.250 [P] | {loss:.3f} | – | 1 | {loss - 2.25:+.3f} |" in text
    assert f"| remembered | BWT, points | -90.00 [K] | {100 * runs['sltt']['bwt']:.2f} | – | 1 | – |" in text
    assert "**QUICK" in text
    assert "[K] published figures quoted from memory and not verified" in text
    assert "± over 5 seeds." in text
    # Nothing is run again, and other data is told.
    begun = {folder: (folder / "results.json").stat().st_mtime_ns for folder in (study / "runs").iterdir()}
    other = Table.model_validate(TABLE | {"data": {**TABLE["data"], "training_samples": 8156}})
    monkeypatch.setattr(reproduce, "tables", lambda: {"digits": other})
    assert cli.main(command) == 0
    shown = capsys.readouterr()
    assert "OTHER DATA: 260 training samples in the first task, and not 8,156" in shown.err
    assert {folder: (folder / "results.json").stat().st_mtime_ns for folder in begun} == begun
    assert json.loads(next((study / "jobs").glob("*.json")).read_text())["status"] == "finished"
