"""Whole runs: stable results, bit-exact repetition and resumption, folders that stay valid whatever happens."""

import json
import math
import sqlite3
from pathlib import Path

import pytest
import torch
import yaml

from workbench.checkpoint import Checkpoint
from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError, DataError
from workbench.events import Observer
from workbench.experiment import plan_experiment, run_experiment
from workbench.results import REQUIRED_KEYS
from workbench.runfolder import RunFolder, read_metrics, read_results

SMALL = (
    "scenario=split-digits",
    "scenario.tasks=2",
    "scenario.bins=6",
    "backbone.hidden=[16]",
    "train.epochs=2",
    "train.batch_size=64",
    "track.mlflow=false",
    "device=cpu",
    "threads=1",
)


@pytest.fixture(scope="module", autouse=True)
def checkpoint_after_every_epoch():
    """Write a checkpoint after every epoch: where a run resumes must not hang on how long writing one takes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("workbench.run.CHECKPOINT_SHARE", math.inf)
        yield


LEARNERS = ["osttp", "bptt", "osttp+replay", "osttp+ewc", "bptt+replay+ewc"]


def settings(*overrides: str, seed: int = 0) -> ExperimentConfig:
    """Return a configuration that runs in a fraction of a second."""
    given = dict(text.split("=", 1) for text in (*SMALL, *overrides, f"seed={seed}"))
    return resolve([f"{key}={value}" for key, value in given.items()])


def lasting(results: dict) -> dict:
    """Return results without what a clock or a commit in the meantime decides."""
    return {key: value for key, value in results.items() if key not in ("time", "throughput", "versions")}


def tensors(folder: Path) -> dict:
    """Return every tensor of a checkpoint by path."""
    checkpoint = Checkpoint.load(RunFolder(folder).checkpoint_file)
    found: dict = {}

    def walk(value, path):
        if isinstance(value, torch.Tensor):
            found[path] = value
        elif isinstance(value, dict):
            for key, item in value.items():
                walk(item, f"{path}/{key}")
        elif isinstance(value, list):
            for index, item in enumerate(value):
                walk(item, f"{path}/{index}")

    for part in ("network", "optimiser", "rule", "modifiers", "chip"):
        walk(getattr(checkpoint, part), part)
    return found


def assert_same_run(one: Path, other: Path) -> None:
    """Hold two run folders to equal results, and equal tensors bit for bit."""
    assert lasting(read_results(one)) == lasting(read_results(other))
    found, expected = tensors(one), tensors(other)
    assert found.keys() == expected.keys()
    assert len(found) >= 4
    for path, value in expected.items():
        assert torch.equal(found[path], value), path
    rows = [
        [row for row in read_metrics(folder) if row.key not in ("seconds", "samples_per_second")]
        for folder in (one, other)
    ]
    assert rows[0] == rows[1]


class Interrupt(Observer):
    """Presses Ctrl-C once the given point is reached."""

    def __init__(self, task: int, epoch: int | None = None, batch: int | None = None) -> None:
        self.at = (task, epoch, batch)

    def batch_done(self, task, epoch, batch, batches, loss, accuracy):
        if (task, epoch, batch) == self.at:
            raise KeyboardInterrupt

    def epoch_done(self, task, epoch, metrics):
        if (task, epoch, None) == self.at:
            raise KeyboardInterrupt

    def task_done(self, task, accuracies, metrics):
        if (task, None, None) == self.at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return run folders of uninterrupted runs by learner, each run once."""
    made: dict[str, Path] = {}

    def folder(learner: str) -> Path:
        if learner not in made:
            made[learner] = tmp_path_factory.mktemp("whole") / "run"
            run_experiment(settings(f"learner={learner}"), made[learner])
        return made[learner]

    return folder


@pytest.mark.parametrize("learner", LEARNERS)
def test_results_hold_what_others_parse(learner, whole):
    results = read_results(whole(learner))
    assert results.keys() >= REQUIRED_KEYS
    assert results["status"] == "finished"
    assert (results["scenario"], results["learner"]) == ("split-digits", learner)
    assert (results["backbone"], results["hardware"], results["seed"]) == ("lif", "ideal", 0)
    assert results["dataset"].keys() >= {"name", "synthetic", "digest"}
    assert [len(row) for row in results["R"]] == [2, 2]
    assert all(0 <= accuracy <= 1 for row in [*results["R"], results["baseline"]] for accuracy in row)
    assert all(isinstance(results[key], float) for key in ("acc", "bwt", "fwt", "forgetting"))
    phases = {"imports", "data", "train", "evaluate", "track", "other"}
    assert results["time"].keys() == phases | {"total"}
    assert all(seconds >= 0 for seconds in results["time"].values())
    assert results["time"]["train"] > 0
    assert results["time"]["total"] == pytest.approx(sum(results["time"][phase] for phase in phases))
    assert len(results["throughput"]) == 2
    assert all(0 < rate < 1 for [rate] in results["spike_rates"])
    assert len(results["dormant"]) == 2
    assert all(0 <= share < 1 for [share] in results["dormant"])


@pytest.mark.parametrize("learner", LEARNERS)
def test_memory_formula_and_measurement_agree(learner, whole):
    memory = read_results(whole(learner))["memory"]
    assert memory["formula"].keys() == memory["measured"].keys()
    for category, expected in memory["formula"].items():
        assert memory["measured"][category] == pytest.approx(expected, rel=0.05, abs=64), category
    assert memory["measured"]["total"] > 0


@pytest.mark.parametrize("learner", LEARNERS)
def test_the_same_command_gives_the_same_run_bit_for_bit(learner, whole, tmp_path):
    run_experiment(settings(f"learner={learner}"), tmp_path / "again")
    assert_same_run(tmp_path / "again", whole(learner))


@pytest.mark.parametrize("learner", ["osttp", "bptt"])
def test_another_seed_gives_another_run(learner, whole, tmp_path):
    run_experiment(settings(f"learner={learner}", seed=1), tmp_path / "other")
    assert read_results(tmp_path / "other")["R"] != read_results(whole(learner))["R"]
    found, expected = tensors(tmp_path / "other"), tensors(whole(learner))
    assert not torch.equal(
        found["network/hidden.0.synapse.weight"], expected["network/hidden.0.synapse.weight"]
    )


POINTS = {
    "before any checkpoint": Interrupt(0, 0, 1),
    "after an epoch": Interrupt(0, 1),
    "in the midst of an epoch": Interrupt(0, 1, 2),
    "at the end of a task": Interrupt(0),
    "in the first epoch of the next task": Interrupt(1, 0, 0),
    "late": Interrupt(1, 1, 1),
}


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("learner", LEARNERS)
def test_an_interrupted_run_is_valid_and_resumes_bit_for_bit(learner, point, whole, tmp_path):
    config = settings(f"learner={learner}")
    results = run_experiment(config, tmp_path / "run", [POINTS[point]])
    assert results["status"] == "interrupted"
    assert read_results(tmp_path / "run") == json.loads(json.dumps(results))
    assert results["memory"]["measured"]["total"] > 0
    assert (tmp_path / "run" / "metrics.parquet").is_file()
    resumed = run_experiment(config, tmp_path / "run", resume=True)
    assert resumed["status"] == "finished"
    assert_same_run(tmp_path / "run", whole(learner))
    assert resumed["time"]["total"] > results["time"]["train"]
    assert resumed["time"]["other"] >= 0


def test_a_run_may_be_interrupted_again_and_again(whole, tmp_path):
    config = settings("learner=osttp+replay")
    run_experiment(config, tmp_path / "run", [POINTS["in the midst of an epoch"]])
    for point in ("at the end of a task", "in the first epoch of the next task", "late"):
        results = run_experiment(config, tmp_path / "run", [POINTS[point]], resume=True)
        assert results["status"] == "interrupted"
    run_experiment(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", whole("osttp+replay"))


def test_a_resumed_run_tells_new_observers_everything(tmp_path):
    class Listener(Observer):
        def __init__(self):
            self.heard = []

        def task_started(self, task):
            self.heard.append(("start", task))

        def epoch_done(self, task, epoch, metrics):
            self.heard.append(("epoch", task, epoch))

        def task_done(self, task, accuracies, metrics):
            self.heard.append(("done", task))

    config = settings("learner=osttp")
    run_experiment(config, tmp_path / "run", [Interrupt(1, 1, 0)])
    listener = Listener()
    run_experiment(config, tmp_path / "run", [listener], resume=True)
    told = [("start", 0), ("epoch", 0, 0), ("epoch", 0, 1), ("done", 0), ("start", 1), ("epoch", 1, 0)]
    assert listener.heard == [*told, ("start", 1), ("epoch", 1, 1), ("done", 1)]


def test_a_failed_run_says_so_and_raises(tmp_path):
    class Fails(Observer):
        def epoch_done(self, task, epoch, metrics):
            if task == 1:
                raise ZeroDivisionError("a fault of its own")

    with pytest.raises(ZeroDivisionError, match="a fault of its own"):
        run_experiment(settings("learner=osttp"), tmp_path / "run", [Fails()])
    results = read_results(tmp_path / "run")
    assert results["status"] == "failed"
    assert results["error"] == "ZeroDivisionError: a fault of its own"
    assert len(results["R"]) == 1


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "flipped", "other version", "other network"])
def test_a_damaged_checkpoint_is_told_and_leaves_the_folder_alone(damage, tmp_path):
    config = settings("learner=osttp")
    run_experiment(config, tmp_path / "run", [Interrupt(1, 0, 0)])
    file = RunFolder(tmp_path / "run").checkpoint_file
    content = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(content[: len(content) // 2])
    elif damage == "text":
        file.write_text("no checkpoint")
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "flipped":
        # In the midst of the weights, where nothing but a check sum can tell.
        place = content.find(tensors(tmp_path / "run")["network/hidden.0.synapse.weight"].numpy().tobytes())
        assert place > 0
        content[place + 5] ^= 0xFF
        file.write_bytes(content)
    elif damage == "other version":
        torch.save({"version": 0}, file)
    else:
        config = settings("learner=osttp", "backbone.hidden=[17]")
    before = {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()}
    with pytest.raises(DataError, match=r"checkpoint\.pt"):
        run_experiment(config, tmp_path / "run", resume=True)
    assert {path.name: path.read_bytes() for path in (tmp_path / "run").iterdir()} == before


def test_a_folder_with_a_run_is_not_overwritten(whole):
    before = read_results(whole("osttp"))
    with pytest.raises(ConfigurationError, match="holds a run already"):
        run_experiment(settings("learner=osttp"), whole("osttp"))
    assert read_results(whole("osttp")) == before


def test_stored_configuration_is_read_back_exactly(tmp_path):
    config = settings("learner=osttp+replay", "track.experiment='1e-3'", "learner.lr=1e-3")
    folder = RunFolder.create(tmp_path / "run", config.to_dict(), {})
    assert resolve((), folder.config_file) == config
    assert yaml.safe_load(folder.config_file.read_text())["learner"]["replay"]["size"] == 200


def test_a_run_is_recorded_with_mlflow(tmp_path):
    store = tmp_path / "mlflow.db"
    config = settings("learner=osttp", "track.mlflow=true", f"track.uri=sqlite:///{store}", "train.epochs=1")
    results = run_experiment(config, tmp_path / "run")
    assert results["time"]["track"] > 0
    with sqlite3.connect(store) as connection:
        [(status,)] = connection.execute("select status from runs").fetchall()
        keys = {key for (key,) in connection.execute("select distinct key from metrics")}
    connection.close()
    assert status == "FINISHED"
    assert {"train_loss", "acc", "forgetting"} <= keys


@pytest.mark.parametrize("learner", LEARNERS)
def test_a_plan_trains_nothing_and_tells_the_memory_of_the_run(learner, whole, monkeypatch, tmp_path):
    from workbench.plugin import Rule

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Rule, "train_step", lambda *_: pytest.fail("a plan must not train"))
    plan = plan_experiment(settings(f"learner={learner}"))
    results = read_results(whole(learner))
    assert plan["memory"] == results["memory"]["formula"]
    assert plan["configuration"] == results["config"]
    assert list(plan["data"]["tasks"].values()) == results["samples"]
    assert plan["cost"]["sequences_seen"] == 2 * sum(results["samples"])
    assert plan["cost"]["parameters"] == 16 * 64 + 10 * 16
    assert list(tmp_path.iterdir()) == []


def test_threads_and_global_generators_are_as_before(tmp_path):
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    run_experiment(settings("learner=osttp+replay", "threads=2", "train.epochs=1"), tmp_path / "run")
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)


def test_update_at_every_step_runs_and_resumes(tmp_path):
    config = settings("learner=osttp+replay", "learner.update=step", "learner.optimiser=sgd")
    run_experiment(config, tmp_path / "whole")
    run_experiment(config, tmp_path / "run", [Interrupt(1, 0)])
    run_experiment(config, tmp_path / "run", resume=True)
    assert_same_run(tmp_path / "run", tmp_path / "whole")
    memory = read_results(tmp_path / "run")["memory"]
    for category, expected in memory["formula"].items():
        assert memory["measured"][category] == pytest.approx(expected, rel=0.05, abs=64), category
