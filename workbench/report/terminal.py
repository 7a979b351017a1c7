"""A run in the terminal: what starts, how far it is, and the page at the end.

On a terminal one line changes in place; into a file or a pipe go plain lines, a few seconds apart.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from workbench.events import Observer, RunPlan
from workbench.report.summary import notices, summary
from workbench.report.units import clock, count, duration, percent, short_path

REFRESH_SECONDS = 0.5
LINE_SECONDS = 2.0
LONG_EPOCH_SECONDS = 20.0
SMALLEST_BAR = 6


class TerminalReport(Observer):
    """Shows a run on a rich console.

    out: the run folder. overrides: the `key=value` arguments of the run, for the command suggested at the
    end. tracking_uri: where MLflow keeps the run, if it does. now: a monotonic clock, seconds.
    """

    def __init__(
        self,
        console: Console,
        out: Path,
        overrides: Sequence[str] = (),
        tracking_uri: str | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self.out = Path(out)
        self.overrides = tuple(overrides)
        self.tracking_uri = tracking_uri
        self._now = now
        self._live: Live | None = None
        self._plan: RunPlan | None = None
        self._progress = Progress((), 1)
        self._next_look = 0.0
        self._last_line = -LINE_SECONDS

    def run_started(self, plan: RunPlan) -> None:
        """Show what is about to run, and on which data."""
        self._plan = plan
        self._progress = Progress(plan.samples, plan.epochs)
        self.console.print(header(plan, self.out))
        for notice in notices(plan.dataset):
            self.console.print(notice)
        if self.console.is_terminal and not self.console.is_dumb_terminal:
            # A refreshing thread would take the interpreter from the training loop ten times a second.
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()

    def task_started(self, task: int) -> None:
        """Show which task begins."""
        self._progress.task, self._progress.epoch = task, 0
        self._show()

    def batch_done(
        self, task: int, epoch: int, batch: int, batches: int, loss: float | None, accuracy: float | None
    ) -> None:
        """Move on; costs a clock reading for all but a few batches a second."""
        if loss is not None:
            self._progress.loss = loss
        if accuracy is not None:
            self._progress.accuracy = accuracy
        now = self._now()
        if now < self._next_look:
            return
        self._next_look = now + REFRESH_SECONDS
        self._progress.advance(now, task, epoch, (batch + 1) / max(batches, 1))
        if self._live is not None:
            self._show()
        elif now >= self._last_line + LONG_EPOCH_SECONDS:
            self._line(now)

    def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
        """Show the numbers of an epoch."""
        now = self._now()
        self._progress.advance(now, task, epoch, 1.0)
        self._progress.loss = metrics.get("train_loss", self._progress.loss)
        self._progress.accuracy = metrics.get("train_accuracy", self._progress.accuracy)
        last = epoch + 1 == self._progress.epochs
        if self._live is not None and (last or now >= self._next_look):
            self._next_look = now + REFRESH_SECONDS
            self._show()
        elif self._live is None and (last or now >= self._last_line + LINE_SECONDS):
            self._line(now, metrics.get("validation_accuracy"))

    def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
        """Say what the network can do now."""
        if self._plan is None:
            return
        names = self._plan.task_names
        text = Text.assemble((f"task {task + 1}/{len(names)} learned", "bold"), "  test accuracy ")
        text.append(f"{percent(accuracies[task])} %", style="bold green")
        earlier = [accuracy for accuracy in accuracies[:task] if not math.isnan(accuracy)]
        if earlier:
            text.append(f", earlier tasks {percent(sum(earlier) / len(earlier))} %")
        if "seconds" in metrics:
            text.append(f"  {duration(metrics['seconds'])}")
        text.append(f"  {names[task]}", style="dim")
        self.console.print(text, soft_wrap=True)

    def run_finished(self, results: Mapping[str, Any]) -> None:
        """Show the final page."""
        self.close()
        self.console.print(summary(results, self.out, self.overrides, self.tracking_uri), crop=False)

    def close(self) -> None:
        """Take the changing line away and give the cursor back; may be called at any time, and again."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _show(self) -> None:
        if self._live is not None:
            self._live.update(progress_line(self._progress, self.console.width), refresh=True)

    def _line(self, now: float, validation: float | None = None) -> None:
        self._last_line = now
        *cells, left = self._progress.cells(speed=validation is None)
        if validation is not None:
            cells.append(f"validation {percent(validation)} %")
        # Soft wrap: a line of a log stays one line, whatever width the console believes to have.
        self.console.print("  ".join([*cells, left]), soft_wrap=True, highlight=False)


class Progress:
    """How far a run is, counted in training samples over all tasks and epochs; its speed and time to go.

    samples: of each task. Speed counts all that happens between batches, testing too, so the time to go does
    as well.
    """

    def __init__(self, samples: Sequence[int], epochs: int) -> None:
        self.samples = tuple(samples)
        self.epochs = epochs
        self.task = 0
        self.epoch = 0
        self.loss: float | None = None
        self.accuracy: float | None = None
        self.done = 0.0
        self._origin: tuple[float, float] | None = None
        self._last = 0.0

    @property
    def total(self) -> int:
        """Samples to learn from over the whole run."""
        return self.epochs * sum(self.samples)

    @property
    def fraction(self) -> float:
        """Part of the run that is done, in [0, 1]."""
        return min(self.done / self.total, 1.0) if self.total else 0.0

    @property
    def speed(self) -> float | None:
        """Samples per second since the first look; None before there is a second one."""
        if self._origin is None:
            return None
        seconds, samples = self._last - self._origin[0], self.done - self._origin[1]
        return samples / seconds if seconds > 0 and samples > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time to go, seconds."""
        return None if self.speed is None else max(self.total - self.done, 0.0) / self.speed

    def advance(self, now: float, task: int, epoch: int, fraction: float) -> None:
        """Set the place: `fraction` of an epoch of a task is done at time `now`."""
        self.task, self.epoch = task, epoch
        before = self.epochs * sum(self.samples[:task])
        here = self.samples[task] if task < len(self.samples) else 0
        self.done = before + here * (epoch + min(fraction, 1.0))
        self._last = now
        if self._origin is None:
            # What comes before (compiling kernels, filling caches) happens once and says nothing of the rest.
            self._origin = (now, self.done)

    def cells(self, speed: bool = True) -> list[str]:
        """Return the parts of a progress line: place, loss, accuracy, speed, time to go, where known."""
        cells = [f"task {self.task + 1}/{len(self.samples)}", f"epoch {self.epoch + 1}/{self.epochs}"]
        if self.loss is not None:
            cells.append(f"loss {self.loss:.3f}")
        if self.accuracy is not None:
            cells.append(f"accuracy {percent(self.accuracy)} %")
        if speed and self.speed is not None:
            cells.append(f"{count(round(self.speed))} samples/s")
        return [*cells, f"ETA {clock(self.seconds_left)}"]


def progress_line(progress: Progress, width: int) -> Table:
    """Return one line of at most `width` columns: the numbers, and a bar in what room they leave."""
    cells = progress.cells()
    while len("  ".join(cells)) + 2 + SMALLEST_BAR > width and len(cells) > 3:
        # Speed goes first, since the time to go says the same; then accuracy, then loss.
        del cells[-2]
    text = "  ".join(cells)
    room = width - len(text) - 2
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(no_wrap=True, overflow="crop")
    if room >= SMALLEST_BAR:
        line.add_column()
        line.add_row(text, ProgressBar(total=1.0, completed=progress.fraction, width=min(room, 40)))
    else:
        line.add_row(text)
    return line


def header(plan: RunPlan, out: Path) -> Panel:
    """Return the panel that says what runs, on what, and where its files go."""
    tasks, samples = len(plan.task_names), sum(plan.samples)
    plural = "" if tasks == 1 else "s"
    passes = "1 pass" if plan.epochs == 1 else f"{plan.epochs} passes"
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(
        "scenario", f"{plan.scenario}: {tasks} task{plural}, {count(samples)} samples, {passes} each"
    )
    grid.add_row("learner", Text(plan.learner, style="bold"))
    grid.add_row("network", f"{plan.backbone} on {plan.hardware} hardware")
    synthetic = Text(" (synthetic)", style="yellow") if plan.dataset.get("synthetic") else Text()
    grid.add_row("data", Text(str(plan.dataset.get("name", "unknown"))).append_text(synthetic))
    grid.add_row("seed", str(plan.seed))
    grid.add_row("files", Text(short_path(out)))
    return Panel(grid, title="workbench run", title_align="left", border_style="blue", expand=False)
