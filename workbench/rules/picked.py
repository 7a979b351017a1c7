"""A stretch of steps seen at some of its steps alone, for rules that follow no path through time (SLTT-K)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Trajectory, Transport


@dataclass(frozen=True)
class PickedTrajectory:
    """A trajectory at `steps` `[P]`, of which `inner` has more: shapes speak of the P steps."""

    inner: Trajectory
    steps: Tensor

    @property
    def outputs(self) -> Tensor:
        """Outputs, `[P, B, N]`."""
        return self.inner.outputs[self.steps]

    @property
    def state(self) -> Tensor:
        """State after the last step of the whole stretch, `[S, B, N]`."""
        return self.inner.state

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[P, B, N]`."""
        return self.inner.instantaneous(signal, self.steps if steps is None else self.steps[steps])

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of the picked steps."""
        whole, at = self.inner.linearised(), self.steps
        return replace(
            whole,
            outputs=whole.outputs[at],
            transition=whole.transition[at],
            drive=whole.drive[at],
            reach=whole.reach[at],
            direct=whole.direct[at],
            parameter_drive={name: value[at] for name, value in whole.parameter_drive.items()},
            parameter_direct={name: value[at] for name, value in whole.parameter_direct.items()},
        )

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Raise TypeError: the way back through time needs every step."""
        raise TypeError("some steps of a stretch cannot be followed back through time")

    def transport(self) -> Transport:
        """Raise TypeError: traces are carried over every step."""
        raise TypeError("traces cannot be carried over some steps of a stretch")
