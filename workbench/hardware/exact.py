"""Devices without a fault, each of which is one exact number: what an array of one's own can start from."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.hardware.array import Wear
from workbench.hardware.settings import CrossbarConfig


class ExactArray:
    """One device a weight, written and read exactly; devices that are stuck or worn out keep their weight.

    A subclass overrides what its devices do otherwise. `weights` `[N, in]` is what they hold.
    """

    def __init__(self, weights: Tensor, generator: torch.Generator, settings: CrossbarConfig) -> None:
        self.weights = weights.clone()
        self.wear = Wear((1, *weights.shape), settings, generator, weights)

    @property
    def restless(self) -> bool:
        """See `Array.restless`: they are read alike as long as nothing is written."""
        return False

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """See `Array.redraw`: there is no noise."""

    def read(self, now: float) -> Tensor:
        """See `Array.read`."""
        return self.weights

    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """See `Array.update`: what is wanted beyond what was shown is added to what is held."""
        # Without a difference between the two no rounding error may come in.
        exact = shown == self.weights
        target = torch.where(exact, wanted, self.weights + (wanted - shown))
        self.program(target, wanted != shown, now, generator)

    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """See `Array.program`; each weight that is set is a write."""
        free = self.wear.free()
        where = where if free is None else where & free[0]
        torch.where(where, wanted.detach(), self.weights, out=self.weights)
        self.wear.add(where[None])

    def read_deviation(self) -> Tensor | None:
        """See `Array.read_deviation`: nothing."""
        return None

    def buffer_bytes(self) -> int:
        """See `Array.buffer_bytes`: nothing."""
        return 0

    def facts(self) -> dict[str, float]:
        """See `Array.facts`: none."""
        return {}

    def state_dict(self) -> dict[str, Tensor]:
        """See `Array.state_dict`."""
        return {"weights": self.weights.clone(), **prefixed("wear", self.wear.state_dict())}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """See `Array.load_state_dict`."""
        self.weights = state["weights"].to(self.weights)
        self.wear.load_state_dict(part("wear", state))


def prefixed(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with `name/` before each key."""
    return {f"{name}/{key}": value for key, value in state.items()}


def part(name: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return what `prefixed` made of a state, out of a larger one.

    >>> part("wear", prefixed("wear", {"writes": torch.zeros(1)}))
    {'writes': tensor([0.])}
    """
    mark = f"{name}/"
    return {key.removeprefix(mark): value for key, value in state.items() if key.startswith(mark)}
