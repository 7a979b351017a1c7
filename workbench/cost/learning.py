"""What learning cost, as results.json has it: operations, writes, energy, and memory at other sequence lengths."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.cost.activity import data_activity, mean_activity
from workbench.cost.counts import MeanActivity, OperationCount, Operations
from workbench.cost.energy import energy, load_table
from workbench.plugin import Modifier, Rule

if TYPE_CHECKING:
    from workbench.cost.writes import TrainingWork
    from workbench.experiment import Experiment
    from workbench.plugin import LearnerConfig

TRIED = 32
"""Training sequences on which an untrained network is tried."""
LENGTHS = (10, 20, 50, 100, 200, 500, 1000, 2000)
"""Steps at which the memory formula is evaluated."""
KEYS = ("operations", "writes", "energy", "memory_by_steps", "memory_at_batch_1", "locality")


def learning_costs(
    experiment: Experiment, work: TrainingWork, spike_rates: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Return what `KEYS` name, each None as far as it is not known.

    spike_rates: mean output of each hidden layer, by evaluation. All means are over the training samples shown. Should
    a plug-in's formula or a table of one's own fail at the end of a long run, `costs_error` says so in their place.
    """
    try:
        return _learning_costs(experiment, work, spike_rates)
    except Exception as error:
        known = dict.fromkeys(KEYS)
        return {**known, "costs_error": f"{type(error).__name__}: {error}"}


def _learning_costs(
    experiment: Experiment, work: TrainingWork, spike_rates: Sequence[Sequence[float]]
) -> dict[str, Any]:
    parameters = sum(p.numel() for p in experiment.network.parameters() if p.requires_grad)
    writes = work.summary(parameters)
    costs: dict[str, Any] = {
        "operations": None,
        "writes": writes,
        "energy": None,
        "memory_by_steps": memory_by_steps(experiment.rule),
        "memory_at_batch_1": memory_at_batch_1(experiment),
        "locality": locality(experiment.rule),
    }
    data = data_activity(experiment.stream)
    if writes is None or data is None:
        return costs
    steps = work.steps / work.sequences
    activity = mean_activity(experiment.network, data, spike_rates, steps)
    if activity is None:
        return costs
    count = experiment.rule.operations(steps, work.sequences / work.batches, activity)
    if count is None:
        return costs
    per_sample = count * (work.sequences / work.samples)
    per_write = optimiser_macs(experiment.rule.config)
    per_sample += OperationCount(optimiser=Operations(mac=per_write * writes["per_sample"]))
    costs["operations"] = described(per_sample, experiment, activity, steps)
    table = experiment.config.cost.table
    costs["energy"] = energy(table, load_table(table), per_sample, writes["per_sample"])
    return costs


def planned_costs(experiment: Experiment) -> dict[str, Any] | None:
    """Return what a training sample is going to cost, as far as that is known before training; None if it is not.

    Assumes that hidden layers stay as active as in the untrained network, and that no stored sequences join. The rule
    must be set up.
    """
    data = data_activity(experiment.stream)
    if data is None:
        return None
    rates = untrained_rates(experiment)
    activity = mean_activity(experiment.network, data, [rates], data.steps)
    assert activity is not None
    count = experiment.rule.operations(data.steps, experiment.batch_size, activity)
    if count is None:
        return None
    config = experiment.rule.config
    updates = data.steps if getattr(config, "update", "sequence") == "step" else 1.0
    parameters = sum(p.numel() for p in experiment.network.parameters() if p.requires_grad)
    writes = parameters * updates / experiment.batch_size
    count += OperationCount(optimiser=Operations(mac=optimiser_macs(config) * writes))
    table = experiment.config.cost.table
    joules = energy(table, load_table(table), count, writes)
    return {
        "assumes": "hidden layers as active as in the untrained network, no stored sequences, no modifiers",
        "mean_output_of_hidden_units": [round(rate, 4) for rate in rates],
        "operations": {
            phase: {kind: round(amount) for kind, amount in operations.by_kind().items()}
            for phase, operations in (("forward", count.forward), ("learning", count.learning))
        },
        "writes": round(writes, 1),
        "joules": {
            "table": table,
            **{phase: joules[phase] and float(f"{joules[phase]:.3g}") for phase in ("forward", "learning")},
        },
    }


@torch.no_grad()
def untrained_rates(experiment: Experiment) -> list[float]:
    """Return the mean output of each hidden layer on a few training sequences, as an evaluation would."""
    stream = experiment.stream
    every = np.concatenate([task.train for task in stream.tasks])
    some = np.sort(every[:: -(-len(every) // TRIED)])
    inputs = torch.from_numpy(np.ascontiguousarray(stream.training_pool.inputs[some]))
    passed = experiment.network.run(inputs.to(experiment.device).transpose(0, 1).contiguous())
    return [float(outputs.float().mean()) for outputs in passed.spikes]


def described(
    count: OperationCount, experiment: Experiment, activity: MeanActivity, steps: float
) -> dict[str, Any]:
    """Return a count as plain data, with what it rests on.

    modifiers: whether what modifiers do is contained; null without any. activity: shares that are not zero.
    """
    network, modifiers = experiment.network, experiment.modifiers
    shares = [
        (sent.ones + sent.others) / layer.width
        for layer, sent in zip(network.layers[:-1], activity.hidden, strict=True)
    ]
    inputs = (activity.inputs.ones + activity.inputs.others) / experiment.stream.channels
    return {
        "forward": count.forward.by_kind(),
        "learning": count.learning.by_kind(),
        "total": (count.forward + count.learning).total,
        "parts": {name: part.by_kind() for name, part in count.by_purpose().items()},
        "modifiers": all(_only_joins(modifier) for modifier in modifiers) if modifiers else None,
        "steps": steps,
        "activity": {"inputs": inputs, "hidden": shares},
    }


def _only_joins(modifier: Modifier) -> bool:
    """Tell whether a modifier does nothing but let stored sequences join, which are counted as they are shown."""
    return type(modifier).joined is not Modifier.joined


def optimiser_macs(config: LearnerConfig) -> int:
    """Multiply-accumulates of one weight's update; Adam's root and quotient are functions, not counted.

    sgd: w - lr g; with momentum mu v + g. adam: two moments, two and three products, and w - lr (...). Either with
    decay: one more.
    """
    own = {"sgd": 1 + (config.momentum > 0), "adam": 6}[config.optimiser]
    return own + (config.weight_decay > 0)


def memory_by_steps(rule: Rule) -> dict[str, list[int]]:
    """Return the rule's memory formula, bytes in all, at batch 1 and several sequence lengths."""
    return {"steps": list(LENGTHS), "total": [rule.memory(steps, 1).total for steps in LENGTHS]}


def memory_at_batch_1(experiment: Experiment) -> dict[str, int]:
    """Return bytes by category that learning from one sequence at a time needs, modifiers at the end included."""
    cost = experiment.rule.memory(experiment.stream.steps, 1)
    parameters = cost.parameters
    for modifier in experiment.modifiers:
        cost += modifier.memory(experiment.sample_bytes, parameters, len(experiment.stream.tasks))
    return {**cost.by_category(), "total": cost.total}


def locality(rule: Rule) -> dict[str, Any] | None:
    """Return what the rule needs beyond a synapse's two ends, and why, as plain data; None if it does not say."""
    found = rule.locality()
    return None if found is None else {**found.needs(), "why": dict(found.why)}
