"""Reads of weight matrices in arrays of devices: how many tiles, inputs, outputs and devices take part in them.

An array is read tile by tile. Tiles are clocked: forward, each is read once a step, whether spikes come or not. Of a
tile that is read, the devices behind the inputs that are driven take part, and all outputs are converted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from workbench.cost.counts import MeanActivity, Signals

if TYPE_CHECKING:
    from workbench.backbones.network import Network

PURPOSES = ("forward", "transposed", "transfers")
FORWARD_READS = ("forward",)
"""Purposes that inference has too."""


@dataclass(frozen=True)
class Events:
    """What reads come to. tiles: reads of a tile. driven, converted: inputs and outputs of these. cells: devices."""

    tiles: float = 0.0
    driven: float = 0.0
    converted: float = 0.0
    cells: float = 0.0

    def __add__(self, other: Events) -> Events:
        return Events(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(self)))

    def by_kind(self) -> dict[str, float]:
        """Return the counts by name."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


@dataclass(frozen=True)
class Shape:
    """An array as a read sees it: inputs and outputs, those of a tile, devices a weight that are read."""

    inputs: int
    outputs: int
    tile_inputs: int
    tile_outputs: int
    devices: float

    @property
    def turned(self) -> Shape:
        """The same array, read transposed."""
        return Shape(self.outputs, self.inputs, self.tile_outputs, self.tile_inputs, self.devices)


@dataclass(frozen=True)
class Read:
    """Reads of one array for one purpose, means of a training sample.

    vectors: how many. driven: inputs that are not zero, of a vector. bits: digits of an input; 1 for spikes, more for
    whole numbers, None for real ones, which have as many as the drivers. one_hot: a single input is driven, and only
    the tiles that it belongs to are read.
    """

    purpose: str
    shape: Shape
    vectors: float
    driven: float
    bits: float | None = 1.0
    one_hot: bool = False

    @property
    def events(self) -> Events:
        """What takes part, all reads together; a number of several bits is one input."""
        shape = self.shape
        rows, columns = self._rows, math.ceil(shape.outputs / shape.tile_outputs)
        return Events(
            tiles=self.vectors * rows * columns,
            driven=self.vectors * self.driven * columns,
            converted=self.vectors * rows * shape.outputs,
            cells=self.vectors * self.driven * shape.outputs * shape.devices,
        )

    @property
    def sums(self) -> float:
        """Digital additions of what the tiles of a wide matrix come to."""
        return self.vectors * (self._rows - 1) * self.shape.outputs

    @property
    def _rows(self) -> int:
        return 1 if self.one_hot else math.ceil(self.shape.inputs / self.shape.tile_inputs)

    def blocks(self, inputs: int, outputs: int) -> float:
        """Return how many tiles of `inputs` x `outputs` are read, if those of the array are made of such."""
        shape = self.shape
        rows = 1 if self.one_hot else _pieces(shape.inputs, shape.tile_inputs, inputs)
        return self.vectors * rows * _pieces(shape.outputs, shape.tile_outputs, outputs)


def _pieces(size: int, tile: int, block: int) -> int:
    """Return the blocks of all tiles, side by side, that `size` lines are cut into."""
    whole, rest = divmod(size, tile)
    return whole * math.ceil(tile / block) + math.ceil(rest / block)


def by_purpose(reads: Iterable[Read]) -> dict[str, dict[str, float]]:
    """Return what reads come to by purpose, those that there are, and in all."""
    found: dict[str, Events] = {}
    for read in reads:
        found[read.purpose] = found.get(read.purpose, Events()) + read.events
    named = {purpose: found[purpose].by_kind() for purpose in PURPOSES if purpose in found}
    return {**named, "total": sum(found.values(), Events()).by_kind()}


def forward_reads(
    network: Network,
    shapes: Mapping[str, Shape],
    activity: MeanActivity,
    vectors: float,
    input_bits: float | None,
) -> list[Read]:
    """Return the reads of every array in `vectors` steps; shapes by the names of parameters.

    input_bits: digits of the input's numbers, None for real ones.
    """
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    hidden = activity.hidden
    below = [activity.inputs, *hidden[:-1], sum(hidden, Signals()) if network.reads_all else hidden[-1]]
    found = []
    for index, layer in enumerate(network.layers):
        bits = input_bits if index == 0 else _bits(below[index])
        parts: list[tuple[int, Signals, float | None]] = [(id(layer.synapse.weight), below[index], bits)]
        if layer.recurrent is not None:
            earlier = activity.earlier[index]
            parts.append((id(layer.recurrent.weight), earlier, _bits(hidden[index])))
        for key, sent, digits in parts:
            if names[key] in shapes:
                driven = sent.ones + sent.others
                found.append(Read("forward", shapes[names[key]], vectors, driven, digits))
    return found


def _bits(sent: Signals) -> float | None:
    return None if sent.others else 1.0


def transposed_reads(shapes: Mapping[str, Shape], times: Mapping[str, float]) -> list[Read]:
    """Return the reads of arrays by errors, `times` each by name: real numbers, which count in full."""
    return [
        Read("transposed", shapes[name].turned, count, shapes[name].outputs, None)
        for name, count in times.items()
        if name in shapes and count
    ]


def one_hot_reads(purpose: str, shape: Shape, vectors: float) -> Sequence[Read]:
    """Return reads of single inputs of an array; none for no vectors."""
    return [Read(purpose, shape, vectors, 1.0, one_hot=True)] if vectors else []
