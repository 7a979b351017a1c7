"""What stands in one table, what gets a table of its own, what is refused, and what is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from fixtures.compared import DIGITS, write_run

from workbench.compare.collect import RunRecord, collect
from workbench.compare.comparability import blocks, notes
from workbench.errors import DataError

OTHER = {"name": "letters", "synthetic": False, "digest": "x", "notice": ""}


def read(folder: Path, *runs: dict[str, Any]) -> list[RunRecord]:
    for index, run in enumerate(runs):
        write_run(folder / "runs" / f"{index:02}", **run)
    return collect([folder])


def test_protocols_get_tables_of_their_own(tmp_path: Path) -> None:
    settings = [{"config": {"scenario": {"setting": one}}} for one in ("class", "task", "class")]
    found = blocks(read(tmp_path, *settings))
    assert [(block.heading, len(block.runs)) for block in found] == [
        ("split-digits on digits, setting=class", 2),
        ("split-digits on digits, setting=task", 1),
    ]
    assert not any(block.warnings or block.mixed for block in found)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"stream": {"mode": "online"}}, "stream.mode=online"),
        ({"train": {"evaluate": "seen"}}, "train.evaluate=seen"),
        ({"scenario": {"tasks": 2}}, "tasks=2"),
    ],
)
def test_each_part_of_the_protocol_parts_runs(tmp_path: Path, config: dict[str, Any], told: str) -> None:
    found = blocks(read(tmp_path, {}, {"config": config}))
    assert [len(block.runs) for block in found] == [1, 1]
    assert found[1].heading == f"split-digits on digits, {told}"


@pytest.mark.parametrize(
    "config",
    [
        {"train": {"epochs": 5}},
        {"train": {"batch_size": 8}},
        {"backbone": {"name": "snu"}},
        {"hardware": {"name": "pcm"}},
        {"learner": {"lr": 3}},
        {"scenario": {"path": "/elsewhere"}},
    ],
)
def test_what_a_comparison_may_be_about_does_not(tmp_path: Path, config: dict[str, Any]) -> None:
    assert len(blocks(read(tmp_path, {}, {"config": config}))) == 1


def test_other_data_is_refused_by_name_with_the_way_out(tmp_path: Path) -> None:
    records = read(tmp_path, {}, {"dataset": OTHER, "config": {"scenario": {"name": "split-letters"}}})
    with pytest.raises(DataError) as caught:
        blocks(records)
    text = str(caught.value)
    assert f"split-digits on digits: {tmp_path / 'runs' / '00'}" in text
    assert f"split-letters on letters: {tmp_path / 'runs' / '01'}" in text
    assert "--mix" in text


def test_the_same_name_with_other_content_is_other_data(tmp_path: Path) -> None:
    records = read(tmp_path, {"seed": 0}, {"seed": 0, "dataset": {**DIGITS, "digest": "d2"}})
    with pytest.raises(DataError, match="different data"):
        blocks(records)


def test_data_drawn_from_the_seed_is_one_data_set(tmp_path: Path) -> None:
    runs = [
        {"learner": learner, "seed": seed, "dataset": {**DIGITS, "digest": f"s{seed}"}}
        for learner in ("bptt", "sltt")
        for seed in (0, 1)
    ]
    assert len(blocks(read(tmp_path, *runs))) == 1


def test_a_study_may_vary_its_data(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("sweeps: []\n")
    records = read(tmp_path, {}, {"dataset": OTHER, "config": {"scenario": {"name": "split-letters"}}})
    assert [block.heading for block in blocks(records)] == [
        "split-digits on digits",
        "split-letters on letters",
    ]
    by_path = [{"dataset": {**DIGITS, "digest": one}, "config": {"scenario": {"path": one}}} for one in "ab"]
    other = tmp_path / "other"
    other.mkdir()
    (other / "study.yaml").write_text("sweeps: []\n")
    assert len(blocks(read(other, *by_path))) == 2


def test_data_that_changed_within_a_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text("sweeps: []\n")
    with pytest.raises(DataError, match="its data changed between them"):
        blocks(read(tmp_path, {"seed": 0}, {"seed": 1, "dataset": OTHER}))


def test_two_studies_on_other_data_are_refused(tmp_path: Path) -> None:
    for name, dataset in (("a", DIGITS), ("b", OTHER)):
        write_run(tmp_path / name / "runs" / "0", dataset=dataset)
        (tmp_path / name / "study.yaml").write_text("sweeps: []\n")
    with pytest.raises(DataError, match="not comparable"):
        blocks(collect([tmp_path / "a", tmp_path / "b"]))


def test_mixing_on_demand_is_said_aloud(tmp_path: Path) -> None:
    records = read(tmp_path, {}, {"dataset": OTHER}, {"config": {"scenario": {"setting": "task"}}})
    (block,) = blocks(records, mix=True)
    assert block.mixed
    assert len(block.runs) == 3
    assert block.warnings[0].startswith(
        "MIXED: scenario.setting differs (class, task); data differs (digits, letters)."
    )
    (alike,) = blocks(records[:1], mix=True)
    assert (alike.mixed, alike.warnings) == (False, ())


def test_synthetic_data_is_said_on_every_table(tmp_path: Path) -> None:
    made = {"name": "beeps", "synthetic": True, "digest": "b", "notice": "Made by a machine."}
    runs = [{"dataset": made, "config": {"scenario": {"setting": one}}} for one in ("class", "task")]
    found = blocks(read(tmp_path, *runs))
    assert [block.warnings for block in found] == [("SYNTHETIC DATA (beeps): Made by a machine.",)] * 2
    silent = tmp_path / "silent"
    (block,) = blocks(read(silent, {"dataset": {**made, "notice": ""}}))
    assert "say nothing about recorded data" in block.warnings[0]


def test_what_else_differs_is_noted(tmp_path: Path) -> None:
    versions = {
        "code": {"commit": "0123456789abcdef", "dirty": True},
        "packages": {"torch": "2.10", "numpy": "2"},
    }
    other = {
        "config": {"train": {"epochs": 5}, "backbone": {"hidden": [32]}, "learner": {"lr": 1}},
        "versions": versions,
        "environment": {"threads": 2, "device": "cuda", "machine": {"cpu": "Other"}},
    }
    assert notes(read(tmp_path, {}, other)) == [
        "also differs: backbone.hidden ([16], [32])",
        "also differs: train.epochs (1, 5)",
        "code differs (c1, 0123456789 with changes)",
        "threads differs (1, 2); times are not comparable",
        "device differs (cpu, cuda); times are not comparable",
        "processor differs (Processor, Other); times are not comparable",
        "package torch differs (2.10, 2.9)",
    ]


def test_runs_alike_need_no_note(tmp_path: Path) -> None:
    assert notes(read(tmp_path, {"seed": 0}, {"seed": 1}, {"learner": "sltt"})) == []


def test_many_values_are_not_all_told(tmp_path: Path) -> None:
    runs = [{"config": {"train": {"epochs": epochs}}} for epochs in range(1, 7)]
    assert notes(read(tmp_path, *runs)) == ["also differs: train.epochs (1, 2, 3, 3 more)"]


def test_energies_by_different_tables_are_told(tmp_path: Path) -> None:
    by = [{"energy": {"table": table, "total": 1e-9}} for table in ("horowitz-45nm", "spikesim-rram")]
    found = notes(read(tmp_path, *by, {"energy": None}))
    assert [one for one in found if "tables" in one] == [
        "energies are by different tables (horowitz-45nm, spikesim-rram); cost.table=NAME takes one for all"
    ]
    assert not any("tables" in one for one in notes(collect([tmp_path / "runs" / "00"])))
