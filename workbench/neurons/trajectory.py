"""What a layer remembers of a stretch of steps for local learning: its within-unit derivatives, and no graph.

For unit n and sample b the state z `[S]` follows z_t = f(z_{t-1}, I_t) and the output y_t = g(z_{t-1}, I_t). Locally

    dz_t = M_t dz_{t-1} + b_t dI_t          dy_t = c_t dz_{t-1} + k_t dI_t

With a weight h of the unit on itself (the diagonal of the recurrent matrix) I_t also moves by h dy_{t-1}; cross-unit
terms are left out (the documented diagonal form). A learning signal L_t = dE/dy_t then gives, scanning backwards,

    g_t = b_t . l_t + k_t L'_t,   L'_t = L_t + h g_{t+1},   l_{t-1} = M_t^T l_t + c_t L'_t

with g_t = dE/dI_t and l_t the adjoint of z_t. Inside a stretch this equals the sum of signals times eligibility traces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

if TYPE_CHECKING:
    from workbench.neurons.cell import Cell, Parameters


@dataclass(frozen=True)
class Adjoint:
    """Gradients of a stretch of steps under one learning signal.

    currents: `[T, B, N]` dE/dI_t. state: `[S, B, N]` dE/dz_0, what the stretch owes to the past.
    parameters: `[B, N]` by name, each sample's gradients of the cell's own parameters within the stretch.
    """

    currents: Tensor
    state: Tensor
    parameters: dict[str, Tensor]


@dataclass(frozen=True)
class Transport:
    """How traces are carried over a stretch: eps_end = product eps_start + sum_t drive_t x_t.

    product: `[S, S, B, N]` product of all transitions. drive: `[T, S, B, N]` product of later transitions times b_t.
    parameters: `[S, B, N]` by name, sum of the same products times the direct derivative of the state by the parameter.
    """

    product: Tensor
    drive: Tensor
    parameters: dict[str, Tensor]


class Trajectory(Protocol):
    """A stretch of steps of one layer, as a cell's `run` returns it."""

    @property
    def outputs(self) -> Tensor:
        """Outputs, `[T, B, N]`."""
        ...

    @property
    def state(self) -> Tensor:
        """State after the last step, `[S, B, N]`."""
        ...

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`."""
        ...

    def instantaneous(self, signal: Tensor) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`: dE/dI_t through the same step, no other step is followed."""
        ...

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives M, b, c, k of every step."""
        ...

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        ...


@dataclass(frozen=True)
class LinearisedTrajectory:
    """A trajectory of any cell, its derivatives taken from `step` by autograd, one step at a time: the reference.

    transition `[T, S, S, B, N]`, drive `[T, S, B, N]`, reach `[T, S, B, N]`, direct `[T, B, N]` are M, b, c, k above;
    parameter_drive and parameter_direct hold the same for the cell's own parameters; own `[N]` is h, or None.
    """

    outputs: Tensor
    state: Tensor
    transition: Tensor
    drive: Tensor
    reach: Tensor
    direct: Tensor
    parameter_drive: dict[str, Tensor]
    parameter_direct: dict[str, Tensor]
    own: Tensor | None

    @staticmethod
    @torch.no_grad()
    def record(
        cell: Cell, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None
    ) -> LinearisedTrajectory:
        """Run `cell` over `currents` `[T, B, N]` from `state`, recording its derivatives at every step."""
        names = sorted(parameters)
        outputs, transition, drive, reach, direct = [], [], [], [], []
        by_state: dict[str, list[Tensor]] = {name: [] for name in names}
        by_output: dict[str, list[Tensor]] = {name: [] for name in names}
        previous = cell.output(parameters, state)
        for current in currents.unbind(0):
            total = current if recurrent is None else current + previous @ recurrent.T
            with torch.enable_grad():
                inputs = [
                    state.clone(),
                    total.clone(),
                    *(parameters[n].expand_as(total).clone() for n in names),
                ]
                for value in inputs:
                    value.requires_grad_()
                after, output = cell.step(dict(zip(names, inputs[2:], strict=True)), inputs[0], inputs[1])
                rows = [_derivatives(component, inputs) for component in after.unbind(0)]
                last = _derivatives(output, inputs)
            transition.append(torch.stack([row[0] for row in rows]))
            drive.append(torch.stack([row[1] for row in rows]))
            reach.append(last[0])
            direct.append(last[1])
            for position, name in enumerate(names, start=2):
                by_state[name].append(torch.stack([row[position] for row in rows]))
                by_output[name].append(last[position])
            state, previous = after.detach(), output.detach()
            outputs.append(previous)
        return LinearisedTrajectory(
            torch.stack(outputs),
            state,
            torch.stack(transition),
            torch.stack(drive),
            torch.stack(reach),
            torch.stack(direct),
            {name: torch.stack(values) for name, values in by_state.items()},
            {name: torch.stack(values) for name, values in by_output.items()},
            None if recurrent is None else recurrent.diagonal(),
        )

    def _augmented(self) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Return transition, drive and parameter drive with the previous output as one more state if it feeds back."""
        if self.own is None:
            return self.transition, self.drive, self.parameter_drive
        steps, size, _, batch, units = self.transition.shape
        transition = self.transition.new_zeros(steps, size + 1, size + 1, batch, units)
        transition[:, :size, :size] = self.transition
        transition[:, :size, size] = self.drive * self.own
        transition[:, size, :size] = self.reach
        transition[:, size, size] = self.direct * self.own
        drive = torch.cat([self.drive, self.direct[:, None]], dim=1)
        parameter_drive = {
            name: torch.cat([value, self.parameter_direct[name][:, None]], dim=1)
            for name, value in self.parameter_drive.items()
        }
        return transition, drive, parameter_drive

    @torch.no_grad()
    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`; `state` is augmented as in `transport`."""
        transition, drive, parameter_drive = self._augmented()
        size = self.transition.shape[1]
        later = torch.zeros_like(drive[0])
        gradient = torch.empty_like(self.direct)
        sums = {name: torch.zeros_like(self.direct[0]) for name in parameter_drive}
        for t in reversed(range(signal.shape[0])):
            if self.own is None:
                total = signal[t]
                gradient[t] = (drive[t] * later).sum(0) + self.direct[t] * total
                for name, value in parameter_drive.items():
                    sums[name] += (value[t] * later).sum(0) + self.parameter_direct[name][t] * total
                later = (transition[t] * later[:, None]).sum(0) + self.reach[t] * total
            else:
                later[size] += signal[t]
                gradient[t] = (drive[t] * later).sum(0)
                for name, value in parameter_drive.items():
                    sums[name] += (value[t] * later).sum(0)
                later = (transition[t] * later[:, None]).sum(0)
        return Adjoint(gradient, later, sums)

    def instantaneous(self, signal: Tensor) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`."""
        return signal * self.direct

    def linearised(self) -> LinearisedTrajectory:
        """Return itself."""
        return self

    @torch.no_grad()
    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        transition, drive, parameter_drive = self._augmented()
        return carry(transition, drive, parameter_drive)


def carry(transition: Tensor, drive: Tensor, parameter_drive: dict[str, Tensor]) -> Transport:
    """Multiply up transitions from the end: `[T, S, S, B, N]`, `[T, S, B, N]` -> Transport."""
    size = transition.shape[1]
    product = torch.zeros_like(transition[0])
    for s in range(size):
        product[s, s] = 1.0
    carried = torch.empty_like(drive)
    sums = {name: torch.zeros_like(drive[0]) for name in parameter_drive}
    for t in reversed(range(transition.shape[0])):
        carried[t] = (product * drive[t]).sum(1)
        for name, value in parameter_drive.items():
            sums[name] += (product * value[t]).sum(1)
        product = torch.einsum("ijbn,jkbn->ikbn", product, transition[t])
    return Transport(product, carried, sums)


def _derivatives(component: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return d component / d input for each input; units do not mix, so one reverse pass of ones gives all of them."""
    if not component.requires_grad:
        return tuple(torch.zeros_like(value) for value in inputs)
    return torch.autograd.grad(component.sum(), inputs, retain_graph=True, materialize_grads=True)
