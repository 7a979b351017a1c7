"""Rows of mostly zeros as bits and as events, and their products with weights: only what is not zero is touched.

A product of rows `[R, in]` with weights `[N, in]` costs one addition of N numbers an event, R in p N of them at a
density p instead of R in N; so does the sum of outer products that is the weights' gradient. See `presynaptic.py` for
what chooses between events and the dense product.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from workbench.neurons.native import blocks, share

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Bits:
    """Which entries of rows `[R, in]` are not zero.

    words `[R, in / 64 rounded up]` int64, bit j of word i for input 64 i + j. offsets `[R + 1]` int64: how many there
    are in all rows before. binary: whether what is not zero is one.
    """

    inputs: int
    words: Tensor
    offsets: Tensor
    binary: bool

    @property
    def density(self) -> float:
        """Share of the entries that are not zero."""
        return int(self.offsets[-1]) / max(len(self.words) * self.inputs, 1)

    def view(self, first: int, last: int) -> Bits:
        """Return rows first..last in the same memory, offsets counting from the very first row."""
        return replace(self, words=self.words[first:last], offsets=self.offsets[first : last + 1])

    def rows(self, first: int, last: int) -> Bits:
        """Return rows first..last alone; words are not copied."""
        part = self.view(first, last)
        return replace(part, offsets=part.offsets - part.offsets[0])


@dataclass(frozen=True)
class Events:
    """What is not zero in rows `[R, in]`: row r has `columns[offsets[r]:offsets[r + 1]]`, with `values`, one if empty.

    offsets `[R + 1]` int64; columns `[E]` int32; values `[E]` or `[0]`, of the dtype of the weights.
    """

    inputs: int
    offsets: Array
    columns: Array
    values: Array

    def rows(self, first: int, last: int) -> Events:
        """Return rows first..last alone; nothing is copied."""
        return Events(self.inputs, self.offsets[first : last + 1], self.columns, self.values)


def words_of(inputs: int) -> int:
    """Return how many words of 64 bits hold a row.

    >>> words_of(64), words_of(65)
    (1, 2)
    """
    return -(-inputs // 64)


def room_for_bits(rows: int, inputs: int) -> Bits:
    """Return binary bits of which nothing but the first offset is set."""
    offsets = torch.zeros(rows + 1, dtype=torch.int64)
    return Bits(inputs, torch.empty(rows, words_of(inputs), dtype=torch.int64), offsets, True)


def bits_of(activity: Tensor) -> Bits:
    """Return which entries of `activity` `[..., in]` are not zero; uint8, float32 or float64 on a CPU."""
    from workbench.neurons import event_kernels

    rows = _rows(activity)
    plain = rows.view(np.dtype(f"u{rows.itemsize}"))
    one = int(np.ones(1, rows.dtype).view(plain.dtype)[0])
    words = torch.empty(len(rows), words_of(rows.shape[1]), dtype=torch.int64)
    offsets, odd = torch.zeros(len(rows) + 1, dtype=torch.int64), np.empty(len(rows), np.int64)
    arrays = (words.numpy().view(np.uint64), offsets.numpy(), odd)
    share(event_kernels.pack, len(rows), rows.size, plain, one, *arrays)
    return Bits(rows.shape[1], words, offsets.cumsum_(0), not odd.any())


def events_of(bits: Bits, activity: Tensor | None, like: Tensor) -> Events:
    """Return the events behind `bits`, values in the dtype of `like`.

    activity: what the bits were made of, needed if it is not binary.
    """
    from workbench.neurons import event_kernels

    offsets = bits.offsets.numpy()
    columns = np.empty(offsets[-1], np.int32)
    words = bits.words.numpy().view(np.uint64)
    share(event_kernels.find, len(words), columns.size, words, offsets, columns)
    values = np.empty(0, _numpy_dtype(like))
    if not bits.binary:
        assert activity is not None
        values = _rows(activity)[_row_of_each(offsets), columns].astype(values.dtype)
    return Events(bits.inputs, offsets, columns, values)


def dense(bits: Bits, like: Tensor) -> Tensor:
    """Return binary `bits` as zeros and ones `[R, in]` of the dtype of `like`."""
    events = events_of(bits, None, like)
    rows = np.zeros((len(bits.words), bits.inputs), _numpy_dtype(like))
    rows[_row_of_each(events.offsets), events.columns] = 1
    return torch.from_numpy(rows)


def add_product(events: Events, by_input: Tensor, start: Tensor, out: Tensor) -> None:
    """Write W x + start to `out` `[R, N]` for rows of events; by_input `[in, N]` is W by columns, start `[N]`."""
    from workbench.neurons import event_kernels

    work = max(out.numel(), events.columns.size * out.shape[1])
    arrays = (by_input.numpy(), start.numpy(), out.numpy())
    share(event_kernels.product, len(out), work, events.offsets, events.columns, events.values, *arrays)


def add_gradient(events: Events, gradient: Tensor, out: Tensor) -> None:
    """Add to `out` `[in, N]` the sum over rows of events times gradient `[R, N]`.

    Input by input, rows of the gradient are added up: of a block of rows, which stay in the cache meanwhile.
    """
    from workbench.neurons import event_kernels

    rows, units = gradient.shape
    errors, total = gradient.contiguous().numpy(), out.numpy()
    nothing = np.empty(0, errors.dtype)
    for first, last in blocks(rows, units):
        turned = transposed(events.rows(first, last))
        work = turned.columns.size * units
        arrays = (turned.offsets, turned.columns, turned.values, errors[first:last], nothing, total)
        share(event_kernels.product, events.inputs, work, *arrays)


def transposed(events: Events) -> Events:
    """Return the events by input: row i has the rows in which input i is not zero, in order."""
    from workbench.neurons import event_kernels

    offsets = events.offsets
    count, rows = offsets[-1] - offsets[0], offsets.size - 1
    turned = np.empty(events.inputs + 2, np.int64)
    columns = np.empty(count, np.int32)
    values = np.empty(count if events.values.size else 0, events.values.dtype)
    event_kernels.transpose(offsets, events.columns, events.values, turned, columns, values)
    return Events(rows, turned[:-1], columns, values)


def _row_of_each(offsets: Array) -> Array:
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))


def _numpy_dtype(like: Tensor) -> Any:
    return np.float32 if like.dtype == torch.float32 else np.float64


def _rows(activity: Tensor) -> Array:
    rows: Array = activity.detach().contiguous().flatten(0, -2).numpy()
    return rows
