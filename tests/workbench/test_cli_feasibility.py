"""`workbench feasibility` as it is typed: a whole small study, taken up again, judged again; and slips."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from workbench import cli
from workbench.feasibility import pictures
from workbench.feasibility.request import read_request
from workbench.sweep import conductor, estimate
from workbench.sweep.conductor import Summary
from workbench.sweep.folder import StudyFolder
from workbench.sweep.worker import Outcome

TINY = (
    "scenario=split-digits",
    "scenario.tasks=2",
    "scenario.bins=4",
    "backbone.hidden=[8]",
    "train.epochs=1",
    "train.batch_size=128",
    "track.mlflow=false",
    "device=cpu",
    "seed=0",
)
PAIRS = ("learner=osttp,bptt", "hardware=pcm,quantised", "sensitivity.noise=0")
STUDY = (*TINY, *PAIRS, "budget.endurance=1e6", "--only", "noise")
FILES = ("feasibility.html", "feasibility.json", "feasibility.txt", "feasibility.yaml")


class Engine:
    """Runs jobs in this process, one after the other, and remembers them. fails: jobs that shall fail, by a word."""

    def __init__(self) -> None:
        self.jobs: list[str] = []
        self.fails = ""
        self.interrupts = False

    @contextmanager
    def __call__(self, *options: Any) -> Iterator[Callable[..., None]]:
        yield self.run

    def run(self, function: Any, orders: Any, done: Any, ended: Any) -> None:
        for order in orders:
            if self.interrupts and self.jobs:
                raise KeyboardInterrupt
            self.jobs.append(order.job)
            failed = self.fails and self.fails in order.job
            done(Outcome(order.job, "failed", "RuntimeError: no luck", 1.0) if failed else function(order))


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Start no process."""
    found = Engine()
    monkeypatch.setattr(conductor, "open_engine", found)
    return found


@pytest.fixture
def command(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run `workbench feasibility` in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(estimate, "expected_seconds", lambda config, threads: 30.0)

    def call(*arguments: str) -> tuple[int, str, str]:
        return cli.main(["feasibility", *arguments]), *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a small study, really run."""
    folder = tmp_path_factory.mktemp("finished") / "study"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conductor, "open_engine", Engine())
        assert cli.main(["feasibility", *STUDY, "--quiet", "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """That study, to be changed."""
    return shutil.copytree(finished, tmp_path / "copied")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw no pictures, which takes most of the time."""
    monkeypatch.setattr(pictures, "pictures", lambda study, registry: [])


def told(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "feasibility.json").read_text())


def test_a_study_is_run_judged_and_written(finished: Path) -> None:
    assert all((finished / name).stat().st_size > 200 for name in FILES)
    drawn = {file.name for file in (finished / "pictures").iterdir()}
    assert drawn == {
        f"{name}.{kind}"
        for name in ("accuracy", "memory", "writes", "energy", "noise-pcm")
        for kind in ("svg", "png")
    }
    found = told(finished)
    assert found["missing"] == []
    assert [(one["learner"], one["hardware"]) for one in found["pairs"]] == [
        (learner, device) for learner in ("osttp", "bptt") for device in ("pcm", "quantised")
    ]
    for pair in found["pairs"]:
        statuses = {name: one["status"] for name, one in pair["criteria"].items()}
        assert statuses["locality"] == ("met" if pair["learner"] == "osttp" else "reservation")
        assert statuses["memory"] == "met"
        assert statuses["endurance"] != "unknown"
        assert "unknown" not in (statuses["accuracy"], statuses["forgetting"])
        numbers = pair["criteria"]["accuracy"]["numbers"]
        for run in pair["criteria"]["accuracy"]["runs"]:
            results = json.loads((finished / run / "results.json").read_text())
            if results["hardware"] == pair["hardware"]:
                assert numbers["by_seed"] == {"0": results["acc"]}
    # Static memory does not wear out; phase-change memory does.
    lifetimes = {
        one["hardware"]: one["criteria"]["endurance"]["numbers"]["lifetime_seconds"] for one in found["pairs"]
    }
    assert lifetimes["quantised"] == "infinite"
    assert lifetimes["pcm"] == "infinite" or lifetimes["pcm"] > 0
    [first, second] = found["sensitivity"]
    assert [point["value"] for point in first["points"]] == [0, 1]
    assert (first["hardware"], second["learner"]) == ("pcm", "bptt")


def test_it_is_a_sweep_like_any_other(finished: Path) -> None:
    study = StudyFolder.open(finished)
    statuses = study.statuses()
    assert len(statuses) == 2 * 3 + 2
    assert {one.status for one in statuses} == {"finished"}
    assert {one.attempts for one in statuses} == {1}
    assert [grid.axes["hardware"] for grid in study.grids()] == [["ideal", "pcm", "quantised"], ["pcm"]]


def test_taken_up_again_it_runs_nothing_twice(command: Any, engine: Engine, finished: Path) -> None:
    before = {file: file.read_bytes() for file in finished.rglob("*.json")}
    for words in (STUDY, ()):
        code, out, err = command(*words, "--out", str(finished))
        assert (code, err, engine.jobs) == (0, "", [])
        assert "8 jobs, 8 of them done before" in out
        assert "osttp on pcm" in out
        assert "workbench sweep" not in out
    assert {file: file.read_bytes() for file in finished.rglob("*.json")} == before
    assert len(StudyFolder.open(finished).grids()) == 2


@pytest.mark.usefixtures("undrawn")
def test_other_budgets_judge_the_same_runs(
    command: Any, engine: Engine, finished: Path, tmp_path: Path
) -> None:
    before = (finished / "feasibility.html").read_bytes()
    code, out, err = command("--from", str(finished), "budget.sram=1KiB", "--out", "tight")
    assert (code, err, engine.jobs) == (0, "", [])
    assert "memory missed" in out
    assert {one["answer"] for one in told(tmp_path / "tight")["pairs"]} == {"not feasible"}
    # The study itself stays as it is, and is where the runs are.
    assert (finished / "feasibility.html").read_bytes() == before
    assert "sram" not in read_request(finished).budget
    run = told(tmp_path / "tight")["pairs"][0]["criteria"]["memory"]["runs"][0]
    assert (tmp_path / "tight" / told(tmp_path / "tight")["study"] / run / "results.json").is_file()
    links = re.findall(r'href="([^"]*results.json)"', (tmp_path / "tight" / "feasibility.html").read_text())
    assert links
    assert all((tmp_path / "tight" / link).is_file() for link in links)


@pytest.mark.usefixtures("undrawn")
def test_judged_again_in_its_own_folder_it_keeps_the_budgets(
    command: Any, engine: Engine, copied: Path
) -> None:
    assert command("--from", str(copied), "budget.loss=100%", "--quiet") == (0, "", "")
    assert read_request(copied).budget == {"endurance": 1e6, "loss": "100%"}
    assert told(copied)["budget"]["loss"] == 1.0
    assert command("budget.loss=5%", "--out", str(copied), "--quiet") == (0, "", "")
    assert read_request(copied).budgets.loss == 0.05
    assert engine.jobs == []


@pytest.mark.usefixtures("undrawn")
def test_json_is_all_that_is_printed(command: Any, copied: Path) -> None:
    code, out, err = command("--out", str(copied), "--json")
    printed = json.loads(out)
    assert (code, err) == (0, "")
    assert printed["pairs"] == told(copied)["pairs"]
    assert all(Path(file).is_file() for file in printed["files"])


@pytest.mark.usefixtures("undrawn")
def test_a_study_that_is_not_complete_says_so_and_is_completed(
    command: Any, engine: Engine, tmp_path: Path
) -> None:
    words = (*TINY, "learner=osttp", "hardware=pcm", "--no-sensitivity", "--out", "study")
    engine.fails = "pcm"
    code, out, err = command(*words)
    assert code == 1
    assert "1 finished, 1 failed" in out
    assert "1 run of the study is not finished" in out
    assert "osttp on pcm: unknown" in out
    assert "Not finished" in (tmp_path / "study" / "feasibility.html").read_text()
    assert [one["job"] for one in told(tmp_path / "study")["missing"]] == engine.jobs[1:]
    engine.fails, engine.jobs = "", []
    code, out, err = command("--out", "study")
    assert (code, err) == (0, "")
    assert ["pcm" in job for job in engine.jobs] == [True]
    assert told(tmp_path / "study")["missing"] == []
    assert told(tmp_path / "study")["pairs"][0]["answer"] != "unknown"


@pytest.mark.usefixtures("undrawn")
def test_an_interrupted_study_has_a_page_of_what_there_is(
    command: Any, engine: Engine, tmp_path: Path
) -> None:
    engine.interrupts = True
    words = (*TINY, "learner=osttp", "hardware=pcm", "--no-sensitivity", "--out", "study")
    code, out, err = command(*words, "--quiet")
    assert (code, out, err) == (130, "", "")
    assert len(told(tmp_path / "study")["missing"]) == 1


def test_a_plan_is_printed_and_nothing_is_run(command: Any, engine: Engine, tmp_path: Path) -> None:
    code, out, err = command(*TINY, "learner=osttp,bptt", "hardware=ecram", "--dry-run", "-j", "2")
    assert (code, err, engine.jobs) == (0, "", [])
    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert lines[0] == "PART RUNS TO RUN WORK VALUES"
    assert lines[1] == "as they are 4 4 2 min 00 s ideal, ecram"
    assert "quantised: bits of a weight 14 14 7 min 00 s 2, 3, 4, 5, 6, 7, 8" in lines
    assert "not followed, none of the devices has it: noise (hardware.read_noise)" in lines
    assert "32 runs, 32 to run: about 16 min 00 s of work, 8 min 00 s with 2 at once" in out
    assert list(tmp_path.iterdir()) == []
    code, out, _ = command(*TINY, "learner=osttp,bptt", "hardware=ecram", "--dry-run", "--json", "-j", "2")
    plan = json.loads(out)
    assert (plan["runs"], plan["left"], plan["seconds"]) == (32, 32, 480.0)
    assert sum(part["runs"] for part in plan["parts"]) == 32


@pytest.mark.usefixtures("undrawn")
def test_a_study_without_a_name_has_the_same_one_whatever_the_budgets(
    command: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(conductor, "conduct_sweep", lambda *given, **options: Summary())
    words = (*TINY, "learner=osttp", "hardware=pcm", "--quiet")
    for more in ((), ("budget.sram=1KiB",), ("train.epochs=2",)):
        replaced = [word for word in words if not more or word.split("=")[0] != more[0].split("=")[0]]
        assert command(*replaced, *more, "--no-sensitivity")[0] == 0
    names = sorted(file.name for file in (tmp_path / "studies").iterdir())
    assert len(names) == 2
    assert all(name.startswith("feasibility-split-digits-") for name in names)


@pytest.mark.usefixtures("undrawn")
def test_how_it_runs_is_handed_on(command: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    found: dict[str, Any] = {}

    def conducted(study: Any, jobs: Any, **options: Any) -> Summary:
        found.update(options, jobs=jobs)
        return Summary()

    monkeypatch.setattr(conductor, "conduct_sweep", conducted)
    words = (*STUDY, "--quiet", "--out", "study", "--engine", "dask", "--address", "tcp://there", "-j", "3")
    assert command(*words)[0] == 0
    assert [found[key] for key in ("workers", "engine", "address")] == [3, "dask", "tcp://there"]
    assert len(found["jobs"]) == 8


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "nothing to study: give learner="),
        (("budget.sram=1KiB",), "nothing to study"),
        (("--out", "nowhere"), "nothing to study"),
        (("learner=ostpp",), "unknown learner 'ostpp'; did you mean 'osttp'?"),
        (("hardware=pmc",), "unknown hardware 'pmc'; did you mean"),
        (("hardware=ideal",), "hardware=ideal: is the reference"),
        (("scenario=split-digit",), "unknown scenario 'split-digit'; did you mean 'split-digits'?"),
        (("budget.srma=1KiB", "seed=0"), "budget.srma: unknown key; did you mean budget.sram?"),
        (("budget.sram=1Kib", "seed=0"), "budget.sram: 'Kib' is no unit here; did you mean KiB?"),
        (
            ("budget.power=3", "seed=0"),
            "budget.power: the unit is missing (wants a number with a unit (W, mW",
        ),
        (("seed=0", "--only", "nois"), "--only: 'nois' is no axis; did you mean noise?"),
        (("seed=0", "--only", "noise", "--no-sensitivity"), "--only, --no-sensitivity: give one of them"),
        (("seed=0", "sensitivity.nois=1"), "sensitivity.nois: 'nois' is no axis"),
        (("seed=0", "--sensitivity-seeds", "0"), "--sensitivity-seeds 0: wants 1 or more"),
        (("seed=0", "--engine", "slurm"), "--engine slurm: must be one of local, dask, ray"),
        (("seed=0", "--address", "tcp://x"), "--address: is for --engine dask and ray"),
        (("hardware.gmax=1", "hardware=pcm"), "hardware.gmax: unknown key; did you mean hardware.g_max?"),
        (("train.epoch=1",), "train.epoch: unknown key; did you mean train.epochs?"),
        (("--from", "nowhere"), "nowhere: no feasibility study"),
        (("--config", "nowhere.yaml"), "nowhere.yaml"),
    ],
)
def test_slips_are_told_and_leave_nothing_behind(
    words: tuple[str, ...], message: str, command: Any, engine: Engine, tmp_path: Path
) -> None:
    code, out, err = command(*words)
    assert (code, out, engine.jobs) == (2, "", [])
    assert message in err
    assert "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("learner=bptt",), "--from: learner=bptt: runs nothing, so only budget.KEY=VALUE may change"),
        (("--only", "noise"), "--only, --no-sensitivity: has no meaning with --from"),
        (("--no-sensitivity",), "--only, --no-sensitivity: has no meaning with --from"),
        (("--sensitivity-seeds", "1"), "--sensitivity-seeds: has no meaning with --from"),
        (("--dry-run",), "--dry-run: has no meaning with --from"),
        (("budget.sram=1",), "budget.sram: the unit is missing"),
    ],
)
def test_slips_in_judging_again(words: tuple[str, ...], message: str, command: Any, finished: Path) -> None:
    before = (finished / "feasibility.yaml").read_bytes()
    code, out, err = command("--from", str(finished), *words)
    assert (code, out) == (2, "")
    assert message in err
    assert (finished / "feasibility.yaml").read_bytes() == before


def test_a_folder_that_holds_another_study_is_refused(command: Any, finished: Path, tmp_path: Path) -> None:
    code, _, err = command("learner=osttp", "hardware=pcm", "--out", str(finished))
    assert code == 2
    assert "holds a study of split-digits, and scenario=split-shd is asked for" in err
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "feasibility.yaml").write_text("{}")
    code, _, err = command("--from", str(finished), "--out", "other")
    assert code == 2
    assert "--out other: is another study" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    code, _, err = command(*STUDY, "--out", "mine")
    assert code == 2
    assert "mine: holds files and no study.yaml" in err
