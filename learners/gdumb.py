"""GDumb (Prabhu, Torr and Dokania 2020): store samples greedily, balanced over classes; learn from these alone.

    M_c <- size / C samples of each of the C classes seen so far, any of a class as likely as any other
    W   <- W_0, then learns from the union of all M_c alone, old and new classes alike

at the start of every task: M is the buffer, each class's part filled by reservoir sampling, W_0 the initial weights. A
bar that methods which claim to resist forgetting have to clear. Avalanche's GDumbPlugin with its ClassBalancedBuffer;
mended here: the weights are reset in place (Avalanche swaps the model for a copy that the rule does not know), and the
buffer is part of the state, so that a run resumes bit for bit. Acts on data: works with every rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier, refuse_prediction
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    import torch
else:
    torch = lazy_module("torch")


class GDumbConfig(PluginConfig):
    """Settings of GDumb."""

    size: int = Field(200, ge=1, description="samples stored in all, shared evenly by the classes so far")


class _InOrder(dict[int, None]):
    """A set that is read in the order in which it was filled, so that a restored one reads the same."""

    def update(self, keys: Iterable[int]) -> None:  # type: ignore[override]
        super().update(dict.fromkeys(keys))


class GDumb(AvalancheModifier):
    """GDumb: for each task anew, learn from a class-balanced buffer alone (Avalanche's GDumbPlugin)."""

    Config: ClassVar[type[PluginConfig]] = GDumbConfig
    config: GDumbConfig

    def __init__(self, config: GDumbConfig) -> None:
        super().__init__(config)
        self.initial: dict[str, torch.Tensor] = {}
        """Parameters of the untrained network."""
        self._restored: dict[str, torch.Tensor] = {}
        """The buffer's state after a resume, until the data is at hand."""

    def make(self) -> Any:
        """Return Avalanche's GDumbPlugin, resetting weights in place."""
        from avalanche.training.plugins import GDumbPlugin

        modifier = self

        class Plugin(GDumbPlugin):  # type: ignore[misc]
            def before_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
                refuse_prediction(strategy, "gdumb")
                modifier._refill(strategy.benchmark.train_stream[: strategy.task + 1])
                if strategy.first_epoch == 0:
                    modifier._reset(strategy.network)

            def before_eval_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
                """The network evaluated is the one trained."""

            def after_train_dataset_adaptation(self, strategy: Any, **kwargs: Any) -> None:
                if strategy.first_epoch == 0:
                    self.storage_policy.post_adapt(strategy, strategy.experience)
                strategy.adapted_dataset = self.storage_policy.buffer

        plugin = Plugin(mem_size=self.config.size)
        plugin.storage_policy.seen_classes = _InOrder()
        return plugin

    def _reset(self, network: torch.nn.Module) -> None:
        """Bring the initial weights back, or keep them the first time."""
        with torch.no_grad():
            for name, weight in network.named_parameters():
                if name in self.initial:
                    weight.copy_(self.initial[name])
                else:
                    self.initial[name] = weight.detach().clone()

    def _refill(self, experiences: Iterable[Any]) -> None:
        """Fill the buffer from its state; `experiences`: the tasks so far, the present one included."""
        from avalanche.benchmarks.utils.utils import concat_datasets
        from avalanche.training.storage_policy import ReservoirSamplingBuffer

        if not self._restored:
            return
        everything = concat_datasets([one.dataset for one in experiences if len(one.dataset)])
        keys = zip(everything.sample_index, everything.targets_task_labels, strict=True)
        place = {(int(sample), int(label)): position for position, (sample, label) in enumerate(keys)}
        policy, state = self.avalanche_plugin().storage_policy, self._restored
        for group in (int(key.split("/")[1]) for key in state if key.startswith("samples/")):
            part = ReservoirSamplingBuffer(self.config.size)
            pairs = zip(state[f"samples/{group}"].tolist(), state[f"labels/{group}"].tolist(), strict=True)
            part.buffer = everything.subset([place[pair] for pair in pairs])
            part._buffer_weights = state[f"weights/{group}"].cpu().clone()
            policy.buffer_groups[group] = part
            policy.seen_classes.update([group])
        self._restored = {}

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Return the initial weights, and for each class the stored samples, task labels and reservoir weights."""
        state = {f"initial/{name}": weight for name, weight in self.initial.items()} | self._restored
        for group, part in self.avalanche_plugin().storage_policy.buffer_groups.items():
            state[f"samples/{group}"] = torch.tensor(list(part.buffer.sample_index), dtype=torch.int64)
            state[f"labels/{group}"] = torch.tensor(list(part.buffer.targets_task_labels), dtype=torch.int64)
            state[f"weights/{group}"] = part._buffer_weights.clone()
        return state

    def load_state_dict(self, state: dict[str, torch.Tensor], experiences: Sequence[Any]) -> None:
        """Restore the initial weights now, and the buffer when the present task's data is at hand."""
        for key, value in state.items():
            kind, name = key.split("/", 1)
            (self.initial if kind == "initial" else self._restored)[name if kind == "initial" else key] = (
                value.clone()
            )

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """`size` samples and a copy of the parameters."""
        return MemoryCost(replay=self.config.size * sample, other=parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the samples in the buffer now and of the initial weights."""
        from workbench.cost.measure import storage_bytes

        stored = sum(len(value) for key, value in self.state_dict().items() if key.startswith("samples/"))
        return MemoryCost(replay=stored * sample, other=storage_bytes(self.initial.values()))
