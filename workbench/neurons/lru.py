"""Linear recurrent unit (LRU): a complex number per unit that turns and decays, the diagonal state-space layer.

    z_t = lambda z_{t-1} + gamma I_t               z, lambda, I complex; the output is (Re z_t, Im z_t)
    lambda = exp(-exp(nu_log) + i exp(theta_log))  |lambda| < 1 whatever is learned
    gamma = exp(gamma_log), starting at sqrt(1 - |lambda|^2), or always that (`normalisation="derived"`)

Two currents a unit (Re, Im: the synapse is the complex matrix B) and two outputs; a real synapse that reads them is
Re(C z). lambda starts uniformly on the ring min_radius <= |lambda| <= max_radius with a phase in (0, max_phase). The
recurrence is linear and diagonal, so its eligibility traces are exact (Zucchet et al. 2023). Source: Orvieto et al.
2023, "Resurrecting recurrent neural networks for long sequences".
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor

from workbench.neurons import lru_scan
from workbench.neurons.cell import Cell, CellOperations, Parameters
from workbench.neurons.trajectory import Adjoint, LinearisedTrajectory, Transport


@dataclass(frozen=True)
class LRU(Cell):
    """Linear recurrent units; equations at the top of the file.

    min_radius, max_radius: between which |lambda| starts. max_phase: radians per step.
    """

    min_radius: float = 0.0
    max_radius: float = 1.0
    max_phase: float = 6.28
    normalisation: Literal["learned", "derived"] = "learned"

    state_size: ClassVar[int] = 2
    current_size: ClassVar[int] = 2
    output_size: ClassVar[int] = 2
    kept: ClassVar[int] = 0
    keeps_outputs: ClassVar[bool] = True
    holomorphic: ClassVar[bool] = True

    @property
    def operations(self) -> CellOperations:
        """A complex product takes four, gamma times a complex number two; a trace is one complex number a synapse."""
        return CellOperations(
            step=6,
            reset=0,
            slope=2,
            derivatives=0,
            transition=4,
            drive=1,
            output=0,
            gradient=4,
        )

    def initial_parameters(self, size: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Return `nu_log`, `theta_log` and, if it is learned, `gamma_log`, all `[size]`."""
        area, turn = torch.rand(2, size, generator=generator).clamp(1e-4, 1.0 - 1e-4)
        low, high = self.min_radius**2, self.max_radius**2
        nu_log = torch.log(-0.5 * torch.log(low + area * (high - low)))
        raw = {"nu_log": nu_log, "theta_log": torch.log(self.max_phase * turn)}
        if self.normalisation == "learned":
            raw["gamma_log"] = torch.log(_normaliser(nu_log))
        return raw

    def trained(self) -> frozenset[str]:
        """Return the names of the stored parameters: all of them learn."""
        names = {"nu_log", "theta_log"}
        return frozenset(names | {"gamma_log"} if self.normalisation == "learned" else names)

    def constrain_keeps(self, *, scan: bool) -> int:
        """Return the numbers behind lambda (exponentials, sine, cosine) and gamma; `scan` adds lambda itself."""
        return (6 if self.normalisation == "learned" else 8) + (2 if scan else 0)

    def constrain(self, raw: Parameters) -> dict[str, Tensor]:
        """Return Re lambda, Im lambda and gamma as `eigenvalue_re`, `eigenvalue_im` and `scale`, `[N]`."""
        radius, phase = torch.exp(-torch.exp(raw["nu_log"])), torch.exp(raw["theta_log"])
        learned = self.normalisation == "learned"
        return {
            "eigenvalue_re": radius * torch.cos(phase),
            "eigenvalue_im": radius * torch.sin(phase),
            "scale": torch.exp(raw["gamma_log"]) if learned else _normaliser(raw["nu_log"]),
        }

    def output(self, parameters: Parameters, state: Tensor) -> Tensor:
        """Return the state itself, `[B, 2 N]`."""
        return torch.cat(state.unbind(0), dim=-1)

    def step(self, parameters: Parameters, state: Tensor, current: Tensor) -> tuple[Tensor, Tensor]:
        """Advance one step: z = lambda z + gamma I."""
        re, im, scale = (parameters[name] for name in NAMES)
        by_re, by_im = current.chunk(2, dim=-1)
        z_re = re * state[0] - im * state[1] + scale * by_re
        z_im = im * state[0] + re * state[1] + scale * by_im
        return torch.stack([z_re, z_im]), torch.cat([z_re, z_im], dim=-1)

    def scan(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """As `Cell.scan`, with a hand-written adjoint; there is no recurrent synapse."""
        assert recurrent is None
        re, im, scale = (parameters[name] for name in NAMES)
        return lru_scan.scan(re, im, scale, state, currents)

    def run(
        self, parameters: Parameters, state: Tensor, currents: Tensor, recurrent: Tensor | None = None
    ) -> LRUTrajectory:
        """As `Cell.run`, with the analytic derivatives."""
        assert recurrent is None
        re, im, scale = (parameters[name].detach() for name in NAMES)
        start = state.detach()
        return LRUTrajectory(re, im, scale, start, lru_scan.forward(re, im, scale, start, currents.detach()))


NAMES = ("eigenvalue_re", "eigenvalue_im", "scale")
"""The constrained parameters in the order of the scans."""


def _normaliser(nu_log: Tensor) -> Tensor:
    """Return sqrt(1 - |lambda|^2), without cancellation for radii close to 1."""
    return torch.sqrt(-torch.expm1(-2.0 * torch.exp(nu_log)))


@dataclass(frozen=True)
class LRUTrajectory:
    """A stretch of steps of a layer of LRUs.

    re, im, scale `[N]`: lambda and gamma. start `[2, B, N]` before the stretch; outputs `[T, B, 2 N]` z itself.
    """

    re: Tensor
    im: Tensor
    scale: Tensor
    start: Tensor
    outputs: Tensor

    @property
    def state(self) -> Tensor:
        """State after the last step, `[2, B, N]`."""
        return torch.stack(self.outputs[-1].chunk(2, dim=-1))

    def adjoint(self, signal: Tensor) -> Adjoint:
        """Return the gradients under dE/dy = `signal` `[T, B, 2 N]`."""
        gradient, start, *parameters = lru_scan.adjoint(
            self.re, self.im, self.scale, self.start, self.outputs, signal
        )
        return Adjoint(gradient, start, dict(zip(NAMES, parameters, strict=True)))

    def instantaneous(self, signal: Tensor, steps: Tensor | None = None) -> Tensor:
        """Return `signal_t * dy_t/dI_t`, `[T, B, 2 N]`."""
        return signal * self.scale.repeat(2)

    def transport(self) -> Transport:
        """Return how eligibility traces are carried from before to after the stretch: powers of lambda."""
        steps, batch, _ = self.outputs.shape
        powers = self._eigenvalue() ** torch.arange(steps, -1, -1, device=self.re.device)[:, None]
        drive = _both_currents(self.scale * powers[1:]).expand(-1, -1, batch, -1)
        before, last = self._before(), _complex(self.outputs[-1])
        product = _both_currents(powers[:1]).reshape(2, 2, 1, -1)
        by_eigenvalue = (powers[1:, None] * before).sum(0)
        by_scale = (last - powers[0] * before[0]) / self.scale
        return Transport(
            product.expand(-1, -1, batch, -1),
            drive,
            {
                "eigenvalue_re": torch.stack([by_eigenvalue.real, by_eigenvalue.imag]),
                "eigenvalue_im": torch.stack([-by_eigenvalue.imag, by_eigenvalue.real]),
                "scale": torch.stack([by_scale.real, by_scale.imag]),
            },
        )

    def _eigenvalue(self) -> Tensor:
        return torch.complex(self.re, self.im)

    def _before(self) -> Tensor:
        """Return z one step earlier, complex `[T, B, N]`."""
        return torch.cat([torch.complex(*self.start.unbind(0))[None], _complex(self.outputs[:-1])])

    def linearised(self) -> LinearisedTrajectory:
        """Return the within-unit derivatives of every step."""
        steps, batch, width = self.outputs.shape
        before, after = self._before(), _complex(self.outputs)
        turn = _both_currents(self._eigenvalue()[None]).expand(steps, -1, batch, -1)
        scale = _both_currents(self.scale[None] + 0j).expand(steps, -1, batch, -1)
        driven = (after - self._eigenvalue() * before) / self.scale
        by_parameter = {
            "eigenvalue_re": torch.stack([before.real, before.imag], dim=1),
            "eigenvalue_im": torch.stack([-before.imag, before.real], dim=1),
            "scale": torch.stack([driven.real, driven.imag], dim=1),
        }
        # Rows of the state and blocks of the output are the same numbers.
        transition = turn.reshape(steps, 2, batch, 2, width // 2).transpose(2, 3)
        return LinearisedTrajectory(
            outputs=self.outputs,
            state=self.state,
            transition=transition,
            drive=scale,
            reach=transition.permute(0, 2, 3, 1, 4).flatten(-2),
            direct=scale.transpose(1, 2).flatten(-2),
            parameter_drive=by_parameter,
            parameter_direct={
                name: value.transpose(1, 2).flatten(-2) for name, value in by_parameter.items()
            },
            own=None,
        )


def _complex(blocks: Tensor) -> Tensor:
    """Return `[..., 2 N]` in blocks of real and imaginary parts as complex `[..., N]`."""
    return torch.complex(*blocks.chunk(2, dim=-1))


def _both_currents(factor: Tensor) -> Tensor:
    """Return `[T, 2, 1, 2 N]`: how Re and Im move with Re and with Im of a number multiplied by `factor` `[T, N]`."""
    by_re, by_im = torch.stack([factor.real, factor.imag], 1), torch.stack([-factor.imag, factor.real], 1)
    return torch.cat([by_re, by_im], dim=-1)[:, :, None]
