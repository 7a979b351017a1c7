"""Peak memory: what is measured agrees with the formula; slope, flatness and ratios are what they say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from benchmarks import memory
from benchmarks.memory import (
    Point,
    flatness,
    in_fresh_process,
    main,
    measure,
    names,
    parser,
    records,
    slope,
    table,
)

needs_proc = pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="Linux only")
TINY = ["--inputs", "10", "--hidden", "8", "--classes", "3", "--batch", "4"]


def points(*peaks: float, name: str = "osttp") -> list[Point]:
    return [Point(name, 100 * (n + 1), peak, 0.0, 0.0, 0.0) for n, peak in enumerate(peaks)]


def test_slope_and_flatness() -> None:
    assert slope(points(10.0, 20.0, 30.0)) == pytest.approx(0.1)
    assert slope(points(10.0)) == 0.0
    assert flatness(points(10.0, 10.2, 10.1)) == pytest.approx(2.0)


def test_ratios_are_taken_at_the_same_length() -> None:
    loop = [Point("torch-loop", p.steps, p.peak, None, None, 0.0) for p in points(10.0, 40.0)]
    found = records([*loop, *points(5.0, 10.0, name="bptt"), *points(1.0, 1.0, name="sltt")])
    assert [record["ratio"] for record in found] == [1.0, 1.0, 0.5, 0.25, 0.1, 0.025]
    assert [record["to_bptt"] for record in found] == [2.0, 4.0, 1.0, 1.0, 0.2, 0.1]
    assert records(points(5.0))[0]["ratio"] is None
    # Peaks that are too small to see.
    assert records(points(0.0, name="torch-loop"))[0]["ratio"] is None
    assert flatness(points(0.0, 1.0)) == float("inf")
    assert "torch-loop" in table(loop)


def test_who_is_measured(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("benchmarks.peers.installed", lambda: (["snntorch"], ["norse"]))
    options = parser().parse_args(["--learner", "bptt,sltt:steps=T/4", "--peers"])
    assert names(options) == ["torch-loop", "bptt", "sltt:steps=T/4", "snntorch"]
    assert "skipping norse" in capsys.readouterr().out
    options = parser().parse_args(["--peers", "--backbone", "lru"])
    assert names(options) == ["torch-loop", "bptt", "sltt", "osttp"]


@needs_proc
@pytest.mark.parametrize("learner", ["bptt", "osttp", "sltt:steps=T/4;chunk=5"])
def test_formula_and_live_tensors_agree(learner: str) -> None:
    threads = torch.get_num_threads()
    try:
        point = measure(parser().parse_args([*TINY, "--steps", "60"]), learner)
    finally:
        torch.set_num_threads(threads)
    assert (point.learner, point.steps) == (learner, 60)
    assert point.live == pytest.approx(point.formula, rel=0.05)
    assert point.baseline > 10


@needs_proc
def test_the_command_measures_the_loop_beside_the_learners(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def measured(options: object, name: str, steps: int) -> Point:
        return Point(name, steps, 4.0 * steps if name == "torch-loop" else 1.0 * steps, None, None, 700.0)

    monkeypatch.setattr(memory, "in_fresh_process", measured)
    file = tmp_path / "memory.json"
    assert main([*TINY, "--steps", "3,6", "--learner", "bptt", "--repeats", "2", "--json", str(file)]) == 0
    found = [(r["learner"], r["steps"], r["ratio"]) for r in json.loads(file.read_text())]
    assert found == [("torch-loop", 3, 1.0), ("torch-loop", 6, 1.0), ("bptt", 3, 0.25), ("bptt", 6, 0.25)]
    assert "1.0000" in capsys.readouterr().out


@needs_proc
def test_the_loop_is_measured_in_a_process_of_its_own() -> None:
    options = parser().parse_args([*TINY, "--recurrent"])
    point = in_fresh_process(options, "torch-loop", 3)
    assert (point.learner, point.steps, point.formula, point.live) == ("torch-loop", 3, None, None)
    assert point.baseline > 10


@needs_proc
def test_the_other_process_is_quoted_when_it_fails() -> None:
    options = parser().parse_args([*TINY, "--set", "learner.chunk=none"])
    with pytest.raises(RuntimeError, match=r"osttp at T=5 failed(.|\n)*learner.chunk"):
        in_fresh_process(options, "osttp", 5)


def test_a_learners_own_settings_outdo_the_common_ones() -> None:
    choice = memory._with(["learner.chunk=5", "backbone.reset=hard"], "osttp:learner.chunk=7")
    assert choice.overrides(10) == {"learner.chunk": "7", "backbone.reset": "hard"}


def test_elsewhere_than_on_linux_it_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Path, "exists", lambda self: False)
    assert main(TINY) == 2
    assert "Linux" in capsys.readouterr().err
