"""An array of devices that are changed by pulses, and the ways of writing into one array or a fast and a slow one."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from workbench.hardware.accumulator import Accumulator
from workbench.hardware.array import Wear
from workbench.hardware.asked import asked_change
from workbench.hardware.exact import part, prefixed
from workbench.hardware.pulse_trains import Trains
from workbench.hardware.pulsed_cells import Cells
from workbench.hardware.pulsed_settings import PulsedConfig
from workbench.hardware.tiki_taka import TikiTaka


class Way(Protocol):
    """How an update of the weights gets into their cells."""

    def carry_out(self, change: Tensor, error: float, generator: torch.Generator) -> None:
        """Send a `change` `[N, in]` of the weights that is known up to `error`, both device units."""
        ...

    def finish_update(self, generator: torch.Generator) -> None:
        """Let an update pass for devices besides the cells, whether anything was sent or not."""
        ...

    def forget(self, where: Tensor) -> None:
        """Drop what is still to be written where weights `[N, in]` were set by other means."""
        ...

    def buffer_bytes(self) -> int:
        """Return digital memory, bytes."""
        ...

    def facts(self) -> dict[str, float]:
        """Return counts by name."""
        ...

    def state_dict(self) -> dict[str, Tensor]:
        """Return everything that changes."""
        ...

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        ...


class Direct:
    """Each update is sent at once, whatever of it pulses can carry; the rest is lost."""

    def __init__(self, settings: PulsedConfig, cells: Cells) -> None:
        self.cells = cells
        self.steps = 1.0 / settings.mean_step
        self.trains = Trains(settings)

    def carry_out(self, change: Tensor, error: float, generator: torch.Generator) -> None:
        """See `Way`."""
        self.cells.pulse(self.trains.draw(change, error, self.steps, generator), generator)

    def finish_update(self, generator: torch.Generator) -> None:
        """There are no other devices."""

    def forget(self, where: Tensor) -> None:
        """Nothing is kept."""

    def buffer_bytes(self) -> int:
        """Nothing is kept."""
        return 0

    def facts(self) -> dict[str, float]:
        """Return how updates were sent."""
        return self.trains.facts()

    def state_dict(self) -> dict[str, Tensor]:
        """Return counts."""
        return self.trains.state_dict()

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore counts."""
        self.trains.load_state_dict(state)


class MixedPrecision:
    """Updates add up in digital memory, of which whole steps are sent now and then (Nandakumar et al. 2020).

    What is beyond the longest train waits for the next transfer.
    """

    def __init__(self, settings: PulsedConfig, cells: Cells, like: Tensor) -> None:
        self.cells, self.every, self.most = cells, settings.transfer_every, settings.pulses
        self.accumulator = Accumulator(like, settings.granularity or settings.mean_step)
        self.updates = 0
        self.transfers = 0

    def carry_out(self, change: Tensor, error: float, generator: torch.Generator) -> None:
        """See `Way`."""
        self.accumulator.collect(change)
        self.updates += 1
        if self.updates % self.every:
            return
        whole = self.accumulator.take()
        sent = whole.clamp(-self.most, self.most)
        self.accumulator.chi.add_(whole - sent)
        self.transfers += 1
        self.cells.pulse(sent.to(torch.int32), generator)

    def finish_update(self, generator: torch.Generator) -> None:
        """There are no other devices."""

    def forget(self, where: Tensor) -> None:
        """Empty the memory of weights that were set."""
        self.accumulator.chi.masked_fill_(where, 0.0)

    def buffer_bytes(self) -> int:
        """Return the bytes of the accumulator."""
        return self.accumulator.buffer_bytes()

    def facts(self) -> dict[str, float]:
        """Return the number of transfers."""
        return {"transfers": self.transfers}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the memory and the counts."""
        return {"sent": torch.tensor([self.updates, self.transfers]), **self.accumulator.state_dict()}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.updates, self.transfers = (int(count) for count in state["sent"])
        self.accumulator.load_state_dict(state)


class PulsedArray:
    """Cells that hold a matrix `[N, in]`; network units = `scale` times device units.

    `headroom` times the largest initial weight is what a typical device can just hold.
    """

    restless = False

    def __init__(self, weights: Tensor, settings: PulsedConfig, generator: torch.Generator) -> None:
        fast = settings.update.startswith("tiki-taka")
        each = 2 if settings.cell == "pair" else 1
        shape = (each * (2 if fast else 1), *weights.shape)
        self.settings, self.dtype = settings, weights.dtype
        self.wear = Wear(shape, settings, generator, weights)
        self.scale = weight_scale(weights, settings)
        self.cells = Cells(settings, self.wear, 0, generator, weights)
        self.way: Way
        if fast:
            self.way = TikiTaka(
                settings, self.cells, Cells(settings, self.wear, each, generator, weights), weights
            )
        elif settings.update == "mixed-precision":
            self.way = MixedPrecision(settings, self.cells, weights)
        else:
            self.way = Direct(settings, self.cells)

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """Nothing: what a read adds is drawn when a device is written, and held until it is written again."""

    def read(self, now: float) -> Tensor:
        """Return the weights as they are read."""
        return (self.cells.read() * self.scale).to(self.dtype)

    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """Send the change from `shown` to `wanted`."""
        change, largest = asked_change(wanted, shown)
        if largest > 0:
            # Of d x^T - w, and of the quotients that find d and x again, in the arithmetic of the weights.
            error = 4 * torch.finfo(self.dtype).eps * (float(shown.abs().max()) + largest)
            self.way.carry_out(change / self.scale, error / self.scale, generator)
        self.cells.finish_update(generator)
        self.way.finish_update(generator)

    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """Set cells exactly within their bounds, but for what a read adds; one write each."""
        self.cells.set(wanted.detach() / self.scale, where, generator)
        self.way.forget(where)

    def read_deviation(self) -> Tensor | None:
        """Reads repeat."""
        return None

    def buffer_bytes(self) -> int:
        """Return the digital memory of the way of writing, bytes."""
        return self.way.buffer_bytes()

    def facts(self) -> dict[str, float]:
        """Return how updates were sent, and the share of devices at a bound."""
        facts = {**self.way.facts(), "saturated": self.cells.saturated()}
        if self.cells.pair:
            facts["refreshed"] = self.cells.refreshed
        return facts

    def state_dict(self) -> dict[str, Tensor]:
        """Return wear, devices, and what the way of writing keeps."""
        return {
            "scale": torch.tensor(self.scale, dtype=torch.float64),
            **prefixed("wear", self.wear.state_dict()),
            **prefixed("cells", self.cells.state_dict()),
            **prefixed("way", self.way.state_dict()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.scale = float(state["scale"])
        self.wear.load_state_dict(part("wear", state))
        self.cells.load_state_dict(part("cells", state))
        self.way.load_state_dict(part("way", state))


def weight_scale(weights: Tensor, settings: PulsedConfig) -> float:
    """Return network units over device units; 1 for a matrix of zeros."""
    largest = float(weights.detach().abs().max()) if weights.numel() else 0.0
    return settings.headroom * largest / settings.reach if largest > 0 else 1.0
