"""How active inputs, hidden layers and targets are on average: counted in the data, and read off the evaluations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from workbench.cost.counts import MeanActivity, Signals

if TYPE_CHECKING:
    from workbench.backbones.network import Network
    from workbench.tasks import SequencePool, TaskStream

MOST_COUNTED = 512
"""Training sequences that are looked at; of more, so many evenly spread ones."""
AT_ONCE = 64


@dataclass(frozen=True)
class DataActivity:
    """Of the training data: inputs at a step and targets in a sequence, as in `MeanActivity`; steps of a sequence.

    input_bits: binary digits of the largest input of a step, mean over the steps and at least 1; None for real numbers.
    """

    inputs: Signals
    targets: Signals
    steps: float
    input_bits: float | None = 1.0


def data_activity(stream: TaskStream) -> DataActivity | None:
    """Count the stream's training sequences, each up to its last scored step; None if there are none."""
    every = np.concatenate([task.train for task in stream.tasks])
    if not len(every):
        return None
    places = np.linspace(0, len(every) - 1, min(len(every), MOST_COUNTED)).round().astype(np.int64)
    pool, chosen = stream.training_pool, np.sort(every[places])
    inputs, targets, steps, digits = Signals(), Signals(), 0, 0.0
    for first in range(0, len(chosen), AT_ONCE):
        indices = chosen[first : first + AT_ONCE]
        scored = _scored(pool, indices, stream.steps)
        reached = np.flip(np.maximum.accumulate(np.flip(scored, 1), 1), 1)
        steps += int(reached.sum())
        inputs += _counted(pool.inputs[indices], reached)
        digits += _digits(pool.inputs[indices], reached)
        if pool.targets.ndim == 3:
            targets += _counted(pool.targets[indices], scored)
    per_sequence = 1.0 / len(chosen)
    return DataActivity(
        inputs * (1.0 / max(steps, 1)),
        targets * per_sequence if pool.targets.ndim == 3 else Signals(ones=1.0),
        steps * per_sequence,
        _input_bits(inputs, digits / max(steps, 1)),
    )


def _input_bits(inputs: Signals, digits: float) -> float | None:
    """Return the digits of a step's inputs, None for real numbers that are not all 0 or 1."""
    if math.isnan(digits):
        return None if inputs.others else 1.0
    return digits


def _digits(numbers: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> float:
    """Sum the binary digits of the largest of counts `[k, T, N]`, 1 at least, over the steps that matter.

    NaN for real numbers.
    """
    if not np.issubdtype(numbers.dtype, np.integer):
        return math.nan
    largest = numbers.max(axis=2).astype(np.float64)[where]
    return float(np.maximum(np.frexp(largest)[1], 1).sum())


def _scored(pool: SequencePool, indices: npt.NDArray[np.int64], steps: int) -> npt.NDArray[np.bool_]:
    if pool.scored is None:
        return np.ones((len(indices), steps), dtype=np.bool_)
    return pool.scored[indices]


def _counted(numbers: npt.NDArray[Any], where: npt.NDArray[np.bool_]) -> Signals:
    """Count numbers `[k, T, N]` that are one or otherwise not zero, at the steps `[k, T]` that matter."""
    seen = numbers[where]
    ones = int(np.count_nonzero(seen == 1))
    return Signals(float(ones), float(np.count_nonzero(seen)) - ones)


def mean_activity(
    network: Network, data: DataActivity, rates: Sequence[Sequence[float]], steps: float
) -> MeanActivity | None:
    """Return the activity of a network whose layers fired at `rates`, mean outputs by evaluation and hidden layer.

    Outputs that are no spikes count in full, zeros among them included. None without an evaluation.
    """
    if not rates:
        return None
    hidden = [
        Signals(ones=fmean(rate) * layer.width) if layer.cell.spikes else Signals(others=float(layer.width))
        for layer, rate in zip(network.layers[:-1], zip(*rates, strict=True), strict=True)
    ]
    return MeanActivity.steady(data.inputs, hidden, steps, data.targets)
