"""How a requested change of a matrix becomes pulses on its rows and columns.

A pulse on a row and one on a column at the same time change the device where they meet by a step. A change that is an
outer product d x^T is sent at once: every row and every column has one random train for all of its devices (Gokmen and
Vlasov 2016). Any other matrix is sent input by input: the column of one input fires in every slot, the rows at random.

With a change of m steps at most, a train has n = min(ceil(m), `pulses`) slots, and the chances of a pulse are
sqrt(m / n) |x_j| / max|x| and sqrt(m / n) |d_i| / max|d|: both sides clip together (update management and management of
the train's length in aihwkit).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.hardware.counter_noise import draw_seed
from workbench.hardware.pulse_steps import draw_binomial, draw_rounded
from workbench.hardware.pulsed_settings import PulsedConfig

_CLEAR = 64.0
"""Times the rounding error that the largest change must be, for a matrix to be told from an outer product."""


class Trains:
    """Draws pulses and counts what was sent."""

    def __init__(self, settings: PulsedConfig) -> None:
        self.settings = settings
        self.outer_products = 0
        self.matrix_transfers = 0
        self.clipped = 0
        """Devices, summed over updates, whose change was longer than the longest train."""

    def draw(
        self,
        change: Tensor,
        error: float,
        steps: float,
        generator: torch.Generator,
        signs: Tensor | None = None,
    ) -> Tensor:
        """Return the pulses int32 `[N, in]` of a `change` that is known up to `error`, one for each 1 / `steps` of it.

        signs: `[in]`, what the changes of each input are multiplied with.
        """
        most, way = self.settings.pulses, self.settings.update
        if way in ("deterministic", "stochastic-rounding"):
            wish = self._wish(change, steps, signs)
            if way == "deterministic":
                return wish.round().clamp(-most, most).to(torch.int32)
            return draw_rounded(wish, most, draw_seed(generator))
        factors = outer_product(change, error)
        if factors is None:
            return self._matrix(self._wish(change, steps, signs), generator)
        error_side, input_side = factors
        if signs is not None:
            input_side = input_side * signs
        return self._outer(error_side, input_side, steps, generator)

    def _wish(self, change: Tensor, steps: float, signs: Tensor | None) -> Tensor:
        wish = change * steps
        self.clipped += int((wish.abs() > self.settings.pulses).sum())
        self.matrix_transfers += 1
        return wish if signs is None else wish * signs

    def _matrix(self, wish: Tensor, generator: torch.Generator) -> Tensor:
        return draw_binomial(wish, self.slots(wish.abs().amax(0)), draw_seed(generator))

    def slots(self, largest: Tensor) -> Tensor:
        """Return the length of the trains that carry up to `largest` steps, int64."""
        most = self.settings.pulses
        if not self.settings.shorten:
            return torch.full_like(largest, most, dtype=torch.int64)
        return largest.ceil().clamp(max=most).to(torch.int64)

    def _outer(
        self, error_side: Tensor, input_side: Tensor, steps: float, generator: torch.Generator
    ) -> Tensor:
        """Send d x^T, max|x| = 1, with trains that all devices of a row or column share."""
        self.outer_products += 1
        largest = float(error_side.abs().max()) * steps
        slots = int(self.slots(torch.tensor(largest, dtype=torch.float64)))
        if largest > self.settings.pulses:
            sizes = torch.outer(error_side, input_side).abs() * steps
            self.clipped += int((sizes > self.settings.pulses).sum())
        chance = math.sqrt(largest / slots)
        rows = _train(error_side * (steps / largest) * chance, slots, generator)
        columns = _train(input_side * chance, slots, generator)
        return (rows @ columns.T).to(torch.int32)

    def facts(self) -> dict[str, float]:
        """Return how the updates were sent."""
        return {
            "outer_products": self.outer_products,
            "matrix_transfers": self.matrix_transfers,
            "clipped": self.clipped,
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return the counts."""
        return {"sent": torch.tensor([self.outer_products, self.matrix_transfers, self.clipped])}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.outer_products, self.matrix_transfers, self.clipped = (int(count) for count in state["sent"])


def _train(chances: Tensor, slots: int, generator: torch.Generator) -> Tensor:
    """Return pulses `[lines, slots]`, 1 with the chance |chances|, of its sign; float32, of which sums are exact."""
    drawn = torch.rand((len(chances), slots), generator=generator).to(chances.device)
    return (drawn < chances.abs()[:, None]).float() * chances.sign().float()[:, None]


def outer_product(change: Tensor, error: float) -> tuple[Tensor, Tensor] | None:
    """Return d `[N]` and x `[in]` with max|x| = 1 if `change` `[N, in]` is d x^T up to `error`, else None.

    None also for a change so small that it could be anything.
    """
    place = int(change.abs().argmax())
    row, column = divmod(place, change.shape[1])
    largest = change[row, column]
    if float(largest.abs()) <= _CLEAR * error:
        return None
    error_side, input_side = change[:, column], change[row] / largest
    # Most matrices differ from it in any few rows.
    few = torch.linspace(0, len(change) - 1, min(8, len(change)), device=change.device).long()
    for rows in (few, slice(None)):
        distance = (change[rows] - torch.outer(error_side[rows], input_side)).abs().max()
        if float(distance) > error:
            return None
    return error_side, input_side
