"""Elastic weight consolidation (Kirkpatrick et al. 2017, arXiv 1612.00796), through Avalanche's EWCPlugin.

    E' = E + strength * sum_tasks sum_k F_k (theta_k - theta*_k)^2

theta_k the weights, theta* what they were after a past task (strength is half of the paper's lambda), F the diagonal
Fisher information, estimated from squared gradients of the loss on that task's samples. The estimate uses
back-propagation through time whatever the rule; a local rule takes the penalty's gradient, which needs only each weight
itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_prediction, unheard
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class EWCConfig(PluginConfig):
    """Settings of elastic weight consolidation."""

    strength: float = Field(100.0, ge=0, description="weight of the penalty")
    mode: Literal["separate", "online"] = Field(
        "separate", description="one penalty a past task, or one that decays and adds up"
    )
    decay: float = Field(
        0.9, gt=0, le=1, description="decay of the added-up Fisher information (mode=online)"
    )


class EWC(AvalancheModifier):
    """Elastic weight consolidation: weights that mattered to past tasks are held back (Avalanche's EWCPlugin)."""

    Config: ClassVar[type[PluginConfig]] = EWCConfig
    config: EWCConfig

    def make(self) -> Any:
        """Return Avalanche's EWCPlugin."""
        from avalanche.training.plugins import EWCPlugin

        class Plugin(EWCPlugin):  # type: ignore[misc]
            def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                refuse_prediction(strategy, "ewc")

            def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
                with unheard(strategy.network):
                    super().after_training_exp(strategy, **kwargs)

        decay = self.config.decay if self.config.mode == "online" else None
        return Plugin(ewc_lambda=self.config.strength, mode=self.config.mode, decay_factor=decay)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return Fisher information and old weights of every past task."""
        plugin = self.avalanche_plugin()
        return {
            f"{kind}/{task}/{name}": data.data.clone()
            for kind, table in (("importances", plugin.importances), ("saved_params", plugin.saved_params))
            for task, by_name in table.items()
            for name, data in by_name.items()
        }

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore Fisher information and old weights."""
        from avalanche.training.utils import ParamData

        plugin = self.avalanche_plugin()
        for key, value in state.items():
            kind, task, name = key.split("/", 2)
            data = ParamData(name, value.shape, init_tensor=value.clone(), device=value.device)
            getattr(plugin, kind)[int(task)][name] = data

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Fisher information and old weights: two copies of the parameters, for each task or once (mode=online)."""
        return MemoryCost(other=2 * parameters * (tasks if self.config.mode == "separate" else 1))

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of Fisher information and old weights held now."""
        from workbench.cost.measure import storage_bytes

        return MemoryCost(other=storage_bytes(self.state_dict().values()))
