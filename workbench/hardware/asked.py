"""What an update asks of devices."""

from __future__ import annotations

import math

import torch
from torch import Tensor


def asked_change(wanted: Tensor, shown: Tensor) -> tuple[Tensor, float]:
    """Return the change `[N, in]` from the weights `shown` to `wanted`, and its largest magnitude.

    A learner that diverged asks for what is no number, or infinite: of that nothing can be written, the change is 0.

    >>> asked_change(torch.tensor([[2.0, float("nan")]]), torch.tensor([[0.5, 1.0]]))
    (tensor([[1.5000, 0.0000]]), 1.5)
    """
    change = wanted.detach() - shown
    largest = float(change.abs().max())
    if not math.isfinite(largest):
        change = torch.where(change.isfinite(), change, 0.0)
        largest = float(change.abs().max())
    return change, largest
