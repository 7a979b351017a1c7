"""Gradient episodic memory (Lopez-Paz and Ranzato 2017, arXiv 1706.08840), through Avalanche's GEMPlugin.

    minimise ||g~ - g||^2 subject to g~ . g_k >= 0 for every past task k                                      (eq. 8)
    dual: minimise v^T G G^T v / 2 + g^T G^T v subject to v >= margin;   g~ = G^T v + g                 (eqs. 11, 12)

g is the gradient of the batch, the rows g_k of G those of all samples stored of task k: a step must not raise the loss
on any past task, to first order; margin > 0 makes it lower it. All are the rule's own gradients (Avalanche's plug-in
would back-propagate the g_k through time whatever the rule). One more pass a past task is the cost.

Avalanche hands the dual to a solver of quadratic programs that it does not bring along. With u = v - margin >= 0 and
G G^T + 1e-3 I = L L^T it is the non-negative least squares problem min ||L^T u + L^-1 (G g + L L^T margin)||, which
SciPy solves exactly. Refuses rules that update within the sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_updates_within
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import torch

    from learners.episodic_memory import EpisodicMemory
else:
    np = lazy_module("numpy")
    torch = lazy_module("torch")

RIDGE = 1e-3
"""Added to the diagonal of G G^T, as the authors' code does: dependent rows leave the dual solvable."""


class GEMConfig(PluginConfig):
    """Settings of gradient episodic memory."""

    size: int = Field(50, ge=1, description="samples stored of each task")
    margin: float = Field(
        0.5,
        ge=0,
        description="least weight of every past task's gradient in a projected step (gamma in the paper)",
    )


class GEM(AvalancheModifier):
    """GEM: a gradient that would raise the loss on any past task's samples is projected (Avalanche's GEMPlugin)."""

    Config: ClassVar[type[PluginConfig]] = GEMConfig
    config: GEMConfig
    _memory: EpisodicMemory | None = None

    @property
    def stored(self) -> EpisodicMemory:
        """The samples stored so far."""
        from learners.episodic_memory import EpisodicMemory

        if self._memory is None:
            self._memory = EpisodicMemory(self.config.size)
        return self._memory

    def make(self) -> Any:
        """Return Avalanche's GEMPlugin with our memory, the rule's own gradients and a solver of our own."""
        from avalanche.training.plugins.gem import GEMPlugin

        memory = self.stored

        class Plugin(GEMPlugin):  # type: ignore[misc]
            def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
                if memory.parts:
                    rows = [memory.gradient(strategy, *part) for part in memory.parts]
                    self.G = torch.stack(rows)

            def after_backward(self, strategy: Any, **kwargs: Any) -> None:
                refuse_updates_within(strategy, "gem")
                super().after_backward(strategy, **kwargs)

            def update_memory(self, dataset: Any, t: int, batch_size: int) -> None:
                memory.add(dataset)

            def solve_quadprog(self, g: torch.Tensor) -> torch.Tensor:
                return projected(self.G, g, self.memory_strength)

        return Plugin(self.config.size, self.config.margin)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return which samples of each task are stored."""
        return self.stored.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore them."""
        self.stored.load_state_dict(state)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """`size` samples of each task, and one gradient for each past task."""
        return MemoryCost(replay=self.config.size * tasks * sample, other=(tasks - 1) * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the samples stored now, and of the gradients of past tasks."""
        rows = self.avalanche_plugin().G
        return MemoryCost(replay=len(self.stored) * sample, other=rows.numel() * rows.element_size())


def projected(rows: torch.Tensor, gradient: torch.Tensor, margin: float) -> torch.Tensor:
    """Return g~ = G^T v + g `[parameters]` for G `[tasks, parameters]`, v >= margin solving the dual in float64.

    >>> rows = torch.tensor([[1.0, 0.0]])
    >>> projected(rows, torch.tensor([-2.0, 3.0]), 0.0).round(decimals=2).tolist()
    [-0.0, 3.0]
    """
    from scipy.linalg import cholesky, solve_triangular
    from scipy.optimize import nnls

    matrix = rows.detach().cpu().double().numpy()
    vector = gradient.detach().cpu().double().numpy()
    quadratic = matrix @ matrix.T + RIDGE * np.eye(len(matrix))
    linear = matrix @ vector + quadratic @ np.full(len(matrix), margin)
    lower = cholesky(quadratic, lower=True)
    weights = nnls(lower.T, -solve_triangular(lower, linear, lower=True))[0] + margin
    return torch.from_numpy(weights @ matrix + vector).to(gradient)
