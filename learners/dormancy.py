"""Dormant units, found and reset: ReDo (Sokar et al. 2023, arXiv 2302.12902), DrM (Xu et al. 2024, arXiv 2310.19668),
ACE (Ji et al. 2024, arXiv 2402.14528).

For unit i of a hidden layer of N units, averaged over all steps and samples of the batches since the last check:

    score=rate      v_i = mean |y_i|             its output: the firing rate of a spiking unit         (ReDo's h_i)
    score=gradient  v_i = mean ||dE/dW[i, :]||   incoming weights, recurrent ones too; over updates    (ACE's g_i)
    score=support   v_i = mean |dy_i/dI_i|       the surrogate's slope at the membrane                 (ours)
    dormant   <=>   v_i <= threshold * mean_k v_k            dormant ratio = dormant units / units

The last score is 0 exactly for a unit whose membrane never came within the surrogate's support: it has no gradient,
whether it never fires or always does. A layer that is silent altogether is all dormant. The readout never is.

reset=unit (ReDo): incoming weights are drawn afresh, bias and the cell's own parameters go back to their first values,
outgoing weights (next layer, recurrent columns, the readout's columns) become 0, and so do the optimiser's moments of
all these entries. A unit that was silent changes nothing downstream, before or after.
reset=network (ACE, DrM): every parameter theta <- f theta + (1 - f) phi, phi fresh, with

    f = clip(1 - sensitivity * ratio, keep_least, keep_most),   ratio over all hidden units

and the whole optimiser state is cleared. ACE: score=gradient, threshold 0.05, sensitivity 1, 0.2, 0.9. DrM: threshold
0.025, sensitivity 2, 0.2 and a keep_most that it chooses by task; its score, of pre-activations, is not here.
schedule=cosine (ReDo's variant): not a threshold but the lowest fraction * cos(pi/2 * update/horizon) of each layer.

As in the published programs (the default threshold of 0.1 is ReDo's as quoted from memory), but: `<=` where ACE and DrM
have `<`; phi of Gaussian weights with the deviation that each unit's first weights had, not Xavier or orthogonal ones;
statistics over all batches since the last check, not one of 256 samples. A check that falls due waits for the next
batch to begin: no rule's trace or membrane outlives a batch, so none needs clearing, and a task is evaluated before the
reset that follows it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from workbench.dormant import by_unit, dormant_units
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, Modifier, PluginConfig

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import torch
    from torch import Tensor

    from workbench.backbones.network import Activity, Layer, Network
    from workbench.plugin import Rule, SequenceBatch
    from workbench.rules.training_activity import Hear, TrainingActivity
else:
    torch = lazy_module("torch")


class DormancyConfig(PluginConfig):
    """Settings of dormancy resets."""

    score: Literal["rate", "gradient", "support"] = Field(
        "rate", description="what makes a unit dormant: few spikes, small gradients, or no surrogate slope"
    )
    reset: Literal["unit", "network", "none"] = Field(
        "unit", description="recycle dormant units, pull the whole network to fresh weights, or only measure"
    )
    threshold: float = Field(0.1, ge=0, description="dormant at or below this part of the layer's mean score")
    period: PositiveInt | Literal["task"] = Field(
        "task", description="updates between two checks, or `task`: one as each new task begins"
    )
    schedule: Literal["threshold", "cosine"] = Field(
        "threshold", description="recycle below the threshold, or a falling fraction of the lowest scores"
    )
    fraction: float = Field(0.3, gt=0, le=1, description="fraction recycled at the start (schedule=cosine)")
    horizon: int = Field(10_000, ge=1, description="updates until that fraction is 0 (schedule=cosine)")
    fresh_norm: Literal["initial", "live"] = Field(
        "initial", description="size of fresh incoming weights: as at first, or the mean norm of live units'"
    )
    sensitivity: float = Field(1.0, ge=0, description="how far the dormant ratio pulls (reset=network)")
    keep_least: float = Field(0.2, ge=0, le=1, description="least part of the weights kept (reset=network)")
    keep_most: float = Field(0.9, ge=0, le=1, description="largest part of the weights kept (reset=network)")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.keep_least > self.keep_most:
            raise ValueError(f"keep_least={self.keep_least} exceeds keep_most={self.keep_most}")
        if self.schedule == "cosine" and self.reset == "network":
            raise ValueError("schedule=cosine chooses units; it needs reset=unit")
        return self


class Dormancy(Modifier):
    """Finds dormant units and resets them, or the network: ReDo, ACE's gradient dormancy, DrM's perturbation."""

    Config: ClassVar[type[PluginConfig]] = DormancyConfig
    config: DormancyConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._law: dict[str, Tensor] = {}
        self._sums: list[Tensor] = []
        """v of each hidden layer `[N]`, summed over `_counts` steps and samples (or updates)."""
        self._counts: list[int] = []
        self._ratios: list[float] = []
        """Dormant ratio of each hidden layer at the last check."""
        self._updates = self._checks = self._recycled = 0
        self._due = False
        self._kept = 1.0
        self._ear: TrainingActivity | None = None

    def before_task(self, rule: Rule, task: int) -> None:
        """Note the initial weights' deviations, and, with period=task, ask for a check."""
        if not self._law:
            self._law = initial_law(rule.network)
            self._forget(rule.network)
        if self.config.period == "task" and any(self._counts):
            self._due = True

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Make the check that is due, and begin to listen."""
        if self._due:
            self._check(rule)
        if self.config.score == "rate":
            self._ear = self._ear or _ear(self._hear)
            self._ear.begin(hidden_layers(rule.network), batch.inputs.shape[0])
        elif self.config.score == "support":
            for number, (layer, slope) in enumerate(slopes(rule.network, batch.inputs)):
                self._add(number, by_unit(slope.abs(), layer.units))

    def _hear(self, number: int, activity: Activity) -> None:
        self._add(number, by_unit(activity.outputs.abs(), len(self._sums[number])))

    def _add(self, number: int, values: Tensor) -> None:
        """Add values `[T, B, N]` of a hidden layer; double precision, since a sum of many spikes outgrows single."""
        self._sums[number] += values.sum((0, 1)).double().cpu()
        self._counts[number] += values.shape[0] * values.shape[1]

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Add the norms of the gradients of each unit's incoming weights (score=gradient)."""
        if self.config.score == "gradient":
            for number, layer in enumerate(hidden_layers(rule.network)):
                squares = [
                    p.grad.square().sum(1).reshape(-1, layer.units).sum(0)
                    for p in layer.parameters()
                    if p.ndim == 2 and p.grad is not None
                ]
                if squares:  # A layer that someone froze is neither dormant nor live.
                    self._add(number, torch.stack(squares).sum(0).sqrt()[None, None])

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Count the update; stop listening once the batch was heard to its end."""
        self._updates += 1
        if self.config.period != "task" and self._updates % self.config.period == 0:
            self._due = True
        if self._ear is not None and self._ear.complete:
            self._ear.end()

    def _check(self, rule: Rule) -> None:
        """Find the dormant units, reset what is to be reset, and begin new statistics."""
        means = self._means()
        dormant = [dormant_units(mean, self.config.threshold) for mean in means]
        self._ratios = [float(mask.double().mean()) for mask in dormant]
        generator = rule.context.streams.torch(f"dormancy/{self._checks}")
        if self.config.schedule == "cosine":
            progress = min(1.0, self._updates / self.config.horizon)
            share = self.config.fraction * math.cos(math.pi / 2 * progress)
            dormant = [lowest(mean, int(share * len(mean))) for mean in means]
        if self.config.reset == "unit":
            touched = recycle(rule.network, dormant, self._law, self.config.fresh_norm, generator)
            clear_moments(rule.context.optimiser, touched)
            self._recycled += sum(int(mask.sum()) for mask in dormant)
        elif self.config.reset == "network":
            ratio = float(torch.cat(dormant).double().mean())
            config = self.config
            self._kept = kept(ratio, config.sensitivity, config.keep_least, config.keep_most)
            interpolate(rule.network, self._kept, self._law, generator)
            if rule.context.optimiser is not None:
                rule.context.optimiser.state.clear()
        self._checks += 1
        self._due = False
        self._forget(rule.network)

    def _means(self) -> list[Tensor]:
        """Return v of each hidden layer `[N]`; NaN for a layer of which nothing is known."""
        return [total / count for total, count in zip(self._sums, self._counts, strict=True)]

    def _forget(self, network: Network) -> None:
        self._sums = [torch.zeros(layer.units, dtype=torch.float64) for layer in hidden_layers(network)]
        self._counts = [0] * len(self._sums)

    def metrics(self) -> dict[str, float]:
        """Return the dormant ratio of each hidden layer by the statistics so far, and what resets did."""
        ratios = self._ratios
        if any(self._counts):
            ratios = [float(dormant_units(v, self.config.threshold).double().mean()) for v in self._means()]
        found = {f"dormant_ratio/layer_{number}": ratio for number, ratio in enumerate(ratios)}
        if self.config.reset == "unit":
            found["dormancy/recycled_units"] = float(self._recycled)
        elif self.config.reset == "network":
            found["dormancy/kept"] = self._kept
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return the initial deviations, the statistics so far and the counters."""
        counters = [self._updates, self._checks, self._recycled, int(self._due)]
        return {
            **{f"law.{name}": value for name, value in self._law.items()},
            **{f"sum.{number}": total for number, total in enumerate(self._sums)},
            "counts": torch.tensor(self._counts, dtype=torch.int64),
            "ratios": torch.tensor(self._ratios, dtype=torch.float64),
            "counters": torch.tensor(counters, dtype=torch.int64),
            "kept": torch.tensor(self._kept, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Restore what `state_dict` returned."""
        self._law = {
            name.removeprefix("law."): value.cpu().clone()
            for name, value in state.items()
            if name.startswith("law.")
        }
        self._counts = state["counts"].tolist()
        self._sums = [state[f"sum.{number}"].cpu().clone() for number in range(len(self._counts))]
        self._ratios = state["ratios"].tolist()
        self._updates, self._checks, self._recycled, due = state["counters"].tolist()
        self._due, self._kept = bool(due), float(state["kept"])

    def live_memory(self, sample: int) -> MemoryCost:
        """Return the bytes of deviations and sums: a few numbers a unit, which `memory` leaves out."""
        from workbench.cost.measure import storage_bytes

        return MemoryCost(other=storage_bytes([*self._law.values(), *self._sums]))


def _ear(hear: Hear) -> TrainingActivity:
    from workbench.rules.training_activity import TrainingActivity

    return TrainingActivity(hear)


def hidden_layers(network: Network) -> list[Layer]:
    """Return all layers but the readout."""
    return network.layers[:-1]


def lowest(values: Tensor, count: int) -> Tensor:
    """Return which units `[N]` bool have the `count` lowest of `values` `[N]`; of equal ones the first, NaN never.

    >>> lowest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 2)
    tensor([False,  True, False,  True])
    """
    mask = torch.zeros(len(values), dtype=torch.bool)
    mask[values.argsort(stable=True)[:count]] = True
    return mask & ~values.isnan()


def kept(ratio: float, sensitivity: float, least: float, most: float) -> float:
    """Return f = clip(1 - sensitivity * ratio, least, most).

    >>> [kept(ratio, 2.0, 0.2, 0.9) for ratio in (0.0, 0.25, 0.75)]
    [0.9, 0.5, 0.2]
    """
    return min(max(1.0 - sensitivity * ratio, least), most)


def slopes(network: Network, inputs: Tensor) -> Iterator[tuple[Layer, Tensor]]:
    """Yield hidden layers and their dy_t/dI_t `[T, B, P N]` for `inputs` `[T, B, in]`: one more forward pass."""
    from workbench.backbones.network import plainly_read

    activity = inputs.to(network.readout.synapse.weight.dtype)
    for layer in hidden_layers(network):
        with torch.no_grad(), plainly_read(network):
            currents = layer.currents(activity)
            state = layer.initial_state(inputs.shape[1], currents)
            trajectory = layer.cell.run(layer.cell_parameters(), state, currents, layer.recurrent_weight())
            activity = trajectory.outputs
            slope = trajectory.instantaneous(torch.ones_like(activity))
        yield layer, slope


def initial_law(network: Network) -> dict[str, Tensor]:
    """Return, by parameter, the deviation of each row's weights `[rows]`, or the values of a vector `[N]`."""
    return {
        name: (p.detach().square().mean(1).sqrt() if p.ndim == 2 else p.detach().clone()).cpu()
        for name, p in network.named_parameters()
    }


def _fresh(parameter: Tensor, law: Tensor, generator: torch.Generator) -> Tensor:
    """Return weights `[rows, in]` from N(0, law^2) by row, or a vector's first values."""
    if parameter.ndim == 1:
        return law.to(parameter)
    drawn = torch.randn(parameter.shape, generator=generator, dtype=law.dtype) * law[:, None]
    return drawn.to(parameter)


def recycle(
    network: Network,
    masks: Sequence[Tensor],
    law: dict[str, Tensor],
    norm: Literal["initial", "live"],
    generator: torch.Generator,
) -> dict[Tensor, Tensor]:
    """Make the units in `masks` `[N]` bool of each hidden layer anew; returns which entries it touched, bool."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in network.named_parameters()}
    touched = {p: torch.zeros(p.shape, dtype=torch.bool, device=p.device) for p in names}
    for layer, mask in zip(hidden_layers(network), masks, strict=True):
        for parameter in layer.parameters():
            fresh = _fresh(parameter, law[names[parameter]], generator)
            # A unit with several currents has a row for each, in blocks.
            rows = mask.to(parameter.device).repeat(len(parameter) // layer.units)
            if norm == "live" and parameter is layer.synapse.weight and 0 < int(rows.sum()) < len(rows):
                live = parameter.detach()[~rows].norm(dim=1).mean()
                fresh = fresh * (live / fresh.norm(dim=1, keepdim=True).clamp_min(1e-12))
            with torch.no_grad():
                parameter[rows] = fresh[rows]
            touched[parameter][rows] = True
    # Outgoing weights last: between two recycled units they are 0, not fresh.
    for number, mask in enumerate(masks):
        for weight, first in _readers(network, number):
            outputs = mask.repeat(hidden_layers(network)[number].cell.output_size)
            columns = outputs.nonzero()[:, 0].to(weight.device) + first
            with torch.no_grad():
                weight[:, columns] = 0.0
            touched[weight][:, columns] = True
    return touched


def _readers(network: Network, number: int) -> Iterator[tuple[Tensor, int]]:
    """Yield the matrices that read hidden layer `number`, and the column of its first output in each."""
    hidden = hidden_layers(network)
    layer = hidden[number]
    if layer.recurrent is not None:
        yield layer.recurrent.weight, 0
    if number + 1 < len(hidden):
        yield hidden[number + 1].synapse.weight, 0
    if network.reads_all:
        yield network.readout.synapse.weight, sum(below.width for below in hidden[:number])
    elif number + 1 == len(hidden):
        yield network.readout.synapse.weight, 0


def clear_moments(optimiser: torch.optim.Optimizer | None, touched: dict[Tensor, Tensor]) -> None:
    """Set the optimiser's moments of the touched entries to 0: every state of a parameter's shape; step counts stay."""
    if optimiser is None:
        return
    for parameter, mask in touched.items():
        for value in optimiser.state.get(parameter, {}).values():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                value.masked_fill_(mask, 0.0)


def interpolate(network: Network, f: float, law: dict[str, Tensor], generator: torch.Generator) -> None:
    """Set every parameter theta to f theta + (1 - f) phi, phi drawn by the law of the first weights."""
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            parameter.mul_(f).add_(_fresh(parameter, law[name], generator), alpha=1.0 - f)
