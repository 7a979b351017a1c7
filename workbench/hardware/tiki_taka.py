"""Tiki-Taka: updates go to a fast array A, which is read into the weights C column by column.

Devices whose pulses up and down differ drift to their symmetry point; A may do so, since only what it holds on top of
that counts. After every `transfer_every` updates one column (one input) of A is read and

    v1   C[:, j] <- C[:, j] + transfer_lr A[:, j]            by pulse trains          (Gokmen and Haensch 2020)
    v2   H[:, j] <- H[:, j] + transfer_lr A[:, j];           a pulse where |H| is above the threshold (Gokmen 2021)
    chopped: as v2, and the sign with which A takes and gives changes of an input flips at random after its transfer,
         which cancels what A holds for no reason (c-TTv2; Rasch et al. 2023).

A pulse leaves H with `momentum` H, or, if the buffer does not forget, takes (1 - momentum) of a threshold off it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.counter_noise import draw_seed
from workbench.hardware.exact import part, prefixed
from workbench.hardware.pulse_steps import draw_binomial
from workbench.hardware.pulse_trains import Trains
from workbench.hardware.pulsed_cells import Cells
from workbench.hardware.pulsed_settings import PulsedConfig

_SCALE_MEMORY = 0.99


class TikiTaka:
    """The way of writing over a fast array, in three versions."""

    def __init__(self, settings: PulsedConfig, slow: Cells, fast: Cells, like: Tensor) -> None:
        """slow: the weights. fast: further devices of the same wear. like: a matrix `[N, in]`."""
        self.settings, self.slow, self.fast = settings, slow, fast
        self.trains = Trains(settings)
        self.buffered = settings.update != "tiki-taka"
        self.chopped = settings.update == "tiki-taka-chopped"
        self.buffer = torch.zeros_like(like, dtype=torch.float32) if self.buffered else None
        """What is still to be sent, in thresholds; H in the equations."""
        self.chopper = torch.ones(like.shape[1], device=like.device)
        self.updates = 0
        self.column = 0
        self.transfers = 0
        self.mean_largest = 0.0
        """Running mean of the largest change of an update, device units."""

    @property
    def threshold(self) -> float:
        """Change that is sent as one pulse, device units."""
        settings, period = self.settings, len(self.chopper) * self.settings.transfer_every
        share = settings.auto_granularity / period if self.chopped and settings.auto_granularity else 1.0
        return settings.threshold * settings.mean_step * share

    def carry_out(self, change: Tensor, error: float, generator: torch.Generator) -> None:
        """Send a `change` to the fast array, and a column of that to the weights."""
        signs = self.chopper.to(change.dtype) if self.chopped else None
        counts = self.trains.draw(change, error, self._fast_steps(change), generator, signs)
        self.fast.pulse(counts, generator)
        self.updates += 1
        if self.updates % self.settings.transfer_every == 0:
            self._transfer(generator)

    def finish_update(self, generator: torch.Generator) -> None:
        """Let charge leak from the fast array."""
        self.fast.finish_update(generator)

    def _fast_steps(self, change: Tensor) -> float:
        """Return pulses per unit of the change."""
        settings = self.settings
        if not settings.auto_scale:
            return settings.fast_lr / settings.mean_step
        largest = float(change.abs().max())
        known = self.mean_largest
        self.mean_largest = _SCALE_MEMORY * known + (1 - _SCALE_MEMORY) * largest if known else largest
        return settings.fast_lr * settings.pulses / self.mean_largest

    def _transfer(self, generator: torch.Generator) -> None:
        column = slice(self.column, self.column + 1)
        read = self.fast.read(column) * self.settings.transfer_lr
        counts = torch.zeros(self.slow.state.shape[1:], dtype=torch.int32, device=read.device)
        if self.buffer is None:
            wish = read / self.settings.mean_step
            slots = self.trains.slots(wish.abs().amax(0))
            counts[:, column] = draw_binomial(wish, slots, draw_seed(generator))
        else:
            counts[:, column] = self.collect(read * self.chopper[column], column)
        if bool(counts.any()):
            self.slow.pulse(counts, generator)
        self.transfers += 1
        if self.chopped and float(torch.rand((), generator=generator)) < self.settings.in_chop_prob:
            self.chopper[self.column] *= -1
        self.column = (self.column + 1) % len(self.chopper)

    def collect(self, read: Tensor, column: slice) -> Tensor:
        """Add what was read, device units `[N, 1]`, to the buffer; return the pulses that are due, int32."""
        assert self.buffer is not None
        held = self.buffer[:, column] + (read / self.threshold).to(self.buffer.dtype)
        due = held.trunc().clamp(-1, 1)
        if self.settings.forget_buffer:
            self.buffer[:, column] = torch.where(due != 0, self.settings.momentum * held, held)
        else:
            self.buffer[:, column] = held - (1 - self.settings.momentum) * due
        return due.to(torch.int32)

    def forget(self, where: Tensor) -> None:
        """Empty the buffer of weights that were set; the fast array stays as it is."""
        if self.buffer is not None:
            self.buffer.masked_fill_(where, 0.0)

    def buffer_bytes(self) -> int:
        """Return the bytes of the buffer, and of a sign for each input."""
        signs = -(-len(self.chopper) // 8) if self.chopped else 0
        return (0 if self.buffer is None else self.buffer.numel() * self.buffer.element_size()) + signs

    def facts(self) -> dict[str, float]:
        """Return how updates were sent, columns transferred, and the share of fast devices at a bound."""
        return {**self.trains.facts(), "transfers": self.transfers, "saturated_fast": self.fast.saturated()}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the fast array, buffer, signs and counts."""
        state = {
            "counts": torch.tensor([self.updates, self.column, self.transfers]),
            "mean_largest": torch.tensor(self.mean_largest, dtype=torch.float64),
            "chopper": self.chopper,
            **prefixed("fast", self.fast.state_dict()),
            **prefixed("trains", self.trains.state_dict()),
        }
        return state if self.buffer is None else {**state, "buffer": self.buffer}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.fast.load_state_dict(part("fast", state))
        self.trains.load_state_dict(part("trains", state))
        self.updates, self.column, self.transfers = (int(count) for count in state["counts"])
        self.mean_largest = float(state["mean_largest"])
        self.chopper.copy_(state["chopper"])
        if self.buffer is not None:
            self.buffer.copy_(state["buffer"])
