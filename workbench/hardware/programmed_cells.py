"""Devices that are written and verified, `[D, N, in]`: what each was programmed to, when, and what has become of it.

A level is what a device was programmed to, above g_min and in units of weights: without imperfections the levels of a
pair add up to what was wanted bit for bit. Conductances are in microsiemens and those of all sharing devices, were they
all like this one. Time is in float32: 8 s are lost after three years of simulated time.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from workbench.hardware.drift import PowerLaw
from workbench.hardware.programmed_device import Device
from workbench.hardware.read_noise import FlickerNoise
from workbench.neurons.native import buffer, fast_kernels_apply, share

Places = Tensor | None
"""Weights of a matrix: flat places `[K]`, or all of them."""


class ProgrammedCells:
    """D = 2 * sharing devices for each weight: first those that count positive, then those that count negative.

    per_weight: microsiemens for a unit of weight. like: a tensor of the weights' dtype and device.
    """

    def __init__(self, shape: tuple[int, int, int], device: Device, per_weight: float, like: Tensor) -> None:
        """Make devices that stand at g_min; nothing is programmed yet."""
        self.device, self.per_weight = device, per_weight
        timed = device.drift is not None or device.read is not None
        self.level = like.new_zeros(shape)
        self.written = like.new_zeros(shape) if timed else None
        """When each device was programmed, seconds."""
        self.course = like.new_zeros(shape) if device.drift is not None else None
        """Coefficient of each device's drift."""
        self.fluctuation = like.new_zeros(shape) if device.read is not None else None
        """Coefficient of each device's read noise."""

    def program(self, devices: Tensor, levels: Tensor, now: float, generator: torch.Generator) -> None:
        """Program the flat `devices` `[K]` to `levels` `[K]`, with the noise of doing so, and draw their drift."""
        device, spread = self.device, math.sqrt(self.device.sharing)
        aims = self._conductance(levels)
        if device.programming is not None:
            error = device.programming.error(aims, generator, spread)
            # No conductance is below zero.
            levels = error.div_(self.per_weight).add_(levels).clamp_(min=-device.g_min / self.per_weight)
        course = None if device.drift is None else device.drift.draw(aims, generator, spread)
        self.settle(devices, levels, now, course)

    def settle(self, devices: Tensor, levels: Tensor, now: float, course: Tensor | None = None) -> None:
        """Note that the flat `devices` stand at `levels` since `now`; since infinity: they never drift."""
        read = self.device.read
        fluctuation = None if read is None else read.coefficient(self._conductance(levels))
        if self.device.drift is not None and course is None:
            course = torch.zeros_like(levels)
        if fast_kernels_apply(levels):
            from workbench.hardware import programmed_kernels

            noted = (levels, self.level, self.written, course, self.course, fluctuation, self.fluctuation)
            programmed_kernels.settle(devices.numpy(), now, *(array(part, levels) for part in noted))
            return
        put(self.level, devices, levels)
        if self.written is not None:
            self.written.view(-1).index_fill_(0, devices, now)
        if self.course is not None and course is not None:
            put(self.course, devices, course)
        if self.fluctuation is not None and fluctuation is not None:
            put(self.fluctuation, devices, fluctuation)

    def read(
        self, places: Places, now: float, into: tuple[Tensor, Tensor] | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Return weights and the standard deviation of reading them, `[K]`, at `now`; None where reads are exact.

        The noise of a pair is normal as its devices' are, with the sum of their variances. into: memory for the two,
        which need not be used.
        """
        half = self.device.sharing
        drift, noise = self.device.drift, self.device.read
        if isinstance(drift, PowerLaw) and isinstance(noise, FlickerNoise) and self._fast(drift, noise):
            return self._read_drifting(places, now, drift, noise, into)
        level = at(self.level, places)
        if self.written is None:
            return _difference(level, half), None
        conductance, seconds = self._conductance(level), (now - at(self.written, places)).clamp_(min=0)
        if drift is not None and self.course is not None:
            conductance = drift.after(conductance, at(self.course, places), seconds)
            weights = _difference(conductance, half).div_(self.per_weight)
        else:
            weights = _difference(level, half)
        if noise is None or self.fluctuation is None:
            return weights, None
        variance = noise.variance(at(self.fluctuation, places), conductance, seconds)
        return weights, variance.sum(0).mul_(half).sqrt_().div_(self.per_weight)

    def _fast(self, drift: PowerLaw, noise: FlickerNoise) -> bool:
        """Tell whether a kernel reads such devices: one logarithm of time serves both laws."""
        same = drift.t_0 == noise.t_0 and noise.t_r <= 1e-6 * drift.t_0
        return same and self.level.dtype == torch.float32 and fast_kernels_apply(self.level)

    def _read_drifting(
        self,
        places: Places,
        now: float,
        drift: PowerLaw,
        noise: FlickerNoise,
        into: tuple[Tensor, Tensor] | None,
    ) -> tuple[Tensor, Tensor]:
        """Return what `read` does, in one pass."""
        from workbench.hardware import programmed_kernels

        assert self.written is not None
        assert self.course is not None
        assert self.fluctuation is not None
        count = self.level[0].numel() if places is None else len(places)
        weights, deviation = into or (buffer(self.level, count), buffer(self.level, count))
        parts = (self.level, self.course, self.fluctuation, self.written)
        flat = (part.view(len(part), -1).numpy() for part in parts)
        laws = (now, drift.t_0, math.log((noise.t_0 + noise.t_r) / (2 * noise.t_r)))
        scale = (self.per_weight, self.device.g_min)
        where = (torch.empty(0, dtype=torch.int64) if places is None else places).numpy()
        out = weights.numpy(), deviation.numpy()
        devices = count * len(self.level)
        share(programmed_kernels.read_drifting, count, devices, where, *flat, *laws, *scale, *out)
        return weights, deviation

    def _conductance(self, levels: Tensor) -> Tensor:
        return levels * self.per_weight + self.device.g_min

    def conductances(self, now: float) -> Tensor:
        """Return the conductance of every single device `[D, N, in]` at `now` without read noise, microsiemens."""
        found = self._conductance(self.level)
        if self.device.drift is not None and self.written is not None and self.course is not None:
            found = self.device.drift.after(found, self.course, (now - self.written).clamp_(min=0))
        return found / self.device.sharing

    def tensors(self) -> dict[str, Tensor]:
        """Return all that the devices hold, by name; no copies."""
        parts = {
            "level": self.level,
            "written": self.written,
            "course": self.course,
            "fluctuation": self.fluctuation,
        }
        return {name: value for name, value in parts.items() if value is not None}


def at(of: Tensor, places: Places) -> Tensor:
    """Return `[D, K]` of `[D, N, in]`, or `[K]` of `[N, in]`, at `places`; at all places it is no copy."""
    flat = of.reshape(-1) if of.dim() == 2 else of.reshape(len(of), -1)
    return flat if places is None else flat.index_select(-1, places)


def put(into: Tensor, places: Places, values: Tensor) -> None:
    """Set `[..., N, in]`, laid flat, at `places` to `values` `[K]`."""
    if places is None and values.data_ptr() != into.data_ptr():
        into.view(-1).copy_(values)
    elif places is not None:
        into.view(-1).index_copy_(0, places, values)


def array(of: Tensor | None, like: Tensor) -> Any:
    """Return a contiguous tensor laid flat for a kernel; None as one of `like`'s dtype without entries."""
    return (like.new_empty(0) if of is None else of.view(-1)).numpy()


def _difference(devices: Tensor, half: int) -> Tensor:
    """Return positive minus negative devices of `[2 * half, K]`."""
    if half == 1:
        return devices[0] - devices[1]
    return devices[:half].sum(0).sub_(devices[half:].sum(0))
