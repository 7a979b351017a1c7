"""Weights held by one device each, or by two that only go up; all in device units, as they stand and as they read."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.array import Wear
from workbench.hardware.counter_noise import draw_seed
from workbench.hardware.exact import prefixed
from workbench.hardware.pulse_steps import apply_pulses, draw_rounded, draw_written_noise
from workbench.hardware.pulsed_devices import draw_devices
from workbench.hardware.pulsed_settings import PulsedConfig


class Cells:
    """One cell for each weight of a matrix `[N, in]`, on the devices `first`, `first + 1`, ... of an array's wear."""

    def __init__(
        self, settings: PulsedConfig, wear: Wear, first: int, generator: torch.Generator, like: Tensor
    ) -> None:
        """Draw the devices; they stand at weight zero, the stuck ones anywhere."""
        self.settings, self.wear = settings, wear
        self.pair = settings.cell == "pair"
        self.slice = slice(first, first + (2 if self.pair else 1))
        shape = (2 if self.pair else 1, *like.shape)
        self.devices = draw_devices(settings, shape, generator, like)
        lower, upper = self.devices.lower.double(), self.devices.upper.double()
        self.state = (torch.zeros(shape, dtype=torch.float64, device=like.device) + self.devices.zero).clamp(
            lower, upper
        )
        """Weight in each device, float64 `[D, N, in]`."""
        self.deviation = settings.write_noise * settings.dw_min
        self.noise = torch.zeros(shape, dtype=torch.float32, device=like.device) if self.deviation else None
        """What a read of each device adds to its weight."""
        self.updates = 0
        self.refreshed = 0
        if wear.stuck is not None:
            low = lower.clamp(min=-settings.stuck_range).minimum(upper)
            high = upper.clamp(max=settings.stuck_range).maximum(low)
            drawn = torch.rand(shape, generator=generator, dtype=torch.float64).to(like.device)
            self.state = torch.where(wear.stuck[self.slice], low + (high - low) * drawn, self.state)

    def read(self, columns: slice = slice(None)) -> Tensor:
        """Return the weights `[N, in]` of some inputs as they are read, device units, float64."""
        read = self.state[:, :, columns]
        if self.devices.reference is not None:
            read = read - self.devices.reference[:, :, columns]
        if self.noise is not None:
            read = read + self.noise[:, :, columns]
        return read[0] - read[1] if self.pair else read[0]

    def saturated(self) -> float:
        """Return the share of devices that stand at a bound."""
        at_bound = (self.state <= self.devices.lower) | (self.state >= self.devices.upper)
        return float(at_bound.double().mean())

    def pulse(self, counts: Tensor, generator: torch.Generator) -> None:
        """Send pulses to the cells, `counts` int32 `[N, in]`, negative for down."""
        if self.pair:
            self._pulse_devices(torch.stack([counts.clamp(min=0), (-counts).clamp(min=0)]), generator)
        else:
            self._pulse_devices(counts.contiguous()[None], generator)

    def _pulse_devices(self, counts: Tensor, generator: torch.Generator) -> None:
        sent = counts.abs()
        taken = self._taken(counts, sent)
        apply_pulses(self.devices, taken, draw_seed(generator), self.state)
        if self.noise is not None:
            draw_written_noise(taken, self.deviation, draw_seed(generator), self.noise)
        self.wear.writes[self.slice] += sent

    def _taken(self, counts: Tensor, sent: Tensor) -> Tensor:
        """Return the pulses that still change a device: none of a stuck one, none beyond its endurance."""
        wear = self.wear
        if wear.limit is not None:
            left = (wear.limit[self.slice] - wear.writes[self.slice]).clamp(min=0)
            counts = counts.sign() * sent.minimum(left)
        if wear.stuck is not None:
            counts = counts * ~wear.stuck[self.slice]
        return counts.to(torch.int32)

    def finish_update(self, generator: torch.Generator) -> None:
        """Let charge leak and refresh pairs, where an update has passed."""
        self.updates += 1
        if self.devices.decay is not None:
            zero = self.devices.zero
            left = (self.state - zero) * self.devices.decay + zero
            held = left.clamp(self.devices.lower.double(), self.devices.upper.double())
            self.state = self._where_free(held, torch.ones_like(held, dtype=torch.bool))
        every = self.settings.refresh_every
        if self.pair and every and self.updates % every == 0:
            self._refresh(generator)

    def _refresh(self, generator: torch.Generator) -> None:
        """Reset pairs of which both devices are far up, and write their difference to one of them, in the open loop."""
        settings = self.settings
        read = self.state if self.noise is None else self.state + self.noise
        share = read / settings.w_max
        worn = (share.amax(0) > settings.refresh_upper) & (share.amin(0) > settings.refresh_lower)
        if not bool(worn.any()):
            return
        self.refreshed += int(worn.sum())
        difference = torch.where(worn, read[0] - read[1], 0.0)
        both = worn.expand_as(self.state)
        assert self.devices.reset is not None
        self.state = self._where_free(self.devices.reset.double(), both)
        self.wear.writes[self.slice] += both.to(torch.int32)
        steps = (difference / settings.mean_step).float()
        self.pulse(draw_rounded(steps, settings.pulses, draw_seed(generator)), generator)

    def set(self, wanted: Tensor, where: Tensor, generator: torch.Generator) -> None:
        """Bring the cells to the weights `wanted` where `where`, both `[N, in]`, as far as the bounds allow."""
        wanted = wanted.double()
        parts = torch.stack([wanted.clamp(min=0), (-wanted).clamp(min=0)]) if self.pair else wanted[None]
        held = (parts + self.devices.zero).clamp(self.devices.lower.double(), self.devices.upper.double())
        both = where.expand_as(held)
        self.state = self._where_free(held, both)
        if self.noise is not None:
            draw_written_noise(
                both.to(torch.int32).contiguous(), self.deviation, draw_seed(generator), self.noise
            )
        self.wear.writes[self.slice] += both.to(torch.int32)

    def _where_free(self, state: Tensor, where: Tensor) -> Tensor:
        """Return `state` where `where` and the device still changes, else what it holds."""
        free = self.wear.free()
        where = where if free is None else where & free[self.slice]
        return torch.where(where, state, self.state)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the devices, their weights and what their reads add."""
        state = {"state": self.state, "updates": torch.tensor([self.updates, self.refreshed])}
        if self.noise is not None:
            state["noise"] = self.noise
        return {**state, **prefixed("drawn", self.devices.drawn())}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.state = state["state"].to(self.state).clone()
        self.updates, self.refreshed = (int(count) for count in state["updates"])
        if self.noise is not None:
            self.noise = state["noise"].to(self.noise).clone()
        for name, value in self.devices.drawn().items():
            value.copy_(state[f"drawn/{name}"])
