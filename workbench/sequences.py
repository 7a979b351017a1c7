"""Turn a loader's batches into what rules take: time-major sequences, targets, and the classes that compete."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.plugin import SequenceBatch


class SequenceMaker:
    """Makes `SequenceBatch`es on one device.

    masks: `[tasks, C]` bool, the classes that compete in each task, or None where all always do.
    """

    def __init__(self, masks: Tensor | None, device: torch.device) -> None:
        self.masks = masks
        self.device = device
        # Sessions that only add classes: a stored sample competes with all classes of now, not those of its day.
        self.adds_classes = masks is not None and bool((masks[1:] >= masks[:-1]).all())

    def make(self, parts: Sequence[Tensor], learned: int | None = None) -> SequenceBatch:
        """Return `[inputs, targets, (scored,) task labels]`, batch-first, as the rules take it.

        learned: the task that is being learned; None in evaluation.
        """
        inputs, targets, *rest = parts
        targets = targets.to(self.device)
        if targets.ndim == 3:
            targets = targets.transpose(0, 1)
        scored = None if len(rest) == 1 else rest[0].to(self.device).T
        return SequenceBatch(self.time_major(inputs), targets, self._mask(rest[-1], learned), scored)

    def time_major(self, inputs: Tensor) -> Tensor:
        """Return `[B, T, N]` as `[T, B, N]`."""
        turned = inputs.to(self.device).transpose(0, 1)
        # An input held still repeats one step; copying it out would undo the saving.
        return turned if turned.stride(0) == 0 else turned.contiguous()

    def _mask(self, task_labels: Tensor, learned: int | None) -> Tensor | None:
        if self.masks is None:
            return None
        labels = task_labels.cpu()
        if self.adds_classes and learned is not None:
            labels = labels.clamp(min=learned)
        return self.masks[labels].to(self.device)
