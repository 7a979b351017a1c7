"""What a layer remembers of a stretch of steps for local learning: its within-unit derivatives, and no graph.

For unit n and sample b the state z `[S]` follows z_t = f(z_{t-1}, I_t) and the output y_t = g(z_{t-1}, I_t). Locally

    dz_t = M_t dz_{t-1} + b_t dI_t          dy_t = c_t dz_{t-1} + k_t dI_t

With a weight h of the unit on itself (the diagonal of the recurrent matrix) I_t also moves by h dy_{t-1}; cross-unit
terms are left out (the documented diagonal form). A learning signal L_t = dE/dy_t then gives, scanning backwards,

    g_t = b_t . l_t + k_t L'_t,   L'_t = L_t + h g_{t+1},   l_{t-1} = M_t^T l_t + c_t L'_t

with g_t = dE/dI_t and l_t the adjoint of z_t. Inside a stretch this equals the sum of signals times eligibility traces.

A cell with P currents and Q outputs a unit has P N and Q N in place of N wherever a shape speaks of currents, outputs
or signals, in blocks as in `workbench/neurons/cell.py`; then it has no recurrent synapse.
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

    product: `[S, S, B, N]` product of all transitions. drive: `[T, S, B, P N]` product of later transitions times b_t.
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

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`: dE/dI_t through the same step, no other step is followed.

        steps: `[P]` to which the signal `[P, B, N]` belongs, None for all.
        """
        ...

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives M, b, c, k of every step."""
        ...

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        ...


def held_by(trajectory: Trajectory) -> list[Tensor]:
    """Return the tensors of a trajectory that grow with its steps or its batch."""
    return [value for value in vars(trajectory).values() if isinstance(value, Tensor) and value.dim() > 1]


@dataclass(frozen=True)
class LinearisedTrajectory:
    """A trajectory of any cell, its derivatives taken from `step` by autograd, one step at a time: the reference.

    transition `[T, S, S, B, N]`, drive `[T, S, B, P N]`, reach `[T, S, B, Q N]`, direct `[T, B, Q P N]` are M, b, c, k
    above (direct in Q blocks of P N); parameter_drive `[T, S, B, N]` and parameter_direct `[T, B, Q N]` hold the same
    for the cell's own parameters; own `[N]` is h, or None.
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
        units = state.shape[2]
        after: list[tuple[Tensor, Tensor]] = []
        by_state: list[list[Tensor]] = []
        by_output: list[list[Tensor]] = []
        previous = cell.output(parameters, state)
        for current in currents.unbind(0):
            total = current if recurrent is None else current + previous @ recurrent.T
            own = [parameters[name].expand(state.shape[1:]) for name in names]
            with torch.enable_grad():
                inputs = [value.clone().requires_grad_() for value in (state, total, *own)]
                moved, output = cell.step(dict(zip(names, inputs[2:], strict=True)), inputs[0], inputs[1])
                rows = [_derivatives(component, inputs) for component in moved.unbind(0)]
                last = [_derivatives(block, inputs) for block in blocks(output, units).unbind(-2)]
            by_state.append(_stacked(rows, inputs, 0))
            by_output.append(_stacked(last, inputs, -1))
            state, previous = moved.detach(), output.detach()
            after.append((state, previous))
        drives = [torch.stack(values) for values in zip(*by_state, strict=True)]
        directs = [torch.stack(values) for values in zip(*by_output, strict=True)]
        return LinearisedTrajectory(
            outputs=torch.stack([output for _, output in after]),
            state=state,
            transition=drives[0],
            drive=drives[1],
            reach=directs[0],
            direct=directs[1],
            parameter_drive=dict(zip(names, drives[2:], strict=True)),
            parameter_direct=dict(zip(names, directs[2:], strict=True)),
            own=None if recurrent is None else recurrent.diagonal(),
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
        size, (batch, units) = self.transition.shape[1], self.transition.shape[-2:]
        later = self.transition.new_zeros(transition.shape[1], batch, units)
        currents = []
        sums = {name: later.new_zeros(batch, units) for name in parameter_drive}
        for t in reversed(range(signal.shape[0])):
            by_state = blocks(drive[t], units)
            if self.own is None:
                total = blocks(signal[t], units)
                gradient = (by_state * later[:, :, None]).sum(0) + self._through(t, total)
                for name, value in parameter_drive.items():
                    direct = blocks(self.parameter_direct[name][t], units)
                    sums[name] += (value[t] * later).sum(0) + (direct * total).sum(1)
                reach = blocks(self.reach[t], units)
                later = (transition[t] * later[:, None]).sum(0) + (reach * total).sum(2)
            else:
                later[size] += signal[t]
                gradient = (by_state * later[:, :, None]).sum(0)
                for name, value in parameter_drive.items():
                    sums[name] += (value[t] * later).sum(0)
                later = (transition[t] * later[:, None]).sum(0)
            currents.append(gradient.flatten(1))
        return Adjoint(torch.stack(currents[::-1]), later, sums)

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, P N]`."""
        units = self.transition.shape[-1]
        at = range(len(signal)) if steps is None else steps.tolist()
        return torch.stack(
            [
                self._through(t, blocks(total, units)).flatten(1)
                for t, total in zip(at, signal.unbind(0), strict=True)
            ]
        )

    def _through(self, t: int, total: Tensor) -> Tensor:
        """Return `[B, P, N]`: dE/dy `[B, Q, N]` at step t brought to the currents of the same step."""
        outputs, units = total.shape[1:]
        direct = self.direct[t].reshape(len(total), outputs, -1, units)
        return (direct * total[:, :, None]).sum(1)

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
    size, (batch, units) = transition.shape[1], transition.shape[-2:]
    product = transition.new_zeros(size, size, batch, units)
    for s in range(size):
        product[s, s] = 1.0
    carried = torch.empty_like(drive)
    sums = {name: torch.zeros_like(value[0]) for name, value in parameter_drive.items()}
    for t in reversed(range(transition.shape[0])):
        fresh = product[:, :, :, None] * blocks(drive[t], units)
        carried[t] = fresh.sum(1).flatten(2)
        for name, value in parameter_drive.items():
            sums[name] += (product * value[t]).sum(1)
        product = torch.einsum("ijbn,jkbn->ikbn", product, transition[t])
    return Transport(product, carried, sums)


def blocks(values: Tensor, units: int) -> Tensor:
    """Return `[..., P N]` as `[..., P, N]`."""
    return values.reshape(*values.shape[:-1], values.shape[-1] // units, units)


def _derivatives(component: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    """Return d component / d input for each input; units do not mix, so one reverse pass of ones gives all of them."""
    if not component.requires_grad:
        return tuple(torch.zeros_like(value) for value in inputs)
    return torch.autograd.grad(component.sum(), inputs, retain_graph=True, materialize_grads=True)


def _stacked(rows: list[tuple[Tensor, ...]], inputs: list[Tensor], dim: int) -> list[Tensor]:
    """Return, by input, the derivatives of the components.

    dim 0: of S state variables, `[S, S, B, N]`, `[S, B, P N]`, `[S, B, N]`, ...; dim -1: of Q blocks of outputs, side
    by side, `[S, B, Q N]`, `[B, Q P N]`, `[B, Q N]`, ...
    """
    if dim == 0:
        return [
            torch.stack([row[position] for row in rows]) if rows else value.new_empty(0, *value.shape)
            for position, value in enumerate(inputs)
        ]
    return [torch.cat([row[position] for row in rows], dim=-1) for position in range(len(inputs))]
