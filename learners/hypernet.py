"""Task-conditioned hypernetwork (von Oswald et al. 2020, arXiv 1906.00695): another network makes the weights.

    W_t = W_0 + s * h(e_t, Theta)                                   weights of task t, made in chunks
    E'  = E(W_t) + beta / n * sum_j || W(e_j, Theta*) - W(e_j, Theta + dTheta) ||^2                     (eqs. 2 and 3)

e_t is an embedding learned with task t, Theta the hypernetwork, Theta* what it was when the task began, j runs over
the n old tasks (or `old_tasks` of them, drawn anew for each update). dTheta, with `lookahead`, is the step that E alone
would make, else 0. Only Theta and e_t learn; what the old tasks need is remembered as outputs of h, not as data.

The weights of layer l come from W_0, as the backbone drew them, plus h's output on the scale s_l of that draw (their
standard deviation; 1 / sqrt(fan-in) for biases, which begin at 0). The last layer of h begins at 0, so the network
begins as the backbone made it: ours, where the paper tunes the initialisation of h. h sees e_t and an embedding of each
chunk: generator=mlp, two hidden layers for each chunk on its own; generator=recurrent, an LSTM that makes the chunks in
the order of the layers, so that later weights depend on earlier ones (after arXiv 2209.07712).

The rule, local or not, knows nothing of this: it leaves dE/dW in `.grad`, which is pulled back through h by a
vector-Jacobian product; layers that the rule gives a learning rate of their own enter with its ratio to the first.
Theta has its own Adam, whose rate follows the rule's schedule; the trainer's optimiser leaves the generated weights
alone. Trained cell parameters are shared by all tasks and stay with it (cells=false). Task identity is needed to
evaluate: in the task setting each task is evaluated with its own weights; elsewhere the present task's weights serve
for all, unless identity=given. No other modifier can join: what it did to weights or gradients would be undone.

Memory: Theta and Theta*, two moments, W_0, the embeddings; the graph of h, of one task at a time, comes on top.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from learners.avalanche_modifier import AvalancheModifier
from workbench.errors import PluginError
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, PluginConfig, Rule, SequenceBatch

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from learners.weight_generator import Generator
    from workbench.backbones.network import Network
else:
    torch = lazy_module("torch")

DECAYS, EPSILON = (0.9, 0.999), 1e-8
"""Adam's, Kingma and Ba 2015."""
FLOAT = 4
"""Bytes of a number in the memory formula."""


class HypernetConfig(PluginConfig):
    """Settings of the hypernetwork."""

    generator: Literal["mlp", "recurrent"] = Field(
        "mlp",
        description="makes each chunk of weights on its own (mlp), or one after the other (recurrent: an LSTM)",
    )
    beta: float = Field(0.1, ge=0, description="weight of the penalty on changes of old tasks' weights")
    lr: float = Field(
        1e-2, gt=0, description="learning rate of the hypernetwork at the start of each task (Adam)"
    )
    hidden: int = Field(32, ge=1, description="width of the generator's hidden layers")
    task_embedding: int = Field(8, ge=1, description="numbers that stand for a task")
    chunk_embedding: int = Field(8, ge=1, description="numbers that stand for a chunk of weights")
    chunk: int | None = Field(
        None,
        ge=1,
        description="weights made at once; null: so many that the generator is half as large as the network",
    )
    old_tasks: int | None = Field(
        None, ge=1, description="old tasks drawn for the penalty at each update; null: all of them"
    )
    lookahead: bool = Field(False, description="take the penalty where the step on the loss alone would lead")
    cells: bool = Field(False, description="generate trained cell parameters (decays, say) too")
    identity: Literal["auto", "given", "present"] = Field(
        "auto",
        description="weights a task is evaluated with: given: its own; present: those of the task learned last; "
        "auto: given in the task setting, else present",
    )


class Hypernet(AvalancheModifier):
    """Task-conditioned hypernetwork: the weights of each task are made from a learned embedding, old ones held."""

    Config: ClassVar[type[PluginConfig]] = HypernetConfig
    config: HypernetConfig

    def __init__(self, config: HypernetConfig) -> None:
        super().__init__(config)
        self.initial: dict[str, Tensor] = {}
        """W_0 by parameter: which parameters are generated."""
        self.embeddings: dict[int, Tensor] = {}
        self.learned: list[int] = []
        """Tasks that had at least one update, in order."""
        self.task = 0
        self.updates = 0
        """Updates so far, and of these within the present task: `task_updates`."""
        self.task_updates = 0
        self.penalty: Tensor | float = 0.0
        self._given = config.identity == "given"
        self._own: list[Tensor] | None = None
        self._moment_copies = 0

    # The seam.

    def make(self) -> Any:
        """Return an Avalanche plug-in that refuses company before training begins."""
        from avalanche.training.plugins import SupervisedPlugin

        modifier = self

        class Plugin(SupervisedPlugin):  # type: ignore[misc]
            def before_training(self, strategy: Any, *args: Any, **kwargs: Any) -> None:
                others = [type(one).__name__ for one in strategy.modifiers if one is not modifier]
                if others:
                    raise PluginError(
                        f"hypernet makes the weights anew at every update, which would undo what {', '.join(others)} "
                        "does to weights or gradients; use hypernet as the only modifier"
                    )

        return Plugin()

    def before_task(self, rule: Rule, task: int) -> None:
        """Draw the task's embedding, note Theta*, begin with fresh moments, and write the task's weights."""
        self._bind(rule)
        drawn = torch.randn(
            self.config.task_embedding, generator=rule.context.streams.torch(f"hypernet/task-{task}")
        )
        self.embeddings[task] = drawn.to(self.theta)
        self.task, self.task_updates = task, 0
        self.moments = self.theta.new_zeros(2, self.generator.size + self.config.task_embedding)
        self.snapshot = self.theta.clone() if self.learned else self.theta[:0]
        self._write(rule.network, self.weights(task))

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Take note of the setting: classes that compete by task mean that the task is known."""
        if self.config.identity == "auto":
            self._given = batch.class_mask is not None

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Pull dE/dW back to Theta and e_t, add the penalty's gradient, step, and take the weights' gradients away."""
        self._bind(rule)
        gradient = self._pulled_back(rule)
        rate = self.config.lr * _schedule(rule)
        old = self._drawn(rule)
        if old and self.config.beta:
            ahead = self._step(gradient, rate)[0][: self.generator.size] if self.config.lookahead else None
            gradient[: self.generator.size] += self.penalty_gradient(old, ahead)
        step, self.moments = self._step(gradient, rate)
        self.theta += step[: self.generator.size]
        self.embeddings[self.task] += step[self.generator.size :]
        self.updates += 1
        self.task_updates += 1
        if self.task not in self.learned:
            self.learned.append(self.task)
        for weight in self._generated(rule.network):
            weight.grad = None

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Write the weights that the step has made."""
        self._write(rule.network, self.weights(self.task))

    def before_evaluation(self, rule: Rule, task: int) -> None:
        """Lend the network the weights of a task learned earlier, if its identity is known."""
        if self._given and task in self.learned and task != self.task:
            self._bind(rule)
            self._own = [weight.detach().clone() for weight in self._generated(rule.network)]
            self._write(rule.network, self.weights(task))

    def after_evaluation(self, rule: Rule, task: int) -> None:
        """Give the network its own weights back."""
        if self._own is not None:
            with torch.no_grad():
                for weight, own in zip(self._generated(rule.network), self._own, strict=True):
                    weight.copy_(own)
            self._own = None

    def metrics(self) -> dict[str, float]:
        """Return the penalty at the last update."""
        return {"hypernet_penalty": float(self.penalty)}

    # The algebra.

    def weights(self, task: int) -> list[Tensor]:
        """Return W(e_task, Theta), one tensor a generated parameter."""
        with torch.no_grad():
            made = self.generator(self.theta, self.embeddings[task])
        return [
            start + change.view_as(start)
            for start, change in zip(self.initial.values(), self._scaled(made), strict=True)
        ]

    def penalty_gradient(self, old: Sequence[int], ahead: Tensor | None = None) -> Tensor:
        """Return the gradient `[size]` in Theta of beta / n sum_j ||W(e_j, Theta*) - W(e_j, Theta + dTheta)||^2."""
        theta = self.theta.clone() if ahead is None else self.theta + ahead
        theta.requires_grad_()
        total, gradient = torch.zeros_like(theta[0]), torch.zeros_like(theta)
        for task in old:  # One graph at a time.
            with torch.no_grad():
                target = self.generator(self.snapshot, self.embeddings[task])
            with torch.enable_grad():
                away = self._scaled(self.generator(theta, self.embeddings[task]) - target)
                distance = torch.cat(away).square().sum() * (self.config.beta / len(old))
            gradient += torch.autograd.grad(distance, theta)[0]
            total += distance.detach()
        self.penalty = total
        return gradient

    def _pulled_back(self, rule: Rule) -> Tensor:
        """Return dE/d(Theta, e_t) `[size + task_embedding]`, the vector-Jacobian product of h with dE/dh = s dE/dW."""
        ratios = _rate_ratios(rule)
        slopes = [
            torch.zeros_like(weight).flatten()
            if weight.grad is None
            else ratios.get(id(weight), 1.0) * weight.grad.flatten()
            for weight in self._generated(rule.network)
        ]
        theta = self.theta.detach().requires_grad_()
        embedding = self.embeddings[self.task].detach().requires_grad_()
        with torch.enable_grad():  # A rule that updates within a sequence calls from where there is none.
            made = self.generator(theta, embedding)
        slope = torch.cat(self._scaled(torch.cat(slopes)))
        return torch.cat(torch.autograd.grad(made, [theta, embedding], slope))

    def _step(self, gradient: Tensor, rate: float) -> tuple[Tensor, Tensor]:
        """Return Adam's step for a gradient, and the moments it leaves; nothing is changed."""
        count = self.task_updates + 1
        first = DECAYS[0] * self.moments[0] + (1 - DECAYS[0]) * gradient
        second = DECAYS[1] * self.moments[1] + (1 - DECAYS[1]) * gradient.square()
        size = (second / (1 - DECAYS[1] ** count)).sqrt() + EPSILON
        return -rate * (first / (1 - DECAYS[0] ** count)) / size, torch.stack([first, second])

    def _scaled(self, flat: Tensor) -> list[Tensor]:
        """Return `[total]` numbers cut by parameter, each on its parameter's scale."""
        pieces = torch.split(flat, [start.numel() for start in self.initial.values()])
        return [scale * piece for scale, piece in zip(self._scales, pieces, strict=True)]

    def _drawn(self, rule: Rule) -> list[int]:
        """Return the old tasks whose weights the penalty holds at this update."""
        old = [task for task in self.learned if task != self.task]
        count = self.config.old_tasks
        if count is None or count >= len(old):
            return old
        chosen = rule.context.streams.numpy(f"hypernet/old-tasks-{self.updates}")
        return sorted(int(task) for task in chosen.choice(old, count, replace=False))

    # The network's side.

    def _bind(self, rule: Rule) -> None:
        """Make h for the rule's network the first time: W_0 as it is now, unless restored."""
        if hasattr(self, "generator"):
            return
        restored = bool(self.initial)
        if not restored:
            self.initial = {
                name: weight.detach().clone()
                for name, weight in rule.network.named_parameters()
                if weight.requires_grad and (self.config.cells or _is_synaptic(name))
            }
        self._scales = [_scale(name, rule.network, start) for name, start in self.initial.items()]
        self.generator = self._made_for(sum(start.numel() for start in self.initial.values()))
        self._moment_copies = 2 if rule.config.optimiser == "adam" else int(rule.config.momentum > 0)
        if not restored:
            drawn = self.generator.initial(rule.context.streams.torch("hypernet/initialisation"))
            self.theta = drawn.to(next(iter(self.initial.values())))

    def _made_for(self, total: int) -> Generator:
        from learners.weight_generator import Generator

        c = self.config
        return Generator.of(c.generator, total, c.chunk, c.hidden, c.task_embedding, c.chunk_embedding)

    def _generated(self, network: Network) -> list[torch.nn.Parameter]:
        parameters = dict(network.named_parameters())
        return [parameters[name] for name in self.initial]

    def _write(self, network: Network, made: list[Tensor]) -> None:
        with torch.no_grad():
            for weight, value in zip(self._generated(network), made, strict=True):
                weight.copy_(value)

    # State and cost.

    def state_dict(self) -> dict[str, Tensor]:
        """Return Theta, Theta*, moments, counts, embeddings and W_0."""
        if not self.initial:
            return {}
        counts = [self.task, self.updates, self.task_updates, int(self._given)]
        state = {"theta": self.theta, "snapshot": self.snapshot, "moments": self.moments}
        state |= {"counts": torch.tensor(counts), "learned": torch.tensor(self.learned, dtype=torch.int64)}
        state |= {f"embedding/{task}": embedding for task, embedding in self.embeddings.items()}
        return state | {f"initial/{name}": start for name, start in self.initial.items()}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Restore what `state_dict` returned."""
        if not state:
            return
        self.theta, self.snapshot = state["theta"].clone(), state["snapshot"].clone()
        self.moments, self.learned = state["moments"].clone(), state["learned"].tolist()
        self.task, self.updates, self.task_updates, given = state["counts"].tolist()
        self._given = bool(given)
        for key, value in state.items():
            kind, _, name = key.partition("/")
            if kind == "embedding":
                self.embeddings[int(name)] = value.clone()
            elif kind == "initial":
                self.initial[name] = value.clone()

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Theta, Theta* and two moments, the embeddings, W_0; the trainer's optimiser holds no moments of the weights.

        The rule's formula counts those; they are taken off once the rule's optimiser is known.
        """
        theta = self._made_for(max(1, parameters // FLOAT)).size
        embedding = self.config.task_embedding
        numbers = (3 + (tasks > 1)) * theta + (2 + tasks) * embedding
        return MemoryCost(other=FLOAT * numbers + parameters, optimiser=-self._moment_copies * parameters)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of these tensors now."""
        from workbench.cost.measure import storage_bytes

        held = [value for value in self.state_dict().values() if value.is_floating_point()]
        return MemoryCost(other=storage_bytes(held))


def _is_synaptic(name: str) -> bool:
    """Tell a weight or bias of a synapse from a cell's parameter.

    >>> [_is_synaptic(name) for name in ("hidden.0.synapse.bias", "readout.recurrent.weight", "hidden.1.decay")]
    [True, True, False]
    """
    return name.split(".")[-2] in ("synapse", "recurrent")


def _scale(name: str, network: Network, start: Tensor) -> float:
    """Return s_l: the deviation of the first weights; where these are all the same, 1 / sqrt(fan-in), 1 for a cell."""
    deviation = float(start.std(correction=0))
    if deviation > 0:
        return deviation
    if not _is_synaptic(name):
        return 1.0
    weight = network.get_parameter(name.rpartition(".")[0] + ".weight")
    return float(weight.shape[1] ** -0.5)


def _rate_ratios(rule: Rule) -> dict[int, float]:
    """Return each parameter's learning rate over that of the rule's first group."""
    groups = rule.parameter_groups()
    return {id(p): group["lr"] / groups[0]["lr"] for group in groups for p in group["params"]}


def _schedule(rule: Rule) -> float:
    """Return how far the trainer has lowered the rule's learning rate: 1 at the start of a task."""
    optimiser = rule.context.optimiser
    if optimiser is None:
        return 1.0
    return float(optimiser.param_groups[0]["lr"] / rule.parameter_groups()[0]["lr"])
