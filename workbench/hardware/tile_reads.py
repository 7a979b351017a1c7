"""Reads of a matrix from one side of its tiles: from the rows in a forward pass, from the columns when errors go back.

A read of one vector x of inputs by one tile, s being its full scale (see `full_scale`):

    q = s DAC(x / s)                            drivers; exact for spikes, which take one bit
    y = W q - what the wires take               see `ir_drop.py`
    y = y + sqrt((s m o)^2 + sum_j v_j q_j^2) xi    o output noise, m the largest weight, v variance of single reads
    y = s m ADC(y / (s m))                      range and levels: see `converters.py`

and the digital sum of the tiles that lie behind each other. Matrices lie by inputs, `[X, Y]`: X lines are driven, Y are
sensed. Spikes are driven with one bit; bound management then lowers their voltage.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.hardware.converters import Noise, convert, factors, full_scale, quantised, top_level
from workbench.hardware.ir_drop import position_share, quick_loss
from workbench.hardware.settings import CrossbarConfig
from workbench.hardware.tiles import Drive, Inputs, Rows, edges
from workbench.neurons.native import blocks, buffer
from workbench.neurons.presynaptic import Presynaptic


@dataclass(frozen=True)
class Matrices:
    """What inputs are multiplied by, each `[X, Y]` and None where nothing needs it.

    weights: as they act. variance: of what a single read adds to each. load, lost: of the quick model of wires.
    """

    weights: Tensor
    variance: Tensor | None
    load: Tensor | None
    lost: Tensor | None

    def part(self, lines: slice, sensed: slice) -> Matrices:
        """Return the matrices of some inputs and some outputs alone."""
        every = (self.weights, self.variance, self.load, self.lost)
        weights, *others = (None if m is None else m[lines, sensed] for m in every)
        assert weights is not None
        return Matrices(weights, *others)


@dataclass(frozen=True)
class _Sums:
    """What a tile's outputs add up to in R reads: sums and variance of noise `[R, Y]`, full scale `[R]`.

    noisy `[R]`: the scale of output noise, which is that of the read, and 0 where nothing is read.
    """

    values: Tensor
    variance: Tensor | None
    scale: Tensor
    noisy: Tensor

    def repeated(self, times: int) -> _Sums:
        """Return the same reads again and again."""
        if times == 1:
            return self
        variance = None if self.variance is None else self.variance.repeat(times, 1)
        return _Sums(
            self.values.repeat(times, 1), variance, self.scale.repeat(times), self.noisy.repeat(times)
        )


class TileReader:
    """Reads a matrix `[X, Y]` from the side of its X lines.

    largest: the largest weight that the matrix can hold, unit of converters and of output noise. generator: returns the
    generator to draw from now. driven, sensed: most lines of a tile. errors: what is driven are errors, which have no
    unit of their own: they are always divided by their largest magnitude, and where all are zero nothing is read.
    """

    def __init__(
        self,
        settings: CrossbarConfig,
        largest: float,
        generator: Callable[[], torch.Generator],
        *,
        errors: bool = False,
    ) -> None:
        self.settings = settings
        self.largest = largest
        self.generator = generator
        self.errors = errors
        self.driven, self.sensed = settings.rows, settings.columns
        if errors:
            self.driven, self.sensed = self.sensed, self.driven

    def matrices(self, weights: Tensor, acting: Tensor, deviation: Tensor | None) -> Matrices:
        """Return what inputs are multiplied by, for weights `[X, Y]`, as they act behind wires, and single reads."""
        load = lost = None
        if self.settings.ir_drop == "quick":
            load = weights.abs() * (self.settings.wire_ohm * self.settings.g_max_siemens / self.largest)
            sizes = (last - first for first, last in edges(len(weights), self.driven))
            lost = weights * torch.cat([position_share(size, weights) for size in sizes])[:, None]
        variance = None if deviation is None else deviation.to(weights).square()
        every = (None if m is None else m.contiguous() for m in (variance, load, lost))
        return Matrices(acting.contiguous(), *every)

    def read(self, source: Presynaptic, matrices: Matrices, repeats: int = 1) -> Tensor:
        """Return what is read, `[K, B, Y]`; a source of one step may be read `repeats` times, K of them."""
        outputs = matrices.weights.shape[1]
        inputs, noise = Inputs(source, self.driven), self._noise(matrices)
        steps = source.shape[0] * repeats
        out = buffer(matrices.weights, steps * source.shape[1], outputs)
        stretches = blocks(len(inputs), outputs) if repeats == 1 else [(0, len(inputs))]
        for first, last in stretches:
            here = out[first:last] if repeats == 1 else out
            for tile, drive in enumerate(inputs.drive(first, last)):
                lines = inputs.edges[tile]
                sums = self._sums(drive, lines, matrices).repeated(repeats)
                if self.settings.bound_management and self.settings.adc_bits:
                    found = torch.empty_like(here)
                    self._convert(sums, noise, lines, found, add=False)
                    self._repeat_clipped(drive, sums.scale, noise, lines, matrices, found)
                    here.copy_(found if tile == 0 else here + found)
                else:
                    self._convert(sums, noise, lines, here, add=tile > 0)
        return out.view(steps, source.shape[1], outputs)

    def _sums(self, drive: Drive, lines: tuple[int, int], matrices: Matrices) -> _Sums:
        """Return what the outputs of a tile with inputs `lines` add up to."""
        scale = noisy = None
        if self.errors or (self.settings.noise_management and not drive.binary):
            peaks = drive.peaks()
            scale = full_scale(peaks)
            noisy = peaks if self.errors else scale
        values, variance = self._products(drive, scale, lines, matrices, self.settings.dac_bits)
        if scale is None or noisy is None:
            scale = noisy = values.new_ones(len(values))
        return _Sums(values, variance, scale, noisy)

    def _products(
        self, drive: Drive, scale: Tensor | None, lines: tuple[int, int], matrices: Matrices, bits: int
    ) -> tuple[Tensor, Tensor | None]:
        """Return sums and variance of noise `[R, Y]`, with drivers of `bits`; scale `[R]`, None for ones."""
        if bits:
            drive = drive.mapped(lambda x, s: quantised(x, bits, 1.0 if s is None else s), scale)
        values = drive.product(matrices.weights)
        if matrices.load is not None and matrices.lost is not None:
            full = drive.mapped(lambda x, s: x.abs() if s is None else x.abs() / s, scale)
            load = full.product(matrices.load) * (lines[1] - lines[0])
            values = values - quick_loss(load) * drive.product(matrices.lost)
        if matrices.variance is None:
            return values, None
        return values, drive.mapped(lambda x, s: x * x, None).product(matrices.variance)

    def _noise(self, matrices: Matrices) -> Noise | None:
        """Return the random numbers of a call, from the generator of the day; None if there is no noise."""
        if self.settings.output_noise > 0 or matrices.variance is not None:
            return Noise(self.generator())
        return None

    def _convert(
        self, sums: _Sums, noise: Noise | None, lines: tuple[int, int], out: Tensor, *, add: bool
    ) -> None:
        """Write to `out`, or add to it, what the converters make of noisy sums."""
        deviation = sums.noisy * (self.largest * self.settings.output_noise)
        step = sums.scale * (self.largest * self._step(lines))
        top = top_level(self.settings.adc_bits)
        convert(sums.values, noise, sums.variance, deviation, step, top, out, add=add)

    def _step(self, lines: tuple[int, int]) -> float:
        """Return the distance of two levels of a tile's converters, in full-scale inputs at the largest weight."""
        top = top_level(self.settings.adc_bits)
        reach = self.settings.adc_range if self.settings.adc_range_rule == "fixed" else lines[1] - lines[0]
        return reach / top if top else 1.0

    def _repeat_clipped(
        self,
        drive: Drive,
        scale: Tensor,
        noise: Noise | None,
        lines: tuple[int, int],
        matrices: Matrices,
        found: Tensor,
    ) -> None:
        """Read again with less input what clips in `found` `[R, Y]`: of each tile of outputs by itself."""
        top = top_level(self.settings.adc_bits)
        # A driver of a few bits has fewer levels left for an input that is made smaller; one bit has its voltage.
        bits = 0 if drive.binary else self.settings.dac_bits
        for first, last in edges(found.shape[1], self.sensed):
            here = found[:, first:last]
            part = matrices.part(slice(*lines), slice(first, last))
            factor = torch.ones_like(scale)
            for divisor in factors(bits):
                step = scale * factor * (self.largest * self._step(lines))
                clips = (torch.round(here / step[:, None]).abs() >= top).any(1) & (factor == divisor / 2)
                chosen = clips.nonzero()[:, 0]
                if not len(chosen):
                    break
                vectors = Rows(drive.rows(chosen % len(drive)) / divisor, 0)
                values, variance = self._products(
                    vectors, scale[chosen], (0, lines[1] - lines[0]), part, bits
                )
                again = torch.empty_like(values)
                sums = _Sums(values, variance, scale[chosen], scale[chosen])
                self._convert(sums, noise, lines, again, add=False)
                here[chosen] = again * divisor
                factor[chosen] = divisor
