"""Back-propagation through time: the exact baseline (Werbos 1990, Proceedings of the IEEE 78, 1550).

A unit's step is (s_t, y_t) = step(s_{t-1}, I_t), I_t^l = W_l x_t^l + R_l y_{t-1}^l. From t = T down, layer by layer:

    dE/dy_t^l = dE/do_t do_t/dy_t^l + W_{l+1}^T dE/dI_t^{l+1} + R_l^T dE/dI_{t+1}^l     readout, layer above, next step
    dE/dI_t   = (ds_t/dI_t) dE/ds_t + (dy_t/dI_t) dE/dy_t
    dE/ds_{t-1} = (ds_t/ds_{t-1}) dE/ds_t + (dy_t/ds_{t-1}) dE/dy_t                     dE/ds_T = 0
    dE/dW_l   = sum_t dE/dI_t^l (x_t^l)^T,       dE/dR_l = sum_t dE/dI_t^l (y_{t-1}^l)^T

    loss=sum   E = 1/B sum_b -log softmax(mean_t o_t)[y*]        loss=step   E = 1/(T B) sum_t,b -log softmax(o_t)[y*]

s_t state, I_t `[B, N]` currents, x_t^l `[B, in]` what layer l reads, y_t its outputs, o_t `[B, C]` the readout, y* the
class; spikes take a surrogate slope for dy/dI and dy/ds (Neftci, Mostafa and Zenke 2019, arXiv 1901.09948). Needs the
whole sequence's activations, hence memory proportional to T; not online, not local.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.plugin import (
    LearnerConfig,
    Locality,
    MemoryCost,
    PluginConfig,
    Rule,
    SequenceBatch,
    StepResult,
)

if TYPE_CHECKING:
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount


class BPTTConfig(LearnerConfig):
    """Settings of back-propagation through time."""

    lr: float = Field(3e-3, gt=0, description="learning rate at the start of each task")
    loss: Literal["step", "sum"] = Field(
        "sum", description="cross-entropy at every step, or once on the readout averaged over time"
    )


class BPTT(Rule):
    """Back-propagation through time: exact gradients, memory proportional to the sequence length."""

    Config: ClassVar[type[PluginConfig]] = BPTTConfig
    needs_graph: ClassVar[bool] = True
    config: BPTTConfig

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Return loss and decision scores with their graph; the caller runs `loss.backward()`."""
        from workbench.rules.loss import decision, sequence_loss

        outputs = self.network(batch.inputs)
        loss = sequence_loss(outputs, batch, self.config.loss, self.config.reduction)
        return StepResult(loss, decision(outputs, batch.class_mask, batch.scored))

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import bptt_activations, trained_cost

        return trained_cost(self.network, self.config.optimiser, self.config.momentum) + MemoryCost(
            activations=bptt_activations(self.network, steps, batch, loss_per_step=self.config.loss == "step")
        )

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. A step: |W_l| (l > 1) and |R_l| MACs carry errors, n_l each for slope and transition.

        Gradients: as many operations as the synapses take forward, an AC for each weight behind a spike.
        """
        from workbench.cost.operations import through_time, whole

        return whole(self.network, activity, steps, through_time(self.network, activity))

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`."""
        from workbench.cost.words import through_time, whole

        return whole(self.network, activity, steps, through_time(self.network, activity, steps))

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`."""
        from workbench.cost.words import down_the_layers

        return down_the_layers(self.network, steps, recurrent=True)

    def locality(self) -> Locality:
        """See `Rule.locality`: errors come back through weights, layers and time."""
        stacked = len(self.network.hidden) > 1
        recurrent = any(layer.recurrent is not None for layer in self.network.layers)
        return Locality(
            weight_transport=True,
            future=True,
            other_layers=stacked,
            per_synapse_memory=False,
            why={
                "weight_transport": "W_{l+1}^T dE/dI^{l+1}" + (" and R_l^T dE/dI_{t+1}" if recurrent else ""),
                "future": "dE/ds_{t-1} follows from dE/ds_t: every step's activity is stored until the sequence ends",
                "other_layers": "a layer waits for the errors that the layer above works out at the same step"
                if stacked
                else "one hidden layer: it gets the readout's error, and nothing else is worked out above it",
                "per_synapse_memory": "activity is stored by unit and step, nothing by synapse",
            },
        )
