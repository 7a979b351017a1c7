"""One name for one run: what a study's folder holds under one name is not run under another."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from pathlib import Path

from workbench.errors import ConfigurationError
from workbench.registry import Registry
from workbench.sweep.folder import StudyFolder
from workbench.sweep.grid import Grid
from workbench.sweep.jobs import Job, jobs_of, named_as_in


def named_in_study(jobs: Sequence[Sequence[Job]], grids: Sequence[Grid], folder: Path) -> list[list[Job]]:
    """Return the jobs of each grid under the names that the study in the folder, if there is one, has for them.

    A job that several grids have gets the name it has in the first.
    """
    study, ours = StudyFolder(folder), list(chain.from_iterable(jobs))
    earlier: list[Job] = []
    registry = Registry.discover()
    for grid in study.grids() if study.study_file.is_file() else ():
        # A plug-in of an earlier grid may be gone since.
        with suppress(ConfigurationError):
            earlier += jobs[grids.index(grid)] if grid in grids else jobs_of(grid, registry)
    known = [*earlier, *ours]
    return [named_as_in(some, known) for some in jobs]
