"""`workbench sweep` on the command line: what it asks for, prints and returns; nothing is run here."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from workbench import cli
from workbench.registry import Registry
from workbench.sweep import conductor, estimate
from workbench.sweep.conductor import Summary
from workbench.sweep.engines import cores
from workbench.sweep.folder import JobStatus, StudyFolder
from workbench.sweep.jobs import Job

GRID = (
    "scenario=beeps",
    "backbone=stack",
    "hardware=perfect",
    "learner=local,exact",
    "seed=0..1",
    "track.mlflow=false",
)


class Conducted:
    """Stands for the conductor: remembers what it was asked for, and answers as told."""

    def __init__(self) -> None:
        self.summary = Summary(finished=["a"])
        self.jobs: list[Job] = []
        self.options: dict[str, Any] = {}
        self.study: StudyFolder | None = None

    def __call__(self, study: StudyFolder, jobs: list[Job], **options: Any) -> Summary:
        self.study, self.jobs, self.options = study, jobs, options
        return self.summary


@pytest.fixture
def conducted(monkeypatch: pytest.MonkeyPatch) -> Conducted:
    """Run nothing."""
    found = Conducted()
    monkeypatch.setattr(conductor, "conduct_sweep", found)
    return found


@pytest.fixture
def command(
    sample_registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    conducted: Conducted,
) -> Callable[..., tuple[int, str, str]]:
    """Run `workbench sweep` in this process, with the sample plug-ins, in an empty folder."""
    monkeypatch.setattr(Registry, "discover", classmethod(lambda cls: sample_registry))
    monkeypatch.setattr(estimate, "expected_seconds", lambda config, threads: 30.0)
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> tuple[int, str, str]:
        return cli.main(["sweep", *arguments]), *capsys.readouterr()

    return call


def test_a_sweep_is_handed_to_the_conductor(command: Any, conducted: Conducted) -> None:
    assert command(*GRID, "--out", "study", "-j", "3")[0] == 0
    assert conducted.study == StudyFolder(Path("study"))
    assert [job.overrides[-2:] for job in conducted.jobs] == [
        [f"learner={learner}", f"seed={seed}"] for learner in ("local", "exact") for seed in (0, 1)
    ]
    assert [conducted.options[key] for key in ("workers", "engine", "address")] == [3, "local", None]
    assert StudyFolder.open(Path("study")).grids()[0].axes == {"learner": ["local", "exact"], "seed": [0, 1]}


def test_jobs_at_once_are_as_many_as_cores_or_as_a_cluster_takes(command: Any, conducted: Conducted) -> None:
    command(*GRID, "--out", "a")
    assert conducted.options["workers"] == cores()
    if importlib.util.find_spec("distributed") is not None:
        command(*GRID, "--out", "a", "--engine", "dask", "--address", "tcp://somewhere")
        assert [conducted.options[key] for key in ("workers", "engine", "address")] == [
            0,
            "dask",
            "tcp://somewhere",
        ]


def test_a_study_without_a_name_has_the_same_one_each_time(command: Any, conducted: Conducted) -> None:
    names = []
    for words in (GRID, GRID, (*GRID, "threads=2")):
        assert command(*words)[0] == 0
        assert conducted.study is not None
        names.append(conducted.study.path)
    assert names[0] == names[1] != names[2]
    assert names[0].parent == Path("studies")
    assert names[0].name.startswith("beeps-")


def test_a_study_goes_on_by_its_folder_alone(command: Any, conducted: Conducted) -> None:
    command(*GRID, "--out", "study")
    first = [job.name for job in conducted.jobs]
    command(*GRID[:3], "learner=replay", "--out", "study")
    second = [job.name for job in conducted.jobs]
    command("--out", "study")
    assert [job.name for job in conducted.jobs] == [*first, *second]


def test_a_job_has_one_name_in_a_study(command: Any, conducted: Conducted) -> None:
    """Whatever words a later grid has for it: what was run is not run again."""
    command(*GRID, "--out", "study")
    first = [job.name for job in conducted.jobs]
    command(*GRID, "learner.lr=0.0015,0.5", "--out", "study")
    assert not {job.name for job in conducted.jobs} & set(first)
    command(*GRID, "backbone.hidden=[128],[64]", "threads=2", "--out", "study")
    names = [job.name for job in conducted.jobs]
    assert set(names) & set(first) == set(first)
    assert len(names) == 8
    assert all(job.config.threads == 2 for job in conducted.jobs)
    command("--out", "study")
    assert len(conducted.jobs) == 4 + 8 + 4


@pytest.mark.parametrize(
    ("summary", "code"),
    [
        (Summary(finished=["a"], before=["b"]), 0),
        (Summary(finished=["a"], failed={"b": "why"}), 1),
        (Summary(stale={"b": "why"}), 1),
        (Summary(elsewhere=["b"]), 1),
        (Summary(failed={"a": "why"}, interrupted=["b"]), 130),
    ],
)
def test_exit_codes(summary: Summary, code: int, command: Any, conducted: Conducted) -> None:
    conducted.summary = summary
    assert command(*GRID, "--out", "study", "--quiet") == (code, "", "")


def test_json_says_what_came_of_it(command: Any, conducted: Conducted) -> None:
    conducted.summary = Summary(finished=["a"], failed={"b": "why"}, stale={"c": "other"})
    code, out, err = command(*GRID, "--out", "study", "--json")
    assert (code, err) == (1, "")
    assert json.loads(out) == {
        "study": "study",
        "jobs": 4,
        "counts": {"finished": 1, "failed": 1, "stale": 1},
        "failed": {"b": "why"},
        "stale": {"c": "other"},
    }


def test_a_plan_is_printed_and_nothing_is_run(command: Any, conducted: Conducted) -> None:
    code, out, err = command(*GRID, "backbone.hidden=[16, 16]", "--out", "study", "--dry-run", "-j", "2")
    assert (code, err) == (0, "")
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert "learner 2 local, exact" in lines
    assert "seed 2 0, 1" in lines
    told = "every job: scenario=beeps backbone=stack hardware=perfect track.mlflow=false backbone.hidden=[16, 16]"
    assert told in lines
    assert sum(line.endswith("to run 30.0 s 6 steps timed") for line in lines) == 4
    assert "4 jobs, 0 finished, 4 to run: about 2 min 00 s of work, 1 min 00 s with 2 at once" in out
    assert lines[-1] == "Nothing was run; leave out --dry-run to run it into study."
    assert conducted.study is None
    assert not Path("study").exists()


def test_a_plan_as_json_rests_on_what_is_finished(
    command: Any, conducted: Conducted, monkeypatch: pytest.MonkeyPatch
) -> None:
    command(*GRID, "--out", "study")
    names = [job.name for job in conducted.jobs]
    study = StudyFolder(Path("study"))
    study.write_status(JobStatus(names[0], "finished", seconds=100.0))
    run = study.run(names[0])
    run.path.mkdir()
    run.config_file.write_text("{scenario: {name: clicks, rate: 1}}")
    code, out, _ = command("--out", "study", "--dry-run", "--json", "-j", "2")
    plan = json.loads(out)
    assert (code, plan["study"]) == (0, "study")
    assert [one["job"] for one in plan["jobs"]] == names
    # Of other settings than those asked for.
    assert [one["state"] for one in plan["jobs"]] == ["stale", "interrupted", "interrupted", "interrupted"]
    assert [one.get("seconds") for one in plan["jobs"]] == [None, 100.0, 30.0, 30.0]
    assert plan["jobs"][1]["overrides"][-2:] == ["learner=local", "seed=1"]
    assert plan["seconds"] == 80.0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "nothing to sweep"),
        (("--out", "nowhere"), "no study, it holds no study.yaml"),
        (("--out", "."), "no study, it holds no study.yaml"),
        ((*GRID, "--engine", "slurm"), "--engine slurm: must be one of local, dask, ray"),
        ((*GRID, "--address", "tcp://x"), "--address: is for --engine dask and ray"),
        ((*GRID, "--config", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        ((*GRID, "seed"), "seed: missing '='"),
        ((*GRID, "scenario.taks=1,2"), "did you mean scenario.tasks"),
        ((*GRID, "-j", "-1"), "-j"),
        ((*GRID, "--out", "notes"), "holds files and no study.yaml"),
    ],
)
def test_misuse_is_told_and_leaves_nothing_behind(
    words: tuple[str, ...], told: str, command: Any, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "shopping").touch()
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert told in err
    assert "Traceback" not in err
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["notes", "shopping"]


@pytest.mark.parametrize(("engine", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_an_engine_that_is_not_installed_says_how(
    engine: str, package: str, command: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    code, _, err = command(*GRID, "--engine", engine)
    assert code == 2
    assert f"pip install 'continual-workbench[{engine}]'" in err
