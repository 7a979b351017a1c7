"""Spiking neural unit (SNU) and its soft form (sSNU).

    s_t = g(I_t + d s_{t-1} (1 - y_{t-1}))        state; d the decay per step, wiped by the unit's own output
    y_t = h(s_t - v)                              output; v the threshold of each unit, trained like a bias

    h     step (SNU): y = H(s - v), in reverse a surrogate slope psi, 1 - tanh^2 in the original
          sigmoid (sSNU): y = 1 / (1 + exp(-(s - v)))
    g     identity, relu, or leaky-relu (0.1)

I_t holds the input and the recurrent current. The state is (s, y), `[2, B, N]`, zeros at the start. With p_t = h' and
q_t = g' at step t, the derivatives within a unit are

    ds_t = q_t (d (1 - y_{t-1}) ds_{t-1} - d s_{t-1} dy_{t-1} + dI_t)          dy_t = p_t (ds_t - dv)

The term with dy_{t-1} is the reset's own gradient; `reset_gradient="cut"` leaves it out. Sources: Wozniak et al. 2020
(SNU, IBM's `neuroaikit`, where v starts at 1); Bohnstingl et al. 2022 (its eligibility traces, IBM's `ostl`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from workbench.neurons import snu_scan
from workbench.neurons.cell import Cell, CellOperations, Parameters
from workbench.neurons.surrogate import SurrogateName, slope, spike
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Transport

_BELOW_ZERO = {"identity": 1.0, "relu": 0.0, "leaky-relu": 0.1}


@dataclass(frozen=True)
class SNU(Cell):
    """Spiking neural units, or soft ones with a sigmoid output; equations at the top of the file.

    decay: per step, in [0, 1). threshold: where v starts.
    """

    decay: float = 0.8
    learn_decay: bool = False
    threshold: float = 1.0
    learn_threshold: bool = True
    output_function: Literal["step", "sigmoid"] = "step"
    state_function: Literal["identity", "relu", "leaky-relu"] = "identity"
    reset_gradient: Literal["cut", "keep"] = "keep"
    surrogate: SurrogateName = "tanh"
    sharpness: float = 1.0

    state_size: ClassVar[int] = 2
    keeps_outputs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if self.learn_decay and self.decay <= 0:
            raise ValueError("a learned decay must start above 0: its logit is what is learned")

    @property
    def spikes(self) -> bool:
        """Outputs are spikes if the output function is a step."""
        return self.output_function == "step"

    @property
    def operations(self) -> CellOperations:
        """One product for d s (1 - y), two if y is no spike; q of a rectifier and the reset's own gradient are more."""
        rectified = 0 if self.below_zero == 1.0 else 1
        kept = self.reset_gradient == "keep"
        soft = 0 if self.spikes else 1
        return CellOperations(
            step=1 + soft,
            reset=0,
            slope=1 + rectified,
            derivatives=soft + (1 if kept else 0),
            transition=2 if kept else 1,
            drive=rectified,
            output=1,
            gradient=1,
            feeds_back=kept,
        )

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `threshold` `[size]`, and `decay_logit` if decays are learned, else `decay`."""
        decay = torch.full((size,), self.decay)
        own = {"decay_logit": torch.logit(decay)} if self.learn_decay else {"decay": decay}
        return own | {"threshold": torch.full((size,), self.threshold)}

    def trained(self) -> frozenset[str]:
        """Return the names of the parameters that learn: the threshold unless fixed, the decay's logit if asked for."""
        names = {"threshold": self.learn_threshold, "decay_logit": self.learn_decay}
        return frozenset(name for name, learned in names.items() if learned)

    def constrain_keeps(self, *, scan: bool) -> int:
        """Return 1 for a learned decay; the threshold is its own constraint."""
        return int(self.learn_decay)

    def constrain(self, raw: Parameters) -> dict[str, Tensor]:
        """Return `decay` `[N]` in [0, 1) and `threshold` `[N]`."""
        decay = raw["decay"] if "decay" in raw else torch.sigmoid(raw["decay_logit"])
        return {"decay": decay, "threshold": raw["threshold"]}

    def output(self, parameters: Parameters, state: Tensor) -> Tensor:
        """Return the outputs `[B, N]`, part of the state."""
        return state[1]

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step; see the equations at the top of the file."""
        before, fired = state.unbind(0)
        if self.reset_gradient == "cut":
            fired = fired.detach()
        value = self.rectify(current + parameters["decay"] * before * (1.0 - fired))
        output = self.fire(value - parameters["threshold"])
        return torch.stack([value, output]), output

    def rectify(self, value: Tensor) -> Tensor:
        """Return g(x), same shape."""
        return value if self.below_zero == 1.0 else functional.leaky_relu(value, self.below_zero)

    @property
    def below_zero(self) -> float:
        """Slope of g below zero; above it is 1."""
        return _BELOW_ZERO[self.state_function]

    def rectifier_slope(self, value: Tensor) -> Tensor:
        """Return g' where g(x) is `value`; g keeps the sign, so the value tells."""
        slopes = torch.ones_like(value)
        return slopes if self.below_zero == 1.0 else slopes.masked_fill_(value <= 0, self.below_zero)

    def fire(self, above: Tensor) -> Tensor:
        """Return h(s - v), same shape."""
        if self.output_function == "sigmoid":
            return torch.sigmoid(above)
        return spike(above, self.surrogate, self.sharpness)

    def output_slope(self, above: Tensor, output: Tensor) -> Tensor:
        """Return h' or what stands in for it, at `above` = s - v where the output is `output`."""
        if self.output_function == "sigmoid":
            return output * (1.0 - output)
        return slope(self.surrogate, above, self.sharpness)

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan`, with a hand-written adjoint."""
        return snu_scan.scan(self, parameters["decay"], parameters["threshold"], state, currents, recurrent)

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> SNUTrajectory:
        """As `Cell.run`, with the analytic derivatives."""
        decay, threshold = parameters["decay"].detach(), parameters["threshold"].detach()
        start = state.detach()
        with torch.no_grad():
            weight = None if recurrent is None else recurrent.detach()
            values, outputs = snu_scan.forward(self, decay, threshold, start, currents.detach(), weight)
        own = None if weight is None else weight.diagonal()
        return SNUTrajectory(self, decay, threshold, start, values, outputs, own)

    def leak(self, parameters: Parameters) -> Tensor:
        """Return the decays `[N]`."""
        return parameters["decay"]


@dataclass(frozen=True)
class SNUTrajectory:
    """A stretch of steps of a layer of SNUs.

    decay, threshold `[N]`; start `[2, B, N]` state before the stretch; values s and outputs y `[T, B, N]`; own `[N]`
    weight of a unit on itself, or None.
    """

    cell: SNU
    decay: Tensor
    threshold: Tensor
    start: Tensor
    values: Tensor
    outputs: Tensor
    own: Tensor | None

    @property
    def state(self) -> Tensor:
        """State after the last step, `[2, B, N]`."""
        return torch.stack([self.values[-1], self.outputs[-1]])

    def _slopes(self) -> tuple[Tensor, Tensor]:
        """Return p (of the output) and q (of the rectifier), both `[T, B, N]`."""
        by_output = self.cell.output_slope(self.values - self.threshold, self.outputs)
        return by_output, self.cell.rectifier_slope(self.values)

    def _before(self) -> tuple[Tensor, Tensor]:
        """Return s and y one step earlier, both `[T, B, N]`."""
        return (
            torch.cat([self.start[:1], self.values[:-1]]),
            torch.cat([self.start[1:], self.outputs[:-1]]),
        )

    def _couplings(self, *, with_own: bool = True) -> tuple[Tensor, Tensor]:
        """Return how ds_{t-1} and dy_{t-1} enter the argument of g at each step, both `[T, B, N]`."""
        value, output = self._before()
        by_output = snu_scan.reset_coupling(self.cell, self.decay, value)
        if with_own and self.own is not None:
            by_output = by_output + self.own
        return self.decay * (1.0 - output), by_output

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, N]`; `state` is `[2, B, N]`."""
        found = snu_scan.adjoint(
            self.cell, self.decay, self.threshold, self.start, self.values, self.outputs, signal, self.own
        )
        by_parameter = {"decay": found.decay, "threshold": found.threshold}
        return Adjoint(found.currents, found.start, by_parameter)

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, N]`."""
        p, q = self._slopes()
        slopes = p * q
        return signal * (slopes if steps is None else slopes[steps])

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch.

        Both rows of the state move as (1, p_t) ds_t, so the products of transitions are products of numbers.
        """
        p, q = self._slopes()
        by_value, by_output = self._couplings()
        rows = torch.stack([torch.ones_like(p[-1]), p[-1]])
        suffix = torch.ones_like(q)
        if len(q) > 1:
            steps = q[1:] * (by_value[1:] + p[:-1] * by_output[1:])
            suffix[:-1] = steps.flip(0).cumprod(0).flip(0)
        value, output = self._before()
        drive = suffix * q
        threshold = -(drive[1:] * p[:-1] * by_output[1:]).sum(0) * rows
        threshold[1] -= p[-1]
        columns = torch.stack([by_value[0], by_output[0]]) * drive[0]
        return Transport(
            rows[:, None] * columns,
            drive[:, None] * rows,
            {"decay": (drive * value * (1.0 - output)).sum(0) * rows, "threshold": threshold},
        )

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of every step."""
        p, q = self._slopes()
        by_value, by_output = self._couplings(with_own=False)
        value, output = self._before()
        state_row = q[:, None] * torch.stack([by_value, by_output], dim=1)
        by_decay = q * value * (1.0 - output)
        return LinearisedTrajectory(
            outputs=self.outputs,
            state=self.state,
            transition=torch.stack([state_row, p[:, None] * state_row], dim=1),
            drive=torch.stack([q, p * q], dim=1),
            reach=p[:, None] * state_row,
            direct=p * q,
            parameter_drive={
                "decay": torch.stack([by_decay, p * by_decay], dim=1),
                "threshold": torch.stack([torch.zeros_like(p), -p], dim=1),
            },
            parameter_direct={"decay": p * by_decay, "threshold": -p},
            own=self.own,
        )
