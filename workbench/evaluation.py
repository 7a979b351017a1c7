"""What an evaluation counts: correct decisions and loss of each task, spike rates and dormant units of each layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from workbench.backbones.network import ForwardPass
from workbench.dormant import DORMANT_SHARE, by_unit, dormant_units
from workbench.plugin import SequenceBatch
from workbench.rules.loss import decision, frame_counts, normaliser, predicts_steps, sequence_loss


class Tally:
    """Running counts over the batches of one task's test data.

    accuracy: share of sequences decided correctly; in prediction the frame accuracy, hits over hits, false alarms and
    misses. loss: cross-entropy of the decision a sequence; in prediction the negative log-likelihood a scored step.
    """

    def __init__(self, units: Sequence[int] = ()) -> None:
        """`units`: how many each hidden layer has; without them decisions and losses are counted alone."""
        self.hits = self.trials = 0
        self.loss_sum = 0.0
        self.losses = 0.0
        self.sequences = 0
        self.rate_sums = torch.zeros(len(units))
        self.activity = [torch.zeros(count, dtype=torch.float64) for count in units]
        """|output| of each hidden layer's units `[N]`, summed over steps and sequences."""
        self.last_loss = torch.zeros(())

    def add(self, passed: ForwardPass, batch: SequenceBatch) -> None:
        """Count one batch."""
        if predicts_steps(batch):
            hits, trials = frame_counts(passed.outputs, batch)
            counted = normaliser(batch, "mean")
        else:
            decided = decision(passed.outputs, batch.class_mask, batch.scored).argmax(1)
            hits, trials = (decided == batch.targets).sum(), torch.tensor(batch.size)
            counted = float(batch.size)
        self.last_loss = sequence_loss(passed.outputs, batch, "sum")
        self.hits += int(hits)
        self.trials += int(trials)
        self.loss_sum += float(self.last_loss) * counted
        self.losses += counted
        self.sequences += batch.size
        if self.activity:
            self.rate_sums += _rates(passed.spikes) * batch.size
            for sums, outputs in zip(self.activity, passed.spikes, strict=True):
                # A batch's spikes are counted exactly in single precision, those of all batches in double.
                sums += by_unit(outputs.detach().abs().sum((0, 1)).cpu().double(), len(sums))

    @property
    def accuracy(self) -> float:
        """Accuracy so far, nan if nothing was counted."""
        return self.hits / self.trials if self.trials else math.nan

    @property
    def loss(self) -> float:
        """Mean loss so far, nan if nothing was counted."""
        return self.loss_sum / self.losses if self.losses else math.nan


def _rates(spikes: list[Tensor]) -> Tensor:
    return torch.stack([outputs.float().mean() for outputs in spikes]).cpu()


@dataclass
class Evaluation:
    """Accuracies and losses by task, nan where not tested; activity of the hidden layers over all that was tested."""

    accuracies: list[float]
    losses: list[float]
    rate_sums: Tensor | None = None
    activity: list[Tensor] = field(default_factory=list)
    """|output| of each hidden layer's units `[N]`, summed over steps and sequences."""
    sequences: int = 0

    @staticmethod
    def empty(tasks: int) -> Evaluation:
        """Return an evaluation of no task."""
        return Evaluation([math.nan] * tasks, [math.nan] * tasks)

    def record(self, task: int, tally: Tally) -> None:
        """Enter what one task's data gave."""
        self.accuracies[task] = tally.accuracy
        self.losses[task] = tally.loss
        self.rate_sums = tally.rate_sums if self.rate_sums is None else self.rate_sums + tally.rate_sums
        before = self.activity or [torch.zeros_like(sums) for sums in tally.activity]
        self.activity = [sums + more for sums, more in zip(before, tally.activity, strict=True)]
        self.sequences += tally.sequences

    @property
    def spike_rates(self) -> list[float]:
        """Mean output of the units of each hidden layer, per step."""
        if self.rate_sums is None or not self.sequences:
            return []
        rates: list[float] = (self.rate_sums / self.sequences).tolist()
        return rates

    @property
    def dormant(self) -> list[float]:
        """Share of dormant units of each hidden layer: mean |output| at most `DORMANT_SHARE` of the layer's mean."""
        if not self.sequences:
            return []
        return [float(dormant_units(sums, DORMANT_SHARE).double().mean()) for sums in self.activity]
