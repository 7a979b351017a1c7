"""Devices that take a change of any size: the limit of steps that are small without end.

Weights are kept in network units, so that a device without spread is the float learner bit for bit.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.array import Wear
from workbench.hardware.exact import part, prefixed
from workbench.hardware.pulse_steps import change_at
from workbench.hardware.pulsed_array import weight_scale
from workbench.hardware.pulsed_devices import draw_devices
from workbench.hardware.pulsed_settings import PulsedConfig


class ContinuousArray:
    """One such device for each weight of a matrix `[N, in]`; an update with any change is one write."""

    restless = False

    def __init__(self, weights: Tensor, settings: PulsedConfig, generator: torch.Generator) -> None:
        shape = (1, *weights.shape)
        self.wear = Wear(shape, settings, generator, weights)
        self.devices = draw_devices(settings, shape, generator, weights)
        self.scale = weight_scale(weights, settings)
        zero = self.devices.zero
        self.lower, self.upper = (
            ((bound.double() - zero) * self.scale)[0].to(weights.dtype)
            for bound in (self.devices.lower, self.devices.upper)
        )
        self.weights = torch.zeros_like(weights).clamp(self.lower, self.upper)
        if self.wear.stuck is not None:
            drawn = torch.rand(weights.shape, generator=generator).to(weights)
            held = settings.stuck_range * self.scale
            low, high = self.lower.clamp(-held, held), self.upper.clamp(-held, held)
            self.weights = torch.where(self.wear.stuck[0], low + (high - low) * drawn, self.weights)

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """Nothing: reads repeat."""

    def read(self, now: float) -> Tensor:
        """Return the weights."""
        return self.weights

    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """Change each weight by what is asked, times what its device makes of a change there."""
        wanted = wanted.detach()
        where = wanted != shown
        rising = wanted > shown
        response = self._response(rising)
        # A change of full size must not go through a difference: its rounding would show.
        moved = torch.where(response == 1, wanted, self.weights + (wanted - shown) * response)
        self._set(moved, where)
        if self.devices.decay is not None:
            self._hold((self.weights * self.devices.decay[0]).to(self.weights.dtype), torch.ones_like(where))

    def _response(self, rising: Tensor) -> Tensor:
        """Return the change that a device makes of a change of 1, `[N, in]`."""
        u = self.weights.double()[None] / self.scale + self.devices.zero
        return change_at(self.devices, rising[None], u)[0].to(self.weights.dtype)

    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """Set weights exactly, within the bounds."""
        self._set(wanted.detach(), where)

    def _set(self, wanted: Tensor, where: Tensor) -> None:
        self._hold(wanted, where)
        self.wear.add(where[None])

    def _hold(self, wanted: Tensor, where: Tensor) -> None:
        free = self.wear.free()
        where = where if free is None else where & free[0]
        self.weights = torch.where(where, wanted.clamp(self.lower, self.upper), self.weights)

    def read_deviation(self) -> Tensor | None:
        """Reads repeat."""
        return None

    def buffer_bytes(self) -> int:
        """No memory besides the devices."""
        return 0

    def facts(self) -> dict[str, float]:
        """Return the share of devices at a bound."""
        at_bound = (self.weights <= self.lower) | (self.weights >= self.upper)
        return {"saturated": float(at_bound.double().mean())}

    def state_dict(self) -> dict[str, Tensor]:
        """Return weights, bounds, devices and wear."""
        return {
            "weights": self.weights,
            "lower": self.lower,
            "upper": self.upper,
            "scale": torch.tensor(self.scale, dtype=torch.float64),
            **prefixed("wear", self.wear.state_dict()),
            **prefixed("drawn", self.devices.drawn()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.wear.load_state_dict(part("wear", state))
        for key, value in self.devices.drawn().items():
            value.copy_(state[f"drawn/{key}"])
        self.weights, self.lower, self.upper = (
            state[key].to(self.weights).clone() for key in ("weights", "lower", "upper")
        )
        self.scale = float(state["scale"])
