"""The contract of an array of devices that holds one weight matrix, and what every array counts.

Weights are in the network's own units throughout; a device's units (siemens, pulses) stay inside. Random numbers come
from the generator that is handed in: the chip seeds it anew for every epoch, so that a resumed run draws the same.
"""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from workbench.hardware.settings import CrossbarConfig


class Array(Protocol):
    """Devices that hold one weight matrix `[N, in]`.

    What is written and what is read differ; a rule only ever sees what is read.
    """

    wear: Wear
    """Writes of every device, and which of them still change."""

    @property
    def restless(self) -> bool:
        """Whether reads differ from batch to batch although nothing was written: noise or drift."""
        ...

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """Draw the read noise anew that is then held until the next call; 1/f noise is slow.

        since: when learning stopped, seconds, if the reads that follow are of weights that are only used; what has
        drifted since then may be made up for. None while the network learns.
        """
        ...

    def read(self, now: float) -> Tensor:
        """Return the weights `[N, in]` as they are read at `now`, seconds since the start, with the noise held."""
        ...

    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """Carry out an update as far as the devices can: from the weights `shown` by the last read to `wanted`."""
        ...

    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """Set the weights to `wanted` where `where` `[N, in]` is true, as well as the devices can.

        For what is no update: the initial weights, a unit that is reset.
        """
        ...

    def read_deviation(self) -> Tensor | None:
        """Return the standard deviation `[N, in]` of what each single read adds to a weight; None for nothing."""
        ...

    def buffer_bytes(self) -> int:
        """Return the digital memory that the way of writing needs besides the devices, bytes."""
        ...

    def facts(self) -> dict[str, float]:
        """Return further counts and shares by name (`outer_products`, `saturated`), for the results."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that a bit-exact resume needs, `wear` included."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        ...


class Wear:
    """Writes of each device of an array, `[D, N, in]` with D devices a weight, and which devices no longer change.

    A write is one pulse, or one programming of a device that is written and verified. With `wearout` a device stops to
    change after its endurance, which is log-normal: endurance * exp(spread xi).
    """

    def __init__(
        self, shape: tuple[int, int, int], settings: CrossbarConfig, generator: torch.Generator, like: Tensor
    ) -> None:
        self.writes = torch.zeros(shape, dtype=torch.int32, device=like.device)
        self.stuck: Tensor | None = None
        """Devices that never change, `[D, N, in]` bool; None if there are none."""
        self.limit: Tensor | None = None
        """Endurance of each device, writes `[D, N, in]`; None if nothing wears out."""
        if settings.stuck > 0:
            drawn = torch.rand(shape, generator=generator)
            self.stuck = (drawn < settings.stuck).to(like.device)
        if settings.wearout:
            spread = torch.randn(shape, generator=generator) * settings.endurance_spread
            limit = (math.log(settings.endurance) + spread).exp().clamp(max=2**31 - 1)
            self.limit = limit.round().to(torch.int32).to(like.device)

    def free(self) -> Tensor | None:
        """Return which devices still change, `[D, N, in]` bool; None for all."""
        free = None if self.stuck is None else ~self.stuck
        if self.limit is not None:
            fresh = self.writes < self.limit
            free = fresh if free is None else free & fresh
        return free

    def add(self, writes: Tensor) -> None:
        """Count `writes` `[D, N, in]`, whole numbers of any dtype."""
        self.writes += writes.to(torch.int32)

    def worn(self) -> int:
        """Return how many devices are worn out."""
        return 0 if self.limit is None else int((self.writes >= self.limit).sum())

    def state_dict(self) -> dict[str, Tensor]:
        """Return counts, faults and limits."""
        parts = {"writes": self.writes, "stuck": self.stuck, "limit": self.limit}
        return {name: value for name, value in parts.items() if value is not None}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        device = self.writes.device
        # Copies, since counts change in place and two arrays may be restored from one state.
        self.writes = state["writes"].to(device, copy=True)
        self.stuck = state["stuck"].to(device, copy=True) if "stuck" in state else None
        self.limit = state["limit"].to(device, copy=True) if "limit" in state else None
