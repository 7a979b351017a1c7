"""A matrix of whole numbers, the levels of a grid, and how changes of weights become changes of levels.

    t = (wanted - shown) / step + r        r: what the last rounding left, with `residual`; else 0
    k = round(t)                           to the nearest, or to either neighbour so that E[k] = t
    r <- t - k;   c <- clip(c + k, -top, top)

What the ends of the range cut off is lost, residual or not: a weight that stands at its end shall leave it at the first
step back.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.array import Array, Wear
from workbench.hardware.asked import asked_change
from workbench.hardware.counter_noise import draw_seed
from workbench.hardware.exact import ExactArray, part, prefixed
from workbench.hardware.pulse_steps import draw_rounded
from workbench.hardware.quantised import QuantisedConfig

_OFF_GRID = 2.0**-12
"""Steps off a level that are the rounding error of the weights' own arithmetic, and none of the grid's business."""


def make_array(weights: Tensor, settings: QuantisedConfig, generator: torch.Generator) -> Array:
    """Return the memory of one matrix of initial weights `[N, in]`."""
    kind = QuantisedArray if settings.bits else FloatArray
    return kind(weights, settings, generator)


def largest_weight(weights: Tensor, settings: QuantisedConfig) -> float:
    """Return the largest weight of the grid of a matrix of initial weights; that of a matrix of zeros is `headroom`."""
    largest = float(weights.detach().abs().max()) if weights.numel() else 0.0
    return settings.headroom * (largest or 1.0)


class FloatArray(ExactArray):
    """Floating-point numbers without a range: the limit of many bits. Stuck ones are anywhere within the range."""

    def __init__(self, weights: Tensor, settings: QuantisedConfig, generator: torch.Generator) -> None:
        super().__init__(weights, generator, settings)
        if self.wear.stuck is not None:
            drawn = torch.rand(weights.shape, generator=generator).to(weights)
            anywhere = largest_weight(weights, settings) * (2 * drawn - 1)
            self.weights = torch.where(self.wear.stuck[0], anywhere, self.weights)


class QuantisedArray:
    """One whole number for each weight of a matrix `[N, in]`; a write is a change of it, by however many steps."""

    restless = False

    def __init__(self, weights: Tensor, settings: QuantisedConfig, generator: torch.Generator) -> None:
        """Levels are zero until they are programmed, those of stuck weights random."""
        self.settings, self.dtype = settings, weights.dtype
        self.wear = Wear((1, *weights.shape), settings, generator, weights)
        self.top = (1 << (settings.bits - 1)) - 1
        """Largest level."""
        self.step = largest_weight(weights, settings) / self.top
        """Distance of two levels, in units of the weights."""
        self.levels = torch.zeros(weights.shape, dtype=torch.int32, device=weights.device)
        if self.wear.stuck is not None:
            drawn = torch.randint(
                -self.top, self.top + 1, weights.shape, generator=generator, dtype=torch.int32
            )
            self.levels = torch.where(self.wear.stuck[0], drawn.to(weights.device), self.levels)
        self.residual = torch.zeros_like(weights) if settings.residual else None
        """What rounding left of changes, in steps `[N, in]`."""
        self.asked = 0
        self.made = 0

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """Nothing: reads repeat."""

    def read(self, now: float) -> Tensor:
        """Return the weights."""
        return self.levels.to(self.dtype) * self.step

    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """Change levels by the change from `shown` to `wanted`, rounded."""
        change, _ = asked_change(wanted, shown)
        self.asked += int(change.count_nonzero())
        change = change.div_(self.step)
        if self.residual is not None:
            # A change beyond all levels is cut off in any case; what rounding leaves is below a step.
            change = change.add_(self.residual).clamp_(-2 * self.top, 2 * self.top)
        moved = self._rounded(change, generator)
        if self.residual is not None:
            torch.sub(change, moved, out=self.residual)
        self.made += self._move(moved)

    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """Set levels to those of `wanted`, rounded as changes are; residuals there are dropped."""
        level = wanted.detach().double() / self.step
        near = level.round()
        level = torch.where((level - near).abs() < _OFF_GRID, near, level)
        level = torch.where(where, level.clamp(-self.top, self.top) - self.levels, 0.0)
        self._move(self._rounded(level.to(self.dtype), generator))
        if self.residual is not None:
            self.residual.masked_fill_(where, 0.0)

    def _rounded(self, steps: Tensor, generator: torch.Generator) -> Tensor:
        """Return whole steps `[N, in]` int32, at most from one end of the range to the other."""
        if self.settings.rounding == "stochastic":
            return draw_rounded(steps, 2 * self.top, draw_seed(generator))
        return steps.round().clamp_(-2 * self.top, 2 * self.top).to(torch.int32)

    def _move(self, steps: Tensor) -> int:
        """Move levels by `steps` as far as they go, count what changes as writes; returns how many that are."""
        levels = (self.levels + steps).clamp_(-self.top, self.top)
        free = self.wear.free()
        if free is not None:
            levels = torch.where(free[0], levels, self.levels)
        changed = levels != self.levels
        self.wear.writes[0] += changed
        self.levels = levels
        return int(changed.count_nonzero())

    def read_deviation(self) -> Tensor | None:
        """Reads repeat."""
        return None

    def buffer_bytes(self) -> int:
        """Return the bytes of the residuals."""
        return 0 if self.residual is None else self.residual.numel() * self.residual.element_size()

    def facts(self) -> dict[str, float]:
        """Return how many changes of weights were asked for and made, and the share of weights at an end."""
        saturated = float((self.levels.abs() == self.top).double().mean())
        return {"changes_asked": self.asked, "changes_made": self.made, "saturated": saturated}

    def state_dict(self) -> dict[str, Tensor]:
        """Return levels, step, residuals, counts and wear."""
        state = {
            "levels": self.levels.clone(),
            "step": torch.tensor(self.step, dtype=torch.float64),
            "changes": torch.tensor([self.asked, self.made]),
            **prefixed("wear", self.wear.state_dict()),
        }
        return state if self.residual is None else {**state, "residual": self.residual.clone()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.levels = state["levels"].to(self.levels).clone()
        self.step = float(state["step"])
        self.asked, self.made = (int(count) for count in state["changes"])
        self.wear.load_state_dict(part("wear", state))
        if self.residual is not None:
            self.residual.copy_(state["residual"])
