"""Riemannian walk (Chaudhry et al. 2018, arXiv 1801.10112), through Avalanche's RWalkPlugin.

    F_k <- decay_new * g_k^2 + (1 - decay_new) * F_k                 Fisher information, at every batch       (eq. 6)
    s_k += sum of -g_k dtheta_k / (F_k (dtheta_k)^2 / 2 + eps)       score, every `every` batches             (eq. 7)
    E' = E + strength * sum_k (F_k / max F + max(s_k, 0) / max s) (theta_k - theta*_k)^2                      (eq. 8)

g is the gradient of the batch's loss without penalties; at the end of a task its scores are averaged with the old ones.
Avalanche's plug-in computes g itself, by back-propagation through time, a second pass over every batch whatever the
rule: what it adds in time and activations is that of bptt. Equation numbers as its code cites them. Mended here:
batches left over at the end of a task count (Avalanche divides 0 by 0, and every weight becomes nan, when a task has
fewer batches than `every`), and the count of batches is part of the state, so that a run resumes bit for bit. Holds
nine copies of the parameters between tasks, ten within a later one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import (
    AvalancheModifier,
    load_tables,
    refuse_prediction,
    tables_state,
    unheard,
)
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
else:
    torch = lazy_module("torch")

KEPT = (
    "iter_importance",
    "checkpoint_params",
    "checkpoint_loss",
    "checkpoint_scores",
    "exp_scores",
    "exp_params",
    "exp_importance",
    "exp_penalties",
)
OF_A_BATCH = ("iter_grad", "iter_params")
EPSILON = 1e-30


class RWalkConfig(PluginConfig):
    """Settings of the Riemannian walk."""

    strength: float = Field(0.1, ge=0, description="weight of the penalty")
    decay_new: float = Field(
        0.9, ge=0, le=1, description="weight of the newest batch in the Fisher information"
    )
    every: int = Field(10, ge=1, description="batches between two updates of the scores")


class RWalk(AvalancheModifier):
    """Riemannian walk: weights are held by Fisher information and by the loss they saved (Avalanche's RWalkPlugin)."""

    Config: ClassVar[type[PluginConfig]] = RWalkConfig
    config: RWalkConfig

    def make(self) -> Any:
        """Return Avalanche's RWalkPlugin, counting its own batches and fit to resume within a task."""
        from avalanche.training.plugins import RWalkPlugin

        class Plugin(RWalkPlugin):  # type: ignore[misc]
            batches = 0

            def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                refuse_prediction(strategy, "rwalk")
                if strategy.first_epoch == 0:
                    super().before_training(strategy, *args, **kwargs)

            def before_training_iteration(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                with unheard(strategy.network):
                    super().before_training_iteration(strategy, *args, **kwargs)

            def _is_checkpoint_iter(self, strategy: Any) -> bool:
                self.batches += 1
                return bool(self.batches % self.delta_t == 0)

            def after_training_exp(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                if self.batches % self.delta_t:
                    self._update_score(strategy)
                super().after_training_exp(strategy, *args, **kwargs)
                if max(float(score.data.max()) for score in self.exp_scores.values()) <= 0:
                    most = max(float(fisher.data.max()) for fisher in self.exp_importance.values())
                    for name, fisher in self.exp_importance.items():
                        self.exp_penalties[name].data = fisher.data / max(most, EPSILON)

        config = self.config
        return Plugin(ewc_lambda=config.strength, ewc_alpha=config.decay_new, delta_t=config.every)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return Fisher information, scores, old weights, what has gathered since the last score, and the count."""
        plugin = self.avalanche_plugin()
        return {"batches": torch.tensor(plugin.batches), **tables_state(plugin, KEPT)}

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore all of it."""
        plugin = self.avalanche_plugin()
        plugin.batches = int(state["batches"])
        load_tables(plugin, {key: value for key, value in state.items() if key != "batches"}, KEPT)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Nine copies of the parameters: four tables of past tasks, three of the present one, two of the batch."""
        return MemoryCost(other=9 * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of these tables."""
        from workbench.cost.measure import storage_bytes

        plugin = self.avalanche_plugin()
        tables = [getattr(plugin, table) or {} for table in (*KEPT, *OF_A_BATCH)]
        return MemoryCost(other=storage_bytes(entry.data for table in tables for entry in table.values()))
