"""A weight matrix on differential pairs of devices that are written and verified.

    w = gain (sum of g+ - sum of g-) / u,    u microsiemens for a unit of weight; one of the pair aims at g_min;
                                             gain 1 while the network learns

Without imperfections `read` returns what was wanted bit for bit. Read noise is drawn once a weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from workbench.hardware.accumulator import Accumulator
from workbench.hardware.array import Wear
from workbench.hardware.compensation import Compensation
from workbench.hardware.exact import part, prefixed
from workbench.hardware.programmed_cells import Places, ProgrammedCells, array, at, put
from workbench.hardware.programmed_device import Device
from workbench.hardware.programmed_settings import DriftingConfig, ProgrammedConfig
from workbench.neurons.native import fast_kernels_apply


class ProgrammedArray:
    """Devices `[D, N, in]` as in `ProgrammedCells`, and the digital side that writes and compensates them.

    A weight reaches from -`largest` to `largest`, which is `headroom` times the largest initial weight.
    """

    def __init__(
        self, weights: Tensor, device: Device, settings: ProgrammedConfig, generator: torch.Generator
    ) -> None:
        """Make devices for weights such as `weights` `[N, in]`; nothing is programmed yet."""
        self.device, self.settings = device, settings
        self.largest = settings.headroom * (float(weights.abs().max()) or 1.0)
        per_weight = device.sharing * (device.g_max - device.g_min) / self.largest
        shape = (2 * device.sharing, *weights.shape)
        self.wear = Wear(shape, settings, generator, weights)
        self.target = torch.full_like(weights, math.nan, memory_format=torch.contiguous_format)
        """What each weight was last programmed to."""
        self.cells = ProgrammedCells(shape, device, per_weight, self.target)
        self.clean = torch.zeros_like(self.target)
        """Weights as they are read without noise at `_at`."""
        self.held = device.read is not None and settings.read_noise_redrawn == "batch"
        self.draw = torch.zeros_like(self.target) if self.held else None
        self.noise = torch.zeros_like(self.target) if self.held else None
        """What is held of read noise: standard normal, and in units of the weights."""
        self.compensation = self._compensation()
        self.gain = torch.ones_like(self.target) if self.compensation else None
        self.accumulator: Accumulator | None = None
        if settings.update == "mixed-precision":
            self.accumulator = Accumulator(self.target, settings.granularity * 2 * self.largest)
        self._at = 0.0
        self._fresh = False
        """Whether the next read must look at the devices, although no time has passed."""
        self._since: float | None = None
        """When learning stopped, see `Array.redraw`."""
        if self.wear.stuck is not None:
            self._stick(self.wear.stuck, generator)

    def _compensation(self) -> Compensation | None:
        """Return what compensates drift, if anything does."""
        settings = self.settings
        if (
            self.device.drift is None
            or not isinstance(settings, DriftingConfig)
            or settings.compensation == "off"
        ):
            return None
        columns = 1 if settings.compensation == "column" else settings.columns
        units, inputs = self.target.shape
        return Compensation(units, inputs, settings.rows, columns, self.largest)

    def _stick(self, stuck: Tensor, generator: torch.Generator) -> None:
        """Fix the conductances of stuck devices; their clock never starts, hence they never drift."""
        shares = {"g_min": 0.0, "g_max": 1.0}
        share = torch.rand(stuck.shape, generator=generator, dtype=self.target.dtype).to(stuck.device)
        if self.settings.stuck_at != "random":
            share.fill_(shares[self.settings.stuck_at])
        where = _places(stuck)
        self.cells.settle(where, (share * (self.largest / self.device.sharing)).view(-1)[where], math.inf)

    @property
    def restless(self) -> bool:
        """Whether reads differ from batch to batch although nothing was written."""
        return self._moving or (self.device.read is not None and self.device.read.gathers)

    @property
    def _moving(self) -> bool:
        """Whether what `read` returns changes by itself, not only the noise that single reads add."""
        return self.held or self.device.drift is not None

    def redraw(self, generator: torch.Generator, since: float | None = None) -> None:
        """Draw held read noise anew; the next read measures anew what has drifted since learning stopped."""
        if self.draw is not None:
            drawn = self.draw if self.draw.device.type == "cpu" else torch.empty_like(self.draw, device="cpu")
            self.draw.copy_(drawn.normal_(generator=generator))
        self._fresh, self._since = True, since

    def read(self, now: float) -> Tensor:
        """Return the weights `[N, in]` as they are read at `now`, with the noise held."""
        self._advance(now)
        return self.clean.clone() if self.noise is None else self.clean + self.noise

    def read_deviation(self) -> Tensor | None:
        """Return the standard deviation `[N, in]` of what each read adds, as of the last read, if it is not held."""
        if self.device.read is None or self.held:
            return None
        deviation = self.cells.read(None, self._at)[1]
        assert deviation is not None
        deviation = deviation.view_as(self.target)
        return deviation if self.gain is None else deviation.mul_(self.gain)

    @torch.no_grad()
    def update(self, wanted: Tensor, shown: Tensor, now: float, generator: torch.Generator) -> None:
        """Write the change from `shown` to `wanted`, or collect it until it is worth writing."""
        if self.accumulator is None:
            least = self.settings.tolerance * 2 * self.largest
            changes = wanted != shown if least == 0 else (wanted - shown).abs() > least
            places = None if bool(changes.all()) else _places(changes)
            self._write(places, at(wanted, places), now, generator)
            return
        self.accumulator.collect(wanted - shown)
        self._write(*self._take(self.accumulator, shown), now, generator)

    def _take(self, accumulator: Accumulator, shown: Tensor) -> tuple[Tensor, Tensor]:
        """Return the flat places at which a quantum or more was collected, and what is wanted there."""
        if fast_kernels_apply(self.target):
            from workbench.hardware import programmed_kernels

            count = self.target.numel()
            places, wanted = torch.empty(count, dtype=torch.int64), self.target.new_empty(count)
            given = array(accumulator.chi, shown), accumulator.quantum, array(shown.contiguous(), shown)
            count = programmed_kernels.take_quanta(*given, places.numpy(), wanted.numpy())
            return places[:count], wanted[:count]
        quanta = accumulator.take()
        places = _places(quanta)
        return places, at(quanta, places).mul_(accumulator.quantum).add_(at(shown, places))

    @torch.no_grad()
    def program(self, wanted: Tensor, where: Tensor, now: float, generator: torch.Generator) -> None:
        """Program the weights at `where`; what was collected for them is dropped."""
        if self.accumulator is not None:
            self.accumulator.chi.masked_fill_(where, 0.0)
        places = None if bool(where.all()) else _places(where)
        self._write(places, at(wanted, places), now, generator)

    def _write(self, places: Places, wanted: Tensor, now: float, generator: torch.Generator) -> None:
        """Program the weights at `places` to `wanted`: those of their devices whose target changes."""
        if not len(wanted):
            return
        if self._since is not None:
            # What is written belongs to learning, and is not read through what a test made up for.
            self._fresh, self._since = True, None
        self._advance(now)
        devices, levels = self._changes(places, wanted.clamp(-self.largest, self.largest))
        self.cells.program(devices, levels, now, generator)
        self._show(places, now)

    def _changes(self, places: Places, aim: Tensor) -> tuple[Tensor, Tensor]:
        """Aim weights at `aim` `[K]`; return the flat devices that are written to that end and their levels.

        Their writes are counted.
        """
        sharing, writes = self.device.sharing, self.wear.writes
        free = self.wear.free()
        if fast_kernels_apply(aim):
            from workbench.hardware import programmed_kernels

            most = len(writes) * len(aim)
            devices, levels = torch.empty(most, dtype=torch.int64), aim.new_empty(most)
            still = array(free, torch.empty(0, dtype=torch.bool))
            into = (devices.numpy(), levels.numpy(), array(writes, writes))
            given = (array(places, devices), aim.numpy(), array(self.target, aim), still)
            count = programmed_kernels.find_changes(*given, sharing, *into)
            return devices[:count], levels[:count]
        ends = _ends(aim)
        changes = (ends != _ends(at(self.target, places))).repeat_interleave(sharing, 0)
        if free is not None:
            changes &= at(free, places)
        devices = chosen = _places(changes)
        if places is not None:
            firsts = torch.arange(0, writes.numel(), self.target.numel(), device=places.device)
            devices = (firsts[:, None] + places).view(-1).index_select(0, chosen)
        levels = ends.div_(sharing).repeat_interleave(sharing, 0).view(-1).index_select(0, chosen)
        writes.view(-1).index_add_(0, devices, torch.ones_like(devices, dtype=torch.int32))
        put(self.target, places, aim)
        return devices, levels

    def _advance(self, now: float) -> None:
        """Let time pass until `now`: look at the devices if noise was redrawn or time passed, and compensate drift."""
        if not self._fresh and now == self._at:
            return
        self._at, self._fresh = now, False
        if not self._moving:
            return
        if self.compensation is None or self.gain is None:
            self._show(None, now)
            return
        self.gain.fill_(1.0)
        if self._since is None or now <= self._since:
            self._show(None, now)
            return
        reference = self._reference(self._since)
        self._show(None, now)
        self.compensation.apply(reference, self.clean, self.noise, self.gain)

    def _reference(self, since: float) -> Tensor:
        """Return the weights `[N, in]` that drift is compensated to."""
        assert isinstance(self.settings, DriftingConfig)
        if self.settings.reference == "exact":
            return self.target
        return self.cells.read(None, since)[0].view_as(self.target)

    def _show(self, places: Places, now: float) -> Tensor:
        """Find out what some weights are read as, apart and noise; return them without, `[K]`."""
        into = None
        if places is None and self.noise is not None:
            into = self.clean.view(-1), self.noise.view(-1)
        clean, deviation = self.cells.read(places, now, into)
        if places is not None and fast_kernels_apply(clean):
            from workbench.hardware import programmed_kernels

            parts = (clean, deviation, self.draw, self.clean, self.noise)
            programmed_kernels.show(places.numpy(), *(array(part, clean) for part in parts))
            return clean
        put(self.clean, places, clean)
        if self.noise is not None and self.draw is not None and deviation is not None:
            put(self.noise, places, deviation.mul_(at(self.draw, places)))
        return clean

    def buffer_bytes(self) -> int:
        """Return what mixed precision collects changes in, bytes: as many numbers as there are weights."""
        return 0 if self.accumulator is None else self.accumulator.buffer_bytes()

    def facts(self) -> dict[str, float]:
        """Return the largest weight that fits, the share of weights at that end, and the mean compensation."""
        saturated = (self.target.abs() >= self.largest).to(torch.float64).mean()
        found = {"largest_weight": self.largest, "saturated": float(saturated)}
        if self.gain is not None:
            found["compensation"] = float(self.gain.mean())
        return found

    def _tensors(self) -> dict[str, Tensor]:
        parts = {
            "target": self.target,
            "clean": self.clean,
            "draw": self.draw,
            "noise": self.noise,
            "gain": self.gain,
        }
        return self.cells.tensors() | {name: value for name, value in parts.items() if value is not None}

    def state_dict(self) -> dict[str, Tensor]:
        """Return the devices, their wear, what is collected and what was last shown."""
        state = self._tensors()
        state["at"] = torch.tensor(self._at, dtype=torch.float64)
        state["fresh"] = torch.tensor(self._fresh)
        state["since"] = torch.tensor(-1.0 if self._since is None else self._since, dtype=torch.float64)
        state |= prefixed("wear", self.wear.state_dict())
        if self.accumulator is not None:
            state |= self.accumulator.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        for name, value in self._tensors().items():
            value.copy_(state[name])
        self._at, self._fresh, since = float(state["at"]), bool(state["fresh"]), float(state["since"])
        self._since = None if since < 0 else since
        self.wear.load_state_dict(part("wear", state))
        if self.accumulator is not None:
            self.accumulator.load_state_dict(state)


def _places(where: Tensor) -> Tensor:
    """Return the flat places at which `where` is not zero."""
    return where.reshape(-1).nonzero().squeeze(1)


def _ends(weights: Tensor) -> Tensor:
    """Return what the two sides of the pairs aim at, `[2, K]`: one of them at zero; NaN for what was never written."""
    return torch.stack([weights, -weights]).clamp_(min=0)
