"""Gradients of synapses summed over the chunks of a sequence, in the order in which they arise."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.neurons.events import add_gradient as add_events
from workbench.neurons.presynaptic import Presynaptic


class GradientSum:
    """The gradient of one parameter `[N, in]` so far.

    Events add to it by inputs, dense products by units: each has a sum of its own, and they are brought together once.
    """

    def __init__(self, parameter: Tensor) -> None:
        self.parameter = parameter
        self.by_input: Tensor | None = None
        self.by_unit: Tensor | None = None

    def add(self, source: Presynaptic, gradient: Tensor) -> None:
        """Add sum_t gradient_t x_t^T for dE/dI `[K, B, N]` and what the synapse read."""
        flat = gradient.flatten(0, -2)
        if source.events is None:
            self.add_outer(flat, source.rows())
            return
        if self.by_input is None:
            self.by_input = gradient.new_zeros(source.shape[2], gradient.shape[2])
        add_events(source.events, flat, self.by_input)

    def add_outer(self, gradient: Tensor, rows: Tensor) -> None:
        """Add gradient^T rows for `[R, N]` and `[R, in]`."""
        if self.by_unit is None:
            self.by_unit = gradient.T @ rows
        else:
            self.by_unit.addmm_(gradient.T, rows)

    def add_by_input(self, total: Tensor) -> None:
        """Add a gradient that lies as `[in, N]`."""
        self.by_input = total if self.by_input is None else self.by_input.add_(total)

    def add_by_unit(self, total: Tensor) -> None:
        """Add a gradient that lies as `[N, in]`."""
        self.by_unit = total if self.by_unit is None else self.by_unit.add_(total)

    def settle(self) -> None:
        """Add the sum to the parameter's `.grad` and start anew."""
        total = self.by_unit
        if self.by_input is not None:
            turned = self.by_input.T
            total = turned.contiguous() if total is None else total.add_(turned)
        self.by_input = self.by_unit = None
        if total is not None:
            add_to_gradient(self.parameter, total)


def add_to_gradient(parameter: Tensor, gradient: Tensor) -> None:
    """Add `gradient`, reshaped, to `parameter.grad`."""
    gradient = gradient.reshape(parameter.shape)
    if parameter.grad is None:
        parameter.grad = gradient
    else:
        parameter.grad += gradient


def settle(sums: dict[str, GradientSum]) -> None:
    """Settle all sums of a layer."""
    with torch.no_grad():
        for total in sums.values():
            total.settle()
