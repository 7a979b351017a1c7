"""Averaged gradient episodic memory (Chaudhry et al. 2019, arXiv 1812.00420), through Avalanche's AGEMPlugin.

    g~ = g                                       if g . g_ref >= 0
    g~ = g - (g . g_ref / g_ref . g_ref) g_ref   otherwise                                                   (eq. 11)

g is the gradient of the batch, g_ref that of a batch drawn anew from the stored samples of past tasks: a step must not
raise their average loss, to first order. Both are the rule's own gradients (Avalanche's plug-in would back-propagate
g_ref through time whatever the rule), so a local rule stays local; a second pass over as many samples is the cost.
Samples are stored by their place in the training pool, and drawn from the run's streams: a run resumes bit for bit,
which Avalanche's endless loader does not allow. Refuses rules that update within the sequence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_updates_within
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch

    from learners.episodic_memory import EpisodicMemory


class AGEMConfig(PluginConfig):
    """Settings of averaged gradient episodic memory."""

    size: int = Field(50, ge=1, description="samples stored of each task")
    sample: int = Field(
        64, ge=1, description="stored samples drawn for each batch, shared evenly by past tasks"
    )


class AGEM(AvalancheModifier):
    """A-GEM: a gradient that would raise the loss on stored samples is projected (Avalanche's AGEMPlugin)."""

    Config: ClassVar[type[PluginConfig]] = AGEMConfig
    config: AGEMConfig
    _memory: EpisodicMemory | None = None

    @property
    def stored(self) -> EpisodicMemory:
        """The samples stored so far."""
        from learners.episodic_memory import EpisodicMemory

        if self._memory is None:
            self._memory = EpisodicMemory(self.config.size)
        return self._memory

    def make(self) -> Any:
        """Return Avalanche's AGEMPlugin with our memory and the rule's own reference gradient."""
        from avalanche.training.plugins import AGEMPlugin

        config, memory = self.config, self.stored

        class Plugin(AGEMPlugin):  # type: ignore[misc]
            def before_training_iteration(self, strategy: Any, **kwargs: Any) -> None:
                if memory.parts:
                    self.reference_gradients = memory.gradient(strategy, *memory.draw(config.sample))

            def after_backward(self, strategy: Any, **kwargs: Any) -> None:
                refuse_updates_within(strategy, "agem")
                super().after_backward(strategy, **kwargs)

            def update_memory(self, dataset: Any, num_workers: int = 0, **kwargs: Any) -> None:
                memory.add(dataset)

        plugin = Plugin(config.size, config.sample)
        plugin.buffers = memory.parts  # Avalanche asks whether there are any.
        return plugin

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return which samples of each task are stored."""
        return self.stored.state_dict()

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore them."""
        self.stored.load_state_dict(state)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """`size` samples of each task, and the reference gradient: one copy of the parameters."""
        return MemoryCost(replay=self.config.size * tasks * sample, other=parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the samples stored now, and of the reference gradient."""
        reference = self.avalanche_plugin().reference_gradients
        return MemoryCost(
            replay=len(self.stored) * sample, other=reference.numel() * reference.element_size()
        )
