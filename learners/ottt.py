"""OTTT, online training through time (Xiao et al. 2022, arXiv 2210.04195): presynaptic traces, instantaneous errors.

    a_t^l   = leak a_{t-1}^l + x_t^l             presynaptic trace `[B, in]`, a_0 = 0
    dE/dW_l = sum_t delta_t^l (a_t^l)^T          delta_t^l = dE_t/dy_t^l dy_t^l/dI_t^l
    dE_t/dy_t^l = W_{l+1}^T delta_t^{l+1}        spatial back-propagation at time t, from dE_t/do_t at the readout

x_t^l `[B, in]` what synapse l reads, `leak` the linear decay of the cell behind it; the reset is left out of the
trace, as is recurrence beyond one step. Equal to back-propagation through time for one hidden layer of leaky
integrate-and-fire units whose reset is left out of the gradient and a readout without memory: delta is taken at the
time of the loss and the trace holds all earlier inputs. OTTT_A (`update=sequence`) accumulates over the steps of a
sequence, OTTT_O (`update=step`) applies the gradient at every step. The authors' code [C] does not trace the input
layer, which makes no difference for images held still; here it is traced like any other. Units with several distinct
leaks have a trace each. A cell whose state does not decay by one real number (`lru`) carries its exact linear traces.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from workbench.plugin import Locality, MemoryCost, PluginConfig, Rule, RuleContext, SequenceBatch, StepResult
from workbench.rules.settings import OnlineConfig

if TYPE_CHECKING:
    from workbench.backbones.network import Network
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount


class OTTTConfig(OnlineConfig):
    """Settings of OTTT."""

    lr: float = Field(3e-3, gt=0, description="learning rate at the start of each task")


class OTTT(Rule):
    """Online training through time: presynaptic traces and errors of the same step; memory independent of T."""

    Config: ClassVar[type[PluginConfig]] = OTTTConfig
    config: OTTTConfig

    def setup(self, network: Network, context: RuleContext) -> None:
        """Bind the rule; see `Rule.setup`."""
        super().setup(network, context)
        self._peak = MemoryCost()

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Add the batch's gradients to `.grad` (or update at every step); returns loss and scores without a graph."""
        from workbench.rules.online import OnlinePass
        from workbench.rules.presynaptic import with_leak
        from workbench.rules.signals import spatial_signals
        from workbench.rules.streaming import stream

        online = OnlinePass(self.network, spatial_signals, credit=with_leak, reduction=self.config.reduction)
        result, self._peak = stream(self, batch, online)
        return result

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import chunk_activations, chunk_length, leak_traces, trained_cost

        chunk = chunk_length(self.network, self.config, steps, batch)
        return trained_cost(self.network, self.config.optimiser, self.config.momentum) + MemoryCost(
            activations=chunk_activations(self.network, chunk, batch),
            traces=leak_traces(self.network, batch, carried=chunk < steps),
        )

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. A step: errors as in SLTT; D m_l MACs move traces of m_l inputs with D distinct leaks.

        Gradients: n_l m_l MACs, traces being real numbers.
        """
        from workbench.cost.operations import whole, with_leaks

        return whole(self.network, activity, steps, with_leaks(self.network, activity))

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`."""
        from workbench.cost.words import whole, with_leaks

        return whole(self.network, activity, steps, with_leaks(self.network, activity))

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`."""
        from workbench.cost.words import down_the_layers

        return down_the_layers(self.network, steps)

    def locality(self) -> Locality:
        """See `Rule.locality`: errors come down the layers at the same step, traces are presynaptic."""
        from workbench.rules.locality import in_space, leak_traces

        memory = "traces are of presynaptic activity: one number an input (and distinct leak)"
        return in_space(self.network, synaptic=leak_traces(self.network), memory=memory)

    def live_memory(self) -> MemoryCost:
        """Return what the largest chunk of the last step held: its activations and traces."""
        return self._peak
