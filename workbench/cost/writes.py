"""How often weights are written, and how many sequences that took: whole numbers, counted by the trainer as it goes.

A float learner writes every weight that has a gradient at every update, also where the change is too small to show: so
writes are updates times weights. What a device does with an update (pulses, thresholds, cells left alone) is counted by
the device itself: `devices` in the results.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    import torch


@dataclass
class TrainingWork:
    """Counts of a run so far.

    samples: training sequences shown. sequences: those and the stored ones that joined them. steps: time steps of all
    these. batches: training steps. updates: steps of the optimiser that changed a weight. writes: weights changed, each
    as often as it was. whole: whether nothing is missing; not if the run goes on from a checkpoint that knew no counts.
    """

    samples: int = 0
    sequences: int = 0
    steps: int = 0
    batches: int = 0
    updates: int = 0
    writes: int = 0
    whole: bool = True

    def shown(self, sequences: int, joined: int, steps: int) -> None:
        """Count a training batch of `sequences` of `steps` steps, `joined` of them stored ones."""
        self.samples += sequences - joined
        self.sequences += sequences
        self.steps += sequences * steps
        self.batches += 1

    def updated(self, weights: Iterable[tuple[torch.Tensor, int]]) -> None:
        """Count an update of the weights, given with their sizes, that have a gradient."""
        written = 0
        for weight, size in weights:
            if weight.grad is not None:
                written += size
        if written:
            self.updates += 1
            self.writes += written

    def state(self) -> dict[str, int]:
        """Return the counts, as `TrainingWork(**state)` takes them."""
        return asdict(self)

    def summary(self, parameters: int) -> dict[str, int | float] | None:
        """Return updates and writes in all, by training sample and by each of `parameters`; None if not known."""
        if not self.whole or not self.samples:
            return None
        return {
            "updates": self.updates,
            "parameters": parameters,
            "total": self.writes,
            "per_sample": self.writes / self.samples,
            "per_parameter": self.writes / max(parameters, 1),
        }
