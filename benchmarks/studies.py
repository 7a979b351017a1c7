"""What studies of many runs share: runs that are read when they are finished, and one way to run, tell and write."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.timing import environment_lines, write_json
from workbench.config import ExperimentConfig, resolve
from workbench.errors import ConfigurationError, WorkbenchError
from workbench.runfolder import RunFolder, read_results, write_atomically

Lines = list[dict[str, Any]]
"""The lines of a study's table."""


def typed(overrides: Sequence[str]) -> dict[str, str]:
    """Return KEY=VALUE arguments by key; the last of a key counts.

    >>> typed(["seed=1", "learner=bptt", "seed=2"])
    {'seed': '2', 'learner': 'bptt'}
    """
    return dict(text.partition("=")[::2] for text in overrides)


def configured(chosen: Mapping[str, str]) -> ExperimentConfig:
    """Return the configuration of settings by key. Raises ConfigurationError."""
    return resolve([f"{key}={value}" for key, value in chosen.items()])


def finished_or_run(
    config: ExperimentConfig, folder: Path, run: Callable[..., dict[str, Any]]
) -> dict[str, Any]:
    """Return the results of a run: read if it is finished, else run, from its checkpoint on if there is one.

    Raises ConfigurationError if the folder holds a run with other settings, KeyboardInterrupt if it is interrupted.
    """
    stored = RunFolder(folder)
    begun = stored.config_file.exists()
    if begun:
        before, wanted = resolve((), stored.config_file).to_dict(), config.to_dict()
        if before != wanted:
            raise ConfigurationError(
                f"{folder} holds a run with other settings; choose another --out or remove it"
            )
        if stored.results_file.exists():
            results = dict(read_results(folder))
            if results["status"] == "finished":
                return results
    results = run(config, folder, (), resume=begun)
    if results["status"] == "interrupted":
        raise KeyboardInterrupt
    return results


def conduct(
    options: Any,
    study: Callable[[Any, Callable[..., dict[str, Any]]], Lines],
    markdown: Callable[[Lines], str],
    texts: Mapping[Path, Callable[[Lines], str]] | None = None,
) -> int:
    """Run a study with its parsed `options`, print the table, write --markdown, --json and further `texts`.

    Returns the exit code: 2 for misuse or missing data, 130 if it was interrupted and can go on.
    """
    print("\n".join(environment_lines()), flush=True)
    try:
        from workbench.experiment import run_experiment

        lines = study(options, run_experiment)
    except WorkbenchError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command goes on where it stopped", file=sys.stderr)
        return 130
    print("\n" + markdown(lines))
    files = {} if options.markdown is None else {options.markdown: markdown}
    for path, text in (files | dict(texts or {})).items():
        write_atomically(path, text(lines).encode())
    if options.json is not None:
        write_json(options.json, lines)
    return 0
