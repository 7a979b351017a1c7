"""OSTL, online spatio-temporal learning (Bohnstingl et al. 2022, arXiv 2007.12723): exact traces, errors of one step.

With s_t `[N]` the state of layer l, y_t its output, theta a parameter and E_t the loss at step t:

    eps_t = (ds_t/ds_{t-1}) eps_{t-1} + (ds_t/dy_{t-1}) e_{t-1} + direct derivative         trace of the state
    e_t   = (dy_t/ds_t) eps_t + direct derivative                                           eligibility trace
    dE/dtheta_l = sum_t L_t^l e_t,      L_t^l = dE_t/dy_t^l by back-propagation through the layers at step t alone

Exact, equal to back-propagation through time, for one recurrent layer below any number of layers without memory; for
stacked layers with memory the residual (an upper layer's answer in later steps) is dropped. A recurrent layer's traces:

    traces=full      the three-index trace de_t[k]/dW[i, j], exact; B N^2 (in + N) numbers and N^3 (in + N) operations a
                     chunk, for layers of up to a few hundred units
    traces=diagonal  k = i alone, B N (in + N) numbers: what a unit does through other units is dropped

`readout_filter` carries the leak of a leaky readout in the traces (see `workbench/rules/filtered.py`); with a readout
without memory, the paper's case, it changes nothing. Code of the authors: IBM/ostl [C]; 88-150-88 units, batch 1 and
plain sgd there, gradients summed over the steps of a sequence (`reduction=sum`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.plugin import Locality, MemoryCost, PluginConfig, Rule, RuleContext, SequenceBatch, StepResult
from workbench.rules.settings import OnlineConfig

if TYPE_CHECKING:
    from workbench.backbones.network import Layer, Network
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount


class OSTLConfig(OnlineConfig):
    """Settings of OSTL."""

    lr: float = Field(3e-3, gt=0, description="learning rate at the start of each task")
    traces: Literal["diagonal", "full"] = Field(
        "diagonal",
        description="traces of recurrent layers: within each unit, or exact over all pairs of units",
    )
    readout_filter: bool = Field(
        True, description="carry the leak of a leaky readout in the traces of the layers that it reads"
    )


class OSTL(Rule):
    """Online spatio-temporal learning: BPTT's gradients forward in time, exact for one recurrent layer."""

    Config: ClassVar[type[PluginConfig]] = OSTLConfig
    config: OSTLConfig

    def setup(self, network: Network, context: RuleContext) -> None:
        """Bind the rule; see `Rule.setup`."""
        super().setup(network, context)
        self._peak = MemoryCost()

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Add the batch's gradients to `.grad` (or update at every step); returns loss and scores without a graph."""
        from workbench.cost.memory import eligibility_traces
        from workbench.rules.credits import eligibility, read_by_readout
        from workbench.rules.online import OnlinePass
        from workbench.rules.signals import readout_leak, spatial_signals
        from workbench.rules.streaming import stream

        leak = readout_leak(self.network) if self.config.readout_filter else 0.0
        read = read_by_readout(self.network) if leak > 0 else []
        online = OnlinePass(
            self.network,
            spatial_signals,
            credit=eligibility(self.network, filtered=read, full=self.config.traces == "full"),
            leak=leak,
            reduction=self.config.reduction,
        )
        full, size = self.config.traces == "full", batch.inputs.shape[1]
        result, self._peak = stream(
            self,
            batch,
            online,
            None if full else lambda: eligibility_traces(self.network, size, carried=True, filtered=read),
        )
        return result

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import online_cost
        from workbench.rules.credits import read_by_readout

        return online_cost(
            self.network,
            self.config,
            steps,
            batch,
            filtered=read_by_readout(self.network) if self.config.readout_filter else (),
            full=self.config.traces == "full",
        )

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. A step: errors as in SLTT; traces D m_l MACs (D constant decays) or n_l m_l.

        Gradients: n_l m_l MACs. Filtered by the readout: 2 n_l m_l more for traces. Full: n^2 m (n + 2) and n^2 m.
        """
        from workbench.cost.operations import whole, with_traces

        full = self.config.traces == "full"
        learning = with_traces(self.network, activity, spatial=True, filtered=self._filtered(), full=full)
        return whole(self.network, activity, steps, learning)

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`."""
        from workbench.cost.words import whole, with_traces

        full = self.config.traces == "full"
        learning = with_traces(self.network, activity, spatial=True, filtered=self._filtered(), full=full)
        return whole(self.network, activity, steps, learning)

    def _filtered(self) -> Sequence[Layer]:
        """Return the layers whose traces the leak of the readout filters."""
        from workbench.rules.credits import read_by_readout
        from workbench.rules.signals import readout_leak

        filters = self.config.readout_filter and readout_leak(self.network) > 0
        return read_by_readout(self.network) if filters else ()

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`."""
        from workbench.cost.words import down_the_layers

        return down_the_layers(self.network, steps)

    def locality(self) -> Locality:
        """See `Rule.locality`: errors come down the layers at the same step, exact traces are mostly of synapses."""
        from workbench.rules.locality import PRESYNAPTIC, in_space, synaptic_traces

        filtered = self._filtered()
        full = self.config.traces == "full"
        synaptic = synaptic_traces(self.network, filtered=filtered, full=full)
        return in_space(self.network, synaptic=synaptic, memory=PRESYNAPTIC)

    def live_memory(self) -> MemoryCost:
        """Return what the largest chunk of the last step held: its activations and traces."""
        return self._peak
