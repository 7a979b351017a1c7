"""What pulses do to devices and how many are drawn: the Numba kernels, and the same in torch for other devices.

Everything is flat or of the shape `[..., N, in]`; states are float64, counts int32, negative for pulses down.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from workbench.hardware import pulse_kernels
from workbench.hardware.counter_noise import PLACES, normal_at, quantiles, uniform_at
from workbench.hardware.elementary import PER_UNIT, exp_part_of, power_of
from workbench.neurons.native import fast_kernels_apply, share

if TYPE_CHECKING:
    from workbench.hardware.pulsed_devices import Devices


def apply_pulses(devices: Devices, counts: Tensor, seed: int, state: Tensor) -> None:
    """Send `counts` pulses to every device; `state` changes in place. All `[D, N, in]`, contiguous."""
    if not fast_kernels_apply(state):
        _apply_in_torch(devices, counts, seed, state)
        return
    flat = [part.view(-1).numpy() for part in (devices.up, devices.gain_up, devices.down, devices.gain_down)]
    up, gain_up, down, gain_down = flat
    bounds = (devices.lower.view(-1).numpy(), devices.upper.view(-1).numpy())
    drawn = (np.uint64(seed), quantiles(), state.view(-1).numpy())
    pulses, size = counts.view(-1).numpy(), counts.numel()
    if devices.kind == "affine":
        noise = (devices.sigma, devices.multiplicative)
        share(pulse_kernels.affine, size, size, pulses, up, gain_up, down, gain_down, *bounds, *noise, *drawn)
    elif devices.kind == "power":
        steps = (up, gain_up, down, gain_down)
        share(pulse_kernels.power, size, size, pulses, *steps, *bounds, devices.sigma, *drawn)
    else:
        constants = (np.array(devices.shape), np.array((devices.sigma, *devices.noise_growth)))
        share(pulse_kernels.exponential, size, size, pulses, up, down, *bounds, *constants, *drawn)


def draw_written_noise(counts: Tensor, deviation: float, seed: int, noise: Tensor) -> None:
    """Draw `noise` (in place) anew where `counts` is not 0."""
    if fast_kernels_apply(noise):
        flat = (counts.view(-1).numpy(), deviation, np.uint64(seed), quantiles(), noise.view(-1).numpy())
        share(pulse_kernels.written_noise, counts.numel(), counts.numel(), *flat)
        return
    where = counts.reshape(-1).nonzero()[:, 0]
    noise.view(-1)[where] = (deviation * normal_at(seed, where * PLACES + PLACES - 1)).to(noise.dtype)


def draw_binomial(wish: Tensor, slots: Tensor, seed: int) -> Tensor:
    """Return Binomial(n, min(|wish| / n, 1)) pulses `[N, in]` of the sign of `wish`; n = slots `[in]` int64."""
    counts = torch.empty(wish.shape, dtype=torch.int32, device=wish.device)
    if fast_kernels_apply(wish):
        parts = (wish.contiguous().numpy(), slots.numpy(), np.uint64(seed), counts.numpy())
        share(pulse_kernels.binomial, len(wish), wish.numel(), *parts)
        return counts
    return counts.copy_(_binomial_in_torch(wish.to(torch.float64), slots, seed))


def draw_rounded(wish: Tensor, most: int, seed: int) -> Tensor:
    """Return |wish| rounded to a neighbour at random, so that its mean is |wish|, at most `most`, with its sign."""
    counts = torch.empty(wish.shape, dtype=torch.int32, device=wish.device)
    if fast_kernels_apply(wish):
        parts = (wish.contiguous().view(-1).numpy(), most, np.uint64(seed), counts.view(-1).numpy())
        share(pulse_kernels.rounded, wish.numel(), wish.numel(), *parts)
        return counts
    size = wish.to(torch.float64).abs().clamp(max=most)
    whole = size.floor()
    drawn = uniform_at(seed, torch.arange(wish.numel(), device=wish.device)).view(wish.shape)
    return counts.copy_((whole + (drawn < size - whole)) * wish.sign())


def _binomial_in_torch(wish: Tensor, slots: Tensor, seed: int) -> Tensor:
    n = slots.to(torch.float64).expand_as(wish)
    p = torch.where(n > 0, (wish.abs() / n).clamp(max=1.0), 0.0)
    fewer = p <= 0.5
    p = torch.where(fewer, p, 1.0 - p)
    rest = uniform_at(seed, torch.arange(wish.numel(), device=wish.device)).view(wish.shape)
    mass, ratio, longest = torch.ones_like(wish), p / (1.0 - p), int(slots.max())
    squared = 1.0 - p
    for bit in range(longest.bit_length()):
        mass = torch.where((slots >> bit & 1).bool(), mass * squared, mass)
        squared = squared * squared
    counts, going = torch.zeros_like(wish), torch.ones_like(fewer)
    for k in range(longest):
        going = going & (rest >= mass) & (n > k)
        rest = torch.where(going, rest - mass, rest)
        mass = torch.where(going, mass * ((n - k) * ratio * pulse_kernels.RECIPROCALS[k + 1]), mass)
        counts += going
    return torch.where(fewer, counts, n - counts) * wish.sign()


def _apply_in_torch(devices: Devices, counts: Tensor, seed: int, state: Tensor) -> None:
    """Send pulses to all devices that still get some, one pulse at a time."""
    where = counts.view(-1).nonzero()[:, 0]
    left = counts.view(-1)[where]
    rising = left > 0
    sign, left = torch.where(rising, 1.0, -1.0).double(), left.abs()

    def chosen(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(rising, one.view(-1)[where], other.view(-1)[where]).double()

    lower, upper = (bound.view(-1)[where].double() for bound in (devices.lower, devices.upper))
    change = _change(devices, chosen, rising, lower, upper)
    u = state.view(-1)[where]
    for k in range(int(left.max()) if len(left) else 0):
        xi = normal_at(seed, where * PLACES + k) if devices.sigma > 0 else torch.zeros_like(u)
        moved = torch.maximum(torch.minimum(u + sign * change(u, xi), upper), lower)
        u = torch.where(left > k, moved, u)
    state.view(-1)[where] = u


def change_at(devices: Devices, rising: Tensor, u: Tensor) -> Tensor:
    """Return the size of the change that a pulse makes at u, float64 `[D, N, in]`, without noise; `rising`: up."""
    lower, upper = devices.lower.double(), devices.upper.double()

    def chosen(one: Tensor, other: Tensor) -> Tensor:
        return torch.where(rising, one, other).double()

    return _change(devices, chosen, rising, lower, upper)(u, torch.zeros_like(u))


def _change(
    devices: Devices, chosen: Callable[[Tensor, Tensor], Tensor], rising: Tensor, lower: Tensor, upper: Tensor
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the change that a pulse makes at u with the normal number xi, equations as in `pulse_kernels`."""
    step, gain = chosen(devices.up, devices.down), chosen(devices.gain_up, devices.gain_down)
    sigma = devices.sigma
    if devices.kind == "affine":

        def affine(u: Tensor, xi: Tensor) -> Tensor:
            change = step + gain * u
            return change + (change if devices.multiplicative else step) * (sigma * xi)

        return affine
    moves, span = upper > lower, torch.where(upper > lower, upper - lower, 1.0)
    if devices.kind == "power":

        def power(u: Tensor, xi: Tensor) -> Tensor:
            ahead = torch.where(rising, upper - u, u - lower) / span
            change = step * power_of(ahead, gain)
            return torch.where(moves, change + change * sigma * xi, 0.0)

        return power
    a, b, gamma_up, height_up, gamma_down, height_down = devices.shape
    either = torch.tensor([[gamma_up, height_up], [-gamma_down, height_down]], dtype=torch.float64)
    gamma, height = either.to(rising.device)[(~rising).long()].unbind(-1)
    add, grow = devices.noise_growth
    slope, offset = gamma * (2.0 * a / span) * PER_UNIT, gamma * b * PER_UNIT
    height = step * height

    def exponential(u: Tensor, xi: Tensor) -> Tensor:
        change = (step - height * exp_part_of(slope * u + offset)).clamp(min=0.0)
        noise = sigma * xi
        return torch.where(moves, change * (1.0 + noise) + noise * (add + grow * u.abs()), 0.0)

    return exponential
