"""The page at the end of a run, made from results.json alone."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import harmonic_mean
from typing import Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from workbench import metrics
from workbench.plugin import Modifier
from workbench.report.costs import cost_table
from workbench.report.units import UNKNOWN, count, difference, duration, percent, short_path, size

FILES = {
    "results.json": "every measure and the matrix R",
    "metrics.parquet": "every number of every epoch",
    "config.yaml": "the resolved configuration",
    "environment.json": "machine, versions, commit",
}
PHASES = ("setup", "data", "train", "evaluate", "track")


MANY_TASKS = 24
SHOWN_TASKS = 6
"""Of more than `MANY_TASKS` tasks the accuracy table shows so many first and last ones."""


def summary(
    results: Mapping[str, Any], out: Path, overrides: Sequence[str] = (), tracking_uri: str | None = None
) -> RenderableType:
    """Return the final page of a run: accuracy, measures, memory, time, files, what to type next.

    results: content of results.json; optional keys may be absent. overrides: the `key=value` arguments of the
    run, repeated in the suggested command. tracking_uri: where MLflow keeps the run, if it does.
    Print it with `crop=False`: commands and paths are not broken, so that they can be copied in one piece.
    """
    parts: list[RenderableType] = [*_state(results)]
    if results["R"]:
        parts += [accuracy_table(results), measures_table(results)]
    parts += _optional_tables(results)
    parts += [_files(out), _next(results, overrides, tracking_uri), *notices(results["dataset"])]
    return Group(*(piece for part in parts for piece in (Text(), part)))


def notices(dataset: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Yield the loud notice that must go with every result on this data; nothing when there is none."""
    text = str(dataset.get("notice") or "")
    if not text and dataset.get("synthetic"):
        text = f"{dataset.get('name')} is synthetic: results on it say nothing about recorded data."
    if text:
        title = "SYNTHETIC DATA" if dataset.get("synthetic") else "NOTICE"
        yield Panel(Text(text, style="bold yellow"), title=f"[bold]{title}", border_style="yellow")


def accuracy_table(results: Mapping[str, Any]) -> RenderableType:
    """Return the accuracy of each task: just learned, at the end, and what was forgotten in between."""
    block = metrics.trained_block(np.array(results["R"], dtype=np.float64))
    trained = len(block)
    best = [block[j : max(trained - 1, j + 1), j].max() for j in range(trained)]
    frames = results.get("predicts_steps")
    table = _table("Frame accuracy by task [%]" if frames else "Test accuracy by task [%]")
    table.add_column("task", no_wrap=True, overflow="ellipsis", min_width=12)
    for name in ("just learned", "at the end", "forgotten"):
        table.add_column(name, justify="right", min_width=9)
    tasks = len(results["tasks"])
    for j, name in enumerate(results["tasks"]):
        if tasks > MANY_TASKS and SHOWN_TASKS <= j < tasks - SHOWN_TASKS:
            if j == SHOWN_TASKS:
                table.add_row(f"... {tasks - 2 * SHOWN_TASKS} more", "", "", "", style="dim")
            continue
        label = f"{j + 1}  {name}"
        if j >= trained:
            table.add_row(Text(f"{label} (not trained)"), UNKNOWN, UNKNOWN, UNKNOWN, style="dim")
            continue
        # The last task has had no time to be forgotten.
        forgotten = best[j] - block[-1, j] if j < trained - 1 else np.nan
        table.add_row(Text(label), *(_percent(value) for value in (block[j, j], block[-1, j], forgotten)))
    if not any(best[j] > block[j, j] for j in range(trained)):
        return table
    return Group(table, Text("forgotten: from the best accuracy since the task was learned", style="dim"))


def measures_table(results: Mapping[str, Any]) -> Table:
    """Return ACC, BWT, FWT and forgetting, each with the meaning of its sign."""
    table = _table("Over all tasks" if results["status"] == "finished" else "Over the tasks trained")
    table.show_header = False
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    if results["acc"] is not None:
        table.add_row("ACC", f"{percent(results['acc'])} %", "mean accuracy at the end", style="bold")
    block = metrics.trained_block(np.array(results["R"], dtype=np.float64))
    if len(block) > 1:
        learned = float(np.diagonal(block).mean())
        table.add_row("learned", f"{percent(learned)} %", "mean accuracy of each task when just learned")
    if results.get("predicts_steps"):
        table.add_row("test NLL", _last_loss(results), "negative log-likelihood a step, sum over outputs")
    if len(results["tasks"]) > 1:
        rows = (
            ("BWT", "bwt", True, "since learned; below 0: forgotten"),
            ("FWT", "fwt", True, "head start before being trained"),
            ("forgetting", "forgetting", False, "from the best accuracy to the end"),
        )
        for name, key, sign, meaning in rows:
            value = results.get(key)
            table.add_row(name, UNKNOWN if value is None else f"{percent(value, sign=sign)} points", meaning)
    if results.get("baseline"):
        known = [value for value in results["baseline"] if value is not None]
        if known:
            mean = sum(known) / len(known)
            table.add_row("untrained", f"{percent(mean)} %", "this network before training")
    return table


def _last_loss(results: Mapping[str, Any]) -> str:
    """Return the mean test loss of the trained tasks at the end."""
    rows = results.get("test_loss") or [[]]
    known = [loss for loss in rows[-1][: len(rows)] if loss is not None]
    return f"{sum(known) / len(known):.3f}" if known else UNKNOWN


def memory_table(results: Mapping[str, Any]) -> Table:
    """Return the bytes that learning needs by category: formula beside measurement."""
    formula, measured = (results["memory"].get(kind) or {} for kind in ("formula", "measured"))
    table = _table("Memory for learning")
    table.add_column("category", min_width=12)
    for name in ("formula", "measured", "difference"):
        table.add_column(name, justify="right", no_wrap=True)
    names = [name for name in dict.fromkeys([*formula, *measured]) if name != "total"]
    for name in names:
        if formula.get(name) or measured.get(name):
            table.add_row(name, *_memory_cells(formula.get(name), measured.get(name)))
    table.add_section()
    table.add_row("total", *_memory_cells(formula.get("total"), measured.get("total")), style="bold")
    return table


def time_table(results: Mapping[str, Any]) -> RenderableType:
    """Return where the time went, and how many samples a second were learned from."""
    time = results["time"]
    total = time.get("total")
    table = _table("Time")
    table.add_column("phase", min_width=12)
    table.add_column("time", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    names = [name for name in PHASES if name in time] + [n for n in time if n not in (*PHASES, "total")]
    for name in names:
        share = f"{percent(time[name] / total)} %" if total and time[name] is not None else UNKNOWN
        table.add_row(name, duration(time[name]), share)
    table.add_section()
    table.add_row("total", duration(total), "", style="bold")
    rates = _throughput(results)
    if not rates:
        return table
    # Tasks of one size take the time that the harmonic mean stands for.
    mean, low, high = (count(round(rate)) for rate in (harmonic_mean(rates), min(rates), max(rates)))
    spread = f" ({low} to {high} by task)" if len(rates) > 1 else ""
    return Group(table, Text(f"{mean} training samples per second{spread}"))


def spike_table(results: Mapping[str, Any]) -> Table | None:
    """Return the mean spikes of a unit per time step, by layer, after each task if known; None if not."""
    layers = _spike_rates(results.get("spike_rates"))
    if not layers:
        return None
    widest = max(len(rates) for rates in layers.values())
    table = _table("Spikes per unit and time step")
    table.add_column("layer", min_width=12)
    if widest > 1:
        table.add_column("after the first task", justify="right", no_wrap=True)
    table.add_column("at the end", justify="right", no_wrap=True)
    for name, rates in layers.items():
        cells = [rates[-1]] if widest == 1 else [rates[0], rates[-1]]
        table.add_row(name, *(UNKNOWN if rate is None else f"{rate:.4f}" for rate in cells))
    return table


def _state(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    if results["status"] == "finished":
        return
    done, tasks = len(results["R"]), len(results["tasks"])
    text = Text(f"{results['status'].upper()} after {done} of {tasks} tasks.", style="bold red")
    if results.get("error"):
        text.append(f" {results['error']}", style="red")
    if done:
        text.append(" What follows is about the tasks trained.", style="default")
    yield text


def _optional_tables(results: Mapping[str, Any]) -> Iterator[RenderableType]:
    memory = results.get("memory") or {}
    if any((memory.get(kind) or {}).get("total") for kind in ("formula", "measured")):
        yield memory_table(results)
    costs = cost_table(results)
    if costs is not None:
        yield costs
    if results.get("time"):
        yield time_table(results)
    spikes = spike_table(results)
    if spikes is not None:
        yield spikes


def _files(out: Path) -> RenderableType:
    lines = [
        Text.assemble("Files in ", (short_path(out), "cyan"), style="bold", no_wrap=True, overflow="ignore")
    ]
    lines += [Text.assemble(f"  {name:<18}", (meaning, "dim")) for name, meaning in FILES.items()]
    return Group(*lines)


def _next(results: Mapping[str, Any], overrides: Sequence[str], tracking_uri: str | None) -> RenderableType:
    rule, _, modifiers = str(results["learner"]).partition("+")
    commands = [(f"workbench show learner {rule}", "how this learner works, its settings")]
    reference = Modifier.default_rule
    if rule == reference:
        commands.append(("workbench list", "other learners, scenarios, backbones"))
    else:
        other = f"{reference}+{modifiers}" if modifiers else reference
        commands.append((_same_run_with(results, overrides, other), f"the same with {other}, to compare"))
    if tracking_uri is not None:
        local = tracking_uri.startswith("sqlite:")
        command = f"mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}" if local else tracking_uri
        commands.append((command, "browse and compare runs"))
    lines: list[RenderableType] = [Text("Next", style="bold")]
    for command, meaning in commands:
        # The meaning stands above as a comment, so that a long command can be copied as one piece.
        lines.append(Text(f"  # {meaning}", style="dim"))
        lines.append(Text(f"  {command}", style="cyan", no_wrap=True, overflow="ignore"))
    return Group(*lines)


def _same_run_with(results: Mapping[str, Any], overrides: Sequence[str], learner: str) -> str:
    given = list(overrides)
    if not given:
        given = [f"{key}={results[key]}" for key in ("scenario", "backbone", "hardware", "seed")]
    # Settings of this learner need not fit the other.
    kept = [item for item in given if not item.startswith(("learner=", "learner."))]
    place = next((index for index, item in enumerate(given) if item.startswith("learner=")), 1)
    return "workbench run " + shlex.join([*kept[:place], f"learner={learner}", *kept[place:]])


def _table(title: str) -> Table:
    table = Table(box=SIMPLE_HEAD, show_edge=False, header_style="none")
    table.title, table.title_justify, table.title_style = title, "left", "bold"
    return table


def _memory_cells(formula: float | None, measured: float | None) -> tuple[str, str, str]:
    return size(formula), size(measured), difference(formula, measured)


def _throughput(results: Mapping[str, Any]) -> list[float]:
    given = results.get("throughput")
    rates = given.get("samples_per_second") if isinstance(given, Mapping) else given
    rates = rates if isinstance(rates, list | tuple) else [rates]
    return [rate for rate in rates if rate]


def _spike_rates(given: Any) -> dict[str, list[float | None]]:
    """Return rates by layer over tasks, whether given as list or mapping, by layer or by task and layer."""
    if not given:
        return {}
    if isinstance(given, Mapping):
        many = {name: rates if isinstance(rates, list | tuple) else [rates] for name, rates in given.items()}
        return {str(name): list(rates) for name, rates in many.items() if rates}
    if isinstance(given[0], Mapping):
        return {str(name): [rates.get(name) for rates in given] for name in given[0]}
    by_task = given if isinstance(given[0], list | tuple) else [given]
    return {f"layer {index + 1}": list(rates) for index, rates in enumerate(zip(*by_task, strict=False))}


def _percent(value: np.float64 | float) -> str:
    return percent(float(value) if np.isfinite(value) else None)
