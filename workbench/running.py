"""Loss and accuracy of an epoch as it runs, at next to no cost a batch."""

from __future__ import annotations

import torch
from torch import Tensor

GATHERED = 10
"""Batches reduced at once: at batch 1, reducing each by itself would cost a good part of a training step."""


class RunningScore:
    """Sums over the sequences so far; the tensors of a few batches are kept and reduced together."""

    def __init__(self) -> None:
        self.seen = 0
        """Sequences so far."""
        self._losses: list[Tensor] = []
        self._sizes: list[int] = []
        self._decisions: list[tuple[Tensor, Tensor]] = []
        self._loss_sum: Tensor | None = None
        self._correct: Tensor | None = None

    def add(self, loss: Tensor, size: int, logits: Tensor | None, targets: Tensor) -> None:
        """Count a batch of `size` sequences: mean loss, scalar; logits `[size, C]`, or None where steps are predicted.

        targets: `[size]`, read with logits alone.
        """
        self._losses.append(loss.detach())
        self._sizes.append(size)
        if logits is not None:
            self._decisions.append((logits.detach(), targets))
        self.seen += size
        if len(self._losses) == GATHERED:
            self._reduce()

    def loss(self) -> float:
        """Return the mean loss a sequence; waits for the device."""
        self._reduce()
        return 0.0 if self._loss_sum is None else float(self._loss_sum) / self.seen

    def accuracy(self) -> float | None:
        """Return the share of right decisions, None where there are none to make; waits for the device."""
        self._reduce()
        return None if self._correct is None else int(self._correct) / self.seen

    def _reduce(self) -> None:
        if not self._losses:
            return
        losses = torch.stack(self._losses)
        total = (losses * torch.tensor(self._sizes, dtype=losses.dtype, device=losses.device)).sum()
        self._loss_sum = total if self._loss_sum is None else self._loss_sum + total
        if self._decisions:
            logits, targets = (torch.cat(parts) for parts in zip(*self._decisions, strict=True))
            correct = (logits.argmax(1) == targets).sum()
            self._correct = correct if self._correct is None else self._correct + correct
        self._losses, self._sizes, self._decisions = [], [], []
