"""What is counted of learning besides bytes: operations, by kind and by purpose, and the activity that they depend on.

A MAC multiplies and adds real numbers; an AC only adds, because what drives it is a 1: a weight that a spike adds to a
current. What is zero drives nothing. So NeuroBench defines effective MACs and ACs of a network's inference (its
documentation of `synaptic_operations`), which tells binary from other activity layer by layer; here each number tells.
This module imports neither torch nor Avalanche.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    Functions of one number (threshold, slope, sigmoid, softmax, root) are not counted, nor is moving words.
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
