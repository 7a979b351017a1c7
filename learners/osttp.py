"""OSTTP, online spatio-temporal learning with target projection (Ortner et al. 2023, arXiv 2304.05124).

Layer l of n units, batch B, classes C; y*_t `[B, C]` the one-hot target, the same at every step of a sequence.

    eps_t = (ds_t/ds_{t-1}) eps_{t-1} + direct derivative        trace of the state                   (eq. 8)
    e_t   = (dy_t/ds_t) eps_t                                    eligibility trace                    (eq. 9)
    dE/dW_l = sum_t L_t^l e_t^l                                                                       (eq. 6)
    hidden layers:  L_t^l = B_l y*_t      B_l `[n, C]` fixed and random                               (eq. 11)
    readout:        L_t^K = dE_t/do_t = softmax(o_t) - y*_t      its own gradient

Equation numbers as cited by later implementations; the paper's body was not at hand. No error is carried between
layers or backwards in time: no weight transport, no update lock, memory independent of T. The traces are exact for a
layer without recurrence; a recurrent layer drops the terms between units (the diagonal form), whose distance to the
exact trace is measured in the tests. The signal is a gradient, it is descended; it never vanishes for a constant
target, so a falling and small learning rate matters. Ours, not the paper's: rows of B_l sum to zero over the classes by
default (`feedback=balanced`), so that what all classes have in common does not drive a unit up or down for ever, and
hidden layers have a learning rate of their own, since their signal does not shrink as the error does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import Locality, MemoryCost, PluginConfig, Rule, RuleContext, SequenceBatch, StepResult
from workbench.rules.settings import OnlineConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workbench.backbones.network import Network
    from workbench.cost.counts import MeanActivity, OperationCount, Transposed, WordCount
    from workbench.rules.online import Chunk, Signal
else:
    torch = lazy_module("torch")


class OSTTPConfig(OnlineConfig):
    """Settings of OSTTP."""

    lr: float = Field(3e-3, gt=0, description="learning rate of the readout at the start of each task")
    hidden_lr: float = Field(
        5e-5, gt=0, description="learning rate of the hidden layers; lr is the readout's"
    )
    feedback: Literal["balanced", "plain"] = Field(
        "balanced",
        description="balanced: the feedback weights of each unit sum to zero over the classes; plain: as drawn",
    )
    feedback_scale: float = Field(1.0, gt=0, description="B_l is drawn from N(0, feedback_scale^2 / C)")


class OSTTP(Rule):
    """Online spatio-temporal learning with target projection: no graph, no weight transport, memory flat in T."""

    Config: ClassVar[type[PluginConfig]] = OSTTPConfig
    config: OSTTPConfig

    def setup(self, network: Network, context: RuleContext) -> None:
        """Draw the fixed feedback matrices B_l `[n, C]`, one per hidden layer."""
        super().setup(network, context)
        self._peak = MemoryCost()
        generator = context.streams.torch("feedback")
        weight = network.readout.synapse.weight
        deviation = self.config.feedback_scale / network.classes**0.5
        drawn = [
            deviation * torch.randn(layer.width, network.classes, generator=generator)
            for layer in network.layers[:-1]
        ]
        if self.config.feedback == "balanced":
            drawn = [matrix - matrix.mean(1, keepdim=True) for matrix in drawn]
        self.feedback = [matrix.to(weight) for matrix in drawn]

    def parameter_groups(self) -> list[dict[str, Any]]:
        """Return the readout with rate `lr` and the hidden layers with rate `hidden_lr`."""
        readout = list(self.network.readout.parameters())
        hidden = [p for layer in self.network.layers[:-1] for p in layer.parameters()]
        return [{"params": readout, "lr": self.config.lr}, {"params": hidden, "lr": self.config.hidden_lr}]

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Add the batch's gradients to `.grad` (or update at every step); returns loss and scores without a graph."""
        from workbench.cost.memory import eligibility_traces
        from workbench.rules.online import OnlinePass
        from workbench.rules.streaming import stream

        online = OnlinePass(self.network, self.signal, reduction=self.config.reduction)
        size = batch.inputs.shape[1]
        result, self._peak = stream(
            self, batch, online, lambda: eligibility_traces(self.network, size, carried=True)
        )
        return result

    def signal(self, chunk: Chunk) -> list[Signal]:
        """Return L_t = B_l y*_t `[K, B, n]` per hidden layer, on the scale of the loss."""
        from workbench.rules.online import Signal

        steps = chunk.error.shape[0]
        return [Signal(now=(chunk.goal @ matrix.T).expand(steps, -1, -1)) for matrix in self.feedback]

    def state_dict(self) -> dict[str, Tensor]:
        """Return the feedback matrices."""
        return {f"feedback.{index}": matrix for index, matrix in enumerate(self.feedback)}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore the feedback matrices."""
        self.feedback = [state[f"feedback.{index}"].to(old) for index, old in enumerate(self.feedback)]

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import online_cost

        held = sum(matrix.numel() * matrix.element_size() for matrix in self.feedback)
        return online_cost(self.network, self.config, steps, batch) + MemoryCost(other=held)

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. n_l ACs project a target, once a sequence; no error is carried.

        A step: n_l MACs for the slope; traces and gradients as in OSTL, none filtered.
        """
        from workbench.cost.operations import whole, with_errors, with_traces

        projected = activity.targets.into(sum(layer.width for layer in self.network.layers[:-1]))
        count = whole(self.network, activity, steps, with_traces(self.network, activity))
        return with_errors(count, projected)

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`. n_l feedback weights of a target are read, once a sequence; no error is sent.

        The signal that comes of them is stored, n_l numbers, and read at every step.
        """
        from workbench.cost.counts import WordCount, Words
        from workbench.cost.words import broadcast, summed_words, whole, with_traces

        widths = [layer.width for layer in self.network.layers[:-1]]
        targets = activity.targets.ones + activity.targets.others
        sent = broadcast(widths, targets, held=sum(widths) * self.network.classes)
        signal = Words(sum(widths) * steps, sum(widths) * min(targets, steps), sum(widths))
        # Targets come from outside, as the input does: nobody here writes them.
        errors = Words(sent.errors.reads, 0.0, self.network.classes)
        projected = WordCount(transported=sent.transported, errors=summed_words([errors, signal]))
        return whole(self.network, activity, steps, with_traces(self.network, activity)) + projected

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`: nothing is read so."""
        from workbench.cost.counts import Transposed

        return Transposed({})

    def locality(self) -> Locality:
        """See `Rule.locality`: targets are projected to every layer; no error is carried at all."""
        from workbench.rules.locality import by_broadcast, synaptic_traces

        return by_broadcast(
            transported=False,
            weights="B_l is fixed and random",
            signal="the target",
            synaptic=synaptic_traces(self.network),
        )

    def live_memory(self) -> MemoryCost:
        """Return the largest chunk of the last step: its activations and traces."""
        return self._peak
