"""Loss and accuracy of an epoch as it runs."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workbench.running import GATHERED, RunningScore


@given(
    sizes=st.lists(st.integers(1, 4), max_size=3 * GATHERED),
    read_at=st.integers(0, 30),
    seed=st.integers(0, 3),
)
def test_means_over_sequences_whenever_they_are_read(sizes: list[int], read_at: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    running = RunningScore()
    loss_sum, correct, seen = 0.0, 0, 0
    for number, size in enumerate(sizes):
        loss = torch.rand((), generator=generator, dtype=torch.float64)
        logits = torch.rand(size, 3, generator=generator)
        targets = torch.randint(3, (size,), generator=generator)
        running.add(loss, size, logits, targets)
        loss_sum += float(loss) * size
        correct += int((logits.argmax(1) == targets).sum())
        seen += size
        if number >= read_at:
            assert running.loss() == pytest.approx(loss_sum / seen)
            assert running.accuracy() == correct / seen
    assert running.seen == seen
    assert running.loss() == pytest.approx(loss_sum / max(seen, 1))
    assert running.accuracy() == (correct / seen if sizes else None)


def test_predictions_have_no_accuracy_and_no_graph_is_held() -> None:
    running = RunningScore()
    weight = torch.ones((), requires_grad=True)
    for _ in range(GATHERED + 1):
        running.add(weight * 2, 3, None, torch.zeros(3, 5, 2))
    assert running.loss() == 2.0
    assert running.accuracy() is None
    assert all(not loss.requires_grad for loss in running._losses)
