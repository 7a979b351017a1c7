"""e-prop, eligibility propagation (Bellec et al. 2020, Nat. Commun. 11:3625): local traces, broadcast errors.

    e_t[i, j]    = dy_t[i]/ds_t[i] eps_t[i, j]       eligibility trace of synapse j -> i, within unit i
    ebar_t       = kappa ebar_{t-1} + e_t            filtered by the decay kappa of the leaky readout
    dE/dW[i, j]  = sum_t L_t[i] ebar_t[i, j]         L_t[i] = sum_c B[i, c] (softmax(o_t)[c] - y*[c])

s_t state of a unit, y_t `[B, N]` its output, eps_t the trace of the state as in `ostl`, o_t `[B, C]` the readout, y*
the one-hot target. That the gradient falls apart into these two factors is the paper's eq. 1 (so cited by the authors'
code).
B_l `[N, C]` sends the readout's errors straight to every hidden layer: no error passes through another layer. Forms:

    symmetric   B_l = the readout's weights on layer l; for a layer that the readout does not read, the product of the
                weights on the way up (ours: the paper's units are all read)
    random      B_l fixed, drawn from N(0, feedback_scale^2 / C)
    adaptive    drawn likewise, then changed by every change of the readout's weights V_l on the layer, so that B comes
                to align with them: B_l - V_l^T <- (1 - feedback_decay) (B_l - V_l^T), which is what the paper's equal
                weight decay of both does to their difference, whatever decay the optimiser gives to V_l

Exact (symmetric) for one feed-forward layer and a readout with a single decay; a recurrent layer drops the terms
between units. As for every rule here the weight decay of the readout itself is `learner.weight_decay`. Firing-rate
regularisation, a separate loss in the paper, is not part of the rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from workbench.lazy import lazy_module
from workbench.plugin import Locality, MemoryCost, PluginConfig, Rule, RuleContext, SequenceBatch, StepResult
from workbench.rules.settings import OnlineConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workbench.backbones.network import Layer, Network
    from workbench.cost.counts import MeanActivity, OperationCount, Operations, Transposed, WordCount, Words
    from workbench.rules.online import Chunk, Signal
else:
    torch = lazy_module("torch")


class EPropConfig(OnlineConfig):
    """Settings of e-prop."""

    lr: float = Field(3e-3, gt=0, description="learning rate at the start of each task")
    feedback: Literal["symmetric", "random", "adaptive"] = Field(
        "symmetric",
        description="weights that carry errors back: the readout's own, fixed random, or adapting",
    )
    feedback_scale: float = Field(
        1.0, gt=0, description="random and adaptive: B_l is drawn from N(0, scale^2 / C)"
    )
    feedback_decay: float = Field(
        1e-3,
        ge=0,
        lt=1,
        description="adaptive: share of its difference from the readout's weights that is lost with a batch",
    )
    readout_filter: bool = Field(True, description="filter traces by the decay of a leaky readout")


class EProp(Rule):
    """e-prop: eligibility traces and broadcast errors, feedback symmetric, random or adaptive."""

    Config: ClassVar[type[PluginConfig]] = EPropConfig
    config: EPropConfig

    def setup(self, network: Network, context: RuleContext) -> None:
        """Draw the feedback matrices B_l `[N, C]`, one per hidden layer, unless they are symmetric."""
        super().setup(network, context)
        self._peak = MemoryCost()
        self.feedback: list[Tensor] = []
        self.seen: Tensor | None = None
        """Adaptive feedback: the readout's weights as they were when B was last changed."""
        if self.config.feedback == "symmetric":
            return
        generator = context.streams.torch("feedback")
        weight = network.readout.synapse.weight
        deviation = self.config.feedback_scale / network.classes**0.5
        for read in self._widths():
            self.feedback.append(
                (deviation * torch.randn(read, network.classes, generator=generator)).to(weight)
            )
        if self.config.feedback == "adaptive":
            self.seen = weight.detach().clone()

    def _widths(self) -> list[int]:
        return [layer.width for layer in self.network.layers[:-1]]

    def forward(self, batch: SequenceBatch) -> StepResult:
        """Add the batch's gradients to `.grad` (or update at every step); returns loss and scores without a graph."""
        from workbench.cost.memory import eligibility_traces
        from workbench.rules.credits import eligibility
        from workbench.rules.online import OnlinePass
        from workbench.rules.signals import readout_leak
        from workbench.rules.streaming import stream

        self._adapt()
        leak = readout_leak(self.network) if self.config.readout_filter else 0.0
        online = OnlinePass(
            self.network,
            self.signal,
            credit=eligibility(self.network, filtered=self.network.layers[:-1] if leak > 0 else []),
            leak=leak,
            reduction=self.config.reduction,
        )
        filtered, size = self._filtered(), batch.inputs.shape[1]
        result, self._peak = stream(
            self,
            batch,
            online,
            lambda: eligibility_traces(self.network, size, carried=True, filtered=filtered),
        )
        return result

    def _filtered(self) -> list[Layer]:
        """Return the layers whose traces are filtered by the readout's leak, if it has one."""
        return self.network.layers[:-1] if self.config.readout_filter else []

    def signal(self, chunk: Chunk) -> list[Signal]:
        """Return L_t = B_l e_t `[K, B, N]` per hidden layer, e_t the readout's error."""
        from workbench.rules.online import Signal

        if self.config.feedback == "symmetric" and not self._carries_plainly():
            from workbench.rules.signals import through_all_weights

            # Hardware knows no products of matrices: errors pass them one after the other.
            carried = through_all_weights(self.network, chunk.error)
            return [Signal(through_readout=errors) for errors in carried]
        return [Signal(through_readout=chunk.error @ matrix.T) for matrix in self.matrices()]

    def _carries_plainly(self) -> bool:
        return all(layer.carries_back_plainly for layer in self.network.layers[1:])

    def matrices(self) -> list[Tensor]:
        """Return B_l `[N, C]` of each hidden layer as it is now."""
        if self.config.feedback != "symmetric":
            return self.feedback
        from workbench.rules.signals import readout_weights

        layers = self.network.layers
        matrices: list[Tensor] = []
        for index, weight in reversed(list(enumerate(readout_weights(self.network)))):
            if weight is not None:
                matrices.append(weight.detach().T)
            else:
                matrices.append(layers[index + 1].synapse.weight.detach().T @ matrices[-1])
        return matrices[::-1]

    def _adapt(self) -> None:
        """Adaptive feedback: follow the readout's weights since the last batch."""
        if self.seen is None:
            return
        from workbench.rules.signals import readout_weights

        now = self.network.readout.synapse.weight.detach()
        decay = self.config.feedback_decay
        parts = zip(readout_weights(self.network, now), readout_weights(self.network, self.seen), strict=True)
        for index, (new, old) in enumerate(parts):
            if new is not None and old is not None:
                self.feedback[index] = new.T + (1.0 - decay) * (self.feedback[index] - old.T)
        self.seen = now.clone()

    def state_dict(self) -> dict[str, Tensor]:
        """Return the feedback matrices and the readout's weights that they follow."""
        state = {f"feedback.{index}": matrix for index, matrix in enumerate(self.feedback)}
        return state if self.seen is None else {**state, "seen": self.seen}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Restore them."""
        self.feedback = [state[f"feedback.{index}"].to(old) for index, old in enumerate(self.feedback)]
        if self.seen is not None:
            self.seen = state["seen"].to(self.seen)

    def memory(self, steps: int, batch: int) -> MemoryCost:
        """See `Rule.memory`."""
        from workbench.cost.memory import online_cost

        held = [*self.feedback, *([] if self.seen is None else [self.seen])]
        other = sum(tensor.numel() * tensor.element_size() for tensor in held)
        return online_cost(
            self.network,
            self.config,
            steps,
            batch,
            filtered=self._filtered(),
        ) + MemoryCost(other=other)

    def operations(self, steps: float, batch: float, activity: MeanActivity) -> OperationCount:
        """See `Rule.operations`. A step: n_l C MACs broadcast errors; the rest as in OSTL, all layers filtered.

        Once a batch: the products of weights that are B_l where the readout does not read, and B_l as it adapts.
        """
        from workbench.cost.operations import whole, with_errors, with_traces
        from workbench.rules.signals import readout_leak

        filtered = self._filtered() if readout_leak(self.network) > 0 else ()
        learning = with_traces(self.network, activity, filtered=filtered)
        count = whole(self.network, activity, steps, with_errors(learning, self._broadcast()))
        return with_errors(count, self._matrix_products() * (self._times(steps) / batch))

    def _broadcast(self) -> Operations:
        from workbench.cost.counts import Operations

        return Operations(mac=sum(self._widths()) * self.network.classes)

    def _matrix_products(self) -> Operations:
        """Return what making B_l anew takes."""
        from workbench.cost.counts import Operations
        from workbench.rules.signals import readout_weights

        read = [weight is not None for weight in readout_weights(self.network)]
        if self.config.feedback == "symmetric":
            above = zip(self.network.layers[1:], read, strict=True)
            products = sum(layer.synapse.weight.numel() for layer, direct in above if not direct)
        else:
            adapts = self.config.feedback == "adaptive"
            products = sum(
                width for width, direct in zip(self._widths(), read, strict=True) if direct and adapts
            )
        return Operations(mac=products * self.network.classes)

    def words(self, steps: float, batch: float, activity: MeanActivity) -> WordCount:
        """See `Rule.words`. A step: n_l C feedback weights read, C errors sent; B_l itself is made once a batch."""
        from workbench.cost.counts import WordCount
        from workbench.cost.words import broadcast, weights_of, whole, with_traces
        from workbench.rules.signals import readout_leak

        filtered = self._filtered() if readout_leak(self.network) > 0 else ()
        own = self.config.feedback != "symmetric" or self._products()
        held = self._broadcast().mac if own else sum(map(weights_of, self.network.layers))
        errors = broadcast(self._widths(), self.network.classes, held=held)
        learning = with_traces(self.network, activity, filtered=filtered) + errors
        count = whole(self.network, activity, steps, learning)
        return count + WordCount(transported=self._made()) * (self._times(steps) / batch)

    def _made(self) -> Words:
        """Return the words that making B_l anew moves: a weight for each product, or B_l, V_l and V_l as it was."""
        from workbench.cost.counts import Words

        products = float(self._matrix_products().mac)
        if self.config.feedback == "adaptive":
            return Words(reads=3 * products, writes=2 * products)
        symmetric = self.config.feedback == "symmetric" and self._products()
        made = sum(self._widths()[:-1]) * self.network.classes if symmetric else 0
        return Words(reads=products, writes=made)

    def transposed(self, steps: float, batch: float) -> Transposed:
        """See `Rule.transposed`. Symmetric: errors pass all weights on the way, instead of products of these."""
        from workbench.cost.counts import Transposed, Words
        from workbench.cost.words import down_the_layers

        if self.config.feedback != "symmetric":
            return Transposed({})
        reads = down_the_layers(self.network, steps).times
        if self.network.reads_all:
            readout = self.network.readout.synapse.weight
            names = [name for name, p in self.network.named_parameters() if p is readout]
            reads = {name: times for name, times in reads.items() if name in names}
        made = self._times(steps) / batch
        products, feedback = self._broadcast() * steps, Words(reads=self._broadcast().mac * steps)
        return Transposed(reads, products + self._matrix_products() * made, feedback + self._made() * made)

    def _times(self, steps: float) -> float:
        """How often B_l is made anew for a batch: with every change of the weights, or once."""
        return steps if self.config.update == "step" and self.config.feedback == "symmetric" else 1.0

    def locality(self) -> Locality:
        """See `Rule.locality`: errors are broadcast; whether through forward weights is up to `feedback`."""
        from workbench.rules.locality import by_broadcast, synaptic_traces
        from workbench.rules.signals import readout_leak

        filtered = self._filtered() if readout_leak(self.network) > 0 else ()
        weights = {
            "symmetric": "B_l is the transpose of the readout's weights"
            + (", or of products of all weights on the way up" if self._products() else ""),
            "random": "B_l is fixed and random",
            "adaptive": "B_l is random and follows changes of the readout's weights, never their values; these "
            "changes have to reach B_l once a batch",
        }
        return by_broadcast(
            transported=self.config.feedback == "symmetric",
            weights=weights[self.config.feedback],
            signal="the error of the readout",
            synaptic=synaptic_traces(self.network, filtered=filtered),
        )

    def _products(self) -> bool:
        """Whether the readout leaves out a hidden layer, whose B_l is then a product of weights."""
        return len(self.network.hidden) > 1 and not self.network.reads_all

    def live_memory(self) -> MemoryCost:
        """Return what the largest chunk of the last step held: its activations and traces."""
        return self._peak
