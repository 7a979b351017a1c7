"""What is counted of learning besides bytes: operations, by kind and by purpose, and the activity that they depend on.

A MAC multiplies and adds real numbers; an AC only adds, because what drives it is a 1: a weight that a spike adds to a
current. What is zero drives nothing. So NeuroBench defines effective MACs and ACs of a network's inference (its
documentation of `synaptic_operations`), which tells binary from other activity layer by layer; here each number tells.
This module imports neither torch nor Avalanche.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Operations:
    """A number of MACs and of ACs; a mean need not be whole."""

    mac: float = 0.0
    ac: float = 0.0

    def __add__(self, other: Operations) -> Operations:
        return Operations(self.mac + other.mac, self.ac + other.ac)

    def __mul__(self, times: float) -> Operations:
        return Operations(self.mac * times, self.ac * times)

    @property
    def total(self) -> float:
        """MACs and ACs together."""
        return self.mac + self.ac

    def by_kind(self) -> dict[str, float]:
        """Return `mac` and `ac` as a dictionary."""
        return {"mac": self.mac, "ac": self.ac}


def summed(parts: Iterable[Operations]) -> Operations:
    """Return the sum, nothing for no parts.

    >>> summed([Operations(1, 2), Operations(3)])
    Operations(mac=4.0, ac=2.0)
    """
    return sum(parts, Operations())


@dataclass(frozen=True)
class Signals:
    """How many numbers a group of units or inputs sends at a step of one sample, on average.

    ones: numbers that are 1 (spikes). others: numbers that are neither 0 nor 1.
    """

    ones: float = 0.0
    others: float = 0.0

    def __add__(self, other: Signals) -> Signals:
        return Signals(self.ones + other.ones, self.others + other.others)

    def __mul__(self, share: float) -> Signals:
        return Signals(self.ones * share, self.others * share)

    def into(self, fan_out: float) -> Operations:
        """Return what it takes to add each to `fan_out` sums: an AC for a 1, a MAC for any other number."""
        return Operations(mac=fan_out * self.others, ac=fan_out * self.ones)


@dataclass(frozen=True)
class MeanActivity:
    """What was active on average: inputs and hidden layers at a step, targets in a whole sequence.

    hidden: outputs of each hidden layer. earlier: the same one step earlier, as recurrent synapses read them (the
    outputs of the last step nobody reads). targets: nonzero numbers among the targets y*, 1 for a class, the sum over
    all steps for targets of every step.
    """

    inputs: Signals
    hidden: tuple[Signals, ...]
    earlier: tuple[Signals, ...]
    targets: Signals = Signals(ones=1.0)

    @staticmethod
    def steady(
        inputs: Signals, hidden: Sequence[Signals], steps: float, targets: Signals = Signals(ones=1.0)
    ) -> MeanActivity:
        """Return the activity of sequences whose hidden layers are as active at the last of `steps` as at any step."""
        earlier = tuple(sent * ((steps - 1.0) / steps) for sent in hidden)
        return MeanActivity(inputs, tuple(hidden), earlier, targets)


@dataclass(frozen=True)
class OperationCount:
    """Operations of one sequence by purpose.

    Forward: synapses: currents from inputs, spikes and biases. cells: the states of all units. Learning: errors:
    carrying errors or targets to the units, through weights, slopes and time. traces: eligibility traces. gradients:
    their products, summed. optimiser: turning gradients into new weights.
    Functions of one number (threshold, slope, sigmoid, softmax, root) are not counted; words that are moved are, in
    `WordCount`.
    """

    synapses: Operations = Operations()
    cells: Operations = Operations()
    errors: Operations = Operations()
    traces: Operations = Operations()
    gradients: Operations = Operations()
    optimiser: Operations = Operations()

    @property
    def forward(self) -> Operations:
        """Return what inference takes."""
        return self.synapses + self.cells

    @property
    def learning(self) -> Operations:
        """Return what learning takes besides."""
        return summed([self.errors, self.traces, self.gradients, self.optimiser])

    def by_purpose(self) -> dict[str, Operations]:
        """Return the six purposes by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __add__(self, other: OperationCount) -> OperationCount:
        mine, theirs = self.by_purpose(), other.by_purpose()
        return OperationCount(**{name: mine[name] + theirs[name] for name in mine})

    def __mul__(self, times: float) -> OperationCount:
        return OperationCount(**{name: part * times for name, part in self.by_purpose().items()})


@dataclass(frozen=True)
class Words:
    """Numbers read from a memory and written to it, and how many it holds."""

    reads: float = 0.0
    writes: float = 0.0
    held: float = 0.0

    @property
    def moved(self) -> float:
        """Reads and writes together."""
        return self.reads + self.writes

    def __add__(self, other: Words) -> Words:
        """Sum of what is moved into and out of one and the same memory."""
        return Words(self.reads + other.reads, self.writes + other.writes, max(self.held, other.held))

    def __mul__(self, times: float) -> Words:
        return Words(self.reads * times, self.writes * times, self.held)


FORWARD_WORDS = ("weights", "activity", "state")
"""Purposes of `WordCount` that inference has too."""


@dataclass(frozen=True)
class WordCount:
    """Words that one sequence moves between memories and arithmetic, by purpose.

    Of a straightforward digital machine without caches: what a unit works out within a step stays in its registers, and
    so do sums until they are complete; whatever comes from another step or another unit, and every weight, is read from
    memory, each time it is used. What a layer sends (spikes, errors) is read once by each layer that uses it, and by a
    layer that learns once more: it then reaches all units at once. A number that is zero is neither written nor read
    between units; a state, a trace or a gradient is.

    Forward: weights: those behind an active number. activity: numbers sent from unit to unit. state: of all units,
    once a step. Learning: transported: weights that learning reads: those that carry errors back, in space and time,
    and feedback weights. errors: numbers sent back from unit to unit. history: activity that learning reads again, and
    what is stored of every step until the sequence is over. traces, gradients: read, changed, written. optimiser:
    moments and gradients, which are cleared. updates: weights read, changed, written. buffers: what the devices' way of
    writing collects changes in.
    """

    weights: Words = Words()
    activity: Words = Words()
    state: Words = Words()
    transported: Words = Words()
    errors: Words = Words()
    history: Words = Words()
    traces: Words = Words()
    gradients: Words = Words()
    optimiser: Words = Words()
    updates: Words = Words()
    buffers: Words = Words()

    @property
    def forward(self) -> float:
        """Return what inference moves."""
        return sum(part.moved for name, part in self.by_purpose().items() if name in FORWARD_WORDS)

    @property
    def learning(self) -> float:
        """Return what learning moves besides."""
        return sum(part.moved for name, part in self.by_purpose().items() if name not in FORWARD_WORDS)

    def by_purpose(self) -> dict[str, Words]:
        """Return the purposes by name."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    def __add__(self, other: WordCount) -> WordCount:
        mine, theirs = self.by_purpose(), other.by_purpose()
        return WordCount(**{name: mine[name] + theirs[name] for name in mine})

    def __mul__(self, times: float) -> WordCount:
        return WordCount(**{name: part * times for name, part in self.by_purpose().items()})


@dataclass(frozen=True)
class Transposed:
    """How errors get through weights that are stored in arrays: the arrays read them transposed.

    times: how often a sequence reads each matrix so, by the name of its parameter. instead: the operations of `errors`
    that a sequence then does not do digitally. words: what it then does not move of `transported`.
    """

    times: Mapping[str, float]
    instead: Operations = Operations()
    words: Words = Words()

    def __mul__(self, share: float) -> Transposed:
        times = {name: count * share for name, count in self.times.items()}
        return Transposed(times, self.instead * share, self.words * share)
