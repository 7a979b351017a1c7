"""Learning without forgetting (Li and Hoiem 2016, arXiv 1606.09282), through Avalanche's LwFPlugin.

    E' = E + strength * sum over past heads of KL( softmax(f*(x)/temperature) || softmax(f(x)/temperature) )

f* is the network as it was after the last task, x the batch of the present one, f the decision scores of the classes
that past tasks have shown. The loss goes through the network's output:

- class or domain setting: through the output of the rule itself, which must keep a graph (bptt); a local rule is
  refused.
- task setting: the present task's classes alone compete in the rule's output, so the plug-in runs the network a second
  time, for all past tasks' classes, and back-propagates through time from there whatever the rule: its gradient adds up
  with a local rule's, but the run is then neither local nor online, and needs the activations of bptt besides.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_prediction, unheard
from workbench.errors import PluginError
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch


class LwFConfig(PluginConfig):
    """Settings of learning without forgetting."""

    strength: float = Field(1.0, ge=0, description="weight of the distillation loss")
    temperature: float = Field(
        2.0, gt=0, description="divides the scores before the softmax: higher is softer"
    )


class LwF(AvalancheModifier):
    """Learning without forgetting: the outputs of the network before the task are distilled (Avalanche's LwFPlugin)."""

    Config: ClassVar[type[PluginConfig]] = LwFConfig
    config: LwFConfig

    def __init__(self, config: LwFConfig) -> None:
        super().__init__(config)
        self._restored: dict[str, torch.Tensor] = {}
        """The teacher's state after a resume, until a network is at hand that it can be loaded into."""

    def make(self) -> Any:
        """Return Avalanche's LwFPlugin."""
        from avalanche.training.plugins import LwFPlugin

        modifier = self

        class Plugin(LwFPlugin):  # type: ignore[misc]
            def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                refuse_prediction(strategy, "lwf")
                if not strategy.rule.needs_graph and strategy.masks is None:
                    raise PluginError(
                        "lwf distils the network's output, and a local rule cannot carry that loss back to the "
                        "weights; use learner=bptt+lwf or scenario.setting=task, or take a modifier that acts on "
                        "weights or data (ewc, si, replay)"
                    )
                modifier._install_teacher(strategy.model)

            def before_backward(self, strategy: Any, **kwargs: Any) -> None:
                with unheard(strategy.network):
                    super().before_backward(strategy, **kwargs)

            def after_training_exp(self, strategy: Any, **kwargs: Any) -> None:
                with unheard(strategy.network):
                    super().after_training_exp(strategy, **kwargs)
                self.lwf.prev_model.requires_grad_(False)

        return Plugin(alpha=self.config.strength, temperature=self.config.temperature)

    def _install_teacher(self, model: torch.nn.Module) -> None:
        if self._restored:
            teacher = copy.deepcopy(model)
            teacher.load_state_dict(self._restored)
            self.avalanche_plugin().lwf.prev_model = teacher.requires_grad_(False)
            self._restored = {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the network as it was after the last task; which classes it knew follows from the tasks."""
        teacher = self.avalanche_plugin().lwf.prev_model
        return {**self._restored} if teacher is None else dict(teacher.state_dict())

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore the teacher when training begins, and the classes of the tasks so far now."""
        self._restored = dict(state)
        lwf = self.avalanche_plugin().lwf
        lwf.expcount = len(experiences)
        for experience in experiences:
            for label in experience.dataset.targets_task_labels.uniques:
                shown = set(experience.dataset.task_set[label].targets.uniques)
                lwf.prev_classes_by_task[label] = lwf.prev_classes_by_task[label] | shown

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """One copy of the parameters; what the task setting's second pass keeps to go backwards is not counted."""
        return MemoryCost(other=parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the network kept."""
        from workbench.cost.measure import storage_bytes

        teacher = self.avalanche_plugin().lwf.prev_model
        held = self._restored.values() if teacher is None else teacher.parameters()
        return MemoryCost(other=storage_bytes(held))
