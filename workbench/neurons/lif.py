"""Leaky integrate-and-fire cell.

    u_t = d r(u_{t-1}) + I_t            membrane potential (dimensionless), d in (0, 1) the decay per step
    y_t = H(u_t - v)                    spike, v the threshold
    r(u) = u - v H(u - v)   (soft)      r(u) = u (1 - H(u - v))   (hard)

In reverse, H' is a surrogate slope psi (see `surrogate.py`). With `reset_gradient="cut"` the reset's own dependence on
the spike is left out: r'(u) = 1 (soft), 1 - y (hard); with "keep" r'(u) = 1 - v psi (soft), 1 - y - u psi (hard).
The state is u before the reset, `[1, B, N]`; the spike follows from it. Sources: Neftci, Mostafa and Zenke 2019
(surrogate gradients); Wozniak et al. 2020, the hard reset inside the gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from workbench.neurons import lif_layer, lif_scan
from workbench.neurons.cell import Cell, CellOperations, Parameters
from workbench.neurons.lif_layer import Units
from workbench.neurons.native import fast_kernels_apply
from workbench.neurons.presynaptic import FEWEST, Presynaptic
from workbench.neurons.surrogate import SurrogateName, slope, spike
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Trajectory, Transport


def spread_decays(size: int, low: float, high: float, values: int) -> Tensor:
    """Return `[size]` decays of at most `values` distinct values from `low` to `high`, taken in turn by the units.

    The values are evenly spaced in the logarithm of the time constant, -1 / ln(decay) steps. Few distinct values keep
    eligibility traces presynaptic: one trace per input and value.

    >>> spread_decays(4, 0.8, 0.95, 2)
    tensor([0.8000, 0.9500, 0.8000, 0.9500])
    """
    if low == high or values == 1:
        return torch.full((size,), math.sqrt(low * high))
    shortest, longest = math.log(-1.0 / math.log(low)), math.log(-1.0 / math.log(high))
    constants = torch.linspace(shortest, longest, values, dtype=torch.float64).exp()
    return torch.exp(-1.0 / constants)[torch.arange(size) % values].float()


@dataclass(frozen=True)
class LIF(Cell):
    """Leaky integrate-and-fire units; equations at the top of the file.

    decay: lowest and highest decay per step; the units take `decay_values` values between them.
    """

    decay: tuple[float, float] = (0.95, 0.95)
    decay_values: int = 1
    learn_decay: bool = False
    threshold: float = 1.0
    reset: Literal["soft", "hard"] = "soft"
    reset_gradient: Literal["cut", "keep"] = "cut"
    surrogate: SurrogateName = "fast-sigmoid"
    sharpness: float = 25.0

    state_size: ClassVar[int] = 1
    fuses_layer: ClassVar[bool] = True

    @property
    def spikes(self) -> bool:
        """Outputs are spikes."""
        return True

    @property
    def operations(self) -> CellOperations:
        """One product with the decay; a soft reset subtracts; d r'(u) takes two products if reset_gradient=keep."""
        return CellOperations(
            step=1,
            reset=1 if self.reset == "soft" else 0,
            slope=1,
            derivatives=2 if self.reset_gradient == "keep" else 0,
            transition=1,
            drive=0,
            output=1,
            gradient=1,
        )

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `decay_logit` `[size]` if decays are learned, else `decay` `[size]`."""
        decay = spread_decays(size, *self.decay, self.decay_values)
        return {"decay_logit": torch.logit(decay)} if self.learn_decay else {"decay": decay}

    def trained(self) -> frozenset[str]:
        """Return `decay_logit` if decays are learned."""
        return frozenset({"decay_logit"}) if self.learn_decay else frozenset()

    def constrain(self, raw: Parameters) -> dict[str, Tensor]:
        """Return `decay` `[N]` in (0, 1)."""
        return {"decay": raw["decay"] if "decay" in raw else torch.sigmoid(raw["decay_logit"])}

    def output(self, parameters: Parameters, state: Tensor) -> Tensor:
        """Return the spikes `[B, N]` of a state."""
        return spike(state[0] - self.threshold, self.surrogate, self.sharpness)

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step; see the equations at the top of the file."""
        before = state[0]
        fired = self.output(parameters, state)
        if self.reset_gradient == "cut":
            fired = fired.detach()
        kept = before - self.threshold * fired if self.reset == "soft" else before * (1.0 - fired)
        membrane = parameters["decay"] * kept + current
        return membrane[None], spike(membrane - self.threshold, self.surrogate, self.sharpness)

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan`, forward and adjoint fused."""
        membrane, spikes = lif_scan.scan(self, parameters["decay"], state[0], currents, recurrent)
        return membrane[None], spikes

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> LIFTrajectory:
        """As `Cell.run`, with the analytic derivatives."""
        decay, start = parameters["decay"].detach(), state[0].detach()
        weight = None if recurrent is None else recurrent.detach()
        membrane, spikes = lif_scan.forward(self, decay, start, currents.detach(), weight)
        fired = Presynaptic(spikes.shape, spikes, None, decay)
        return LIFTrajectory(self, decay, start, membrane, fired, _own(weight))

    def scan_layer(
        self,
        parameters: Parameters,
        state: Tensor,
        activity: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan_layer`, in blocks of steps."""
        if not fast_kernels_apply(weight):
            return super().scan_layer(parameters, state, activity, weight, bias, recurrent)
        units = Units(self, parameters["decay"], state[0], weight, bias, recurrent)
        membrane, spikes = lif_layer.scan(units, activity)
        return membrane[None], spikes

    def run_layer(
        self,
        parameters: Parameters,
        state: Tensor,
        source: Presynaptic,
        weight: Tensor,
        bias: Tensor | None,
        recurrent: Tensor | None = None,
    ) -> Trajectory:
        """As `Cell.run_layer`, in blocks of steps."""
        if not fast_kernels_apply(weight):
            return super().run_layer(parameters, state, source, weight, bias, recurrent)
        decay, start = parameters["decay"].detach(), state[0].detach()
        among = None if recurrent is None else recurrent.detach()
        units = Units(self, decay, start, weight.detach(), None if bias is None else bias.detach(), among)
        # A recurrent synapse reads spikes as numbers.
        as_bits = among is None and source.shape[0] * source.shape[1] >= FEWEST
        membrane, fired = lif_layer.forward(units, source, as_bits=as_bits)
        return LIFTrajectory(self, decay, start, membrane, fired, _own(among))

    def constant_decay(self, parameters: Parameters, *, recurrent: bool) -> Tensor | None:
        """Return the decays if fixed and no transition depends on data: soft reset, cut gradient, no recurrence."""
        constant = (
            self.reset == "soft" and self.reset_gradient == "cut" and not recurrent and not self.learn_decay
        )
        return parameters["decay"] if constant else None

    def leak(self, parameters: Parameters) -> Tensor:
        """Return the decays `[N]`."""
        return parameters["decay"]

    def pass_through(self, membrane: Tensor) -> Tensor:
        """Return r'(u), the derivative of the reset, same shape as `membrane`."""
        fired = (membrane >= self.threshold).to(membrane.dtype)
        through = 1.0 - fired if self.reset == "hard" else torch.ones_like(membrane)
        if self.reset_gradient == "keep":
            height = membrane if self.reset == "hard" else self.threshold
            through = through - height * slope(self.surrogate, membrane - self.threshold, self.sharpness)
        return through

    def after_reset(self, membrane: Tensor) -> Tensor:
        """Return r(u), same shape as `membrane`."""
        fired = (membrane >= self.threshold).to(membrane.dtype)
        return membrane * (1.0 - fired) if self.reset == "hard" else membrane - self.threshold * fired


def _own(recurrent: Tensor | None) -> Tensor | None:
    """Return each unit's weight on itself `[N]`."""
    return None if recurrent is None else recurrent.diagonal().contiguous()


@dataclass(frozen=True)
class LIFTrajectory:
    """A stretch of steps of a LIF layer; membranes are all that is kept.

    decay `[N]`; start `[B, N]` membrane before the stretch; membrane `[T, B, N]`; fired: the spikes, as numbers or as
    bits; own `[N]` or None.
    """

    cell: LIF
    decay: Tensor
    start: Tensor
    membrane: Tensor
    fired: Presynaptic
    own: Tensor | None

    @property
    def outputs(self) -> Tensor:
        """Spikes, `[T, B, N]`; made from the membranes if they are held as bits."""
        if self.fired.activity is not None:
            return self.fired.activity
        return (self.membrane >= self.cell.threshold).to(self.membrane.dtype)

    @property
    def state(self) -> Tensor:
        """State after the last step, `[1, B, N]`."""
        return self.membrane[-1:]

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`."""
        gradient, start, decay = lif_scan.adjoint(
            self.cell, self.decay, self.start, self.membrane, signal, self.own
        )
        return Adjoint(gradient, start[None], {"decay": decay})

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`: the signal times the surrogate slope."""
        membrane = self.membrane if steps is None else self.membrane[steps]
        return lif_scan.weighed_by_slope(self.cell, membrane, signal)

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of every step."""
        before = torch.cat([self.start[None], self.membrane[:-1]])
        kept = self.cell.after_reset(before)
        transition = self.decay * self.cell.pass_through(before)
        psi = self._slope(self.membrane)
        return LinearisedTrajectory(
            outputs=self.outputs,
            state=self.state,
            transition=transition[:, None, None],
            drive=torch.ones_like(before)[:, None],
            reach=(psi * transition)[:, None],
            direct=psi,
            parameter_drive={"decay": kept[:, None]},
            parameter_direct={"decay": psi * kept},
            own=self.own,
        )

    def _slope(self, membrane: Tensor) -> Tensor:
        return slope(self.cell.surrogate, membrane - self.cell.threshold, self.cell.sharpness)

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch."""
        suffix, product = lif_scan.transport(self.cell, self.decay, self.start, self.membrane, self.own)
        parameters: dict[str, Tensor] = {}
        if self.cell.learn_decay:
            before = torch.cat([self.start[None], self.membrane[:-1]])
            parameters["decay"] = (suffix * self.cell.after_reset(before)).sum(0)[None]
        return Transport(product[None, None], suffix[:, None], parameters)
