"""A sweep in the terminal: a line for each job that ends, how far it is, and what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from rich.text import Text

from workbench.errors import DataError
from workbench.report.units import clock, duration, percent
from workbench.runfolder import read_results
from workbench.sweep.conductor import Summary
from workbench.sweep.folder import StudyFolder
from workbench.sweep.jobs import Job
from workbench.sweep.worker import Outcome

STYLES = {
    "finished": "green",
    "failed": "red",
    "stale": "red",
    "interrupted": "yellow",
    "elsewhere": "yellow",
}
MOST_ERRORS = 10
"""Errors told at the end; the rest is counted."""


class SweepTerminal:
    """Shows a sweep on a rich console.

    now: a monotonic clock, seconds. advice: whether to say at the end what to do next.
    """

    def __init__(
        self, console: Console, now: Callable[[], float] = time.monotonic, *, advice: bool = True
    ) -> None:
        self.console = console
        self.advice = advice
        self._now = now
        self._begun = now()
        self._todo = self._ended = 0
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def sweep_started(
        self, study: StudyFolder, jobs: Sequence[Job], todo: Sequence[Job], workers: int
    ) -> None:
        """Say how much there is to do."""
        self._begun, self._todo = self._now(), len(todo)
        behind = f", {len(jobs) - len(todo)} of them done before" if len(jobs) > len(todo) else ""
        at_once = f"{min(workers, max(len(todo), 1))} at once " if workers else ""
        self.console.print(
            f"{len(jobs)} jobs{behind}; {at_once}into {study.path}",
            highlight=False,
            soft_wrap=True,
        )
        if todo and self.console.is_terminal and not self.console.is_dumb_terminal:
            self._bar = Progress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[eta]}"),
                console=self.console, transient=True,
            )  # fmt: skip
            self._task = self._bar.add_task("sweep", total=len(todo), eta="")
            self._bar.start()

    def job_done(self, study: StudyFolder, outcome: Outcome) -> None:
        """Show how a job went."""
        self._ended += 1
        left = (self._now() - self._begun) / self._ended * (self._todo - self._ended)
        text = Text(f"{self._ended}/{self._todo} ")
        text.append(outcome.status, style=STYLES[outcome.status])
        text.append(f" {outcome.job}")
        if outcome.seconds is not None:
            text.append(f"  {duration(outcome.seconds)}")
        text.append(self._accuracy(study, outcome))
        if outcome.error:
            text.append(f"  {outcome.error.splitlines()[0]}")
        text.append(f"  ETA {clock(left)}", style="dim")
        self.console.print(text, soft_wrap=True)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, advance=1, eta=f"ETA {clock(left)}")

    def sweep_finished(self, study: StudyFolder, summary: Summary) -> None:
        """Say what came of it, and what to do next."""
        if self._bar is not None:
            self._bar.stop()
        parts = [
            (len(summary.finished) + len(summary.before), "finished", "green"),
            (len(summary.failed), "failed", "red"),
            (len(summary.stale), "stale", "red"),
            (len(summary.interrupted), "not run", "yellow"),
            (len(summary.elsewhere), "run by another sweep just now", "yellow"),
        ]
        text = Text()
        for number, name, style in parts:
            if number:
                text.append(", " if text else "")
                text.append(f"{number} {name}", style=style)
        self.console.print(text.append(f"; {duration(summary.seconds)}"))
        self._tell_errors(study, summary)
        if self.advice and (summary.finished or summary.before):
            self.console.print(
                f"\nNext\n  workbench compare {study.path}\n  workbench report {study.path}",
                highlight=False,
                soft_wrap=True,
            )

    def _tell_errors(self, study: StudyFolder, summary: Summary) -> None:
        wrong = {**summary.failed, **summary.stale}
        for job, error in list(wrong.items())[:MOST_ERRORS]:
            self.console.print(Text(f"  {job}: {error}", style="red"), soft_wrap=True)
            if job in summary.failed:
                self.console.print(Text(f"    log: {study.log_file(job)}", style="dim"), soft_wrap=True)
        if len(wrong) > MOST_ERRORS:
            self.console.print(f"  ... and {len(wrong) - MOST_ERRORS} more, see {study.jobs}")
        if summary.stale:
            self.console.print(
                "A stale run has other settings than those asked for: remove its folder, or choose another --out.",
                soft_wrap=True,
            )
        if self.advice and (summary.failed or summary.interrupted):
            self.console.print(
                f"The same command goes on: workbench sweep --out {study.path}", soft_wrap=True
            )

    @staticmethod
    def _accuracy(study: StudyFolder, outcome: Outcome) -> str:
        if outcome.status != "finished":
            return ""
        try:
            results = read_results(study.run(outcome.job).path)
        except DataError:
            return ""
        forgotten = results["forgetting"]
        return f"  ACC {percent(results['acc'])} %" + (
            "" if forgotten is None else f", forgetting {percent(forgotten)} %"
        )
