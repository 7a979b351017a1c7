"""Gradients of a layer's synapses, summed over the chunks of a sequence, and where they go in the end."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.neurons.presynaptic import Gradient

Sums = dict[Tensor, Gradient]
"""The gradient so far of each parameter."""


@torch.no_grad()
def settle(sums: Sums) -> None:
    """Add all sums to the `.grad` of their parameters and start anew."""
    for parameter, total in sums.items():
        found = total.take()
        if found is not None:
            add_to_gradient(parameter, found)


def add_to_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add `gradient`, reshaped, to `parameter.grad`."""
    gradient = gradient.reshape(parameter.shape)
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient
