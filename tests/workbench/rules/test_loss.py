"""Losses: against torch's own, with masks, scored steps and targets of every step; errors are their derivatives."""

import pytest
import torch
from torch.nn import functional

from workbench.plugin import SequenceBatch
from workbench.rules.loss import decision, frame_counts, goals, normaliser, sequence_loss, step_errors

T, B, C = 5, 3, 4


def outputs(seed=0):
    return torch.randn(
        T, B, C, generator=torch.Generator().manual_seed(seed), dtype=torch.float64
    ).requires_grad_()


def given(*, prediction=False, scored=False, mask=False):
    generator = torch.Generator().manual_seed(1)
    inputs = torch.zeros(T, B, 2)
    targets = torch.randint(2, (B,), generator=generator)
    if prediction:
        targets = torch.randint(2, (T, B, C), generator=generator).to(torch.uint8)
    steps = torch.arange(T)[:, None] < torch.tensor([5, 2, 4]) if scored else None
    classes = (torch.arange(C) < 2).expand(B, -1) if mask else None
    return SequenceBatch(inputs, targets, classes, steps)


def by_hand(readout, batch, reduction):
    """Add up torch's losses sequence by sequence, step by step."""
    total, counted = readout.new_zeros(()), 0
    for t in range(T):
        for b in range(B):
            if batch.scored is not None and not batch.scored[t, b]:
                continue
            counted += 1
            if batch.targets.ndim == 3:
                wanted = batch.targets[t, b].double()
                total = total + functional.binary_cross_entropy_with_logits(
                    readout[t, b], wanted, reduction="sum"
                )
            else:
                competing = readout[t, b] if batch.class_mask is None else readout[t, b][batch.class_mask[b]]
                total = total + functional.cross_entropy(competing, batch.targets[b])
    return total / (counted if reduction == "mean" else B)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("scored", [False, True])
@pytest.mark.parametrize(("prediction", "mask"), [(False, False), (False, True), (True, False)])
def test_step_loss_and_its_errors(prediction, mask, scored, reduction):
    readout, batch = outputs(), given(prediction=prediction, scored=scored, mask=mask)
    loss = sequence_loss(readout, batch, "step", reduction)
    torch.testing.assert_close(loss, by_hand(readout, batch, reduction))
    (gradient,) = torch.autograd.grad(loss, readout)
    goal = goals(batch, C, torch.float64)
    weight = None if batch.scored is None else batch.scored.double()
    summed, error = step_errors(readout.detach(), goal, batch, weight)
    divisor = normaliser(batch, reduction)
    torch.testing.assert_close(summed / divisor, loss.detach())
    torch.testing.assert_close(error / divisor, gradient)


@pytest.mark.parametrize("scored", [False, True])
def test_sum_loss_judges_the_mean_of_the_scored_steps(scored):
    readout, batch = outputs(), given(scored=scored)
    steps = [5, 2, 4] if scored else [T] * B
    means = torch.stack([readout[: steps[b], b].mean(0) for b in range(B)])
    torch.testing.assert_close(decision(readout, None, batch.scored), means)
    expected = functional.cross_entropy(means, batch.targets)
    torch.testing.assert_close(sequence_loss(readout, batch, "sum"), expected)


def test_frame_counts_are_hits_over_hits_false_alarms_and_misses():
    readout, batch = outputs().detach(), given(prediction=True, scored=True)
    hits = false = missed = 0
    for t in range(T):
        for b in range(B):
            for c in range(C):
                if batch.scored[t, b]:
                    on, wanted = bool(readout[t, b, c] > 0), bool(batch.targets[t, b, c])
                    hits += on and wanted
                    false += on and not wanted
                    missed += wanted and not on
    assert [int(count) for count in frame_counts(readout, batch)] == [hits, hits + false + missed]
