"""Digital weights of few bits, changed in place by whole steps of their grid."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from workbench.hardware.settings import CrossbarConfig
from workbench.plugin import Hardware

if TYPE_CHECKING:
    import torch

    from workbench.backbones.network import Network
    from workbench.hardware.array import Array
    from workbench.hardware.chip import Chip
    from workbench.randomness import RandomStreams


class QuantisedConfig(CrossbarConfig):
    """Settings of weights on a uniform grid, symmetric about zero: 2^bits - 1 levels over +- the largest weight."""

    bits: int = Field(
        8,
        ge=0,
        le=24,
        description="resolution of a weight, bits (2 or more); 0: floating point, without a range",
    )
    rounding: Literal["stochastic", "nearest"] = Field(
        "stochastic",
        description="how a change becomes whole steps of the grid: up with the chance of its fraction, so that its "
        "mean is what was asked for, or to the nearest, where changes below half a step vanish",
    )
    residual: bool = Field(
        False,
        description="what rounding leaves of a change is kept, a floating-point number a weight, and added to the next",
    )

    @field_validator("bits")
    @classmethod
    def _resolves(cls, bits: int) -> int:
        if bits == 1:
            raise ValueError("one bit has no level besides zero: 2 and more, or 0 for floating point")
        return bits


class Quantised(Hardware):
    """Digital weights of few bits; updates move them by whole steps of the grid, rounded at random or to the nearest.

    Level c of a matrix is the weight c * step, |c| <= 2^(bits - 1) - 1, the largest being `headroom` times the largest
    initial weight. Initial weights are rounded as changes are: 2 bits and rounding=nearest set all to zero, unless
    headroom is below 2. A write changes a weight by any number of steps. Memory is exact: no read noise, no drift.
    Stochastic rounding as in Gupta et al., ICML 2015.
    """

    cell_kind = "sram"
    Config: ClassVar[type[QuantisedConfig]] = QuantisedConfig
    config: QuantisedConfig

    def attach(self, network: Network, streams: RandomStreams) -> Chip:
        """Round the network's weights onto their grids."""
        from workbench.hardware.chip import Chip

        return Chip(network, streams, self.config, self.array)

    def array(self, weights: torch.Tensor, generator: torch.Generator) -> Array:
        """Return the memory of one matrix of initial weights `[N, in]`."""
        from workbench.hardware.quantised_array import make_array

        return make_array(weights, self.config, generator)
