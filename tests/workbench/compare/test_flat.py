"""Plain numbers for other programs, with all their digits."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow.parquet
import pytest
from fixtures.compared import write_run

from workbench.compare.comparison import Comparison, Wanted, compare
from workbench.compare.flat import group_rows, run_rows, to_csv, write_csv, write_parquet


def made(folder: Path, **wanted: object) -> list[Comparison]:
    for learner, rate in (("bptt", 0.8), ("sltt", 0.6)):
        for seed in (0, 1, 2):
            acc = rate + 0.01 * seed * rate
            write_run(folder / f"{learner}{seed}", learner, seed, acc=acc, config={"learner": {"lr": rate}})
    write_run(folder / "tuned", "sltt", 0, config={"learner": {"lr": 9, "note": 'a "b", c'}})
    return compare([folder], Wanted(("acc", "memory", "energy"), **wanted))  # type: ignore[arg-type]


def test_a_row_a_group_has_mean_ends_and_count(tmp_path: Path) -> None:
    rows = group_rows(made(tmp_path))
    assert [row["group"] for row in rows] == ["bptt", "sltt, lr=0.6", 'sltt, lr=9, note=a "b", c']
    first = rows[0]
    assert first["acc_mean"] == pytest.approx(0.808)
    assert first["acc_low"] < first["acc_mean"] < first["acc_high"]
    assert (first["acc_n"], first["seeds"], first["learner.lr"]) == (3, "0 1 2", None)
    assert (first["memory_mean"], first["memory_low"]) == (6144, 6144)
    assert (first["energy_mean"], first["energy_n"]) == (None, 0)
    assert (rows[2]["acc_low"], rows[2]["acc_n"], rows[2]["learner.lr"]) == (None, 1, "9")
    assert (first["synthetic"], first["mixed"], first["dataset"]) == (False, False, "digits")
    assert len({tuple(row) for row in rows}) == 1


def test_a_reference_adds_differences(tmp_path: Path) -> None:
    rows = group_rows(made(tmp_path, reference="bptt"))
    assert rows[0]["acc_difference"] is None
    assert rows[1]["acc_difference"] == pytest.approx(-0.202)
    assert rows[1]["acc_difference_low"] < -0.202 < rows[1]["acc_difference_high"]
    assert rows[1]["acc_difference_n"] == 3
    assert 0 < rows[1]["acc_difference_p"] <= 1


def test_a_row_a_run_has_its_own_numbers(tmp_path: Path) -> None:
    rows = run_rows(made(tmp_path))
    assert [(row["learner"], row["seed"]) for row in rows][:3] == [("bptt", 0), ("bptt", 1), ("bptt", 2)]
    assert rows[1]["acc"] == 0.8 + 0.01 * 0.8
    assert rows[1]["folder"] == str(tmp_path / "bptt1")
    assert rows[1]["energy"] is None
    assert len(rows) == 7


@pytest.mark.parametrize("rows_of", [group_rows, run_rows])
def test_csv_and_parquet_hold_the_rows(tmp_path: Path, rows_of: object) -> None:
    rows = rows_of(made(tmp_path))  # type: ignore[operator]
    write_csv(tmp_path / "t.csv", rows)
    write_parquet(tmp_path / "t.parquet", rows)
    read = list(csv.DictReader(io.StringIO((tmp_path / "t.csv").read_text())))
    assert [{key: "" if value is None else str(value) for key, value in row.items()} for row in rows] == read
    assert pyarrow.parquet.read_table(tmp_path / "t.parquet").to_pylist() == rows
    assert (tmp_path / "t.csv").read_text() == to_csv(rows)
    assert not list(tmp_path.glob(".*"))
