"""Options that commands which run many jobs have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

StudyFile = Annotated[
    Path | None,
    typer.Option("--config", metavar="FILE", help="Study file in YAML; KEY=VALUE wins over it."),
]
Workers = Annotated[
    int,
    typer.Option(
        "-j",
        "--jobs",
        min=0,
        help="Jobs at once; 0: one for each core, or all a cluster takes.",
        metavar="N",
    ),
]
Engine = Annotated[str, typer.Option("--engine", metavar="ENGINE", help="local (this machine), dask or ray.")]
Address = Annotated[
    str | None, typer.Option("--address", metavar="ADDRESS", help="Scheduler of a Dask or Ray cluster.")
]
