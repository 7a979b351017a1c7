"""Synaptic intelligence (Zenke, Poole and Ganguli 2017, arXiv 1703.04200): weights that brought the loss down are held.

For each weight theta_k, with g_k the rule's own gradient at an update and dtheta_k the move that the update made:

    omega_k += -g_k dtheta_k                                        path integral of a task           (eq. 3)
    Omega_k += max(omega_k, 0) / (Delta_k^2 + damping)              at its end, Delta_k the whole move   (eq. 5)
    E' = E + strength * sum_k Omega_k (theta_k - theta*_k)^2        theta* the weights at that end     (eq. 4)

A weight whose moves raised the loss (omega < 0) is not held; it is not pushed away either. Equation numbers as cited by
later implementations. Written out here rather than taken from Avalanche: in version 0.6 its SynapticIntelligencePlugin
keeps views of the weights on a CPU, not copies, so no weight ever seems to move and the penalty is zero; it also counts
the penalty's own gradient into the path, and reads gradients that a rule which updates within a sequence has cleared.
Acts on gradients alone: works with every rule, at every update. Holds five copies of the parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, Modifier, PluginConfig, Rule, SequenceBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor
else:
    torch = lazy_module("torch")


class SIConfig(PluginConfig):
    """Settings of synaptic intelligence."""

    strength: float = Field(1.0, ge=0, description="weight of the penalty")
    damping: float = Field(
        1e-3,
        gt=0,
        description="added to the squared move of each weight, so that a small one does not count for much",
    )
    clip: float | None = Field(
        None, gt=0, description="largest importance of a weight; null: no bound (Avalanche's is 0.001)"
    )


class SI(Modifier):
    """Synaptic intelligence: weights whose moves brought the loss of past tasks down are held back."""

    Config: ClassVar[type[PluginConfig]] = SIConfig
    config: SIConfig

    def __init__(self, config: SIConfig) -> None:
        super().__init__(config)
        self.anchor: dict[str, Tensor] = {}
        """theta*: the weights when the present task began, which is when the last one ended."""
        self.path: dict[str, Tensor] = {}
        """omega, of the present task."""
        self.importance: dict[str, Tensor] = {}
        """Omega, of all past tasks."""
        self._gradient: dict[str, Tensor] = {}
        self._start: dict[str, Tensor] = {}

    def before_task(self, rule: Rule, task: int) -> None:
        """Note where the weights stand, and begin a new path."""
        for name, weight in rule.network.named_parameters():
            self.anchor[name] = weight.detach().clone()
            self.path[name] = torch.zeros_like(weight)
            self.importance.setdefault(name, torch.zeros_like(weight))

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Keep the rule's gradient for the path integral, then add the penalty's: 2 strength Omega (theta - theta*)."""
        for name, weight in rule.network.named_parameters():
            self._start[name] = weight.detach().clone()
            self._gradient[name] = torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
            if weight.grad is not None:
                away = weight.detach() - self.anchor[name]
                weight.grad.add_(self.importance[name] * away, alpha=2.0 * self.config.strength)

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Add -g dtheta to the path integral."""
        for name, weight in rule.network.named_parameters():
            self.path[name].sub_(self._gradient[name] * (weight.detach() - self._start[name]))

    def after_task(self, rule: Rule, task: int) -> None:
        """Turn the path integral into importance."""
        for name, weight in rule.network.named_parameters():
            moved = (weight.detach() - self.anchor[name]).square_()
            self.importance[name].add_(self.path[name].clamp(min=0.0) / (moved + self.config.damping))
            if self.config.clip is not None:
                self.importance[name].clamp_(max=self.config.clip)

    def state_dict(self) -> dict[str, Tensor]:
        """Return anchor, path and importance of every parameter."""
        tables = {"anchor": self.anchor, "path": self.path, "importance": self.importance}
        return {f"{kind}/{name}": value for kind, table in tables.items() for name, value in table.items()}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Restore anchor, path and importance."""
        for key, value in state.items():
            kind, name = key.split("/", 1)
            getattr(self, kind)[name] = value.clone()

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Anchor, path, importance, and from gradient to update the gradient and the weights: 5 copies."""
        return MemoryCost(other=5 * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of these copies."""
        from workbench.cost.measure import storage_bytes

        held = [*self.state_dict().values(), *self._gradient.values(), *self._start.values()]
        return MemoryCost(other=storage_bytes(held))
