"""The projection of GEM: the nearest gradient that hurts no past task, by conditions that only the best one meets."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.gem import RIDGE, projected


@settings(max_examples=60)
@given(
    tasks=st.integers(1, 4),
    seed=st.integers(0, 2**32 - 1),
    margin=st.sampled_from([0.0, 0.5]),
    dependent=st.booleans(),
)
def test_the_dual_is_solved(tasks, seed, margin, dependent):
    """Karush, Kuhn, Tucker: feasible, slope not negative, and zero where the multiplier is free."""
    draws = torch.Generator().manual_seed(seed)
    rows = torch.randn(tasks, 6, generator=draws, dtype=torch.float64)
    if dependent:
        rows[-1] = rows[0]
    gradient = torch.randn(6, generator=draws, dtype=torch.float64)
    change = projected(rows, gradient, margin) - gradient
    quadratic = rows @ rows.T + RIDGE * torch.eye(tasks, dtype=torch.float64)
    # v from G^T v = change; where rows are dependent, the ridge shares it evenly, as least squares does.
    weights = torch.from_numpy(np.linalg.lstsq(rows.T.numpy(), change.numpy(), rcond=None)[0])
    slope = quadratic @ weights + rows @ gradient
    if not dependent:
        assert (weights >= margin - 1e-6).all()
        assert (slope >= -1e-6).all()
        assert ((weights - margin).abs() * slope.abs() <= 1e-5).all()
    assert (rows @ (gradient + change) >= -RIDGE * weights.abs().max() - 1e-6).all()


def test_one_past_task_is_the_projection_of_agem():
    reference = torch.tensor([[1.0, 2.0, 0.0]])
    gradient = torch.tensor([-1.0, 0.0, 5.0])
    plain = gradient - (gradient @ reference[0]) / (reference[0] @ reference[0]) * reference[0]
    torch.testing.assert_close(projected(reference, gradient, 0.0), plain, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("margin", [0.0, 0.5])
def test_past_tasks_of_no_account_change_nothing(margin):
    gradient = torch.tensor([1.0, -2.0])
    torch.testing.assert_close(projected(torch.zeros(2, 2), gradient, margin), gradient)
