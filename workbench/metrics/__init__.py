"""Measures of continual learning: pure functions over the accuracy matrix R[i, j]."""

from __future__ import annotations

from workbench.metrics.continual import (
    average_accuracy,
    backward_transfer,
    backward_transfer_per_task,
    forgetting,
    forgetting_per_task,
    forward_transfer,
    forward_transfer_per_task,
    trained_block,
)

__all__ = [
    "average_accuracy",
    "backward_transfer",
    "backward_transfer_per_task",
    "forgetting",
    "forgetting_per_task",
    "forward_transfer",
    "forward_transfer_per_task",
    "trained_block",
]
