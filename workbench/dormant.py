"""Which units of a layer are dormant (Sokar et al. 2023, arXiv 2302.12902)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DORMANT_SHARE = 0.025
"""tau of evaluation: a unit is dormant at or below this part of its layer's mean activity."""


def dormant_units(values: Tensor, threshold: float) -> Tensor:
    """Return which units `[N]` bool have at most `threshold` times the mean of `values` `[N]`; NaN counts as live.

    In a layer that is silent altogether every unit is dormant.

    >>> import torch
    >>> dormant_units(torch.tensor([0.0, 0.1, 2.9]), 0.1)
    tensor([ True,  True, False])
    """
    return values <= threshold * values.mean()


def by_unit(values: Tensor, units: int) -> Tensor:
    """Return the mean `[..., N]` over each unit's several values, `[..., Q N]` in blocks (a complex unit has two)."""
    return values.reshape(*values.shape[:-1], -1, units).mean(-2)
