"""Global drift compensation: each tile is read with the identity matrix, and its outputs are scaled digitally.

    gain = s(reference) / s(now),   s = mean |output|, at least 1e-4 of the largest weight           (Joshi et al. 2020)

The mean is that over a tile, or over each output of a tile by itself. It is for weights that are only used: a network
that learns reads what has drifted and corrects it itself. Were its weights written to what a gain makes of them, they
would shrink with every write and the gain would grow without end, as 1 / drift for each time that all are written.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.tiles import edges
from workbench.neurons.native import fast_kernels_apply

FLOOR = 1e-4


class Compensation:
    """The digital side of one weight matrix `[N, in]`; a tile has `rows` inputs, and `columns` outputs or 1 for each
    output by itself. `largest`: weight of full scale.
    """

    def __init__(self, units: int, inputs: int, rows: int, columns: int, largest: float) -> None:
        self.rows, self.columns = rows, columns
        filled = [
            torch.tensor([last - first for first, last in edges(size, most)], dtype=torch.float64)
            for size, most in ((units, columns), (inputs, rows))
        ]
        self.least = torch.outer(*filled).mul_(FLOOR * largest)
        """Smallest sum of |w| of each tile that is not taken for noise, `[tiles, tiles]` (outputs, inputs)."""

    def sums(self, weights: Tensor) -> Tensor:
        """Return the sum of |w| over every tile of `weights` `[N, in]`, at least the floor, float64, on the CPU."""
        if fast_kernels_apply(weights):
            from workbench.hardware import compensation_kernels

            found = torch.empty_like(self.least)
            compensation_kernels.tile_sums(weights.numpy(), self.rows, self.columns, found.numpy())
        else:
            whole = weights.abs().to(torch.float64)
            by_output = torch.stack([part.sum(1) for part in torch.split(whole, self.rows, 1)], 1)
            found = torch.stack([part.sum(0) for part in torch.split(by_output, self.columns)]).cpu()
        return torch.maximum(found, self.least, out=found)

    def apply(self, reference: Tensor, weights: Tensor, noise: Tensor | None, gain: Tensor) -> None:
        """Bring `weights` `[N, in]`, read without noise, back to the `reference`; scale `noise` alike, note `gain`."""
        gains = self.sums(reference).div_(self.sums(weights))
        if fast_kernels_apply(gain):
            from workbench.hardware import compensation_kernels

            other = gain.new_empty(0, 0) if noise is None else noise
            given = (gains.numpy(), self.rows, self.columns, weights.numpy(), other.numpy(), gain.numpy())
            compensation_kernels.compensate(*given)
            return
        # Rounded before it is used, so that it is the same for a weight that is written later.
        by_input = gains.to(gain).repeat_interleave(self.rows, 1)[:, : gain.shape[1]]
        gain.copy_(by_input.repeat_interleave(self.columns, 0)[: len(gain)])
        weights.mul_(gain)
        if noise is not None:
            noise.mul_(gain)
