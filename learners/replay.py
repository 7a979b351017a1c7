"""Experience replay: some samples of each past task are stored and mixed into every later batch.

    M_k <- size / k samples of each of the k tasks so far, any of a task's as likely as any other    when task k is over
    E    = mean of the loss over B samples of task k + 1 and `batch_size` samples of the union of M_1 ... M_k

M the buffer, B the batch, `batch_size` as many as B unless given. Avalanche's ReplayPlugin with its default storage,
each task's part filled by reservoir sampling (Vitter 1985; Chaudhry et al. 2019, arXiv 1902.10486). Acts on data, so it
works with every rule, and the rule's batch, hence its activations, are twice as large from the second task on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
else:
    torch = lazy_module("torch")


class ReplayConfig(PluginConfig):
    """Settings of experience replay."""

    size: int = Field(200, ge=1, description="samples stored in all, shared evenly by the tasks so far")
    batch_size: int | None = Field(
        None, ge=1, description="stored samples that join each batch; null: as many as new ones"
    )


class Replay(AvalancheModifier):
    """Experience replay: stored samples of past tasks join every batch (Avalanche's ReplayPlugin)."""

    Config: ClassVar[type[PluginConfig]] = ReplayConfig
    config: ReplayConfig

    def make(self) -> Any:
        """Return Avalanche's ReplayPlugin."""
        from avalanche.training.plugins import ReplayPlugin

        return ReplayPlugin(mem_size=self.config.size, batch_size_mem=self.config.batch_size)

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return which samples each task's part of the buffer holds, and their reservoir weights."""
        state = {}
        for group, part in self.avalanche_plugin().storage_policy.buffer_groups.items():
            state[f"{group}.samples"] = torch.tensor(list(part.buffer.sample_index), dtype=torch.int64)
            state[f"{group}.weights"] = part._buffer_weights.clone()
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Refill the buffer: group g holds samples of the g-th experience."""
        from avalanche.training.storage_policy import ReservoirSamplingBuffer

        policy = self.avalanche_plugin().storage_policy
        policy._num_exps = len(state) // 2
        for group, size in enumerate(policy.get_group_lengths(policy._num_exps) if state else []):
            dataset = experiences[group].dataset
            place = {sample: position for position, sample in enumerate(dataset.sample_index)}
            part = ReservoirSamplingBuffer(size)
            part.buffer = dataset.subset([place[sample] for sample in state[f"{group}.samples"].tolist()])
            part._buffer_weights = state[f"{group}.weights"].cpu().clone()
            policy.buffer_groups[group] = part

    def joined(self, batch: int) -> int:
        """Return `batch_size`, or as many as there are new ones."""
        return self.config.batch_size or batch

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """`size` samples."""
        return MemoryCost(replay=self.config.size * sample)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the samples in the buffer now."""
        return MemoryCost(replay=len(self.avalanche_plugin().storage_policy.buffer) * sample)
