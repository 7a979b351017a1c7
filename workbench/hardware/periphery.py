"""What stands between the devices of a synapse and the currents of its units: drivers, wires, converters, read noise.

A read of one input vector x by one tile, s being what noise management divides by (1 for spikes):

    q = s DAC(x / s)                            drivers; exact for spikes, which take one bit
    y = W q - what the wires take               see `ir_drop.py`
    y = y + sqrt((s m o)^2 + sum_j v_j q_j^2) xi    o output noise, m the largest weight, v variance of single reads
    y = s m ADC(y / (s m))                      range and levels: see `converters.py`

and the digital sum of the tiles of a wide matrix. Tiles are clocked: one without spikes is read too, noise and all.
Spikes are driven with one bit; bound management then lowers their voltage.

Not simulated: backward reads. Gradients, and whatever else a rule computes with weights, take the weights as read and
pass without drivers, wires and converters (straight-through). Reads of programming circuits (verification, transfers)
are the arrays' own affair. What an array multiplies its reads by digitally, to make up for drift, is taken to come
before the converters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.hardware.converters import convert, factors, full_scale, quantised, top_level
from workbench.hardware.ir_drop import effective_weights, position_share, quick_loss
from workbench.hardware.settings import CrossbarConfig
from workbench.hardware.tiles import Drive, Inputs, Rows, edges
from workbench.neurons.native import blocks, buffer
from workbench.neurons.presynaptic import Presynaptic


@dataclass(frozen=True)
class _Matrices:
    """What inputs are multiplied by, each by columns `[in, N]` and None where nothing needs it.

    weights: as they act. variance: of what a single read adds to each. load, lost: of the quick model of wires.
    """

    weights: Tensor
    variance: Tensor | None
    load: Tensor | None
    lost: Tensor | None


@dataclass(frozen=True)
class _Sums:
    """What a tile's columns add up to in R reads: sums and variance of noise `[R, N]`, scale `[R]`."""

    values: Tensor
    variance: Tensor | None
    scale: Tensor

    def repeated(self, times: int) -> _Sums:
        """Return the same reads again and again."""
        variance = None if self.variance is None else self.variance.repeat(times, 1)
        return _Sums(self.values.repeat(times, 1), variance, self.scale.repeat(times))


class Periphery:
    """Reads one synapse through its tiles; a `workbench.neurons.presynaptic.Read`.

    largest: the largest weight that the matrix can hold, unit of converters and of output noise.
    generator: returns the generator to draw from now. deviation: returns the standard deviation `[N, in]` of what each
    single read adds to a weight, or None.
    """

    def __init__(
        self,
        settings: CrossbarConfig,
        largest: float,
        generator: Callable[[], torch.Generator],
        deviation: Callable[[], Tensor | None],
    ) -> None:
        self.settings = settings
        self.largest = largest
        self.generator = generator
        self.deviation = deviation
        self._seen: tuple[int, _Matrices] | None = None
        self._read: tuple[Tensor, Tensor] | None = None

    @torch.no_grad()
    def __call__(self, source: Presynaptic, weight: Tensor, bias: Tensor | None, repeats: int = 1) -> Tensor:
        """Return the currents `[K, B, N]`; a source of one step may be read `repeats` times, K of them.

        The bias is digital. Raises ConfigurationError if the wires are so bad that they cannot be solved.
        """
        matrices, units = self._matrices(weight), weight.shape[0]
        inputs = Inputs(source, self.settings.rows)
        steps = source.shape[0] * repeats
        out = buffer(weight, steps * source.shape[1], units)
        stretches = blocks(len(inputs), units) if repeats == 1 else [(0, len(inputs))]
        for first, last in stretches:
            here = out[first:last] if repeats == 1 else out
            for tile, drive in enumerate(inputs.drive(first, last)):
                rows = inputs.edges[tile]
                sums = self._sums(drive, self._scale(drive), rows, matrices).repeated(repeats)
                if self.settings.bound_management and self.settings.adc_bits:
                    found = torch.empty_like(here)
                    self._convert(sums, rows, found, add=False)
                    self._repeat_clipped(drive, sums.scale, rows, matrices, found)
                    here.copy_(found if tile == 0 else here + found)
                else:
                    self._convert(sums, rows, here, add=tile > 0)
        if bias is not None:
            out += bias.detach()
        return out.view(steps, source.shape[1], units)

    def _scale(self, drive: Drive) -> Tensor | None:
        """Return what the inputs of each read are divided by, `[R]`, None for ones."""
        return full_scale(drive.peaks()) if self.settings.noise_management and not drive.binary else None

    def _sums(
        self,
        drive: Drive,
        scale: Tensor | None,
        rows: tuple[int, int],
        matrices: _Matrices,
        *,
        exact: bool = False,
    ) -> _Sums:
        """Return what a tile with inputs `rows` adds up; exact: the drivers have the levels that are needed."""
        bits = 0 if exact else self.settings.dac_bits
        if bits:
            drive = drive.mapped(lambda x, s: quantised(x, bits, 1.0 if s is None else s), scale)
        values = drive.product(matrices.weights)
        if matrices.load is not None and matrices.lost is not None:
            full = drive.mapped(lambda x, s: x.abs() if s is None else x.abs() / s, scale)
            load = full.product(matrices.load) * (rows[1] - rows[0])
            values = values - quick_loss(load) * drive.product(matrices.lost)
        variance = None
        if matrices.variance is not None:
            variance = drive.mapped(lambda x, s: x * x, None).product(matrices.variance)
        return _Sums(values, variance, values.new_ones(len(values)) if scale is None else scale)

    def _convert(self, sums: _Sums, rows: tuple[int, int], out: Tensor, *, add: bool) -> None:
        """Write to `out`, or add to it, what the converters make of noisy sums."""
        noise = None
        if self.settings.output_noise > 0 or sums.variance is not None:
            noise = self._drawn(out)
        unit = sums.scale * self.largest
        deviation = unit * self.settings.output_noise
        top = top_level(self.settings.adc_bits)
        convert(sums.values, noise, sums.variance, deviation, unit * self._step(rows), top, out, add=add)

    def _step(self, rows: tuple[int, int]) -> float:
        """Return the distance of two levels of a tile's converters, in full-scale inputs at the largest weight."""
        top = top_level(self.settings.adc_bits)
        reach = self.settings.adc_range if self.settings.adc_range_rule == "fixed" else rows[1] - rows[0]
        return reach / top if top else 1.0

    def _repeat_clipped(
        self, drive: Drive, scale: Tensor, rows: tuple[int, int], matrices: _Matrices, found: Tensor
    ) -> None:
        """Read again with less input what clips in `found` `[R, N]`: of each tile of columns by itself."""
        top = top_level(self.settings.adc_bits)
        # A driver of a few bits has fewer levels left for an input that is made smaller; one bit has its voltage.
        smaller = factors(0 if drive.binary else self.settings.dac_bits)
        for first, last in edges(found.shape[1], self.settings.columns):
            here = found[:, first:last]
            part = _columns(matrices, first, last)
            factor = torch.ones_like(scale)
            for divisor in smaller:
                step = scale * factor * (self.largest * self._step(rows))
                clips = (torch.round(here / step[:, None]).abs() >= top).any(1) & (factor == divisor / 2)
                chosen = clips.nonzero()[:, 0]
                if not len(chosen):
                    break
                vectors = Rows(drive.rows(chosen % len(drive)) / divisor, 0)
                whole = _tile(part, rows)
                sums = self._sums(vectors, scale[chosen], (0, rows[1] - rows[0]), whole, exact=drive.binary)
                again = torch.empty_like(sums.values)
                self._convert(sums, rows, again, add=False)
                here[chosen] = again * divisor
                factor[chosen] = divisor

    def _drawn(self, like: Tensor) -> Tensor:
        """Return standard normal numbers of the shape of `like`, from the generator of the day."""
        drawn = torch.empty(like.shape, dtype=like.dtype).normal_(generator=self.generator())
        return drawn.to(like.device)

    def _matrices(self, weight: Tensor) -> _Matrices:
        """Return what inputs are multiplied by; worked out anew when the weights were written."""
        weight = weight.detach()
        same = self._read is not None and torch.equal(self._read[0], weight)
        if same and self._seen is not None and self._seen[0] == weight._version:
            return self._seen[1]
        if self._read is None or not same:
            acting = weight
            if self.settings.ir_drop == "detailed":
                acting = effective_weights(weight, self.largest, self.settings)
            # Versions alone miss what is written through `.data`.
            self._read = (weight.clone(), acting.T.contiguous())
        deviation = self.deviation()
        variance = None if deviation is None else deviation.to(weight).square().T.contiguous()
        load = lost = None
        if self.settings.ir_drop == "quick":
            load = (weight.abs() * (self.settings.wire_ohm * self.settings.g_max_siemens / self.largest)).T
            sizes = (end - begin for begin, end in edges(weight.shape[1], self.settings.rows))
            places = torch.cat([position_share(size, weight) for size in sizes])
            load, lost = load.contiguous(), (weight * places).T.contiguous()
        matrices = _Matrices(self._read[1], variance, load, lost)
        self._seen = (weight._version, matrices)
        return matrices


def _columns(matrices: _Matrices, first: int, last: int) -> _Matrices:
    """Return the matrices of units first..last alone."""
    return _Matrices(*(None if m is None else m[:, first:last] for m in vars(matrices).values()))  # type: ignore[arg-type]


def _tile(matrices: _Matrices, rows: tuple[int, int]) -> _Matrices:
    """Return the matrices of some inputs alone."""
    return _Matrices(*(None if m is None else m[rows[0] : rows[1]] for m in vars(matrices).values()))  # type: ignore[arg-type]
