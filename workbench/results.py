"""The content of results.json: assembled from its parts, and written as text that others parse.

Its keys are stable (`SCHEMA_VERSION` counts the changes):

    schema_version, status (finished | interrupted | failed)
    scenario, learner, backbone, hardware, seed, config, epochs
    dataset        name, synthetic, digest, notice
    tasks          names, in the order learned;  samples: training samples of each
    R              rows: after training task i; columns: test accuracy on task j; no row for tasks not trained
    baseline       test accuracy of the untrained network on each task, or null
    acc, bwt, fwt, forgetting   as in `workbench.metrics`, over the tasks trained; null where undefined
    memory         formula, measured: bytes by category, and `total`
    time           seconds by phase, and `total`

What learning cost beyond bytes (null where it is not known, absent before it was measured):

    operations     forward, learning: `mac` and `ac`, means of a training sample; total; parts: by purpose; words: moved
                   to or from memory: forward, learning, total, and parts by purpose: reads, writes, held; reads: of
                   arrays of devices, by purpose and in total: tiles, driven and converted lines, cells (null without
                   arrays); modifiers: whether what they do is counted, null without any; activity: shares that are not
                   0 (docs of `workbench.cost.counts`, `.operations`, `.reads`). MAC, AC and words are the algorithm's,
                   whatever the hardware
    writes         updates, parameters, total writes of weights by the optimiser, per_sample, per_parameter
    energy         table, scope, assumed; joules of a training sample, null if something that they take has no price:
                   forward, learning, total; digital (arithmetic and words), cells (devices read and written) and
                   periphery, which make up the total as well, the latter two null without devices; writes: of writing,
                   part of learning; left_out: all that the table does not price; picojoules: its prices
    devices        null on ideal hardware: weights, devices, updates; writes: total, mean, p99, max, per_sample; stuck,
                   worn_out, buffer_bytes, seconds; arrays: of each matrix
    memory_by_steps  steps, total: bytes of the rule's formula at batch 1
    memory_at_batch_1  bytes by category of learning from one sequence at a time, modifiers included; total
    locality       weight_transport, future, other_layers, per_synapse_memory: what the rule needs beyond a synapse's
                   two ends; why, by name
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import numpy as np

from workbench import metrics
from workbench.events import RunPlan

SCHEMA_VERSION = 1
STATUSES = ("finished", "interrupted", "failed")
MEASURES = ("acc", "bwt", "fwt", "forgetting")
PLAN_KEYS = (
    "scenario",
    "learner",
    "backbone",
    "hardware",
    "seed",
    "config",
    "epochs",
    "dataset",
    "tasks",
    "samples",
)
REQUIRED_KEYS = frozenset(
    ("schema_version", "status", "R", "baseline", "memory", "time", *PLAN_KEYS, *MEASURES)
)


def build_results(
    plan: RunPlan,
    matrix: list[list[float]],
    baseline: list[float] | None,
    memory: dict[str, Any],
    time: dict[str, float],
    status: str,
    extra: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the content of results.json as plain data.

    matrix: `[k, T]`, one row for each task trained; of an interrupted run k < T, and the measures are then
    those of the first k tasks (all null for k = 0). baseline: `[T]`, or None, which leaves `fwt` null.
    memory: `formula` and `measured`, bytes by category. time: seconds by phase. Where `total` is missing from
    one of them, the sum goes in. extra: further top-level keys (`versions`, `throughput`, `spike_rates`,
    `error`, ...).
    Raises ValueError for an unknown status, a matrix or baseline of another width, or an extra key that is
    taken.
    """
    if status not in STATUSES:
        raise ValueError(f"status must be one of {', '.join(STATUSES)}, not {status!r}")
    tasks = len(plan.task_names)
    if len(matrix) > tasks or any(len(row) != tasks for row in matrix):
        raise ValueError(f"R needs at most {tasks} rows of {tasks} accuracies, not {[*map(len, matrix)]}")
    if baseline is not None and len(baseline) != tasks:
        raise ValueError(f"the baseline needs {tasks} accuracies, not {len(baseline)}")
    results: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "status": status,
        "scenario": plan.scenario,
        "learner": plan.learner,
        "backbone": plan.backbone,
        "hardware": plan.hardware,
        "seed": plan.seed,
        "config": plan.config,
        "epochs": plan.epochs,
        "dataset": plan.dataset,
        "tasks": plan.task_names,
        "samples": plan.samples,
        "R": matrix,
        "baseline": baseline,
        **_measures(matrix, baseline),
        "memory": {kind: _with_total(categories) for kind, categories in memory.items()},
        "time": _with_total(time),
    }
    taken = results.keys() & (extra or {}).keys()
    if taken:
        raise ValueError(f"extra results must not replace {', '.join(sorted(taken))}")
    content: dict[str, Any] = plain({**results, **(extra or {})})
    return content


def plan_of(results: Mapping[str, Any]) -> RunPlan:
    """Return the plan that a run's results came from."""
    return RunPlan(
        scenario=results["scenario"],
        learner=results["learner"],
        backbone=results["backbone"],
        hardware=results["hardware"],
        seed=results["seed"],
        dataset=results["dataset"],
        task_names=results["tasks"],
        samples=results["samples"],
        epochs=results["epochs"],
        config=results["config"],
    )


def plain(value: Any) -> Any:
    """Return nested data as what JSON and YAML hold alike: NumPy numbers unpacked, NaN and infinities None.

    >>> plain({"accuracy": np.float64("nan"), "tasks": (np.int64(2), np.arange(2))})
    {'accuracy': None, 'tasks': [2, [0, 1]]}
    """
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"results hold plain data, not {type(value).__name__}: {value!r}")


def to_json(content: Mapping[str, Any]) -> str:
    """Return indented JSON text with sorted keys; a list of numbers stays on one line, and R reads as rows.

    The same content gives the same text, byte for byte.
    """
    text = json.dumps(plain(content), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False)
    # A line break never stands inside a JSON string, so this can only meet lists of numbers and nulls.
    numbers = re.compile(r"\[\n\s+([-+.\deEnul]+(?:,\n\s+[-+.\deEnul]+)*)\n\s+\]")
    return numbers.sub(lambda match: "[" + re.sub(r",\n\s+", ", ", match[1]) + "]", text) + "\n"


def _measures(matrix: Sequence[Sequence[float]], baseline: Sequence[float] | None) -> dict[str, float | None]:
    block = metrics.trained_block(matrix)
    if not len(block):
        return dict.fromkeys(MEASURES)
    measures = {
        "acc": lambda: metrics.average_accuracy(block),
        "bwt": lambda: metrics.backward_transfer(block),
        "fwt": lambda: None if baseline is None else metrics.forward_transfer(block, baseline[: len(block)]),
        "forgetting": lambda: metrics.forgetting(block),
    }
    return {name: _or_none(measure) for name, measure in measures.items()}


def _or_none(measure: Callable[[], float | None]) -> float | None:
    # A hole in R (a trainer that tests on seen tasks only, a task without test samples) must not cost the
    # whole file at the end of a long run: what reads the hole is null, the rest stands.
    try:
        return measure()
    except ValueError:
        return None


def _with_total(parts: Mapping[str, Any]) -> dict[str, Any]:
    numbers = [value for value in parts.values() if isinstance(value, int | float)]
    return {**parts, "total": parts.get("total", sum(numbers))}
