"""Which folders are runs, and which runs are one group."""

from __future__ import annotations

from pathlib import Path

import pytest
from fixtures.compared import DIGITS, write_run

from workbench.compare.collect import RunRecord, collect, find_runs, flattened, grouped, read_run, unfinished
from workbench.errors import DataError


def records(tmp_path: Path) -> list[RunRecord]:
    return collect([tmp_path])


def test_runs_are_found_below_folders_once_each_and_in_order(tmp_path: Path) -> None:
    for name in ("b", "a", "deep/er/c"):
        write_run(tmp_path / "study" / "runs" / name)
    (tmp_path / "study" / "runs" / "a" / "notes" / "old").mkdir(parents=True)
    write_run(tmp_path / "study" / "runs" / ".partial")
    runs = tmp_path / "study" / "runs"
    assert find_runs([tmp_path / "study"]) == [runs / "a", runs / "b", runs / "deep/er/c"]
    assert find_runs([runs / "b", tmp_path, runs / "b" / "results.json"]) == [
        runs / "b",
        runs / "a",
        runs / "deep/er/c",
    ]


def test_a_path_without_runs_is_told(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(DataError, match=r"empty holds no run"):
        find_runs([tmp_path / "empty"])
    with pytest.raises(DataError, match=r"nowhere does not exist"):
        find_runs([tmp_path / "nowhere"])
    with pytest.raises(DataError, match=r"config.yaml is a file"):
        find_runs([tmp_path / "config.yaml"])


def test_unfinished_runs_are_kept_out_and_told_of(tmp_path: Path) -> None:
    write_run(tmp_path / "done")
    write_run(tmp_path / "broken", status="failed", R=[])
    (write_run(tmp_path / "young") / "results.json").unlink()
    assert [record.folder.name for record in collect([tmp_path])] == ["done"]
    assert [(one.folder.name, one.status) for one in unfinished([tmp_path])] == [
        ("broken", "failed"),
        ("young", "begun"),
    ]


def test_damaged_results_name_their_file(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    (folder / "results.json").write_text('{"seed": 1')
    with pytest.raises(DataError, match=r"run/results.json is damaged"):
        collect([tmp_path])


def test_settings_are_flat_and_spelled_as_typed(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", "osttp+replay", 3, config={"learner": {"replay": {"size": 9}}})
    settings = read_run(folder).settings
    assert settings["learner"] == "osttp+replay"
    assert settings["learner.replay.size"] == 9
    assert settings["seed"] == 3
    assert settings["backbone.hidden"] == [16]
    assert "learner.name" not in settings
    assert flattened({}) == {}


def test_runs_that_differ_in_the_seed_alone_are_one_group(tmp_path: Path) -> None:
    for index, (learner, seed) in enumerate(
        [("sltt", 1), ("bptt", 1), ("sltt", 0), ("bptt", 0), ("sltt", 10)]
    ):
        write_run(tmp_path / str(index), learner, seed)
    groups = grouped(records(tmp_path))
    assert [(group.name, group.seeds) for group in groups] == [("sltt", (0, 1, 10)), ("bptt", (0, 1))]
    assert groups[0].varied == {"learner": "sltt"}


def test_settings_that_change_no_result_do_not_part_runs(tmp_path: Path) -> None:
    write_run(tmp_path / "a", seed=0, config={"track": {"mlflow": True}, "scenario": {"path": "/here"}})
    write_run(tmp_path / "b", seed=1, config={"diagnose": {"gradient": 5}, "scenario": {"path": "/there"}})
    assert [group.seeds for group in grouped(records(tmp_path))] == [(0, 1)]


def test_the_same_settings_on_other_data_are_another_group(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path / f"a{seed}", seed=seed, config={"scenario": {"path": "/here"}})
        write_run(
            tmp_path / f"b{seed}",
            seed=seed,
            config={"scenario": {"path": "/there"}},
            dataset={**DIGITS, "digest": "d2"},
        )
    assert [(group.name, group.seeds) for group in grouped(records(tmp_path))] == [
        ("bptt, data=digits d1", (0, 1)),
        ("bptt, data=digits d2", (0, 1)),
    ]


def test_data_drawn_from_the_seed_does_not_part_runs(tmp_path: Path) -> None:
    for learner in ("bptt", "sltt"):
        for seed in (0, 1, 2):
            drawn = {**DIGITS, "digest": f"of seed {seed}"}
            write_run(tmp_path / f"{learner}{seed}", learner, seed, dataset=drawn)
    assert [group.seeds for group in grouped(records(tmp_path))] == [(0, 1, 2), (0, 1, 2)]


def test_a_seed_run_again_is_no_second_sample_and_the_newest_counts(tmp_path: Path) -> None:
    write_run(tmp_path / "a", environment={"started": "2026-02-01"}, acc=0.7)
    write_run(tmp_path / "b", environment={"started": "2026-01-01"}, acc=0.6)
    (group,) = grouped(records(tmp_path))
    assert [run.results["acc"] for run in group.runs] == [0.7]
    assert [run.folder.name for run in group.repeats] == ["b"]


def test_names_tell_what_differs_and_no_more(tmp_path: Path) -> None:
    cases = [
        ("osttp", {"scenario": {"setting": "class"}}),
        ("osttp", {"scenario": {"setting": "task"}}),
        ("bptt", {"scenario": {"setting": "task"}, "learner": {"lr": 0.1}}),
        ("bptt", {"scenario": {"setting": "task"}, "learner": {"lr": 0.001}}),
        (
            "bptt",
            {"scenario": {"setting": "task"}, "backbone": {"name": "snu", "lr": 3}, "learner": {"lr": 0.1}},
        ),
    ]
    for index, (learner, config) in enumerate(cases):
        write_run(tmp_path / str(index), learner, config=config)
    assert [group.name for group in grouped(records(tmp_path))] == [
        "osttp, backbone=lif, setting=class",
        "osttp, backbone=lif, setting=task",
        "bptt, lr=0.1, backbone=lif, setting=task",
        "bptt, lr=0.001, backbone=lif, setting=task",
        "bptt, lr=0.1, backbone=snu, setting=task",
    ]


def test_a_key_of_two_sections_is_told_in_full(tmp_path: Path) -> None:
    for index, (slow, wide) in enumerate([(0.1, 1), (0.2, 1), (0.1, 2)]):
        write_run(tmp_path / str(index), config={"learner": {"lr": slow}, "backbone": {"lr": wide}})
    assert [group.name for group in grouped(records(tmp_path))] == [
        "bptt, learner.lr=0.1, backbone.lr=1",
        "bptt, learner.lr=0.2, backbone.lr=1",
        "bptt, learner.lr=0.1, backbone.lr=2",
    ]


def test_one_group_goes_by_its_learner(tmp_path: Path) -> None:
    write_run(tmp_path / "run", "sltt")
    (group,) = grouped(records(tmp_path))
    assert (group.name, group.varied) == ("sltt", {})
    assert grouped([]) == []
