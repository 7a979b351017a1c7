"""Throughputs come from the runs' own times, ratios from sweeps of one round."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import sweep
from benchmarks.sweep import VARIANTS, Throughput, main, settings_of, summary, throughput


def test_throughput_of_a_study(tmp_path: Path) -> None:
    for number, (total, imports) in enumerate([(12.0, 2.0), (20.0, 0.0)]):
        folder = tmp_path / "runs" / str(number)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(json.dumps({"time": {"total": total, "imports": imports}}))
    # Two jobs in 30 s; two at once, each of which learns for 15 s.
    assert throughput(tmp_path, 2, 30.0) == Throughput(4.0, 8.0)
    with pytest.raises(RuntimeError, match="holds no finished run"):
        throughput(tmp_path / "runs", 2, 30.0)


def test_ratios_are_medians_over_rounds() -> None:
    one, cores, two = (
        [Throughput(x, 2 * x) for x in some] for some in ((1.0, 2.0, 4.0), (2.0, 2.0, 2.0), (2.0, 3.0, 7.0))
    )
    records = summary(dict(zip((variant.name for variant in VARIANTS), (one, cores, two), strict=True)))
    assert [record["name"] for record in records] == [variant.name for variant in VARIANTS]
    assert records[0]["whole_to_one_thread"] == records[1]["learning_to_all_cores"] == 1.0
    assert (records[2]["whole"], records[2]["learning"]) == (3.0, 6.0)
    assert (records[2]["whole_to_one_thread"], records[2]["learning_to_all_cores"]) == (1.75, 1.5)


def test_further_settings_take_the_place_of_the_shipped_ones() -> None:
    found = settings_of(["learner=osttp", "seed=3"])
    assert [text for text in found if text.startswith("learner=")] == ["learner=osttp"]
    assert "seed=3" in found
    assert "train.epochs=40" in found


def test_a_sweep_that_fails_is_told_with_its_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--set", "learner=nobody", "--rounds", "1", "--jobs", "1"]) == 1
    assert "unknown learner 'nobody'" in capsys.readouterr().err


def test_variants_take_turns(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    order: list[str] = []

    def instead(variant: sweep.Variant, jobs: int, settings: list[str]) -> Throughput:
        order.append(variant.name)
        return Throughput(variant.at_once, variant.at_once)

    monkeypatch.setattr(sweep, "sweep", instead)
    assert main(["--rounds", "2", "--json", str(tmp_path / "out.json")]) == 0
    names = [variant.name for variant in VARIANTS]
    assert order == [*names, *names[::-1]]
    assert json.loads((tmp_path / "out.json").read_text())[2]["whole_to_all_cores"] == 2.0
    assert "jobs a minute" in capsys.readouterr().out
