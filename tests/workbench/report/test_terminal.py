"""Progress in a terminal and in a log."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from workbench.events import RunPlan
from workbench.report.terminal import Progress, TerminalReport, header, progress_line
from workbench.results import build_results

NOTICE = "This data is made by a machine."
PLAN = RunPlan(
    scenario="split-digits",
    learner="osttp",
    backbone="lif",
    hardware="ideal",
    seed=7,
    dataset={"name": "little digits", "synthetic": True, "digest": "ab12", "notice": NOTICE},
    task_names=("zero one", "two three"),
    samples=(100, 300),
    epochs=4,
    config={},
)


class Clock:
    """A clock that goes on when told."""

    def __init__(self) -> None:
        self.time = 1000.0

    def __call__(self) -> float:
        return self.time


def console(terminal: bool, width: int = 80) -> Console:
    return Console(
        file=io.StringIO(), width=width, force_terminal=terminal, legacy_windows=False, _environ={}
    )


def written(to: Console) -> str:
    assert isinstance(to.file, io.StringIO)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", to.file.getvalue())


def play(to: Console, seconds_a_batch: float, tasks: int = 2, report: TerminalReport | None = None) -> str:
    """Run the plan in batches of 10 and return what was written."""
    clock = Clock()
    report = report or TerminalReport(to, Path("run"), now=clock)
    report.run_started(PLAN)
    matrix = [[0.9, 0.1], [0.5, 0.8]][:tasks]
    for task in range(tasks):
        report.task_started(task)
        for epoch in range(PLAN.epochs):
            batches = PLAN.samples[task] // 10
            for batch in range(batches):
                clock.time += seconds_a_batch
                first = batch == 0
                report.batch_done(task, epoch, batch, batches, 1.5 if first else None, 0.5 if first else None)
            report.epoch_done(
                task, epoch, {"train_loss": 0.25, "train_accuracy": 0.75, "validation_accuracy": 0.6}
            )
        report.task_done(task, matrix[task], {"seconds": 4.0})
    status = "finished" if tasks == 2 else "interrupted"
    report.run_finished(build_results(PLAN, matrix, [0.1, 0.1], {}, {"train": 1.0}, status))
    return written(to)


def test_a_run_opens_with_what_it_is_and_the_notice() -> None:
    text = play(console(terminal=False), 0.1)
    for expected in (
        "split-digits: 2 tasks, 400 samples, 4 passes each",
        "osttp",
        "lif on ideal hardware",
        "seed",
    ):
        assert expected in text
    assert "little digits (synthetic)" in text
    before_progress = text[: text.index("epoch")]
    assert "SYNTHETIC DATA" in before_progress
    assert NOTICE in before_progress


def test_a_log_gets_plain_lines_a_few_seconds_apart() -> None:
    text = play(console(terminal=False), seconds_a_batch=0.01)
    lines = [line for line in text.splitlines() if line.startswith("task") and "epoch" in line]
    assert [line.split("  ")[:2] for line in lines] == [
        ["task 1/2", "epoch 1/4"],
        ["task 1/2", "epoch 4/4"],
        ["task 2/2", "epoch 4/4"],
    ]
    assert lines[-1] == "task 2/2  epoch 4/4  loss 0.250  accuracy 75.0 %  validation 60.0 %  ETA 0:00"
    assert max(map(len, lines)) <= 80
    assert "task 2/2 learned  test accuracy 80.0 %, earlier tasks 50.0 %  4.0 s  two three" in text
    assert "\r" not in text


def test_a_log_of_slow_epochs_shows_life_within_them() -> None:
    text = play(console(terminal=False), seconds_a_batch=3.0)
    within = re.findall(r"task 2/2  epoch 1/4  loss 1.500 .*", text)
    assert 2 <= len(within) <= 6
    assert "samples/s" in within[0]


def test_a_terminal_gets_one_line_that_changes() -> None:
    to = console(terminal=True)
    text = play(to, seconds_a_batch=0.5)
    assert "epoch 3/4  loss 1.500  accuracy 50.0 %  20 samples/s  ETA" in text
    assert "━" in text
    raw = to.file.getvalue()  # type: ignore[attr-defined]
    assert raw.count("\x1b[?25l") == raw.count("\x1b[?25h") == 1
    last_page = text[text.rindex("Test accuracy by task") :]
    assert "ETA" not in last_page


def test_refreshes_are_few_however_many_batches() -> None:
    to = console(terminal=True)
    clock = Clock()
    report = TerminalReport(to, Path("run"), now=clock)
    report.run_started(PLAN)
    before = len(written(to))
    for batch in range(1000):
        clock.time += 0.001
        report.batch_done(0, 0, batch, 1000, None, None)
    report.close()
    assert written(to)[before:].count("\r") <= 5


def test_an_interrupted_run_gives_the_cursor_back_and_shows_what_there_is() -> None:
    to = console(terminal=True)
    text = play(to, 0.1, tasks=1)
    assert "INTERRUPTED after 1 of 2 tasks." in text
    assert to.file.getvalue().endswith("\n")  # type: ignore[attr-defined]


@pytest.mark.parametrize("terminal", [False, True])
def test_closing_twice_or_before_the_start_is_harmless(terminal: bool) -> None:
    report = TerminalReport(console(terminal), Path("run"))
    report.close()
    report.run_started(PLAN)
    report.close()
    report.close()


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_the_line_fits_its_width(width: int) -> None:
    progress = Progress((1000, 2000), 10)
    progress.loss, progress.accuracy = 1.25, 0.5
    progress.advance(0.0, 0, 0, 0.1)
    progress.advance(8000.0, 1, 4, 0.5)
    to = console(terminal=False, width=width)
    to.print(progress_line(progress, width))
    to.print(header(PLAN, Path("/some/where/run")))
    lines = written(to).splitlines()
    assert lines[0].startswith("task 2/2  epoch 5/10")
    assert "ETA 1:17:36" in lines[0]
    assert ("samples/s" in lines[0]) == (width >= 100)
    assert all(len(line) <= width for line in lines)


def places() -> Iterator[tuple[int, int, float]]:
    for task in range(2):
        for epoch in range(PLAN.epochs):
            for part in (0.25, 0.5, 1.0):
                yield task, epoch, part


def test_progress_grows_from_nothing_to_all() -> None:
    progress = Progress(PLAN.samples, PLAN.epochs)
    assert (progress.fraction, progress.speed, progress.seconds_left) == (0.0, None, None)
    done = []
    for second, place in enumerate(places()):
        progress.advance(float(second), *place)
        done.append(progress.done)
    assert done == sorted(done)
    assert done[-1] == progress.total == 1600
    assert (progress.fraction, progress.seconds_left) == (1.0, 0.0)


@given(st.floats(1, 1e6), st.floats(0.01, 1e4))
def test_the_time_to_go_is_exact_at_constant_speed(speed: float, wait: float) -> None:
    progress = Progress((500,), 2)
    progress.advance(wait, 0, 0, 0.1)
    assert progress.seconds_left is None
    for epoch, part in ((0, 0.5), (0, 1.0), (1, 0.5)):
        done = 500 * (epoch + part)
        progress.advance(wait + (done - 50) / speed, 0, epoch, part)
        assert progress.speed == pytest.approx(speed, rel=1e-3)
        assert progress.seconds_left == pytest.approx((1000 - done) / speed, rel=1e-3)


@pytest.mark.parametrize("samples", [(), (0,), (0, 0)])
def test_a_run_without_samples_divides_by_nothing(samples: Any) -> None:
    progress = Progress(samples, 1)
    progress.advance(1.0, 0, 0, 1.0)
    progress.advance(2.0, 0, 0, 1.0)
    assert (progress.fraction, progress.speed) == (0.0, None)
