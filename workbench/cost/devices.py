"""What arrays of devices take over of a training sample, and what is left to do digitally.

Products with stored matrices are reads of arrays: forward and, where a rule carries errors back through weights,
transposed. Digital remain biases, cells, traces, gradients, the optimiser, the sums of the tiles of a wide matrix, and
the memory in which a way of writing collects changes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from workbench.cost.counts import MeanActivity, OperationCount, Operations, Transposed, WordCount, Words
from workbench.cost.energy import WORD_BYTES
from workbench.cost.reads import Read, Shape, forward_reads, one_hot_reads, transposed_reads

if TYPE_CHECKING:
    from workbench.backbones.network import Network
    from workbench.hardware.chip import Chip
    from workbench.plugin import Rule

STATIC_MEMORY = "sram"
"""Kind of cells that are digital memory, read word by word."""
TIKI_TAKA = "tiki-taka"


@dataclass(frozen=True)
class Pace:
    """How often things happen, means of a training sample.

    steps: forward, stored sequences that joined included. updates: of the devices. transfers: columns read of each
    array that is written through a fast one, by name.
    """

    steps: float
    updates: float
    transfers: Mapping[str, float]


@dataclass(frozen=True)
class Arrays:
    """All arrays of a chip. settings: of its hardware. reports: of each array, as in `devices` of results.json.

    updates: of the chip in a run of `samples` training samples. pulses: writes of all devices.
    """

    settings: Any
    reports: Sequence[Mapping[str, Any]]
    samples: int
    updates: int
    pulses: float

    @staticmethod
    def of(chip: Chip, samples: int) -> Arrays:
        """Return the arrays as they are after `samples` training samples."""
        report = chip.report(samples)
        pulses = report["writes"]["total"]
        return Arrays(chip.settings, report["arrays"], max(samples, 1), chip.updates, pulses)

    @property
    def through_fast(self) -> bool:
        """Whether updates go to fast arrays, of which weights are not read."""
        return str(getattr(self.settings, "update", "")).startswith(TIKI_TAKA)

    @cached_property
    def shapes(self) -> dict[str, Shape]:
        """What reads of the weights see, by the names of their parameters."""
        share = 0.5 if self.through_fast else 1.0
        return {
            one["name"]: Shape(
                inputs=one["rows"],
                outputs=one["columns"],
                tile_inputs=self.settings.rows,
                tile_outputs=self.settings.columns,
                devices=share * one["devices_per_weight"],
            )
            for one in self.reports
        }

    def pace(self, steps: float) -> Pace:
        """Return the pace of the run that was."""
        transfers = {one["name"]: one.get("transfers", 0) / self.samples for one in self.reports}
        return Pace(steps, self.updates / self.samples, transfers)

    def planned_pace(self, steps: float, updates: float) -> Pace:
        """Return the pace of a run with so many updates by training sample."""
        every = getattr(self.settings, "transfer_every", 1)
        return Pace(steps, updates, {one["name"]: updates / every for one in self.reports})

    def transposed(self, rule: Rule, steps: float, batch: float) -> Transposed | None:
        """Return how errors of a sequence get through arrays, None if the rule does not say.

        Where they meet the weights exactly, a digital copy of these is what they meet: nothing is read transposed.
        """
        if getattr(self.settings, "backward_reads", "tiles") == "exact":
            return Transposed({})
        return rule.transposed(steps, batch)

    def reads(
        self,
        network: Network,
        activity: MeanActivity,
        input_bits: float | None,
        transposed: Transposed,
        pace: Pace,
    ) -> list[Read]:
        """Return all reads of a training sample, as is `transposed`."""
        found = forward_reads(network, self.shapes, activity, pace.steps, input_bits)
        found += transposed_reads(self.shapes, transposed.times)
        for one in self.reports:
            shape = self.shapes[one["name"]]
            if self.through_fast:
                found += one_hot_reads("transfers", shape, pace.transfers[one["name"]])
        return found

    def buffered(self, pace: Pace) -> Words:
        """Return what collecting changes moves: an accumulator's numbers at an update, or a column's at a transfer.

        It takes as many MACs as numbers are read.
        """
        moved = held = 0.0
        for one in self.reports:
            if one["buffer_bytes"]:
                held += one["buffer_bytes"] / WORD_BYTES
                each, times = one["rows"] * one["columns"], pace.updates
                if self.through_fast:
                    each, times = one["columns"], pace.transfers[one["name"]]
                moved += each * times
        return Words(moved, moved, held)

    @property
    def driver_bits(self) -> int:
        """Resolution of the input drivers, 0 for exact ones."""
        return int(getattr(self.settings, "dac_bits", 0))

    @property
    def assumed(self) -> tuple[str, ...]:
        """What is taken for granted of these settings."""
        if getattr(self.settings, "bound_management", False):
            return ("reads that bound management repeats are not counted",)
        return ()


def left_operations(
    network: Network,
    count: OperationCount,
    transposed: Transposed,
    taken: Iterable[Read],
    steps: float,
) -> OperationCount:
    """Return what of `count` is left to do digitally, besides the arrays' reads `taken`."""
    forward, backward = 0.0, 0.0
    for read in taken:
        if read.purpose == "forward":
            forward += read.sums
        elif read.purpose == "transposed":
            backward += read.sums
    errors = count.errors + transposed.instead * -1.0 + Operations(ac=backward)
    return replace(
        count,
        synapses=Operations(ac=steps * _biases(network) + forward),
        errors=Operations(max(errors.mac, 0.0), max(errors.ac, 0.0)),
    )


def left_words(network: Network, words: WordCount, transposed: Transposed, steps: float) -> WordCount:
    """Return what of `words` is left to move: no weights that are in arrays, neither forward nor back."""
    digital = digital_parameters(network)
    carried = words.transported + transposed.words * -1.0
    return replace(
        words,
        weights=Words(reads=steps * digital, held=digital),
        transported=replace(carried, reads=max(carried.reads, 0.0), writes=max(carried.writes, 0.0)),
    )


def digital_parameters(network: Network) -> int:
    """Return how many trained numbers are in no array: biases and the cells' own."""
    stored = sum(
        synapse.weight.numel()
        for layer in network.layers
        for synapse in (layer.synapse, layer.recurrent)
        if synapse is not None
    )
    return sum(parameter.numel() for parameter in network.parameters()) - stored


def _biases(network: Network) -> int:
    return sum(layer.synapse.bias.numel() for layer in network.layers if layer.synapse.bias is not None)
