"""Interleaved timing: order, ratios, medians."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.timing import Result, Variant, environment_lines, interleave, timing_table, write_json


class Work:
    """Moves a made-up clock on by the seconds given, call by call, and notes who was called."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def clock(self) -> float:
        return self.now

    def taking(self, name: str, seconds: Iterator[float]) -> Variant:
        def run() -> None:
            self.calls.append(name)
            self.now += next(seconds)

        return Variant(name, run)


def test_a_ratio_is_taken_within_its_round_and_then_the_median() -> None:
    work = Work()
    loop = work.taking("loop", iter([9.0, 1.0, 2.0, 10.0]))
    fused = work.taking("fused", iter([9.0, 0.5, 1.0, 1.0]))
    timings = interleave([loop, fused], rounds=3, warm_up=1, clock=work.clock)
    assert timings[1].ratios == [0.5, 0.5, 0.1]
    assert timings[1].result() == Result("fused", 0.5, 1000.0)
    assert timings[0].result().ratio == 1.0
    assert "fused" in timing_table(timings)


def test_rounds_run_there_and_back_and_slow_variants_take_part_in_the_first_ones() -> None:
    work = Work()
    fast = [work.taking(name, iter([1.0] * 9)) for name in "ab"]
    slow = Variant("c", work.taking("c", iter([1.0] * 9)).run, rounds=1)
    timings = interleave([*fast, slow], rounds=2, warm_up=2, clock=work.clock)
    assert "".join(work.calls) == "aabbc" + "abc" + "ba"
    assert [len(timing.ratios) for timing in timings] == [2, 2, 1]


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        interleave([Variant("a", lambda: None)], rounds=0)


def test_results_are_written_as_a_list(tmp_path: Path) -> None:
    write_json(tmp_path / "step.json", [Result("torch-loop", 1.0, 12.5)])
    assert json.loads((tmp_path / "step.json").read_text()) == [
        {"name": "torch-loop", "ratio": 1.0, "ms": 12.5}
    ]


def test_the_environment_names_versions_threads_and_load() -> None:
    text = "\n".join(environment_lines(threads=2))
    for word in ("torch", "threads 2", "commit", "load average"):
        assert word in text


def test_a_variant_that_takes_too_long_takes_part_in_few_rounds() -> None:
    work = Work()
    reference = work.taking("loop", iter([60.0] * 9))
    slow = work.taking("slow", iter([50.0] * 9))
    compiled = work.taking("compiled", iter([50.0] + [1.0] * 9))
    timings = interleave([reference, slow, compiled], rounds=5, warm_up=2, clock=work.clock, patience=10.0)
    assert [len(timing.ratios) for timing in timings] == [5, 3, 5]


def test_ratios_to_another_variant_are_taken_within_rounds_too() -> None:
    work = Work()
    loop = work.taking("loop", iter([9.0, 1.0, 2.0, 10.0]))
    ours = work.taking("ours", iter([9.0, 2.0, 4.0, 5.0]))
    slow = Variant("slow", work.taking("slow", iter([9.0, 8.0, 4.0])).run, rounds=2)
    timings = interleave([loop, ours, slow], rounds=3, warm_up=1, clock=work.clock)
    assert timings[2].against(timings[1]) == 2.5
    assert timings[0].against(timings[1]) == 0.5
    assert timings[1].middle_half() == (0.5, 2.0)
    assert "to ours" in timing_table(timings, "ours").splitlines()[0]
    assert "to nobody" not in timing_table(timings, "nobody")
