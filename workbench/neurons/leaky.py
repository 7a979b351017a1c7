"""Leaky integrator: the non-spiking readout cell.

o_t = d o_{t-1} + I_t           d in (0, 1) the decay per step; the output is the state itself
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workbench.neurons import lif_scan
from workbench.neurons.cell import Cell, Parameters
from workbench.neurons.trajectory import Adjoint, Transport


@dataclass(frozen=True)
class LeakyIntegrator(Cell):
    """Leaky integrators with one decay for all units, fixed or learned per unit."""

    decay: float = 0.95
    learn_decay: bool = False

    state_size: ClassVar[int] = 1

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `decay_logit` `[size]` if decays are learned, else `decay` `[size]`."""
        decay = torch.full((size,), self.decay)
        return {"decay_logit": torch.logit(decay)} if self.learn_decay else {"decay": decay}

    def trained(self) -> frozenset[str]:
        """Return `decay_logit` if decays are learned."""
        return frozenset({"decay_logit"}) if self.learn_decay else frozenset()

    def constrain(self, raw: Parameters) -> dict[str, Tensor]:
        """Return `decay` `[N]` in (0, 1)."""
        return {"decay": raw["decay"] if "decay" in raw else torch.sigmoid(raw["decay_logit"])}

    def output(self, parameters: Parameters, state: Tensor) -> Tensor:
        """Return the state itself, `[B, N]`."""
        return state[0]

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step: o = d o + I."""
        value = parameters["decay"] * state[0] + current
        return value[None], value

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan`, forward and adjoint fused when there is no recurrence."""
        if recurrent is not None:
            return super().scan(parameters, state, currents, recurrent)
        outputs = lif_scan.leaky_scan(parameters["decay"], state[0], currents)
        return outputs[-1:], outputs

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> LeakyTrajectory:
        """As `Cell.run`, with the analytic derivatives."""
        decay, start = parameters["decay"].detach(), state[0].detach()
        with torch.no_grad():
            _, outputs = self.scan({"decay": decay}, start[None], currents.detach(), recurrent)
        transition = decay if recurrent is None else decay + recurrent.detach().diagonal()
        return LeakyTrajectory(transition, start, outputs)

    def constant_decay(self, parameters: Parameters, *, recurrent: bool) -> Tensor | None:
        """Return the decays if they are not learned: without recurrence the transition never depends on the data."""
        return None if recurrent or self.learn_decay else parameters["decay"]


@dataclass(frozen=True)
class LeakyTrajectory:
    """A stretch of steps of leaky integrators; the transition is the constant `decay` (`[N]`, own weight included)."""

    decay: Tensor
    start: Tensor
    outputs: Tensor

    @property
    def state(self) -> Tensor:
        """State after the last step, `[1, B, N]`."""
        return self.outputs[-1:]

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`."""
        gradient, start, decay = lif_scan.leaky_adjoint(self.decay, self.start, self.outputs, signal)
        return Adjoint(gradient, start[None], {"decay": decay.sum(0)})

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        steps = self.outputs.shape[0]
        powers = self.decay ** torch.arange(steps, -1, -1, device=self.decay.device)[:, None]
        before = torch.cat([self.start[None], self.outputs[:-1]])
        drive = powers[1:, None].expand_as(before)
        product = powers[0].expand_as(self.start)
        return Transport(product[None, None], drive[:, None], {"decay": (drive * before).sum(0)[None]})
