"""Probabilistic metaplasticity (Zohora, Karia, Soures, Kudithipudi 2024, Scientific Reports, arXiv 2403.08718).

Every weight w has a metaplastic state m >= 0. Where the rule, through its optimiser or a device, would change w,

    p = exp(-m |w|)          the change is let through with probability p, else w stays exactly as it was
    m <- min(m + growth, largest)     after a batch in which both sides of the synapse were active:
                                      mean x_j > active_input and mean |y_i| > active_output

means over the batch's steps and samples. So weights that are large and much used are consolidated, by how often they
change and not by how much: a weight needs no high-precision store, only to be written or not, which suits devices of
few levels. Bias and the cells' own parameters are not consolidated. m = 0 everywhere is the rule alone, exactly.

From the paper (its abstract and the caption of its algorithm 1): the update probability, not the magnitude, carries the
consolidation; it is computed for each eligible weight and compared with a random number. From memory, not checked
against the paper: the form exp(-|m w|) and the growth of m where pre- and postsynaptic traces exceed thresholds. Ours:
means over a batch in place of spike traces, the bound `largest`, all numbers, and the rule. The paper updates by an
error threshold, one conductance level at a time (event-driven random back-propagation); here any rule and optimiser
propose a change, and one not let through is dropped, while the optimiser's moments still saw its gradient.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, Modifier, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from workbench.backbones.network import Activity, Network
    from workbench.plugin import Rule, SequenceBatch
    from workbench.rules.training_activity import TrainingActivity
else:
    torch = lazy_module("torch")


class MetaplasticityConfig(PluginConfig):
    """Settings of probabilistic metaplasticity."""

    initial: float = Field(0.0, ge=0, description="metaplastic state m of every weight at first")
    growth: float = Field(0.05, ge=0, description="what m gains in a batch that both sides were active in")
    largest: float = Field(50.0, ge=0, description="bound of m")
    active_input: float = Field(
        0.05, ge=0, description="mean presynaptic activity of a batch above which an input is active"
    )
    active_output: float = Field(
        0.05, ge=0, description="mean absolute output of a batch above which a unit is active"
    )


class Metaplasticity(Modifier):
    """Probabilistic metaplasticity: large, much-used weights change ever more rarely (Zohora et al. 2024)."""

    Config: ClassVar[type[PluginConfig]] = MetaplasticityConfig
    config: MetaplasticityConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._state: dict[str, Tensor] = {}
        """m by name of the weight matrix."""
        self._before: dict[str, Tensor] = {}
        """The weights as they were before the update."""
        self._active: dict[int, tuple[Tensor, Tensor, Tensor | None, int]] = {}
        """Of the present batch, by layer: sums of inputs, outputs and outputs one step earlier, and their count."""
        self._ear: TrainingActivity | None = None
        self._updates = self._wanted = self._written = 0

    def before_task(self, rule: Rule, task: int) -> None:
        """Give every weight its first m."""
        for name, weight in matrices(rule.network).items():
            if name not in self._state:
                self._state[name] = torch.full_like(weight, self.config.initial, requires_grad=False)

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Begin to listen to the activity on both sides of the synapses."""
        from workbench.rules.training_activity import TrainingActivity

        self._ear = self._ear or TrainingActivity(self._hear)
        self._active = {}
        if self.config.growth > 0:
            self._ear.begin(rule.network.layers, batch.inputs.shape[0])

    def _hear(self, number: int, activity: Activity) -> None:
        found = (
            activity.inputs.abs().sum((0, 1)),
            activity.outputs.abs().sum((0, 1)),
            None if activity.before is None else activity.before.abs().sum((0, 1)),
            activity.outputs.shape[0] * activity.outputs.shape[1],
        )
        if number in self._active:
            inputs, outputs, before, count = self._active[number]
            earlier = None if before is None or found[2] is None else before + found[2]
            found = (inputs + found[0], outputs + found[1], earlier, count + found[3])
        self._active[number] = found

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Keep the weights as they are before the update."""
        for name, weight in matrices(rule.network).items():
            if name in self._before:
                self._before[name].copy_(weight.detach())
            else:
                self._before[name] = weight.detach().clone()

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Take back the changes that are not let through; at the end of the batch let m grow."""
        generator = rule.context.streams.torch(f"metaplasticity/{self._updates}")
        self._updates += 1
        with torch.no_grad():
            for name, weight in matrices(rule.network).items():
                before = self._before[name]
                probability = torch.exp(-self._state[name] * before.abs())
                drawn = torch.rand(weight.shape, generator=generator).to(probability)
                wanted = weight != before
                written = wanted & (drawn < probability)
                weight.copy_(torch.where(written, weight, before))
                self._wanted += int(wanted.sum())
                self._written += int(written.sum())
        if self._ear is not None and self._ear.complete:
            self._ear.end()
            self._grow(rule.network)

    def _grow(self, network: Network) -> None:
        """Let m grow where both sides of the synapse were active in the batch."""
        names = {weight: name for name, weight in matrices(network).items()}
        for number, (inputs, outputs, before, count) in self._active.items():
            layer = network.layers[number]
            # A unit may have several outputs and currents, in blocks: it is active or not as a whole.
            post = outputs.reshape(-1, layer.units).mean(0) / count > self.config.active_output
            sources = [(layer.synapse.weight, inputs)]
            if layer.recurrent is not None and before is not None:
                sources.append((layer.recurrent.weight, before))
            for weight, summed in sources:
                pre = summed / count > self.config.active_input
                state = self._state[names[weight]]
                active = torch.outer(post.repeat(len(weight) // layer.units), pre)
                state.add_(active, alpha=self.config.growth).clamp_(max=self.config.largest)
        self._active = {}

    def metrics(self) -> dict[str, float]:
        """Return the mean m, and the part of all changes so far that was let through."""
        count = sum(state.numel() for state in self._state.values())
        total = sum(float(state.sum()) for state in self._state.values())
        return {
            "metaplasticity/mean_state": total / max(count, 1),
            "metaplasticity/written": self._written / max(self._wanted, 1),
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return m of every weight, and the counters."""
        counters = torch.tensor([self._updates, self._wanted, self._written], dtype=torch.int64)
        return {"counters": counters, **{f"m.{name}": state.clone() for name, state in self._state.items()}}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Restore what `state_dict` returned."""
        self._updates, self._wanted, self._written = state["counters"].tolist()
        self._state = {
            name.removeprefix("m."): value.clone() for name, value in state.items() if name.startswith("m.")
        }

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Return the state m and the weights before the update: two copies of the weights."""
        return MemoryCost(other=2 * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Return the bytes of both held now."""
        from workbench.cost.measure import storage_bytes

        return MemoryCost(other=storage_bytes([*self._state.values(), *self._before.values()]))


def matrices(network: Network) -> dict[str, Tensor]:
    """Return the weight matrices of all synapses by name."""
    return {name: weight for name, weight in network.named_parameters() if weight.ndim == 2}
