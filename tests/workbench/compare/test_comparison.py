"""From folders to cells: means over seeds, marks, order, differences, what is left out and said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fixtures.compared import write_run

from workbench.compare.comparison import Comparison, Wanted, compare
from workbench.errors import ConfigurationError, DataError

RATES = {"bptt": 0.8, "sltt": 0.6, "osttp": 0.4}
NOISE = [0.011, -0.007, 0.004, -0.013, 0.002]


def study(folder: Path, seeds: int = 5, **learners: float) -> Path:
    for learner, rate in (learners or RATES).items():
        for seed in range(seeds):
            memory = {"measured": {"total": 1000 + 10 * len(learner)}, "formula": {"total": 1000}}
            noise = NOISE[(seed + ord(learner[0])) % 5]
            write_run(folder / f"{learner}-{seed}", learner, seed, acc=rate + noise, memory=memory)
    return folder


def marks(comparison: Comparison) -> dict[str, list[str]]:
    return {
        measure.name: [
            group.name
            for group, row in zip(comparison.groups, comparison.cells, strict=True)
            if row[column].best
        ]
        for column, measure in enumerate(comparison.columns)
    }


def test_groups_have_means_and_the_winner_its_mark(tmp_path: Path) -> None:
    (found,) = compare([study(tmp_path)], Wanted(("acc", "memory", "fwt")))
    assert [group.name for group in found.groups] == ["bptt", "osttp", "sltt"]
    mean = found.cells[0][0].interval
    assert mean is not None
    assert mean.mean == pytest.approx(0.8 + np.mean(NOISE))
    # Two learners of four letters hold the same bytes: level at the top, none is best.
    assert marks(found) == {"acc": ["bptt"], "memory": [], "fwt": []}


def test_rows_are_sorted_with_the_best_first_whether_more_or_less_is_better(tmp_path: Path) -> None:
    study(tmp_path)
    (found,) = compare([tmp_path], Wanted(sort="acc"))
    assert [group.name for group in found.groups] == ["bptt", "sltt", "osttp"]
    (found,) = compare([tmp_path], Wanted(columns=("acc",), sort="memory"))
    assert found.groups[-1].name == "osttp"
    with pytest.raises(ConfigurationError, match=r"--sort memory\*: wants one column"):
        compare([tmp_path], Wanted(sort="memory*"))


def test_differences_to_a_reference_are_paired_by_seed(tmp_path: Path) -> None:
    (found,) = compare([study(tmp_path)], Wanted(("acc",), reference="sltt"))
    assert found.reference == "sltt"
    cells = {group.name: row[0] for group, row in zip(found.groups, found.cells, strict=True)}
    assert cells["sltt"].difference is None
    apart = cells["bptt"].difference
    assert apart is not None
    assert apart.mean == pytest.approx(0.2)
    assert apart.seeds == 5
    assert all(cells[name].adjusted >= cells[name].difference.p for name in ("bptt", "osttp"))  # type: ignore[union-attr]


def test_a_reference_is_named_in_full_or_by_a_learner_of_its_own(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", "bptt", seed, config={"learner": {"lr": 0.1}})
        write_run(tmp_path / f"b{seed}", "bptt", seed, config={"learner": {"lr": 0.2}})
        write_run(tmp_path / f"c{seed}", "sltt", seed)
    (found,) = compare([tmp_path], Wanted(reference="bptt, lr=0.2"))
    assert found.reference == "bptt, lr=0.2"
    with pytest.raises(
        ConfigurationError, match=r"several groups are of that learner: 'bptt, lr=0.1', 'bptt, lr=0.2'"
    ):
        compare([tmp_path], Wanted(reference="bptt"))
    with pytest.raises(
        ConfigurationError, match=r"no such group; did you mean 'sltt'\? There are: 'bptt, lr=0.1', "
    ):
        compare([tmp_path], Wanted(reference="slt"))


def test_a_learner_alone_names_its_group_in_every_table(tmp_path: Path) -> None:
    for setting in ("class", "task"):
        for learner, width in (("bptt", 16), ("sltt", 16), ("sltt", 32)):
            config = {"scenario": {"setting": setting}, "backbone": {"hidden": [width]}}
            write_run(tmp_path / f"{setting}{learner}{width}", learner, config=config)
    found = compare([tmp_path], Wanted(reference="bptt"))
    assert [one.reference for one in found] == ["bptt, hidden=[16]"] * 2


def test_a_reference_without_common_seeds_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "bptt", 0)
    write_run(tmp_path / "b", "sltt", 1)
    with pytest.raises(
        DataError, match=r"sltt \(seeds 1\) shares no seed with the reference bptt \(seeds 0\)"
    ):
        compare([tmp_path], Wanted(reference="bptt"))
    (found,) = compare([tmp_path])
    assert "seeds differ (bptt: 0; sltt: 1); groups are compared over the seeds that both have" in found.notes


def test_a_table_without_the_reference_says_so(tmp_path: Path) -> None:
    write_run(tmp_path / "a", "bptt")
    write_run(tmp_path / "b", "sltt", config={"scenario": {"setting": "task"}})
    found = compare([tmp_path], Wanted(reference="bptt"))
    assert [one.reference for one in found] == ["bptt", None]
    assert "no group 'bptt' here to take differences to" in found[1].notes


def test_a_mixed_table_marks_none(tmp_path: Path) -> None:
    study(tmp_path)
    for seed in range(5):
        write_run(tmp_path / f"x{seed}", "bptt", seed, acc=0.1, config={"scenario": {"setting": "task"}})
    (found,) = compare([tmp_path], Wanted(("acc",), mix=True))
    assert found.mixed
    assert marks(found) == {"acc": []}
    assert found.groups[0].name == "bptt, setting=class"


def test_columns_that_no_run_has_are_left_out_unless_asked_for(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (found,) = compare([tmp_path])
    assert "energy" not in [one.name for one in found.columns]
    assert "not recorded in these runs: energy" in found.notes
    (found,) = compare([tmp_path], Wanted(("acc", "energy")))
    assert found.cells[0][1].interval is None


def test_writes_of_devices_are_shown_where_there_are_devices(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    (found,) = compare([tmp_path])
    assert not any("device" in note for note in found.notes)
    (found,) = compare([tmp_path], Wanted(("acc", "device_writes*")))
    assert any("device_writes_max" in note for note in found.notes)
    devices = {"writes": {"total": 50, "max": 7, "p99": 5, "per_sample": 2}}
    write_run(tmp_path / "b", config={"hardware": {"name": "pcm"}}, devices=devices)
    (found,) = compare([tmp_path])
    [place] = [at for at, one in enumerate(found.columns) if one.name == "device_writes_max"]
    means = [row[place].interval and row[place].interval.mean for row in found.cells]
    assert means == [None, 7]


def test_runs_kept_out_are_told(tmp_path: Path) -> None:
    for name, status in (("a", "finished"), ("b", "failed"), ("c", "interrupted"), ("d", "failed")):
        write_run(tmp_path / name, status=status)
    (found,) = compare([tmp_path])
    assert found.notes[-1] == "left out: 2 failed, 1 interrupted runs"


def test_no_finished_run_is_an_error(tmp_path: Path) -> None:
    write_run(tmp_path / "a", status="interrupted")
    with pytest.raises(DataError, match="no finished run there: 1 interrupted run"):
        compare([tmp_path])


def test_a_seed_run_twice_is_told(tmp_path: Path) -> None:
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    (found,) = compare([tmp_path])
    assert "1 run repeats a seed of the same settings; the newest of each counts" in found.notes
    assert len(found.groups[0].runs) == 1
