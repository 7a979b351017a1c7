"""Units without memory: y_t = g(I_t), with g tanh, relu, gelu or the identity.

They stand between linear recurrent layers, whose own outputs are linear, and have no state: S = 0, no traces.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from workbench.neurons.cell import Cell, CellOperations, Parameters
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Transport

Nonlinearity = Literal["tanh", "relu", "gelu", "identity"]


@dataclass(frozen=True)
class Memoryless(Cell):
    """Static units with one nonlinearity."""

    nonlinearity: Nonlinearity = "gelu"

    state_size: ClassVar[int] = 0

    @property
    def from_outputs(self) -> bool:
        """Whether the slope follows from the output; of gelu alone the current must be kept."""
        return self.nonlinearity != "gelu"

    @property
    def kept(self) -> int:  # type: ignore[override]
        """One current a unit and step for gelu."""
        return 0 if self.from_outputs else 1

    @property
    def keeps_outputs(self) -> bool:  # type: ignore[override]
        """Whether the gradient needs the outputs."""
        return self.nonlinearity in ("tanh", "relu")

    @property
    def operations(self) -> CellOperations:
        """No state; the slope is one product."""
        return CellOperations(
            step=0,
            reset=0,
            slope=1,
            derivatives=0,
            transition=0,
            drive=0,
            output=1,
            gradient=1,
        )

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return nothing: there are no parameters but the synapse's."""
        return {}

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Return the empty state and g(I)."""
        return state, self.apply(current)

    def apply(self, current: Tensor) -> Tensor:
        """Return g(I), same shape."""
        if self.nonlinearity == "tanh":
            return torch.tanh(current)
        if self.nonlinearity == "relu":
            return torch.relu(current)
        return functional.gelu(current) if self.nonlinearity == "gelu" else current

    def slope(self, kept: Tensor) -> Tensor:
        """Return g'(I), same shape, from the current (gelu) or the output (the others)."""
        if self.nonlinearity == "tanh":
            return 1.0 - kept**2
        if self.nonlinearity == "relu":
            return (kept > 0).to(kept.dtype)
        if self.nonlinearity == "identity":
            return torch.ones_like(kept)
        density = torch.exp(-0.5 * kept**2) / math.sqrt(2.0 * math.pi)
        return 0.5 * (1.0 + torch.erf(kept / math.sqrt(2.0))) + kept * density

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan`: all steps at once; there is no recurrent synapse."""
        assert recurrent is None
        return state, self.apply(currents)

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> MemorylessTrajectory:
        """As `Cell.run`, with the analytic derivatives."""
        assert recurrent is None
        currents = currents.detach()
        outputs = self.apply(currents)
        return MemorylessTrajectory(self, state.detach(), outputs if self.from_outputs else currents, outputs)

    def leak(self, parameters: Parameters) -> Tensor:
        """Return zero: nothing is kept."""
        return torch.zeros(())


@dataclass(frozen=True)
class MemorylessTrajectory:
    """A stretch of steps of memoryless units: outputs and what tells the slope, `[T, B, N]`; state `[0, B, N]`."""

    cell: Memoryless
    state: Tensor
    basis: Tensor
    outputs: Tensor

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`; nothing is owed to the past."""
        return Adjoint(self.instantaneous(signal), self.state, {})

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * g'(I_t)`, `[T, B, N]`."""
        return signal * self.cell.slope(self.basis if steps is None else self.basis[steps])

    def transport(self) -> Transport:
        """Return the transport of nothing: no state, hence no trace."""
        steps, batch, units = self.outputs.shape
        new = self.outputs.new_empty
        return Transport(new(0, 0, batch, units), new(steps, 0, batch, units), {})

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of every step."""
        steps, batch, units = self.outputs.shape
        new = self.outputs.new_empty
        return LinearisedTrajectory(
            outputs=self.outputs,
            state=self.state,
            transition=new(steps, 0, 0, batch, units),
            drive=new(steps, 0, batch, units),
            reach=new(steps, 0, batch, units),
            direct=self.cell.slope(self.basis),
            parameter_drive={},
            parameter_direct={},
            own=None,
        )
