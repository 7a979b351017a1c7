"""The contract of a cell: a pure step first; everything else has a default that follows from it.

A cell is a frozen record of its settings. Its numbers live elsewhere: `parameters` is a dictionary of `[N]` tensors,
`state` one tensor `[S, B, N]` with S state variables per unit. A cell that defines `step` alone can be trained by every
learner; `scan` and `run` are overridden where a fused form exists, and tests hold the two equal.

A unit has P currents and Q outputs, one each unless the cell says otherwise (a complex number has two). The last
dimension of currents and outputs is then P N and Q N wide, in blocks: all units' first numbers, all units' second.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workbench.neurons.presynaptic import Presynaptic, currents, product
from workbench.neurons.trajectory import LinearisedTrajectory, Trajectory

Parameters = Mapping[str, Tensor]


@dataclass(frozen=True)
class CellOperations:
    """What a cell's equations take at a step, in multiply-accumulates; functions of one number are not counted.

    Of a unit: step: the state update. reset: additions when it spikes. slope: dE/dI from dE/dy at the same step.
    derivatives: what of ds_t/ds_{t-1} has to be computed anew.
    Of a trace, one a synapse (or input): transition: its product with ds_t/ds_{t-1}. drive: with ds_t/dI_t, 0 if that
    is 1. output: with dy_t/ds_t. gradient: its product with the learning signal.
    feeds_back: whether the output's trace enters the state's at the next step, so that traces of both are formed.
    """

    step: int
    reset: int
    slope: int
    derivatives: int
    transition: int
    drive: int
    output: int
    gradient: int
    feeds_back: bool = False


@dataclass(frozen=True)
class Cell:
    """A layer of units with per-unit dynamics: elementwise over `[B, N]`, S state variables each.

    `holomorphic`: state, currents and outputs are Re and Im of one complex number that follows from the others by
    complex arithmetic alone; traces are then held once per complex number (the Cauchy-Riemann equations give the rest).
    """

    state_size: ClassVar[int] = 1
    current_size: ClassVar[int] = 1
    output_size: ClassVar[int] = 1
    holomorphic: ClassVar[bool] = False
    kept: ClassVar[int] = 1
    """Numbers a unit and step that `scan` keeps for its gradient, and `run` for its trajectory, besides the outputs."""
    fuses_layer: ClassVar[bool] = False
    """Whether `scan_layer` is one with the scan, and reads a recurrent synapse's outputs off what it keeps anyway."""
    keeps_outputs: ClassVar[bool] = False
    """Whether the gradient of `scan` needs the outputs too, even without a recurrent synapse."""

    @property
    def spikes(self) -> bool:
        """Whether outputs are 0 or 1."""
        return False

    @property
    def operations(self) -> CellOperations:
        """What the equations take; by default S state variables that all act on one another, S^2 products."""
        states, currents = self.state_size, self.current_size
        return CellOperations(
            step=states * states,
            reset=0,
            slope=currents * self.output_size,
            derivatives=0,
            transition=states * states * currents,
            drive=states * currents,
            output=states * currents,
            gradient=max(states, 1) * currents,
        )

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return unconstrained parameters `[size]` by name; `trained` tells which of them learn."""
        raise NotImplementedError

    def trained(self) -> frozenset[str]:
        """Return the names of the parameters that learn; the others are constants."""
        return frozenset()

    def constrain(self, raw: Parameters) -> dict[str, Tensor]:
        """Map the stored parameters to the ones `step` takes (a logit to a decay, say); differentiable."""
        return dict(raw)

    def constrain_keeps(self, *, scan: bool) -> int:
        """Return how many numbers a unit `constrain` keeps for its gradient, and what `scan` adds to them if asked."""
        return len(self.trained())

    def initial_state(self, batch: int, size: int, like: Tensor) -> Tensor:
        """Return the state before the first step, `[S, batch, size]`, of the dtype and device of `like`."""
        return like.new_zeros(self.state_size, batch, size)

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step: `(state [S, B, N], current [B, P N]) -> (state [S, B, N], output [B, Q N])`. Pure."""
        raise NotImplementedError

    def output(self, parameters: Parameters, state: Tensor) -> Tensor:
        """Return the output `[B, Q N]` that belongs to a state: what a recurrent synapse reads after a hand-over."""
        return state.new_zeros(state.shape[1], self.output_size * state.shape[2])

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Fold `step` over `[T, B, P N]` currents; differentiable.

        `recurrent` `[N, N]` (to, from) adds `recurrent @ output_{t-1}` to each current.
        Returns the last state `[S, B, N]` and the outputs `[T, B, Q N]`.
        """
        return fold(self, parameters, state, currents, recurrent)

    def scan_layer(
        self,
        parameters: Parameters,
        state: Tensor,
        activity: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `scan`, of what a synapse with weight `[P N, in]` and bias `[P N]` reads, activity `[T, B, in]`."""
        return self.scan(parameters, state, product(activity, weight, bias), recurrent)

    def run_layer(
        self,
        parameters: Parameters,
        state: Tensor,
        source: Presynaptic,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor | None = None,
    ) -> Trajectory:
        """As `run`, of what a synapse with weight `[P N, in]` and bias `[P N]` reads."""
        return self.run(parameters, state, currents(source, weight, bias), recurrent)

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> Trajectory:
        """As `scan`, without a graph, keeping what local learning needs: the within-unit derivatives."""
        return LinearisedTrajectory.record(self, parameters, state, currents, recurrent)

    def constant_decay(self, parameters: Parameters, *, recurrent: bool) -> Tensor | None:
        """Return `[N]` decays if ds_t/ds_{t-1} is always that constant and ds_t/dI_t is 1, else None.

        Eligibility traces are then presynaptic: one per input and distinct decay, not one per synapse.
        """
        return None

    def leak(self, parameters: Parameters) -> Tensor | None:
        """Return `[N]`, the linear decay of the state with resets, recurrence and nonlinearity left out.

        A single 0 for a cell without memory. None if the state does not decay by one real number a unit.
        """
        return None


def fold(
    cell: Cell, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Run `cell.step` over time, the plain loop that every fused scan must equal.

    `unbind` rather than `currents[t]`: indexing a tensor that needs a gradient costs O(T^2).
    """
    outputs = []
    output = cell.output(parameters, state) if recurrent is not None else None
    for current in currents.unbind(0):
        total = current if recurrent is None or output is None else current + output @ recurrent.T
        state, output = cell.step(parameters, state, total)
        outputs.append(output)
    return state, torch.stack(outputs)
