"""SLTT, spatial learning through time (Meng et al. 2023, arXiv 2302.14311): back-propagation in space alone.

The forward pass is that of any spiking network; of the gradient only the paths within one time step are kept:

    dE/dW_l = sum_t delta_t^l (x_t^l)^T         delta_t^l = dE_t/dy_t^l dy_t^l/dI_t^l
    dE_t/dy_t^l = W_{l+1}^T delta_t^{l+1}       spatial back-propagation at time t, from dE_t/do_t at the readout

x_t^l `[B, in]` presynaptic activity, I_t^l `[B, N]` currents, y_t^l outputs, dy/dI the surrogate slope. Every temporal
path is cut: the membrane's leak and reset, recurrent synapses, and the readout's leak. Equal to back-propagation
through time where nothing is remembered (decay 0); otherwise an approximation that is good for small decays (the
authors train with a decay of 0.09 [C]) and poor for the slow membranes that speech needs: the cosine is in the
gradient ladder.

SLTT-K: with `learner.steps=K`, K of the T steps are drawn at random for each batch and only their errors are learned
from. Like the authors' code [C] the loss keeps its divisor T, so that gradients shrink by K/T on average;
`learner.rescale=true` multiplies by T/K instead, which makes SLTT-K an unbiased estimate of SLTT.
Memory is that of one chunk of steps, whatever T.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import Locality, MemoryCost, PluginConfig, Rule, RuleContext, SequenceBatch, StepResult
from workbench.rules.settings import OnlineConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workbench.backbones.network import Network
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount
else:
    torch = lazy_module("torch")


class SLTTConfig(OnlineConfig):
    """Settings of SLTT and SLTT-K."""

    lr: float = Field(3e-3, gt=0, description="learning rate at the start of each task")
    chunk: int | None = Field(
        28, ge=1, description="steps handled at once; changes speed and memory, not the gradient"
    )
    steps: int | None = Field(
        None, ge=1, description="SLTT-K: learn from this many random steps of each batch; none for all"
    )
    rescale: bool = Field(
        False, description="SLTT-K: multiply gradients by T/K, so that their mean is the gradient of SLTT"
    )


class SLTT(Rule):
    """Spatial learning through time: gradients within each time step, memory independent of T."""

    Config: ClassVar[type[PluginConfig]] = SLTTConfig
    config: SLTTConfig

    def setup(self, network: Network, context: RuleContext) -> None:
        """Bind the rule; see `Rule.setup`."""
        super().setup(network, context)
        self._peak = MemoryCost()
        self._batches = 0

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Add the batch's gradients to `.grad` (or update at every step); returns loss and scores without a graph."""
        from workbench.rules.online import OnlinePass
        from workbench.rules.presynaptic import without_memory
        from workbench.rules.signals import spatial_signals
        from workbench.rules.streaming import stream

        online = OnlinePass(
            self.network,
            spatial_signals,
            credit=without_memory,
            reduction=self.config.reduction,
            chosen=self._chosen(len(batch.inputs)),
        )
        result, self._peak = stream(self, batch, online)
        return result

    def _chosen(self, steps: int) -> Tensor | None:
        """Return the weight `[T]` of each step's error: all one (None), or K random ones."""
        wanted = self.config.steps
        if wanted is None or wanted >= steps:
            return None
        generator = self.context.streams.torch(f"sltt/{self._batches}")
        self._batches += 1
        weight: Tensor = self.network.readout.synapse.weight
        chosen = torch.zeros(steps)
        chosen[torch.randperm(steps, generator=generator)[:wanted]] = (
            steps / wanted if self.config.rescale else 1.0
        )
        return chosen.to(weight)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the number of batches for which steps were drawn."""
        return {"batches": torch.tensor(self._batches)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore it."""
        self._batches = int(state["batches"])

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import chunk_activations, chunk_length, trained_cost

        chunk = chunk_length(self.network, self.config, steps, batch)
        return trained_cost(self.network, self.config.optimiser, self.config.momentum) + MemoryCost(
            activations=chunk_activations(self.network, chunk, batch),
            other=torch.tensor(self._batches).element_size(),
        )

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. In K of T steps: |W_l| (l > 1) and n_l MACs carry errors.

        Gradients: as many operations as the synapses take forward, an AC for each weight behind a spike.
        """
        from workbench.cost.operations import whole, without_traces

        chosen = min(self.config.steps or steps, steps) / steps
        return whole(self.network, activity, steps, without_traces(self.network, activity) * chosen)

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`."""
        from workbench.cost.words import whole, without_traces

        chosen = min(self.config.steps or steps, steps) / steps
        return whole(self.network, activity, steps, without_traces(self.network, activity) * chosen)

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`."""
        from workbench.cost.words import down_the_layers

        return down_the_layers(self.network, min(self.config.steps or steps, steps))

    def locality(self) -> Locality:
        """See `Rule.locality`: errors come down the layers at the same step, and there are no traces."""
        from workbench.rules.locality import in_space

        return in_space(
            self.network, synaptic=None, memory="delta_t meets the activity of the same step: no traces"
        )

    def live_memory(self) -> MemoryCost:
        """Return what the largest chunk of the last step held."""
        return self._peak
