"""All that a training sample takes: what the algorithm does, and what the hardware makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from workbench.cost.counts import MeanActivity, OperationCount, Operations, Transposed, WordCount, Words
from workbench.cost.devices import (
    STATIC_MEMORY,
    Arrays,
    Pace,
    digital_parameters,
    left_operations,
    left_words,
)
from workbench.cost.energy import DeviceWork, Work
from workbench.cost.reads import Read
from workbench.cost.words import optimiser

if TYPE_CHECKING:
    from workbench.experiment import Experiment
    from workbench.plugin import LearnerConfig


@dataclass(frozen=True)
class Schedule:
    """How a run goes, means. steps: of a sequence. batch: sequences of a training step.

    share: sequences shown for a training sample, more than one where stored ones join. writes: weights that the
    optimiser changes for a training sample.
    """

    steps: float
    batch: float
    share: float
    writes: float


@dataclass(frozen=True)
class Sample:
    """What a training sample takes. operations, words: of the algorithm, as if all were digital; words may be unknown.

    reads: of arrays, None without any or if not known. work: the same as this hardware does it.
    """

    operations: OperationCount
    words: WordCount | None
    reads: Sequence[Read] | None
    work: Work


@dataclass(frozen=True)
class Devices:
    """The chip in a run: its arrays, how often things happen, and writes of devices (None: not known)."""

    arrays: Arrays
    pace: Pace
    pulses: float | None


def in_arrays(experiment: Experiment) -> bool:
    """Tell whether weights are in arrays of devices that multiply, and not in digital memory."""
    return experiment.chip is not None and experiment.cell_kind != STATIC_MEMORY


def training_sample(
    experiment: Experiment,
    activity: MeanActivity,
    input_bits: float | None,
    schedule: Schedule,
    devices: Devices | None,
) -> Sample | None:
    """Return what a training sample takes; None if the rule does not say what it does.

    input_bits: digits of the input's numbers, None for real ones. devices: None for ideal hardware.
    """
    rule, steps, batch = experiment.rule, schedule.steps, schedule.batch
    count = rule.operations(steps, batch, activity)
    if count is None:
        return None
    changed = OperationCount(optimiser=Operations(mac=optimiser_macs(rule.config) * schedule.writes))
    operations = count * schedule.share + changed
    words = rule.words(steps, batch, activity)
    if words is not None:
        words = words * schedule.share
        words += optimiser(schedule.writes, _trained(experiment), moments(rule.config))
    if devices is None:
        return Sample(operations, words, None, Work(operations, words, schedule.writes))
    if not in_arrays(experiment):
        work = _in_digital_memory(operations, words, schedule, devices)
        return Sample(operations, words, None, work)
    carried = devices.arrays.transposed(rule, steps, batch)
    transposed = (carried or Transposed({})) * schedule.share
    reads = devices.arrays.reads(experiment.network, activity, input_bits, transposed, devices.pace)
    known = None if carried is None else reads
    work = _beside_arrays(experiment, Sample(operations, words, reads, Work(operations)), transposed, devices)
    work = replace(
        work,
        writes=schedule.writes,
        devices=DeviceWork(
            known,
            devices.pulses,
            experiment.cell_kind,
            devices.arrays.driver_bits,
            devices.arrays.assumed,
        ),
    )
    return Sample(operations, words, known, work)


def _beside_arrays(experiment: Experiment, whole: Sample, transposed: Transposed, devices: Devices) -> Work:
    """Return what of a sample stays digital where products with weights are reads of arrays."""
    network, pace, words = experiment.network, devices.pace, whole.words
    buffers = devices.arrays.buffered(pace)
    collected = OperationCount(optimiser=Operations(mac=buffers.reads))
    left = left_operations(network, whole.operations, transposed, whole.reads or (), pace.steps) + collected
    if words is None:
        return Work(left)
    digital = digital_parameters(network)
    share = digital / max(_trained(experiment), 1)
    updates = replace(words.updates * share, held=digital)
    moved = left_words(network, words, transposed, pace.steps)
    return Work(left, replace(moved, updates=updates, buffers=buffers))


def _in_digital_memory(
    operations: OperationCount, words: WordCount | None, schedule: Schedule, devices: Devices
) -> Work:
    """Return the work of weights of few bits: what is written is counted, and what rounding leaves is kept."""
    buffers = devices.arrays.buffered(devices.pace)
    if words is not None:
        written = words.updates.writes if devices.pulses is None else devices.pulses
        updates = Words(words.updates.reads, written, words.updates.held)
        words = replace(words, updates=updates, buffers=buffers)
    collected = OperationCount(optimiser=Operations(mac=buffers.reads))
    return Work(operations + collected, words, schedule.writes)


def _trained(experiment: Experiment) -> int:
    return sum(p.numel() for p in experiment.network.parameters() if p.requires_grad)


def optimiser_macs(config: LearnerConfig) -> int:
    """Multiply-accumulates of one weight's update; Adam's root and quotient are functions, not counted.

    sgd: w - lr g; with momentum mu v + g. adam: two moments, two and three products, and w - lr (...). Either with
    decay: one more.
    """
    own = {"sgd": 1 + (config.momentum > 0), "adam": 6}[config.optimiser]
    return own + (config.weight_decay > 0)


def moments(config: LearnerConfig) -> int:
    """Return the numbers that the optimiser keeps of a weight: two of adam, one of sgd with momentum."""
    return 2 if config.optimiser == "adam" else int(config.momentum > 0)
