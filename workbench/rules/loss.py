"""Losses and decisions of a network that reads a sequence: one class for all of it, or targets of every step.

Readout `o` is `[T, B, C]`. Classification: targets `[B]` int64, cross-entropy; `mask` `[B, C]` marks the classes that
compete (task setting). Prediction: targets `[T, B, C]` in [0, 1], each output an independent yes or no (the notes of a
chord), negative log-likelihood summed over the outputs. `scored` `[T, B]` marks the steps at which the loss counts.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from workbench.plugin import SequenceBatch

LossName = Literal["step", "sum"]
Reduction = Literal["mean", "sum"]


def masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """Return `logits` `[..., B, C]` with the classes outside `mask` at the lowest finite value."""
    return logits if mask is None else logits.masked_fill(~mask, torch.finfo(logits.dtype).min)


def decision(outputs: Tensor, mask: Tensor | None = None, scored: Tensor | None = None) -> Tensor:
    """Return decision scores `[B, C]`: the readout averaged over the scored steps.

    >>> decision(torch.tensor([[[1.0, 0.0]], [[0.0, 3.0]]]))
    tensor([[0.5000, 1.5000]])
    """
    if scored is None:
        return masked(outputs.mean(0), mask)
    weight = scored.to(outputs.dtype)
    summed = (outputs * weight[..., None]).sum(0)
    return masked(summed / weight.sum(0).clamp(min=1.0)[:, None], mask)


def predicts_steps(batch: SequenceBatch) -> bool:
    """Return whether every step of the batch has targets of its own."""
    return batch.targets.ndim == 3


def normaliser(batch: SequenceBatch, reduction: Reduction) -> float:
    """Return what the summed step losses are divided by: the scored steps of the batch (mean), or its size (sum)."""
    steps, size = batch.inputs.shape[:2]
    if reduction == "sum":
        return float(size)
    counted = steps * size if batch.scored is None else int(batch.scored.sum())
    return float(max(counted, 1))


def goals(batch: SequenceBatch, classes: int, dtype: torch.dtype) -> Tensor:
    """Return the targets as numbers in [0, 1]: `[1, B, C]` one-hot of a class, or `[T, B, C]` of every step."""
    if predicts_steps(batch):
        return batch.targets.to(dtype)
    return functional.one_hot(batch.targets, classes).to(dtype)[None]


def sequence_loss(
    outputs: Tensor, batch: SequenceBatch, kind: LossName, reduction: Reduction = "mean"
) -> Tensor:
    """Return the loss, scalar, with its graph.

    step: E = 1/n sum_t,b l(o_t, y*), every step must tell, so the error is known as time goes; n counts the scored
    steps of the batch, or its sequences if `reduction` is sum. Prediction is always of this kind.
    sum: E = 1/B sum_b -log softmax(mean_t o_t)[y], known only after the last step.
    """
    if kind == "sum" and not predicts_steps(batch):
        return functional.cross_entropy(decision(outputs, batch.class_mask, batch.scored), batch.targets)
    if predicts_steps(batch):
        # softplus(o) - o y* is the cross-entropy of sigmoid(o).
        losses = (functional.softplus(outputs) - outputs * batch.targets).sum(-1)
    else:
        log_probabilities = torch.log_softmax(masked(outputs, batch.class_mask), dim=-1)
        wanted = batch.targets.expand(len(outputs), -1)[..., None]
        losses = -log_probabilities.gather(-1, wanted)[..., 0]
    if batch.scored is not None:
        losses = losses * batch.scored
    return losses.sum() / normaliser(batch, reduction)


def step_errors(
    outputs: Tensor, goal: Tensor, batch: SequenceBatch, scored: Tensor | None
) -> tuple[Tensor, Tensor]:
    """Return the summed step loss (scalar, not averaged) and dE_t/do_t `[K, B, C]` of a stretch of K steps.

    dE_t/do_t is softmax(o_t) - y* in classification, sigmoid(o_t) - y*_t in prediction, 0 where not scored.
    outputs: `[K, B, C]`. goal: `[1 or K, B, C]` of the same steps. scored: `[K, B]` or None.
    """
    if predicts_steps(batch):
        losses = (functional.softplus(outputs) - outputs * goal).sum(-1)
    else:
        log_probabilities = torch.log_softmax(masked(outputs, batch.class_mask), dim=-1)
        # The target's alone: masked classes hold huge values, and 0 times huge must not enter.
        wanted = batch.targets.expand(len(outputs), -1)[..., None]
        losses = -log_probabilities.gather(-1, wanted)[..., 0]
    if scored is not None:
        losses = losses * scored
    return losses.sum(), output_errors(outputs, goal, batch, scored)


def output_errors(outputs: Tensor, goal: Tensor, batch: SequenceBatch, scored: Tensor | None) -> Tensor:
    """Return dE_t/do_t alone, as `step_errors` does, without the loss."""
    if predicts_steps(batch):
        error = torch.sigmoid(outputs).sub_(goal)
    else:
        error = torch.log_softmax(masked(outputs, batch.class_mask), dim=-1).exp_().sub_(goal)
    return error if scored is None else error.mul_(scored[..., None])


def frame_counts(outputs: Tensor, batch: SequenceBatch) -> tuple[Tensor, Tensor]:
    """Return hits and all of hits, false alarms and misses over the scored steps: their ratio is the frame accuracy.

    An output counts as on where its probability exceeds one half. Source: Bay, Ehmann and Downie 2009.
    """
    on, wanted = outputs > 0, batch.targets > 0
    hits, either = on & wanted, on | wanted
    if batch.scored is not None:
        hits, either = hits & batch.scored[..., None], either & batch.scored[..., None]
    return hits.sum(), either.sum()
