"""What learning cost, as results.json has it: operations, writes, energy, and memory at other sequence lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from workbench.cost.activity import data_activity, mean_activity
from workbench.cost.counts import MeanActivity, WordCount
from workbench.cost.devices import Arrays
from workbench.cost.energy import energy
from workbench.cost.prices import chosen_table, load_table
from workbench.cost.reads import by_purpose
from workbench.cost.sample import Devices, Sample, Schedule, in_arrays, training_sample
from workbench.plugin import Modifier, Rule

if TYPE_CHECKING:
    from workbench.cost.writes import TrainingWork
    from workbench.experiment import Experiment

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
    schedule = Schedule(
        steps, work.sequences / work.batches, work.sequences / work.samples, writes["per_sample"]
    )
    devices = None
    if experiment.chip is not None:
        arrays = Arrays.of(experiment.chip, work.samples)
        pace = arrays.pace(work.steps / work.samples)
        devices = Devices(arrays, pace, arrays.pulses / work.samples)
    sample = training_sample(experiment, activity, data.input_bits, schedule, devices)
    if sample is None:
        return costs
    costs["operations"] = described(sample, experiment, activity, steps)
    costs["energy"] = _energy(experiment, sample)
    return costs


def _energy(experiment: Experiment, sample: Sample) -> dict[str, Any]:
    table = chosen_table(experiment.config.cost.table, devices=in_arrays(experiment))
    return energy(table, load_table(table), sample.work)


def planned_costs(experiment: Experiment) -> dict[str, Any] | None:
    """Return what a training sample is going to cost, as far as that is known before training; None if it is not.

    Assumes that hidden layers stay as active as in the untrained network, and that no stored sequences join. How often
    devices are written depends on what there is to learn: no energy of it is in the plan. The rule must be set up.
    """
    data = data_activity(experiment.stream)
    if data is None:
        return None
    rates = untrained_rates(experiment)
    activity = mean_activity(experiment.network, data, [rates], data.steps)
    assert activity is not None
    size = experiment.batch_size
    updates = (data.steps if getattr(experiment.rule.config, "update", "sequence") == "step" else 1.0) / size
    parameters = sum(p.numel() for p in experiment.network.parameters() if p.requires_grad)
    schedule = Schedule(data.steps, size, 1.0, parameters * updates)
    devices = None
    if experiment.chip is not None:
        arrays = Arrays.of(experiment.chip, 1)
        devices = Devices(arrays, arrays.planned_pace(data.steps, updates), None)
    sample = training_sample(experiment, activity, data.input_bits, schedule, devices)
    if sample is None:
        return None
    return {
        "assumes": "hidden layers as active as in the untrained network, no stored sequences, no modifiers",
        "mean_output_of_hidden_units": [round(rate, 4) for rate in rates],
        **_planned(experiment, sample, schedule.writes),
    }


def _planned(experiment: Experiment, sample: Sample, writes: float) -> dict[str, Any]:
    """Return a sample in round numbers; on devices without the energy of writing them."""
    count, words, work = sample.operations, sample.words, sample.work
    found: dict[str, Any] = {
        "operations": {
            phase: {kind: round(amount) for kind, amount in operations.by_kind().items()}
            for phase, operations in (("forward", count.forward), ("learning", count.learning))
        },
        "words": words and {"forward": round(words.forward), "learning": round(words.learning)},
        "writes": round(writes, 1),
    }
    names = ["forward", "learning"]
    if work.devices is not None:
        sample = replace(sample, work=replace(work, devices=replace(work.devices, pulses=0.0)))
        names += ["digital", "cells", "periphery"]
        reads = None if sample.reads is None else by_purpose(sample.reads)
        found["device_reads"] = reads and {
            purpose: {kind: round(amount) for kind, amount in events.items()}
            for purpose, events in reads.items()
        }
        found["device_writes"] = "known after training: what is learned decides"
    joules = _energy(experiment, sample)
    if joules["left_out"]:
        found["no_price_for"] = joules["left_out"]
    left_out = {} if work.devices is None else {"without": "writes of devices"}
    found["joules"] = {
        "table": joules["table"],
        **{name: joules[name] and float(f"{joules[name]:.3g}") for name in names},
        **left_out,
    }
    return found


@torch.no_grad()
def untrained_rates(experiment: Experiment) -> list[float]:
    """Return the mean output of each hidden layer on a few training sequences, as an evaluation would."""
    stream = experiment.stream
    every = np.concatenate([task.train for task in stream.tasks])
    some = np.sort(every[:: -(-len(every) // TRIED)])
    inputs = torch.from_numpy(np.ascontiguousarray(stream.training_pool.inputs[some]))
    passed = experiment.network.run(inputs.to(experiment.device).transpose(0, 1).contiguous())
    return [float(outputs.float().mean()) for outputs in passed.spikes]


def described(sample: Sample, experiment: Experiment, activity: MeanActivity, steps: float) -> dict[str, Any]:
    """Return counts of a training sample as plain data, with what they rest on.

    modifiers: whether what modifiers do is contained; null without any. activity: shares that are not zero. words: null
    if not known. reads: null without arrays of devices, or if not known.
    """
    network, modifiers, count = experiment.network, experiment.modifiers, sample.operations
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
        "words": None if sample.words is None else described_words(sample.words),
        "reads": None if sample.reads is None else by_purpose(sample.reads),
        "modifiers": all(_only_joins(modifier) for modifier in modifiers) if modifiers else None,
        "steps": steps,
        "activity": {"inputs": inputs, "hidden": shares},
    }


def described_words(words: WordCount) -> dict[str, Any]:
    """Return words moved, forward and in learning, and by purpose what is read and written, and what is held."""
    parts = {
        name: {"reads": part.reads, "writes": part.writes, "held": part.held}
        for name, part in words.by_purpose().items()
        if part.moved
    }
    return {
        "forward": words.forward,
        "learning": words.learning,
        "total": words.forward + words.learning,
        "parts": parts,
    }


def _only_joins(modifier: Modifier) -> bool:
    """Tell whether a modifier does nothing but let stored sequences join, which are counted as they are shown."""
    return type(modifier).joined is not Modifier.joined


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
