"""The digital memory of mixed precision: it collects changes too small to be written.

    chi <- chi + change / quantum;   n = trunc(chi) is written;   chi <- chi - n            (Nandakumar et al. 2020)

chi is kept in quanta, since chi - trunc(chi) is exact in floating point: nothing is lost between memory and devices.
"""

from __future__ import annotations

import torch
from torch import Tensor


class Accumulator:
    """One number for each weight of a matrix: the change that is still to be written, in quanta."""

    def __init__(self, like: Tensor, quantum: float) -> None:
        """Start empty. quantum: smallest change that is written, in the units of the weights `like` `[N, in]`."""
        self.quantum = quantum
        self.chi = torch.zeros_like(like, memory_format=torch.contiguous_format)

    def collect(self, change: Tensor) -> None:
        """Add `change` `[N, in]`, in units of the weights; nothing is written yet."""
        self.chi.add_(change, alpha=1.0 / self.quantum)

    def take(self) -> Tensor:
        """Return the whole quanta `[N, in]` (signed, of the dtype of the weights) to be written; keep the remainder."""
        whole = self.chi.trunc()
        self.chi.sub_(whole)
        return whole

    def add(self, change: Tensor) -> Tensor:
        """Collect `change` `[N, in]` and take what is whole."""
        self.collect(change)
        return self.take()

    def buffer_bytes(self) -> int:
        """Return the digital memory, bytes."""
        return self.chi.numel() * self.chi.element_size()

    def state_dict(self) -> dict[str, Tensor]:
        """Return what is still to be written."""
        return {"chi": self.chi}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.chi.copy_(state["chi"])
