"""Stopwatches charge each moment to one part; a small run is split into its parts."""

from __future__ import annotations

from pathlib import Path

from benchmarks.profile_run import DATA, EVALUATION, OTHER, STEP, Stopwatches, profile


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_inner_parts_are_taken_off_outer_ones_and_evaluation_keeps_its_own() -> None:
    clock = Clock()
    watches = Stopwatches(clock)
    clock.now = 1.0
    with watches.running("forward"):
        clock.now = 3.0
        with watches.running("optimiser"):
            clock.now = 7.0
    with watches.running(EVALUATION):
        clock.now = 8.0
        with watches.running("batches"):
            clock.now = 10.0
    assert watches.stop() == {"forward": 2.0, "optimiser": 4.0, EVALUATION: 3.0, OTHER: 1.0}
    assert list(watches.stop())[-1] == OTHER


def test_a_watched_function_is_charged_even_when_it_fails() -> None:
    clock = Clock()
    watches = Stopwatches(clock)

    def work(seconds: float) -> float:
        clock.now += seconds
        return 1.0 / (seconds - 2.0)

    watched = watches.around(work, "work")
    assert watched(3.0) == 1.0
    try:
        watched(2.0)
    except ZeroDivisionError:
        clock.now += 1.0
    assert watches.stop() == {"work": 5.0, OTHER: 1.0}


def test_a_small_run_is_split_into_its_parts(tmp_path: Path) -> None:
    settings = ["scenario=split-digits", "scenario.tasks=2", "learner=bptt", "backbone.hidden=[8]"]
    seconds = profile(
        [*settings, "train.epochs=1", "track.mlflow=false", "threads=1", "device=cpu"], tmp_path / "run"
    )
    parts = {
        "imports",
        "data and network",
        DATA,
        *STEP,
        EVALUATION,
        "run folder",
    }
    assert set(seconds) == parts | {OTHER}
    assert all(value > 0 for value in seconds.values())
    assert (tmp_path / "run" / "results.json").exists()
