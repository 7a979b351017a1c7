"""CWR* (Lomonaco, Maltoni and Pellegrini 2019, arXiv 1907.03799), through Avalanche's CWRStarPlugin.

Two copies of the readout's weights: the one that learns, and a consolidated one. A task begins with the readout at zero
but for the consolidated rows of its own classes; at its end, for each of its classes c with n_c samples now and p_c
before,

    cw_c <- (cw_c sqrt(p_c / n_c) + w_c - mean(w)) / (sqrt(p_c / n_c) + 1),    p_c <- p_c + n_c

where mean(w) runs over the weights of the task's classes, and the consolidated rows take the place of the learned ones.
From the second task on the layers below the readout stay as they are (`freeze`). Mended here: what is frozen gets no
gradient at all, so that it holds for local rules and for updates within a sequence too (Avalanche turns autograd off,
which a local rule does not ask), and the consolidated copy is part of the state.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_prediction
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig, Rule, SequenceBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
else:
    torch = lazy_module("torch")


class CWRStarConfig(PluginConfig):
    """Settings of CWR*."""

    freeze: bool = Field(True, description="leave the layers below the readout alone from the second task on")


class CWRStar(AvalancheModifier):
    """CWR*: readout rows learned task by task and consolidated, layers below frozen (Avalanche's CWRStarPlugin)."""

    Config: ClassVar[type[PluginConfig]] = CWRStarConfig
    config: CWRStarConfig

    def __init__(self, config: CWRStarConfig) -> None:
        super().__init__(config)
        self.frozen = False
        self._synapse: torch.nn.Linear | None = None

    def make(self) -> Any:
        """Return Avalanche's CWRStarPlugin for the readout of whatever network is trained."""
        from avalanche.training.plugins import CWRStarPlugin

        modifier = self

        class Plugin(CWRStarPlugin):  # type: ignore[misc]
            resumed = False

            def before_training_exp(self, strategy: Any, **kwargs: Any) -> None:
                refuse_prediction(strategy, "cwr-star")
                modifier._synapse = strategy.network.readout.synapse
                self.resumed = strategy.first_epoch > 0
                super().before_training_exp(strategy, **kwargs)

            def reset_weights(self, cur_clas: Any) -> None:
                if not self.resumed:
                    super().reset_weights(cur_clas)

            def get_cwr_layer(self) -> Any:
                return modifier._synapse

            def freeze_other_layers(self) -> None:
                modifier.frozen = True

        # Avalanche keeps its tables on the model; they are none of the network's business.
        return Plugin(SimpleNamespace(), freeze_remaining_model=self.config.freeze)

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Take the gradients of what is frozen away; without one, no optimiser moves or decays a weight."""
        if self.frozen:
            learning = {id(parameter) for parameter in rule.network.readout.synapse.parameters()}
            for parameter in rule.network.parameters():
                if id(parameter) not in learning:
                    parameter.grad = None

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the consolidated rows of the classes seen, and how many samples of each there were."""
        tables = self.avalanche_plugin().model
        state = {f"row/{label}": torch.from_numpy(row.copy()) for label, row in tables.saved_weights.items()}
        return state | {f"seen/{label}": torch.tensor(count) for label, count in tables.past_j.items()}

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore both."""
        tables = self.avalanche_plugin().model
        for key, value in state.items():
            kind, label = key.split("/")
            if kind == "row":
                tables.saved_weights[int(label)] = value.cpu().numpy().copy()
            else:
                tables.past_j[int(label)] = int(value)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """One copy of the readout's weights; all parameters, as a bound, before there is a readout to look at."""
        weight = None if self._synapse is None else self._synapse.weight
        return MemoryCost(other=parameters if weight is None else weight.numel() * weight.element_size())

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the consolidated rows now."""
        return MemoryCost(
            other=sum(row.nbytes for row in self.avalanche_plugin().model.saved_weights.values())
        )
