"""The weight matrices of a network on arrays of devices, and the clock of the chip they are on.

A parameter holds what the chip reads: rule, cells, modifiers and their kernels find there, forward and backward, what
a chip would read, whatever they are. The optimiser writes the weights it wants into the parameter; `update` hands these
to the devices and reads again. What a modifier writes (a unit that is reset, say) is programmed by `rewrite`.

Synapses and recurrent synapses are on the chip. Biases and the cells' own parameters are digital.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.hardware.array import Array
from workbench.hardware.exact import part, prefixed
from workbench.hardware.periphery import install
from workbench.hardware.settings import CrossbarConfig
from workbench.randomness import RandomStreams

MakeArray = Callable[[Tensor, torch.Generator], Array]
"""Makes the array of one matrix of initial weights `[N, in]`, drawing its devices from the generator."""


@dataclass
class Stored:
    """One weight matrix: its parameter's name in the network, the parameter, its devices, and what they last showed."""

    name: str
    parameter: torch.nn.Parameter
    array: Array
    shown: Tensor


class Chip:
    """All arrays of a network, its clock and its random numbers."""

    def __init__(
        self, network: Network, streams: RandomStreams, settings: CrossbarConfig, make: MakeArray
    ) -> None:
        """Program the initial weights into arrays that `make` makes; the network then holds what is read."""
        self.settings = settings
        self.streams = streams
        self.now = 0.0
        """Simulated time, seconds."""
        self.generator = streams.torch("hardware/start")
        self.updates = 0
        self.stored: list[Stored] = []
        self._testing: torch.Generator | None = None
        for name, parameter in matrices(network):
            weights = parameter.detach()
            array = make(weights, streams.torch(f"hardware/devices/{name}"))
            array.program(weights.clone(), torch.ones_like(weights, dtype=torch.bool), 0.0, self.generator)
            # What it takes to bring a network onto the chip is no cost of learning.
            array.wear.writes.zero_()
            self.stored.append(Stored(name, parameter, array, weights.clone()))
        # While the network still holds the initial weights, which the range of a read follows from.
        # By a function, so that a copy of the network does not copy the chip.
        arrays = [stored.array for stored in self.stored]
        install(network, settings, arrays, lambda: self.read_generator())
        self._show(self.stored, self.now)

    def read_generator(self) -> torch.Generator:
        """Return the generator that single reads draw from now: training's, or that of a test."""
        return self.generator if self._testing is None else self._testing

    def begin(self, name: str) -> None:
        """Draw from the stream `name` from now on, held noise first: each epoch has its own and can be resumed."""
        self.rewrite()
        self.generator = self.streams.torch(f"hardware/{name}")
        self._redraw(self.generator, self.now)

    def before_batch(self, sequences: int) -> None:
        """Program what modifiers wrote and let the time of the batch pass; noise and drift show in the weights."""
        self.rewrite()
        self.now += sequences * self.settings.sequence_seconds
        self._redraw(self.generator, self.now)

    @torch.no_grad()
    def update(self) -> None:
        """Carry out on the devices what the optimiser wrote into the parameters."""
        self.updates += 1
        for stored in self.stored:
            stored.array.update(stored.parameter, stored.shown, self.now, self.generator)
        self._show(self.stored, self.now)

    @torch.no_grad()
    def rewrite(self) -> None:
        """Program the weights that somebody changed since they were last shown."""
        changed = []
        for stored in self.stored:
            if not torch.equal(stored.parameter, stored.shown):
                where = stored.parameter != stored.shown
                stored.array.program(stored.parameter, where, self.now, self.generator)
                changed.append(stored)
        self._show(changed, self.now)

    def after_task(self) -> None:
        """Program what modifiers wrote and let the time between two tasks pass."""
        self.rewrite()
        self.now += self.settings.task_seconds

    @contextmanager
    def tested(self, name: str) -> Iterator[None]:
        """Show the weights as a test reads them, `t_read` seconds from now; training goes on with what it saw before.

        The noise of a test comes from the stream `name`, which leaves that of training as it is.
        """
        kept = [(stored, stored.shown.clone()) for stored in self.stored if stored.array.restless]
        self._testing = self.streams.torch(f"hardware/{name}")
        self._redraw(self._testing, self.now + self.settings.t_read, since=self.now)
        try:
            yield
        finally:
            self._testing = None
            with torch.no_grad():
                for stored, shown in kept:
                    stored.shown.copy_(shown)
                    stored.parameter.copy_(shown)

    def _redraw(self, generator: torch.Generator, now: float, since: float | None = None) -> None:
        """Draw held noise anew and show the weights as they are read at `now`; since: see `Array.redraw`."""
        restless = [stored for stored in self.stored if stored.array.restless]
        for stored in restless:
            stored.array.redraw(generator, since)
        self._show(restless, now)

    @torch.no_grad()
    def _show(self, some: list[Stored], now: float) -> None:
        for stored in some:
            stored.shown.copy_(stored.array.read(now))
            stored.parameter.copy_(stored.shown)

    def buffer_bytes(self) -> int:
        """Return the digital memory that the way of writing needs, bytes."""
        return sum(stored.array.buffer_bytes() for stored in self.stored)

    def report(self, samples: int) -> dict[str, Any]:
        """Return what the devices went through in a run of `samples` training sequences, as results.json has it."""
        writes = torch.cat([stored.array.wear.writes.flatten() for stored in self.stored]).to(torch.float64)
        total = float(writes.sum())
        return {
            "weights": sum(stored.parameter.numel() for stored in self.stored),
            "devices": writes.numel(),
            "updates": self.updates,
            "writes": {
                "total": total,
                "mean": total / writes.numel(),
                "p99": _percentile(writes, 0.99),
                "max": float(writes.max()),
                "per_sample": total / max(samples, 1),
                "written": float((writes > 0).to(torch.float64).mean()),
            },
            "stuck": sum(_count(stored.array.wear.stuck) for stored in self.stored),
            "worn_out": sum(stored.array.wear.worn() for stored in self.stored),
            "buffer_bytes": self.buffer_bytes(),
            "seconds": self.now,
            "arrays": [self._array_report(stored) for stored in self.stored],
        }

    def _array_report(self, stored: Stored) -> dict[str, Any]:
        units, inputs = stored.parameter.shape
        settings, writes = self.settings, stored.array.wear.writes
        return {
            "name": stored.name,
            "rows": inputs,
            "columns": units,
            "tiles": -(-inputs // settings.rows) * -(-units // settings.columns),
            "devices_per_weight": len(writes),
            "writes": float(writes.sum()),
            "writes_max": float(writes.max()),
            "buffer_bytes": stored.array.buffer_bytes(),
            **stored.array.facts(),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return clock, counts and devices; what is shown is in the network's own state."""
        state = {
            "clock": torch.tensor(self.now, dtype=torch.float64),
            "updates": torch.tensor(self.updates),
        }
        for stored in self.stored:
            state |= prefixed(stored.name, stored.array.state_dict())
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned, after the network's own state was restored."""
        self.now, self.updates = float(state["clock"]), int(state["updates"])
        for stored in self.stored:
            stored.array.load_state_dict(part(stored.name, state))
            stored.shown.copy_(stored.parameter.detach())


def matrices(network: Network) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """Yield the weight matrices that go onto a chip, by the names of their parameters, from input to readout."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    for layer in network.layers:
        for synapse in (layer.synapse, layer.recurrent):
            if synapse is not None:
                weight = synapse.weight
                assert isinstance(weight, torch.nn.Parameter)
                yield names[id(weight)], weight


def _percentile(values: Tensor, share: float) -> float:
    """Return the nearest-rank percentile; `torch.quantile` refuses large inputs."""
    rank = max(1, -(-int(share * 1_000_000) * values.numel() // 1_000_000))
    return float(values.kthvalue(min(rank, values.numel())).values)


def _count(mask: Tensor | None) -> int:
    return 0 if mask is None else int(mask.sum())
