"""Leaky integrator: the non-spiking readout cell.

o_t = d o_{t-1} + I_t           d in [0, 1) the decay per step; the output is the state itself

With d = 0 the readout has no memory: o_t = I_t.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from workbench.neurons import lif_scan
from workbench.neurons.cell import Cell, CellOperations, Parameters
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Transport


@dataclass(frozen=True)
class LeakyIntegrator(Cell):
    """Leaky integrators with one decay for all units, fixed or learned per unit."""

    decay: float = 0.95
    learn_decay: bool = False

    state_size: ClassVar[int] = 1
    kept: ClassVar[int] = 0

    def __post_init__(self) -> None:
        if self.learn_decay and self.decay <= 0:
            raise ValueError("a learned decay must start above 0: its logit is what is learned")

    @property
    def operations(self) -> CellOperations:
        """One product with the decay, none without memory; the output is the state."""
        moved = 1 if self.decay > 0 else 0
        return CellOperations(
            step=moved,
            reset=0,
            slope=0,
            derivatives=0,
            transition=moved,
            drive=0,
            output=0,
            gradient=1,
        )

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
        return LeakyTrajectory(
            decay, start, outputs, None if recurrent is None else recurrent.detach().diagonal()
        )

    def constant_decay(self, parameters: Parameters, *, recurrent: bool) -> Tensor | None:
        """Return the decays if they are not learned: without recurrence the transition never depends on the data."""
        return None if recurrent or self.learn_decay else parameters["decay"]

    def leak(self, parameters: Parameters) -> Tensor:
        """Return the decays `[N]`."""
        return parameters["decay"]


@dataclass(frozen=True)
class LeakyTrajectory:
    """A stretch of steps of leaky integrators.

    decay `[N]`; start `[B, N]` before the stretch; outputs `[T, B, N]`; own `[N]` weight of a unit on itself, or None.
    """

    decay: Tensor
    start: Tensor
    outputs: Tensor
    own: Tensor | None

    @property
    def state(self) -> Tensor:
        """State after the last step, `[1, B, N]`."""
        return self.outputs[-1:]

    def _transition(self) -> Tensor:
        """Return do_t/do_{t-1} `[N]`: the decay, and the own weight since the output is the state."""
        return self.decay if self.own is None else self.decay + self.own

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`."""
        gradient, start, decay = lif_scan.leaky_adjoint(self._transition(), self.start, self.outputs, signal)
        return Adjoint(gradient, start[None], {"decay": decay})

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`: the signal itself."""
        return signal

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of every step."""
        before = torch.cat([self.start[None], self.outputs[:-1]])
        ones = torch.ones_like(before)
        transition = self.decay.expand_as(before)
        return LinearisedTrajectory(
            outputs=self.outputs,
            state=self.state,
            transition=transition[:, None, None],
            drive=ones[:, None],
            reach=transition[:, None],
            direct=ones,
            parameter_drive={"decay": before[:, None]},
            parameter_direct={"decay": before},
            own=self.own,
        )

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        steps = self.outputs.shape[0]
        powers = self._transition() ** torch.arange(steps, -1, -1, device=self.decay.device)[:, None]
        before = torch.cat([self.start[None], self.outputs[:-1]])
        drive = powers[1:, None].expand_as(before)
        product = powers[0].expand_as(self.start)
        return Transport(product[None, None], drive[:, None], {"decay": (drive * before).sum(0)[None]})
