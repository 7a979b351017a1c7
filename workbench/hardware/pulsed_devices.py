"""Drawing the devices of an array: bounds, steps and their spread. Device units throughout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from workbench.hardware.pulsed_settings import PulsedConfig

NONLINEARITY = 10.1015
"""NeuroSim's label of nonlinearity over the largest distance of the normalised curve from a straight line."""


@dataclass
class Devices:
    """What is fixed about each device, float32 `[D, N, in]`; equations in `pulse_kernels`.

    up, down: step at weight zero. gain_up, gain_down: growth of the step with the weight (affine), exponent (power).
    sigma: cycle-to-cycle noise. shape: constants of exponential steps. noise_growth: see `exponential`.
    reference: weight that is read as zero. decay: what is left of a weight after an update. reset: see the settings.
    """

    kind: Literal["affine", "exponential", "power"]
    up: Tensor
    gain_up: Tensor
    down: Tensor
    gain_down: Tensor
    lower: Tensor
    upper: Tensor
    sigma: float
    multiplicative: bool
    shape: tuple[float, float, float, float, float, float]
    noise_growth: tuple[float, float]
    reference: Tensor | None
    decay: Tensor | None
    reset: Tensor | None

    @property
    def zero(self) -> Tensor | float:
        """Device weight that is read as zero."""
        return 0.0 if self.reference is None else self.reference

    def drawn(self) -> dict[str, Tensor]:
        """Return everything that was drawn, by name."""
        return {name: value for name, value in vars(self).items() if isinstance(value, Tensor)}


def draw_devices(
    settings: PulsedConfig, shape: tuple[int, int, int], generator: torch.Generator, like: Tensor
) -> Devices:
    """Draw `[D, N, in]` devices from a CPU generator, onto the torch device of `like`."""

    def normal() -> Tensor:
        return torch.randn(shape, generator=generator).to(like.device)

    unit = settings.dw_min or 1.0
    upper = (settings.w_max * (1 + settings.w_max_dtod * normal())).abs()
    lower = -(settings.w_min * (1 + settings.w_min_dtod * normal())).abs()
    spread = settings.dw_min_dtod * normal()
    share = spread.exp() if settings.dw_min_log_normal else 1 + spread
    lopsided = settings.up_down_dtod * normal()
    up = (share + min(settings.up_down, 0.0) + lopsided).abs()
    down = (share - max(settings.up_down, 0.0) - lopsided).abs()
    if settings.cell == "pair":
        # Neither device ever goes down: asymmetry is what sets the second one apart from the first.
        up[1] = down[1]
    kind: Literal["affine", "exponential", "power"] = "affine"
    if settings.step == "neurosim":
        up, gain_up, down, gain_down = _saturating(settings, up, down, lower, upper, normal())
    else:
        up, down = unit * up, unit * down
        gain_up, gain_down = _gains(settings, up, down, lower, upper, normal(), normal())
        if settings.step in ("exponential", "power"):
            kind = "exponential" if settings.step == "exponential" else "power"
    return Devices(
        kind, up, gain_up, down, gain_down, lower, upper,
        0.0 if settings.continuous else settings.dw_min_std,
        settings.multiplicative_noise,
        (settings.a, settings.b, settings.gamma_up, settings.a_up, settings.gamma_down, settings.a_down),
        (settings.dw_min_std_add, settings.dw_min_std_slope),
        _reference(settings, up, down, lower, upper, normal()),
        _decay(settings, normal()),
        (settings.reset + settings.reset_dtod * normal()).clamp(lower, upper) if settings.cell == "pair" else None,
    )  # fmt: skip


def _gains(
    settings: PulsedConfig, up: Tensor, down: Tensor, lower: Tensor, upper: Tensor, one: Tensor, other: Tensor
) -> tuple[Tensor, Tensor]:
    if settings.step == "soft-bounds":
        return _quotient(-up, upper), _quotient(-down, lower)
    if settings.step not in ("linear", "power"):
        return torch.zeros_like(up), torch.zeros_like(down)
    gamma_up = (settings.gamma_up + settings.gamma_up_dtod * one).abs()
    gamma_down = (settings.gamma_down + settings.gamma_down_dtod * other).abs()
    if settings.step == "power":
        return gamma_up, gamma_down
    # Against the mean bounds: a device's slope has nothing to do with where it stops.
    return -gamma_up * up / settings.w_max, -gamma_down * down / settings.w_min


def _quotient(one: Tensor, other: Tensor) -> Tensor:
    """Return one / other, 0 for other = 0."""
    return torch.where(other == 0, 0.0, one / torch.where(other == 0, 1.0, other))


def _saturating(
    settings: PulsedConfig, up: Tensor, down: Tensor, lower: Tensor, upper: Tensor, xi: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return steps and their slopes for a weight B (1 - exp(-p / A)) + w_min after p pulses up; down is mirrored.

    From one pulse to the next the distance to the asymptote w_min + B shrinks by exp(-1 / A).
    """
    span, spread = (upper - lower).double(), settings.nonlinearity_dtod * xi.double()

    def steps(label: float, share: Tensor) -> tuple[Tensor, Tensor]:
        curvature = curvature_of((label + spread).clamp(0.0, 10.0))
        shrink = -torch.expm1(-curvature / settings.states)
        return share.double() * shrink, span / -torch.expm1(-curvature)

    shrink_up, reach_up = steps(settings.nonlinearity_up, up)
    shrink_down, reach_down = steps(settings.nonlinearity_down, down)
    parts = (
        shrink_up * (reach_up + lower), -shrink_up, shrink_down * (reach_down - upper), shrink_down
    )  # fmt: skip
    rising, slope_up, falling, slope_down = (part.float() for part in parts)
    return rising, slope_up, falling, slope_down


def curvature_of(label: Tensor) -> Tensor:
    """Return P / A, P pulses over the whole range and A the constant of saturation, for NeuroSim's labels in [0, 10].

    The label is 10.1015 times the largest distance of the normalised curve from a straight line, which grows with
    P / A; solved by halving an interval.
    """
    wanted = label.double() / NONLINEARITY
    low, high = torch.full_like(wanted, -14.0), torch.full_like(wanted, 9.0)
    for _ in range(60):
        middle = (low + high) / 2
        s = middle.exp()
        risen = -torch.expm1(-s)
        distance = 1 / risen - 1 / s - torch.log(s / risen) / s
        # Near a straight line the difference of large numbers is worth nothing.
        distance = torch.where(s < 1e-3, s / 8, distance)
        low, high = torch.where(distance < wanted, middle, low), torch.where(distance < wanted, high, middle)
    return ((low + high) / 2).exp()


def symmetry_point(up: Tensor, down: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Return the weight at which a pulse up and one down of soft bounds change it by the same amount.

    (up - down) / (up / upper - down / lower)
    """
    return _quotient(up - down, _quotient(up, upper) - _quotient(down, lower))


def _reference(
    settings: PulsedConfig, up: Tensor, down: Tensor, lower: Tensor, upper: Tensor, xi: Tensor
) -> Tensor | None:
    subtracts = settings.subtract_symmetry_point and settings.step == "soft-bounds"
    if not subtracts and settings.reference_std == 0:
        return None
    reference = settings.reference_std * xi
    if subtracts:
        reference = reference + symmetry_point(up, down, lower, upper)
    return reference.double()


def _decay(settings: PulsedConfig, xi: Tensor) -> Tensor | None:
    if settings.lifetime == 0:
        return None
    lifetime = settings.lifetime * (1 + settings.lifetime_dtod * xi.double())
    return torch.where(lifetime > 1, 1 - 1 / lifetime.clamp(min=1.0), 0.0)
