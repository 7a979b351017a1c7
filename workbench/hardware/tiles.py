"""Splitting of a weight matrix into tiles, and what the inputs of one tile carry.

A matrix `[N, in]` that is larger than a tile is cut into consecutive stretches of at most `rows` inputs and `columns`
outputs; the last may be smaller. The outputs of tiles with the same units are added up digitally.

Sparse inputs stay events: what a tile reads is then found in the list of all events, and nothing is copied.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from workbench.neurons.events import Array, Events
from workbench.neurons.native import buffer, share
from workbench.neurons.presynaptic import Presynaptic


def edges(size: int, most: int) -> list[tuple[int, int]]:
    """Cut `size` inputs or outputs into consecutive stretches of at most `most`.

    >>> edges(700, 256)
    [(0, 256), (256, 512), (512, 700)]
    """
    return [(first, min(first + most, size)) for first in range(0, size, most)]


class Drive(Protocol):
    """What the inputs of one tile carry in R reads: one vector `[rows]` each."""

    @property
    def binary(self) -> bool:
        """Whether all inputs are known to be 0 or 1."""
        ...

    def __len__(self) -> int:
        """Return R."""
        ...

    def peaks(self) -> Tensor:
        """Return the largest magnitude of each vector, `[R]`."""
        ...

    def mapped(self, function: Map, scale: Tensor | None) -> Drive:
        """Return the drive with every input x of vector r replaced by function(x, scale_r).

        The function keeps zeros; it keeps ones where the scale is 1 or None, so that spikes need not be touched.
        """
        ...

    def product(self, by_input: Tensor) -> Tensor:
        """Return the products `[R, N]` with a matrix `[in, N]` of all inputs, of which the tile's are used."""
        ...

    def rows(self, chosen: Tensor) -> Tensor:
        """Return the vectors `chosen` `[K]` as numbers, `[K, rows]`."""
        ...


class Map(Protocol):
    """A function of single inputs; scale has the shape of the inputs or is None."""

    def __call__(self, inputs: Tensor, scale: Tensor | None) -> Tensor:
        """Return numbers of the shape of the inputs."""
        ...


@dataclass(frozen=True)
class Rows:
    """Dense inputs `[R, rows]` of the tile that begins at input `first`."""

    values: Tensor
    first: int
    binary: bool = False

    def __len__(self) -> int:
        """See `Drive`."""
        return len(self.values)

    def peaks(self) -> Tensor:
        """See `Drive.peaks`."""
        return self.values.abs().amax(1)

    def mapped(self, function: Map, scale: Tensor | None) -> Rows:
        """See `Drive.mapped`."""
        if self.binary:
            return self
        values = function(self.values, None if scale is None else scale[:, None])
        return replace(self, values=values)

    def product(self, by_input: Tensor) -> Tensor:
        """See `Drive.product`."""
        return self.values @ by_input[self.first : self.first + self.values.shape[1]]

    def rows(self, chosen: Tensor) -> Tensor:
        """See `Drive.rows`."""
        return self.values[chosen]


@dataclass(frozen=True)
class Spikes:
    """Events of the tile with inputs first..last: vector r has `events.columns[begin[r]:end[r]]`."""

    events: Events
    begin: Array
    end: Array
    first: int
    last: int
    like: Tensor

    @property
    def binary(self) -> bool:
        """Whether every event is a one."""
        return self.events.values.size == 0

    def __len__(self) -> int:
        """See `Drive`."""
        return len(self.begin)

    def peaks(self) -> Tensor:
        """See `Drive.peaks`."""
        from workbench.hardware import tile_kernels

        found = buffer(self.like, len(self.begin))
        tile_kernels.peaks(self.begin, self.end, self.events.values, found.numpy())
        return found

    def mapped(self, function: Map, scale: Tensor | None) -> Spikes:
        """See `Drive.mapped`; what the events of other tiles become is of no use."""
        values = self.events.values
        if self.binary:
            return self
        each = None
        if scale is not None:
            each = torch.ones(len(values), dtype=self.like.dtype)
            counts = torch.from_numpy(self.end - self.begin)
            places = torch.from_numpy(_places(self.begin, self.end))
            each[places] = scale.repeat_interleave(counts)
        moved = function(torch.from_numpy(values), each).numpy()
        return replace(self, events=replace(self.events, values=moved))

    def product(self, by_input: Tensor) -> Tensor:
        """See `Drive.product`."""
        from workbench.hardware import tile_kernels

        out = buffer(by_input, len(self.begin), by_input.shape[1])
        arrays = (self.begin, self.end, self.events.columns, self.events.values, by_input.numpy())
        share(tile_kernels.product, len(out), out.numel(), *arrays, out.numpy())
        return out

    def rows(self, chosen: Tensor) -> Tensor:
        """See `Drive.rows`."""
        found = self.like.new_zeros(len(chosen), self.last - self.first)
        for row, vector in zip(found.numpy(), chosen.tolist(), strict=True):
            here = slice(self.begin[vector], self.end[vector])
            row[self.events.columns[here] - self.first] = 1 if self.binary else self.events.values[here]
        return found


class Inputs:
    """Activity `[K, B, in]` of a stretch of steps, as tiles of at most `rows` inputs read it."""

    def __init__(self, source: Presynaptic, rows: int) -> None:
        self.source = source
        self.edges = edges(source.shape[2], rows)
        self.begins: Array | None = None
        if source.events is not None:
            from workbench.hardware import tile_kernels

            events = source.events
            borders = np.array([0, *(last for _, last in self.edges)], np.int64)
            self.begins = np.empty((len(borders), len(events.offsets) - 1), np.int64)
            tile_kernels.split(events.offsets, events.columns, borders, self.begins)

    def __len__(self) -> int:
        """Return the number of vectors K B."""
        return self.source.shape[0] * self.source.shape[1]

    def drive(self, first: int, last: int) -> list[Drive]:
        """Return what the tiles carry in reads first..last, from the first inputs to the last."""
        if self.begins is None or self.source.events is None:
            rows = self._rows(first, last)
            bits = self.source.bits
            # A few spikes are not counted, and are spikes all the same.
            binary = bits.binary if bits is not None else bool(((rows == 0) | (rows == 1)).all())
            return [Rows(rows[:, begin:end], begin, binary) for begin, end in self.edges]
        found: list[Drive] = []
        for tile, (begin, end) in enumerate(self.edges):
            here, there = self.begins[tile, first:last], self.begins[tile + 1, first:last]
            found.append(Spikes(self.source.events, here, there, begin, end, self.source.like))
        return found

    def _rows(self, first: int, last: int) -> Tensor:
        batch = max(self.source.shape[1], 1)
        begin = first // batch
        rows = self.source.rows(begin, -(-last // batch))
        return rows[first - begin * batch : last - begin * batch]


def _places(begin: Array, end: Array) -> Array:
    """Return begin[0], ..., end[0] - 1, begin[1], ..."""
    counts = end - begin
    starts = np.repeat(begin - np.concatenate([[0], counts.cumsum()[:-1]]), counts)
    return starts + np.arange(counts.sum())
