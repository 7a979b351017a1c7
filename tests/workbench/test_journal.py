"""The journal gives back what it was told, and what a run writes after an epoch does not grow with those behind it."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from workbench.config import resolve
from workbench.errors import DataError
from workbench.events import Observer
from workbench.experiment import run_experiment
from workbench.journal import Journal, entries_of, retell
from workbench.runfolder import RunFolder

TOLD = [
    ["epoch_done", 0, 0, {"train_loss": 0.1 + 0.2}],
    ["task_done", 0, [1 / 3, math.inf], {"seconds": 1e-300}],
    ["epoch_done", 1, 0, {"train_loss": 5e-324}],
]


def told(journal: Journal, entries: Sequence[list]) -> Journal:
    for name, *arguments in entries:
        getattr(journal, name)(*arguments)
    return journal


def test_numbers_come_back_bit_for_bit_and_only_what_is_new_is_written(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    journal = told(Journal(file), TOLD[:2])
    assert not file.exists()
    length = journal.commit()
    before = file.read_bytes()
    assert length == len(before)
    assert journal.commit() == length
    told(journal, TOLD[2:]).commit()
    assert file.read_bytes()[:length] == before
    assert entries_of(file, file.read_bytes()) == TOLD
    # NaN is equal to nothing, itself included.
    told(journal, [["epoch_done", 1, 1, {"train_loss": math.nan}]]).commit()
    assert math.isnan(entries_of(file, file.read_bytes())[-1][3]["train_loss"])


def test_what_came_after_the_checkpoint_is_done_again(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    first = told(Journal(file), TOLD[:1])
    length = first.commit()
    told(first, [["epoch_done", 0, 1, {"lost": 1.0}]]).commit()
    second = Journal(file)
    assert second.take_up(length) == TOLD[:1]
    assert b"lost" in file.read_bytes()
    told(second, TOLD[1:]).commit()
    assert entries_of(file, file.read_bytes()) == TOLD
    third = told(Journal(file), TOLD[2:])
    third.commit()
    assert entries_of(file, file.read_bytes()) == TOLD[2:]


def test_a_journal_that_is_too_short_or_damaged_is_told(tmp_path: Path) -> None:
    file = tmp_path / "journal.jsonl"
    with pytest.raises(DataError, match=r"journal\.jsonl: holds 0 bytes and the checkpoint counts on 10"):
        Journal(file).take_up(10)
    length = told(Journal(file), TOLD).commit()
    content = file.read_bytes()
    assert entries_of(file, content[:-5]) == TOLD[:2]
    file.write_bytes(b"?" + content[1:])
    with pytest.raises(DataError, match=r"journal\.jsonl is damaged"):
        Journal(file).take_up(length)


def test_others_hear_it_again() -> None:
    heard: list = []

    class Listener(Observer):
        def task_started(self, task: int) -> None:
            heard.append(["task_started", task])

        def epoch_done(self, task: int, epoch: int, metrics: Mapping[str, float]) -> None:
            heard.append(["epoch_done", task, epoch, metrics])

        def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
            heard.append(["task_done", task, accuracies, metrics])

    retell(TOLD, [Listener()])
    assert heard == [["task_started", 0], *TOLD[:2], ["task_started", 1], *TOLD[2:]]


def test_what_is_written_after_an_epoch_does_not_grow_with_the_epochs_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    epochs = 40
    config = resolve(
        [
            "scenario=split-digits",
            "scenario.tasks=5",
            "scenario.bins=2",
            "learner=bptt",
            "backbone.hidden=[4]",
            f"train.epochs={epochs}",
            "train.batch_size=256",
            "track.mlflow=false",
            "device=cpu",
            "threads=1",
        ]
    )
    monkeypatch.setattr("workbench.run.CHECKPOINT_SHARE", math.inf)
    folder = RunFolder(tmp_path / "run")
    sizes: list[tuple[int, int]] = []
    writes: list[int] = []
    written, sync = 0, os.fsync

    def counted(descriptor: int) -> None:
        nonlocal written
        written += 1
        sync(descriptor)

    class Looks(Observer):
        """Looks at the first batch of each epoch, hence after the checkpoint of the one before; ends with a task."""

        def batch_done(
            self, task: int, epoch: int, batch: int, batches: int, loss: float | None, accuracy: float | None
        ) -> None:
            if batch == 0 and epoch > 0:
                sizes.append((folder.checkpoint_file.stat().st_size, folder.journal_file.stat().st_size))
                writes.append(written)

        def task_done(self, task: int, accuracies: Sequence[float], metrics: Mapping[str, float]) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", counted)
    run_experiment(config, folder.path, [Looks()])
    checkpoints = [checkpoint for checkpoint, _ in sizes]
    grown = [after - before for (_, before), (_, after) in itertools.pairwise(sizes)]
    assert len(checkpoints) == epochs - 1
    # A number takes a byte or two more when it is larger; entries of the journal would make thousands.
    assert max(checkpoints) - min(checkpoints) <= 64
    assert max(grown) - min(grown) <= 24
    # The journal and the checkpoint, once each an epoch.
    assert {after - before for before, after in itertools.pairwise(writes)} == {2}
