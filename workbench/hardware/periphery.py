"""What stands between the devices of a synapse and the currents of its units: drivers, wires, converters, read noise.

A synapse is read from both sides of its tiles (see `tile_reads.py` for what a read does):

    forward     I = W x, with x driven on the rows and I sensed at the columns
    backward    dE/dx = W^T dE/dI, with the errors driven on the columns and dE/dx sensed at the rows: where a rule
                carries errors through weights (bptt through synapses and, back in time, recurrent synapses; sltt, ottt
                and ostl within a step; eprop with symmetric feedback). Same converters, noise and wires, which are a
                reciprocal network; the weights' gradients remain outer products of digital numbers

Forward, tiles are clocked: one without spikes is read too, noise and all. Backward, there is no unit of an error: each
vector is divided by its largest magnitude, and one that is zero throughout is not read.

Not simulated. With `backward_reads=exact` errors pass weights as they are read, noise held and drift included, but
without drivers, wires, converters and noise of single reads (straight-through). Always so: the weight of a unit on
itself, which its own traces take, and three-index traces (ostl with traces=full), which a chip would have to work out
digitally: N (in + N) vectors a step. Penalties and projections of modifiers are digital too. Reads of programming
circuits (verification, transfers) are the arrays' own affair. What an array multiplies its reads by digitally, to make
up for drift, is taken to come before the converters.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.hardware.array import Array
from workbench.hardware.ir_drop import effective_weights
from workbench.hardware.settings import CrossbarConfig
from workbench.hardware.tile_reads import Matrices, TileReader
from workbench.neurons.presynaptic import Presynaptic


def install(
    network: Network,
    settings: CrossbarConfig,
    arrays: Sequence[Array],
    generator: Callable[[], torch.Generator],
) -> None:
    """Let every synapse that has an array be read through tiles; where reads are exact, leave it as it is.

    arrays: in the order of the layers, each its synapse's and then its recurrent synapse's. generator: as in
    `Periphery`. To be called once, with the initial weights in the network.
    """
    left = iter(arrays)
    for layer in network.layers:
        layer.periphery = _periphery(layer.synapse.weight, settings, next(left), generator)
        if layer.recurrent is not None:
            weight = layer.recurrent.weight
            layer.recurrent_periphery = _periphery(weight, settings, next(left), generator)


def _periphery(
    weight: Tensor, settings: CrossbarConfig, array: Array, generator: Callable[[], torch.Generator]
) -> Periphery | None:
    wires = settings.ir_drop != "none" and settings.wire_ohm > 0
    disturbed = settings.dac_bits or settings.adc_bits or settings.output_noise > 0 or wires
    if not disturbed and array.read_deviation() is None:
        return None
    largest = settings.headroom * float(weight.detach().abs().max())
    # A function, so that a copy of the network does not copy the devices.
    return Periphery(settings, largest if largest > 0 else 1.0, generator, lambda: array.read_deviation())


@dataclass
class _Written:
    """What follows from the weights as they were last written.

    weights `[N, in]`: a copy of them. acting `[N, in]`: as they act behind the wires. version: of the parameter, when
    the matrices that either side needs were made.
    """

    weights: Tensor
    acting: Tensor
    version: int
    forward: Matrices | None = None
    backward: Matrices | None = None


class Periphery:
    """Reads one synapse through its tiles; a `workbench.neurons.presynaptic.Reader`.

    largest: the largest weight that the matrix can hold, unit of converters and of output noise.
    generator: returns the generator to draw from now; neither it nor `deviation` may hold what a copy of the network
    must not copy. deviation: returns the standard deviation `[N, in]` of what each single read adds to a weight, or
    None.
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
        self.deviation = deviation
        self._rows = TileReader(settings, largest, generator)
        self._columns = TileReader(settings, largest, generator, errors=True)
        self._written: _Written | None = None

    @property
    def reads_back(self) -> bool:
        """Whether errors are read through the tiles as well."""
        return self.settings.backward_reads == "tiles"

    @torch.no_grad()
    def __call__(self, source: Presynaptic, weight: Tensor, bias: Tensor | None, repeats: int = 1) -> Tensor:
        """Return the currents `[K, B, N]`; a source of one step may be read `repeats` times, K of them.

        The bias is digital. Raises ConfigurationError if the wires are so bad that they cannot be solved.
        """
        written = self._now(weight)
        if written.forward is None:
            acting, deviation = written.acting.T, self.deviation()
            turned = None if deviation is None else deviation.T
            written.forward = self._rows.matrices(written.weights.T, acting, turned)
        out = self._rows.read(source, written.forward, repeats)
        if bias is not None:
            out += bias.detach()
        return out

    @torch.no_grad()
    def back(self, errors: Tensor, weight: Tensor) -> Tensor:
        """Return dE/dx `[K, B, in]` for dE/dI `[K, B, N]`, through tiles that are read from their columns.

        Raises ConfigurationError as reads forward do.
        """
        written = self._now(weight)
        if written.backward is None:
            written.backward = self._columns.matrices(written.weights, written.acting, self.deviation())
        errors = errors.detach()
        source = Presynaptic(errors.shape, errors, None, errors.new_empty(0))
        return self._columns.read(source, written.backward)

    def _now(self, weight: Tensor) -> _Written:
        """Return what follows from the weights, worked out anew if they were written since the last read."""
        weight, known = weight.detach(), self._written
        # Versions alone miss what is written through `.data`.
        if known is not None and torch.equal(known.weights, weight):
            if known.version != weight._version:
                # Reads may be as noisy as before, or not: an array tells when it was read anew.
                known.version, known.forward, known.backward = weight._version, None, None
            return known
        kept = acting = weight.clone(memory_format=torch.contiguous_format)
        if self.settings.ir_drop == "detailed":
            acting = effective_weights(kept, self.largest, self.settings)
        self._written = _Written(kept, acting, weight._version)
        return self._written
