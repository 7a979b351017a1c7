"""The chorales study in small: OSTL follows BPTT over whole runs, both learn, and finished runs are read again."""

import json

import numpy as np
import pytest

from benchmarks.chorales import main, markdown, overrides, parser
from benchmarks.studies import configured


@pytest.fixture(scope="module")
def chorales(tmp_path_factory):
    """Return a file with short made-up chorales: a chord that moves up one step at a time, in the official layout."""
    generator = np.random.default_rng(0)
    content = {}
    for split, count in (("train", 12), ("valid", 4), ("test", 4)):
        rolls, offsets = [], [0]
        for _ in range(count):
            steps = int(generator.integers(7, 15))
            roll = np.zeros((steps, 88), dtype=np.uint8)
            root = 40 + (generator.integers(12) + np.arange(steps)) % 12
            for interval in (0, 4, 7):
                roll[np.arange(steps), root + interval] = 1
            rolls.append(roll)
            offsets.append(offsets[-1] + steps)
        content[split] = np.packbits(np.concatenate(rolls), axis=1)
        content[f"{split}_off"] = np.array(offsets)
    path = tmp_path_factory.mktemp("chorales") / "jsb_quarter.npz"
    np.savez(path, **content)
    return path


def test_ostl_follows_bptt_and_both_learn(chorales, tmp_path, capsys):
    arguments = ["--path", str(chorales), "--epochs", "8", "--hidden", "12", "--chunk", "5"]
    arguments += ["--out", str(tmp_path), "learner.lr=5e-3", "device=cpu", "threads=1"]
    arguments += ["--json", str(tmp_path / "lines.json")]
    assert main(arguments) == 0
    out = capsys.readouterr().out
    lines = json.loads((tmp_path / "lines.json").read_text())
    records = lines["records"] if isinstance(lines, dict) and "records" in lines else lines
    bptt, ostl = (next(line for line in records if line["learner"] == name) for name in ("bptt", "ostl"))
    assert 0 < ostl["distance"] < 1e-4
    assert bptt["distance"] is None
    for line in (bptt, ostl):
        assert line["last"] < line["first"] - 0.5
        assert len(line["curve"]) == 8
    stamps = {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")}
    assert len(stamps) == 4
    assert main(arguments) == 0
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("*/results.json")} == stamps
    assert "| ostl | 0 |" in out


def test_one_epoch_is_the_beginning_of_the_long_run():
    """Named streams and a constant rate: nothing else differs between the two configurations."""
    options = parser().parse_args(["--epochs", "9"])
    short, long = (configured(overrides("ostl", 0, epochs, options)).to_dict() for epochs in (1, 9))
    assert short["train"].pop("epochs") == 1
    assert long["train"].pop("epochs") == 9
    assert short == long
    assert short["learner"]["schedule"] == "constant"


def test_table():
    line = {
        "learner": "bptt",
        "seed": 0,
        "first": 11.5,
        "last": 8.6,
        "curve": [9.0, 8.5],
        "train_seconds": 60.0,
    }
    text = markdown([{**line, "distance": None}, {**line, "learner": "ostl", "distance": 2e-7}])
    assert "| ostl | 0 | 11.5000 | 8.6000 | 8.5000 | 2.0e-07 |" in text
