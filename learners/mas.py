"""Memory aware synapses (Aljundi et al. 2018, arXiv 1711.09601), through Avalanche's MASPlugin.

    Omega_k  = mean over batches of |d mean_b ||f(x_b)||^2 / dtheta_k|        f: decision scores, no labels needed
    Omega_k <- mix * Omega_k + (1 - mix) * that of the task just learned      from the second task on (Avalanche's)
    E' = E + strength * sum_k Omega_k (theta_k - theta*_k)^2                  theta*: weights after the last task

The estimate, one pass over a task's samples when it is over, uses back-propagation through time whatever the rule; a
local rule takes the penalty's gradient, which needs only each weight itself. Of Avalanche's plug-in the penalty alone
is written anew: it takes a loss of exactly 0, which a well learned batch can have, for a missing one and ends the run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, load_tables, tables_state, unheard
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

TABLES = ("importance", "params")


class MASConfig(PluginConfig):
    """Settings of memory aware synapses."""

    strength: float = Field(1.0, ge=0, description="weight of the penalty")
    mix: float = Field(
        0.5, ge=0, lt=1, description="part of the old importance that is kept when a task adds its own"
    )


class MAS(AvalancheModifier):
    """Memory aware synapses: weights that the outputs of past tasks depend on are held back (Avalanche's MASPlugin)."""

    Config: ClassVar[type[PluginConfig]] = MASConfig
    config: MASConfig

    def make(self) -> Any:
        """Return Avalanche's MASPlugin, its penalty mended."""
        from avalanche.training.plugins import MASPlugin

        class Plugin(MASPlugin):  # type: ignore[misc]
            def before_backward(self, strategy: Any, **kwargs: Any) -> None:
                if not self.importance:
                    return
                penalty = sum(
                    (self.importance[name].data * (weight - self.params[name].data).pow(2)).sum()
                    for name, weight in strategy.model.named_parameters()
                )
                strategy.loss += self._lambda * penalty

            def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
                with unheard(strategy.network):
                    super().after_training_exp(strategy, **kwargs)

        return Plugin(lambda_reg=self.config.strength, alpha=self.config.mix)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return importance and old weights."""
        return tables_state(self.avalanche_plugin(), TABLES)

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore importance and old weights."""
        load_tables(self.avalanche_plugin(), state, TABLES)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Importance and old weights: two copies of the parameters."""
        return MemoryCost(other=2 * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of importance and old weights held now."""
        from workbench.cost.measure import storage_bytes

        return MemoryCost(other=storage_bytes(self.state_dict().values()))
