"""Losses and decisions of a classifier that reads a sequence.

Readout `o` is `[T, B, C]`; targets `[B]`; `mask` `[B, C]` marks the classes that compete (task setting).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

LossName = Literal["step", "sum"]


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return `logits` `[..., B, C]` with the classes outside `mask` at the lowest finite value."""
    return logits if mask is None else logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def decision(outputs: Tensor, mask: Tensor | None = None) -> Tensor:
    """Return decision scores `[B, C]`: the readout averaged over time.

    >>> decision(torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]))
    tensor([[0.5000, 1.5000]])
    """
    return masked(outputs.mean(0), mask)


def sequence_loss(outputs: Tensor, targets: Tensor, mask: Tensor | None, kind: LossName) -> Tensor:
    """Return the mean cross-entropy, scalar.

    step: E = 1/(T B) sum_t,b -log softmax(o_t)[y], every step must tell the class, so the error is known as time goes.
    sum: E = 1/B sum_b -log softmax(mean_t o_t)[y], known only after the last step.
    """
    if kind == "sum":
        return functional.cross_entropy(decision(outputs, mask), targets)
    steps = outputs.shape[0]
    flat = masked(outputs, mask).flatten(0, 1)
    return functional.cross_entropy(flat, targets.repeat(steps))


def step_errors(outputs: Tensor, one_hot: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the summed step loss (scalar, not averaged) and dE_t/do_t = softmax(o_t) - y*, `[K, B, C]`.

    outputs: `[K, B, C]` any stretch of steps. one_hot: `[B, C]`.
    """
    log_probabilities = torch.log_softmax(masked(outputs, mask), dim=-1)
    loss = -(log_probabilities * one_hot).sum() if mask is None else _masked_sum(log_probabilities, one_hot)
    return loss, log_probabilities.exp_().sub_(one_hot)


def _masked_sum(log_probabilities: Tensor, one_hot: Tensor) -> Tensor:
    """Sum -log p of the targets alone: masked classes hold huge values, and 0 times huge must not enter."""
    chosen = one_hot.bool().expand_as(log_probabilities)
    return -log_probabilities[chosen].sum()
