"""The trace filter of a leaky readout: a unit's output seen through the leak of the readout it drives.

A readout o_t = kappa o_{t-1} + W y_t answers to all earlier outputs of a unit. Seen from the unit, the error at o_t
acts on the filtered output f_t = kappa f_{t-1} + y_t, one more state variable, and the eligibility trace to use is the
filtered one, ebar_t = kappa ebar_{t-1} + e_t (Bellec et al. 2020, e-prop, where the filter is part of the rule).
With L_t the signal on f_t and M_t the signal that acts on y_t alone, dE/dy_t = M_t + sum_{s >= t} kappa^(s-t) L_s.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from workbench.neurons import lif_scan
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Trajectory, Transport, blocks


@dataclass(frozen=True)
class FilteredTrajectory:
    """A trajectory with the filtered output as last state variable; `adjoint` takes the signal on the filtered output.

    A unit with Q outputs has as many filtered ones. inner: the layer's own trajectory. leak: kappa in (0, 1). now:
    `[T, B, N]` signal on the unfiltered output, or None.
    """

    inner: Trajectory
    leak: float
    now: Tensor | None = None

    @property
    def outputs(self) -> Tensor:
        """Outputs before the filter, `[T, B, N]`."""
        return self.inner.outputs

    @property
    def state(self) -> Tensor:
        """State of the layer itself after the last step, `[S, B, N]`."""
        return self.inner.state

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under `signal` `[T, B, N]` on the filtered output; `state` is `[S + Q, B, N]`."""
        summed = lif_scan.leaky_owed(signal.new_full(signal.shape[2:], self.leak), signal)
        owed = self.leak * summed[0]
        if self.now is not None:
            summed += self.now
        adjoint = self.inner.adjoint(summed)
        by_filter = blocks(owed, adjoint.state.shape[2]).transpose(0, 1)
        return Adjoint(adjoint.currents, torch.cat([adjoint.state, by_filter]), adjoint.parameters)

    def transport(self) -> Transport:
        """Return how the traces of the state and of the filtered outputs are carried, `[S + Q]` state variables."""
        inner = self.inner.transport()
        steps, size = inner.drive.shape[:2]
        units = inner.product.shape[3]
        outputs = self.outputs.shape[2] // units
        powers = self.leak ** torch.arange(steps - 1, -1, -1).to(self.outputs)
        product = inner.product.new_zeros(size + outputs, size + outputs, *inner.product.shape[2:])
        product[:size, :size] = inner.product
        drives = [inner.drive]
        parameters = {name: [value] for name, value in inner.parameters.items()}
        for row in range(outputs):
            # What a filtered output at the end owes to the stretch is an adjoint of its own.
            weights = torch.zeros_like(self.outputs)
            weights[..., row * units : (row + 1) * units] = powers[:, None, None]
            reach = self.inner.adjoint(weights)
            product[size + row, :size] = reach.state
            product[size + row, size + row] = self.leak**steps
            drives.append(reach.currents[:, None])
            for name, values in parameters.items():
                values.append(reach.parameters[name][None])
        return Transport(
            product,
            torch.cat(drives, dim=1),
            {name: torch.cat(values) for name, values in parameters.items()},
        )

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return dE/dI_t through the same step only."""
        return self.inner.instantaneous(signal, steps)

    def linearised(self) -> LinearisedTrajectory:
        """Return the derivatives with the filtered outputs as further state; the output is the layer's own."""
        inner = self.inner.linearised()
        steps, size, _, batch, units = inner.transition.shape
        reach = blocks(inner.reach, units).permute(0, 3, 1, 2, 4)
        outputs = reach.shape[1]
        transition = inner.transition.new_zeros(steps, size + outputs, size + outputs, batch, units)
        transition[:, :size, :size] = inner.transition
        transition[:, size:, :size] = reach
        for row in range(size, size + outputs):
            transition[:, row, row] = self.leak
        direct = inner.direct.reshape(steps, batch, outputs, -1).transpose(1, 2)
        unseen = inner.reach.new_zeros(steps, outputs, *inner.reach.shape[2:])
        return LinearisedTrajectory(
            outputs=inner.outputs,
            state=inner.state,
            transition=transition,
            drive=torch.cat([inner.drive, direct], dim=1),
            reach=torch.cat([inner.reach, unseen], dim=1),
            direct=inner.direct,
            parameter_drive={
                name: torch.cat([value, blocks(inner.parameter_direct[name], units).transpose(1, 2)], dim=1)
                for name, value in inner.parameter_drive.items()
            },
            parameter_direct=inner.parameter_direct,
            own=inner.own,
        )
