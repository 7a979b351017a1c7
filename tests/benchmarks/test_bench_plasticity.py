"""The plasticity study: statistics, files, going on where it stopped, and a short stream in which resets work."""

import itertools
import json
from statistics import mean

import pytest

from benchmarks import plasticity
from workbench.runfolder import read_metrics

TINY = (
    "scenario.samples=16",
    "scenario.channels=8",
    "backbone.hidden=[8]",
    "train.epochs=2",
    "train.batch_size=8",
)


def study(out, *arguments):
    command = ["--tasks", "3", "--seeds", "0,1", "--out", str(out), *arguments, *TINY]
    return plasticity.main(command)


def test_arms_differ_from_the_plain_rule_in_their_resets_alone():
    for arm, settings in plasticity.ARMS.items():
        plain = plasticity.ARMS[arm.partition("-")[0]]
        differing = {key for key in settings.keys() | plain.keys() if settings.get(key) != plain.get(key)}
        assert all(key.startswith("learner.dormancy.") for key in differing)
        assert bool(differing) == ("-" in arm)


def test_the_interval_is_students():
    found = plasticity.interval([0.1, 0.2, 0.3, 0.4, 0.5])
    assert found["mean"] == pytest.approx(0.3)
    # t(0.975, 4) = 2.776, standard error 0.1581 / sqrt(5).
    assert found["student"] == pytest.approx([0.3 - 2.776 * 0.0707107, 0.3 + 2.776 * 0.0707107], abs=1e-4)


def test_the_bootstrap_is_near_the_percentiles_of_all_resamples():
    values = [0.1, 0.2, 0.3, 0.4, 0.9]
    means = sorted(mean(drawn) for drawn in itertools.product(values, repeat=5))
    low, high = plasticity.interval(values)["bootstrap"]
    assert low == pytest.approx(means[round(0.025 * len(means))], abs=0.03)
    assert high == pytest.approx(means[round(0.975 * len(means))], abs=0.03)


def test_one_seed_has_no_interval_and_equal_differences_an_empty_one():
    assert plasticity.interval([0.2]) == {"mean": 0.2, "student": None, "bootstrap": None}
    assert plasticity.interval([0.5, 0.5])["student"] == [0.5, 0.5]


def test_differences_are_paired_by_seed():
    plain = {seed: {"accuracy": [0.1 * seed] * 10, "dormant": [[0.5]] * 10} for seed in (1, 2, 3)}
    arm = {seed: {"accuracy": [0.1 * seed + 0.01] * 10, "dormant": [[0.0]] * 10} for seed in (3, 1)}
    line = plasticity.record("bptt-unit", arm, plain)
    assert line["differences"] == pytest.approx([0.01, 0.01])
    assert plasticity.record("bptt", plain, plain)["difference"] is None


def test_a_study_writes_its_tables_and_reads_finished_runs(tmp_path, capsys, monkeypatch):
    files = [tmp_path / name for name in ("table.md", "lines.json", "curves.csv")]
    written = ["--markdown", str(files[0]), "--json", str(files[1]), "--curves", str(files[2])]
    arms = ["--arms", "bptt,bptt-unit,bptt-network"]
    assert study(tmp_path / "runs", *arms, *written) == 0
    lines = json.loads(files[1].read_text())
    lines = lines if isinstance(lines, list) else lines["results"]
    assert [line["arm"] for line in lines] == ["bptt", "bptt-unit", "bptt-network"]
    assert lines[0]["difference"] is None
    assert len(lines[1]["differences"]) == 2
    first = lines[1]["curves"]["0"]
    assert (len(first["accuracy"]), len(first["dormant"])) == (3, 3)
    rows = files[2].read_text().splitlines()
    assert rows[0] == "arm,seed,task,accuracy,dormant_layer_0"
    assert len(rows) == 1 + 3 * 2 * 3
    assert "bptt-network" in files[0].read_text()
    before = [file.read_text() for file in files]

    def refuse(*_, **__):
        raise AssertionError("a finished run was repeated")

    monkeypatch.setattr("workbench.experiment.run_experiment", refuse)
    assert study(tmp_path / "runs", *arms, *written) == 0
    assert [file.read_text() for file in files] == before
    assert study(tmp_path / "runs", *arms, "learner.lr=0.5") == 2
    assert "other settings" in capsys.readouterr().err


def test_unknown_arms_are_named(capsys):
    with pytest.raises(SystemExit):
        plasticity.main(["--arms", "bptt,bptt-magic"])
    assert "bptt-magic" in capsys.readouterr().err


def test_in_a_short_stream_resets_wake_dormant_units(tmp_path):
    """The study in small, with exact expectations: as many units are recycled as were counted, and fewer sleep then."""
    out = tmp_path / "runs"
    command = ["--tasks", "4", "--seeds", "0", "--out", str(out), "--arms", "bptt,bptt-unit"]
    overrides = ["scenario.samples=64", "train.epochs=10", "backbone.hidden=[32]", "learner.lr=0.1"]
    assert plasticity.main([*command, *overrides]) == 0
    ends = {}
    for arm in ("bptt", "bptt-unit"):
        rows = read_metrics(out / f"{arm}-4-seed0")
        ends[arm] = {
            task: {row.key: row.value for row in rows if row.task == task and row.epoch == 9}
            for task in range(4)
        }
    ratio = "dormant_ratio/layer_0"
    plain, reset = ([ends[arm][task][ratio] for task in range(4)] for arm in ("bptt", "bptt-unit"))
    recycled = [ends["bptt-unit"][task]["dormancy/recycled_units"] for task in range(4)]
    assert plain[0] == reset[0] > 0  # The first task comes before the first reset.
    for task in range(1, 4):
        assert recycled[task] - recycled[task - 1] == pytest.approx(32 * reset[task - 1])
    assert reset[3] < plain[3]
