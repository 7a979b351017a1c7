"""Energy of a training sample: what was counted times a table of energies.

    arithmetic     MACs and ACs that are done digitally
    words          words moved between digital memories and arithmetic, if the table prices them
    cells          devices that are read and written
    periphery      drivers, converters, and what moves numbers to and from the tiles

    digital = arithmetic + words,   total = digital + cells + periphery = forward + learning

On hardware without devices everything is digital. What was counted and has no price makes all that it is part of
unknown rather than small.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from workbench.cost.counts import FORWARD_WORDS, OperationCount, Operations, WordCount
from workbench.cost.prices import OTHER, EnergyTable, Price
from workbench.cost.reads import FORWARD_READS, Events, Read

PICO = 1e-12
WORD_BYTES = 4
"""Bytes of a word; numbers are float32."""


@dataclass(frozen=True)
class DeviceWork:
    """What devices do for a training sample. reads: None if not known. pulses: writes of devices, None if not known.

    cells: their kind. input_bits: digits of real inputs, 0: as the table has it. assumed: what had to be.
    """

    reads: Sequence[Read] | None
    pulses: float | None
    cells: str | None = None
    input_bits: int = 0
    assumed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Work:
    """What a training sample takes. operations, words: digital ones; words None if not known.

    writes: weights written. devices: None where weights are in digital memory.
    """

    operations: OperationCount
    words: WordCount | None = None
    writes: float = 0.0
    devices: DeviceWork | None = None


@dataclass(frozen=True)
class Joules:
    """Energy forward and of learning; None: not known."""

    forward: float | None = 0.0
    learning: float | None = 0.0

    @property
    def total(self) -> float | None:
        """Both together."""
        return _sum(self.forward, self.learning)

    def __add__(self, other: Joules) -> Joules:
        return Joules(_sum(self.forward, other.forward), _sum(self.learning, other.learning))


def energy(name: str, table: EnergyTable, work: Work) -> dict[str, Any]:
    """Return joules of a training sample by phase and by what takes them, null if not known.

    left_out: what was counted and is not priced. Operations on the units' own states may be among it and their phase
    known nevertheless: tables of synaptic events leave these out. writes: joules of writing weights, null if not
    priced; part of learning. words, cells, periphery: null where the table or the hardware has none.
    """
    arithmetic, words, writes = _arithmetic(table, work), _words(table, work), _writes(table, work)
    if work.devices is None:
        cells = periphery = Joules()
        digital = arithmetic + words + Joules(0.0, writes or 0.0)
    else:
        cells, periphery = _reads(table, work.devices)
        cells += Joules(0.0, writes)
        digital = arithmetic + words
    whole = digital + cells + periphery
    kind = None if work.devices is None else work.devices.cells
    return {
        "table": name,
        "scope": table.scope,
        "assumed": [*table.assumes, *_stand_in(table, work), *(work.devices.assumed if work.devices else ())],
        "picojoules": table.prices(kind, devices=work.devices is not None),
        "left_out": list(left_out(table, work)),
        "forward": whole.forward,
        "learning": whole.learning,
        "writes": writes,
        "total": whole.total,
        "arithmetic": arithmetic.total,
        "words": None if table.word is None else words.total,
        "digital": digital.total,
        "cells": None if work.devices is None else cells.total,
        "periphery": None if work.devices is None else periphery.total,
    }


def left_out(table: EnergyTable, work: Work) -> Iterator[str]:
    """Yield what was counted, or is not known, and has no price: `purpose.kind` of operations, reads, pulses."""
    yield from _operations_left_out(table, work)
    if table.word is not None and work.words is None:
        yield "words"
    if work.devices is None:
        return
    if work.devices.reads is None:
        yield "reads"
    else:
        yield from (f"reads.{kind}" for kind in _unpriced(table, work.devices.reads))
    if work.devices.pulses is None:
        yield "pulses"
    elif work.devices.pulses and table.pulse_of(work.devices.cells) is None:
        yield f"pulses.{work.devices.cells or OTHER}"


def _operations_left_out(table: EnergyTable, work: Work) -> list[str]:
    prices = table.operations()
    return [
        f"{purpose}.{kind}"
        for purpose, part in work.operations.by_purpose().items()
        for kind, amount in part.by_kind().items()
        if amount and kind not in prices
    ]


def _arithmetic(table: EnergyTable, work: Work) -> Joules:
    prices, count = table.operations(), work.operations
    missing = {entry.partition(".")[0] for entry in _operations_left_out(table, work)} - {"cells"}

    def joules(operations: Operations) -> float:
        return PICO * sum(prices.get(kind, 0.0) * amount for kind, amount in operations.by_kind().items())

    return Joules(
        None if "synapses" in missing else joules(count.forward),
        None if missing - {"synapses"} else joules(count.learning),
    )


def _words(table: EnergyTable, work: Work) -> Joules:
    if table.word is None:
        return Joules()
    if work.words is None:
        return Joules(None, None)
    found = {True: 0.0, False: 0.0}
    for purpose, part in work.words.by_purpose().items():
        each = table.word.energy_pj(WORD_BYTES * part.held)
        found[purpose in FORWARD_WORDS] += PICO * each * part.moved
    return Joules(found[True], found[False])


def _writes(table: EnergyTable, work: Work) -> float | None:
    """Return joules of writing weights, None if not known or not priced."""
    if work.devices is None:
        return None if table.write is None else PICO * table.write.energy_pj * work.writes
    price, pulses = table.pulse_of(work.devices.cells), work.devices.pulses
    if pulses is None or (price is None and pulses):
        return None
    return 0.0 if price is None else PICO * price.energy_pj * pulses


def _unpriced(table: EnergyTable, reads: Sequence[Read]) -> list[str]:
    taken = sum((read.events for read in reads), Events())
    amounts = {"cell": taken.cells, "drive": taken.driven, "conversion": taken.converted, "tile": taken.tiles}
    return [kind for kind, amount in amounts.items() if amount and getattr(table, kind) is None]


def _reads(table: EnergyTable, devices: DeviceWork) -> tuple[Joules, Joules]:
    """Return what reads of devices take: the cells, and their periphery."""
    if devices.reads is None:
        return Joules(None, None), Joules(None, None)
    cells, periphery, missing = Joules(), Joules(), _unpriced(table, devices.reads)
    for read in devices.reads:
        events = read.events
        # Each digit of an input is a read of its own, unless drivers have levels.
        digits = read.bits or devices.input_bits or table.input_bits or 1
        times = PICO * (digits if table.input_bits is not None else 1.0)
        around = _picojoules(table.drive, events.driven) + _picojoules(table.conversion, events.converted)
        if table.tile is not None:
            around += table.tile.energy_pj * read.blocks(table.tile.rows, table.tile.columns)
        forward = read.purpose in FORWARD_READS
        cells += _phase(_picojoules(table.cell, events.cells) * times, forward=forward)
        periphery += _phase(around * times, forward=forward)
    unknown = Joules(None, None)
    return unknown if "cell" in missing else cells, unknown if {*missing} - {"cell"} else periphery


def _picojoules(price: Price | None, amount: float) -> float:
    return 0.0 if price is None else price.energy_pj * amount


def _phase(joules: float, *, forward: bool) -> Joules:
    return Joules(joules, 0.0) if forward else Joules(0.0, joules)


def _stand_in(table: EnergyTable, work: Work) -> Iterator[str]:
    """Say so if pulses are priced as those of other cells."""
    devices = work.devices
    if devices is None or not devices.pulses or devices.cells in table.pulse or OTHER not in table.pulse:
        return
    whose = f"on {devices.cells} cells" if devices.cells else "on these cells"
    yield f"a write {whose} is priced as {OTHER}: {table.pulse[OTHER].source}"


def _sum(*parts: float | None) -> float | None:
    """Return the sum, None if a part is not known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None
