"""Back-propagation through time: the exact baseline.

The network is unrolled over all T steps; with E the loss, dE/dW = sum_t dE/dI_t x_t^T where dE/dI_t follows the
reverse scan over time (Werbos 1990), spikes taking a surrogate slope (Neftci, Mostafa and Zenke 2019). Needs the whole
sequence's activations, hence memory proportional to T; not online, not local.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from workbench.plugin import LearnerConfig, MemoryCost, PluginConfig, Rule, SequenceBatch, StepResult


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
