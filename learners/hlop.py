"""HLOP, Hebbian learning based orthogonal projection (Xiao et al. 2024, ICLR, arXiv 2402.11984).

Each matrix W `[out, N]` that reads x `[N]` has lateral connections H `[M, N]`, which learn the principal subspace of x
while a task is trained, n vectors x at a time:

    y = H x          xhat = H^T y                       lateral answer; reconstruction by all rows, old and new
    change = 1/n sum y (x - xhat)^T                     Hebbian and anti-Hebbian (Oja's subspace rule), clamped to 10
    v <- m v + (1 - m) change,   H <- H + lr v          m = 0.9; five times for the same vectors; new rows only

Rows of past tasks are frozen but reconstruct, so new rows find what is new in a task. From the second task on, changes
of W are kept orthogonal to the rows H_old of past tasks, and biases and cells' own parameters are held still:

    dW <- dW (I - H_old^T H_old)                        the same as x <- x - H_old^T H_old x inside dW = sum delta x^T

which W x and the error sent downwards never see. Input, recurrent and readout matrix have rows of their own. With
spiking=true lateral neurons fire while they learn: y <- round(clip(y, s) K / s) s / K, s = 20, K = 1000 steps (as in
the paper's program, which also projects with spikes; here the projection stays linear, or it would not act on weights).

Ours: the projection acts on the optimiser's final change of W (projection=update), which is right for momentum, Adam
and weight decay; projection=gradient is the paper's, for plain sgd. lr is a fraction of the stability limit 1 / lambda,
lambda the largest eigenvalue of E[x x^T] by power iteration (0.3 is what the paper's values come to on permuted MNIST),
so that it fits any activity. With orthonormal=true new rows start orthogonal to old ones, and rows are orthonormalised
when their task is over: Oja's rule leaves errors of 1e-3, and I - H^T H is a projection only without. Vectors are used
as they come, 256 or more at a time, so memory does not grow with T under a local rule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from workbench.errors import ConfigurationError
from workbench.lazy import lazy_module
from workbench.plugin import MemoryCost, Modifier, PluginConfig
from workbench.rules.projection import (
    ProjectionConfig,
    Projector,
    Site,
    check_optimiser,
    layers_of,
    orthonormal_to,
    projected_sites,
    projects_readout,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import Tensor

    from workbench.backbones.network import Activity
    from workbench.plugin import Rule, SequenceBatch
    from workbench.rules.training_activity import TrainingActivity
else:
    torch = lazy_module("torch")

Share = Annotated[float, Field(gt=0, lt=1)]
Rows = Annotated[int, Field(ge=0)]
Size = Rows | Share
Sizes = Size | tuple[Size, ...]

LARGEST_CHANGE = 10.0
LONGEST_ROW = 1.1  # rows end at length 1; momentum of a loud stretch can carry them away in a silent one
GATHERED = 256
"""Vectors that are waited for before the lateral connections learn, unless the sequence ends."""
MEMORY = 0.98
"""Decay per learning step of running energies and largest eigenvalue."""
FIRST_ITERATIONS = 10
"""Power iterations with a task's first vectors; one with all later ones."""
SETTLED = 50
"""Learning steps between two looks at the explained share (energy)."""


class HLOPConfig(ProjectionConfig):
    """Settings of Hebbian learning based orthogonal projection."""

    rows: Sizes = Field(
        0.2,
        description="lateral units for the first task: a number, or a share of the matrix's inputs; one for all "
        "matrices or a list (layer by layer, a recurrent matrix after the layer's synapse, the readout last)",
    )
    later_rows: Size | tuple[Sizes, ...] = Field(
        0.08,
        description="the same for each later task: one for all, or a list by task, of which the last stays",
    )
    energy: float | None = Field(
        None,
        gt=0,
        lt=1,
        description="share of the activity's energy to explain: rows or later_rows units are then added again and "
        "again until it is reached; null: once a task",
    )
    lr: float = Field(
        0.3, gt=0, description="rate of the lateral connections, in units of the stability limit"
    )
    absolute_lr: float | tuple[float, ...] | None = Field(
        None,
        description="the rate itself, for all or by matrix, as in the paper (0.01; pixels 0.001); null: lr",
    )
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum m of the lateral connections")
    iterations: int = Field(5, ge=1, description="learning steps for each set of vectors")
    orthonormal: bool = Field(
        True, description="new rows start, and end, orthonormal to the old ones; false: the paper's form"
    )
    spiking: bool = Field(False, description="lateral neurons answer with spikes")
    spiking_scale: float = Field(20.0, gt=0, description="largest answer s of a spiking lateral neuron")
    spiking_steps: int = Field(1000, ge=1, description="steps K in which it fires")


class Lateral:
    """Lateral connections of one matrix.

    rows: `[M, N]`, the first `frozen` of past tasks. velocity: `[M - frozen, N]`. direction: `[N]` of the power
    iteration. scalars: `[3]` running energy of x, of x - xhat, and the largest eigenvalue.
    """

    def __init__(self, config: HLOPConfig, like: Tensor, rate: float | None) -> None:
        self.config = config
        self.rate = rate
        width = like.shape[1]
        self.rows = like.new_zeros(0, width)
        self.velocity = like.new_zeros(0, width)
        self.frozen = 0
        self.direction = like.new_zeros(width)
        self.scalars = like.new_zeros(3)

    def grow(self, count: int, generator: torch.Generator) -> int:
        """Add up to `count` orthonormal rows, as many as the width allows; returns how many."""
        width = self.rows.shape[1]
        count = min(count, width - len(self.rows))
        drawn = torch.randn(count, width, generator=generator, dtype=torch.float64)
        against = self.rows if self.config.orthonormal else self.rows[self.frozen :]
        new = orthonormal_to(drawn, against.cpu()).to(self.rows)
        self.rows = torch.cat([self.rows, new])
        self.velocity = torch.cat([self.velocity, torch.zeros_like(new)])
        return count

    def merge(self) -> None:
        """Freeze all rows: their task is over."""
        if self.config.orthonormal and len(self.rows) > self.frozen:
            old, new = self.rows[: self.frozen], self.rows[self.frozen :]
            self.rows = torch.cat([old, orthonormal_to(new, old)])
        self.frozen = len(self.rows)
        self.velocity = self.velocity[:0]
        self.scalars = torch.zeros_like(self.scalars)

    def answer(self, vectors: Tensor, rows: Tensor) -> Tensor:
        """Return y `[n, m]` of some rows `[m, N]` to vectors `[n, N]`."""
        y = vectors @ rows.T
        if not self.config.spiking:
            return y
        scale, steps = self.config.spiking_scale, self.config.spiking_steps
        return (y.clamp(-scale, scale) * (steps / scale)).round() * (scale / steps)

    def learn(self, vectors: Tensor) -> None:
        """Learn from vectors x `[n, N]`, each used `iterations` times."""
        config, count = self.config, len(vectors)
        old, new = self.rows[: self.frozen], self.rows[self.frozen :]
        # What frozen rows reconstruct does not change within the iterations.
        residual = vectors - self.answer(vectors, old) @ old if self.frozen else vectors
        rate = self._rate(residual if config.orthonormal else vectors)
        kept = float(residual.square().sum()) / count
        for iteration in range(config.iterations if len(new) else 0):
            y = self.answer(vectors, new)
            # y^T (x - xhat) without xhat: y^T x' - (y^T y) H, x' the residual of the frozen rows.
            hebbian, anti = y.T @ residual, (y.T @ y) @ new
            if iteration == 0:
                kept += float(((anti - 2 * hebbian) * new).sum()) / count
            change = ((hebbian - anti) / count).clamp_(-LARGEST_CHANGE, LARGEST_CHANGE)
            self.velocity.mul_(config.momentum).add_(change, alpha=1 - config.momentum)
            new += rate * self.velocity
        if self.rate is None:
            self._bring_back(new)
        energies = vectors.new_tensor([float(vectors.square().sum()) / count, kept])
        self.scalars[:2] = MEMORY * self.scalars[:2] + (1 - MEMORY) * energies

    def _bring_back(self, rows: Tensor) -> None:
        """Take rows that momentum has carried away back to length 1, and their momentum away."""
        lengths = rows.norm(dim=1, keepdim=True)
        away = lengths > LONGEST_ROW
        rows.div_(torch.where(away, lengths, 1.0))
        self.velocity.mul_(~away)

    @property
    def explained(self) -> float:
        """Share of the recent energy of x that the rows reconstruct; 1 before anything was seen."""
        energy, kept, _ = self.scalars.tolist()
        return 1.0 - kept / energy if energy > 0 else 1.0

    def _rate(self, vectors: Tensor) -> float:
        """Return the step size: absolute, or a fraction of 1 / lambda."""
        if self.rate is not None:
            return self.rate
        known = float(self.scalars[2])
        if not known:
            self.direction = vectors[vectors.square().sum(1).argmax()]
        for _ in range(1 if known else FIRST_ITERATIONS):
            image = vectors.T @ (vectors @ self.direction) / len(vectors)
            self.direction = torch.nn.functional.normalize(image, dim=0)
        limit = max(float(image.norm()), MEMORY * known)
        self.scalars[2] = limit
        return self.config.lr / limit if limit > 0 else 0.0

    def tensors(self) -> dict[str, Tensor]:
        """Return what must survive an interrupt."""
        kept = {
            "rows": self.rows,
            "velocity": self.velocity,
            "direction": self.direction,
            "scalars": self.scalars,
        }
        return {**kept, "frozen": torch.tensor(self.frozen)}

    def restore(self, name: str, value: Tensor) -> None:
        """Take back one of `tensors`."""
        setattr(self, name, int(value) if name == "frozen" else value.to(self.rows).clone())


class HLOP(Modifier):
    """Hebbian learning based orthogonal projection: changes stay orthogonal to the activity of past tasks."""

    Config: ClassVar[type[PluginConfig]] = HLOPConfig
    config: HLOPConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._lateral: dict[str, Lateral] = {}
        self._sites: dict[str, Site] = {}
        self._projector: Projector | None = None
        self._task = 0
        self._grown: dict[str, int] = {}
        """How often rows were added for the present task, by matrix; empty until its first batch."""
        self._steps = 0
        """Learning steps of the present task."""
        self._training: TrainingActivity | None = None
        self._gathered: dict[str, list[Tensor]] = {}
        self._restored: dict[str, Tensor] = {}

    def before_task(self, rule: Rule, task: int) -> None:
        """Note that rows must be added. Raises ConfigurationError if the optimiser does not go with `projection`."""
        check_optimiser("hlop", self.config.projection, rule)
        self._task, self._grown, self._steps = task, {}, 0

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Begin to listen; with the first batch of a task, add its rows."""
        if not self._sites:
            self._begin(rule, batch)
        if not self._grown:
            for number, name in enumerate(self._sites):
                self._grown[name] = 0
                if self.config.energy is None:
                    self._grow(rule, number, name)
        elif self.config.energy is not None and self._steps % SETTLED == 1:
            for number, (name, lateral) in enumerate(self._lateral.items()):
                if lateral.explained < self.config.energy:
                    self._grow(rule, number, name)
        self._steps += 1
        self._gathered = {name: [] for name in self._sites}
        assert self._training is not None
        self._training.begin(layers_of(self._sites.values()), batch.inputs.shape[0])

    def _begin(self, rule: Rule, batch: SequenceBatch) -> None:
        from workbench.rules.training_activity import TrainingActivity

        sites = projected_sites(rule.network, projects_readout(self.config.readout, batch))
        rates = self._each(self.config.absolute_lr, "absolute_lr", sites)
        self._each(self.config.rows, "rows", sites)
        for sizes in self.config.later_rows if isinstance(self.config.later_rows, tuple) else ():
            self._each(sizes, "later_rows", sites)
        self._sites = {site.name: site for site in sites}
        self._projector = Projector("hlop", sites, self.config.projection)
        for site, rate in zip(sites, rates, strict=True):
            self._lateral[site.name] = Lateral(self.config, site.weight.detach(), rate)
        self._training = TrainingActivity(self._hear)
        if self._restored:
            self._take_back()

    def _each(self, value: Any, key: str, sites: Sequence[Site]) -> list[Any]:
        """Return one value a matrix. Raises ConfigurationError if a list has another length."""
        if not isinstance(value, tuple):
            return [value] * len(sites)
        if len(value) != len(sites):
            names = ", ".join(site.name for site in sites)
            raise ConfigurationError(
                f"{key} of hlop has {len(value)} values for {len(sites)} matrices ({names}); "
                "give one for all, or one each"
            )
        return list(value)

    def _grow(self, rule: Rule, number: int, name: str) -> None:
        """Add rows to a matrix, in a direction that depends on the seed, the matrix, the task and the addition."""
        sizes: Any = self.config.rows
        if self._task > 0 and any(lateral.frozen for lateral in self._lateral.values()):
            sizes = self.config.later_rows
            if isinstance(sizes, tuple):
                sizes = sizes[min(self._task, len(sizes)) - 1] if sizes else 0
        size = self._each(sizes, "rows", list(self._sites.values()))[number]
        width = self._sites[name].width
        count = max(1, round(size * width)) if isinstance(size, float) else size
        stream = f"hlop/{name}/{self._task}/{self._grown[name]}"
        self._lateral[name].grow(count, rule.context.streams.torch(stream))
        self._grown[name] += 1

    def _hear(self, number: int, activity: Activity) -> None:
        """Gather what the layer's matrices read in a stretch of training, and learn when there is enough."""
        layer = layers_of(self._sites.values())[number]
        for name, site in self._sites.items():
            if site.layer is layer:
                self._gathered[name].append(site.presynaptic(activity))
                self._learn(name, GATHERED)

    def _learn(self, name: str, least: int) -> None:
        with torch.no_grad():
            gathered = self._gathered[name]
            if sum(map(len, gathered)) >= least:
                self._lateral[name].learn(torch.cat(gathered) if len(gathered) > 1 else gathered[0])
                gathered.clear()

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Learn what is left of the sequence at its end; project the gradients, or note the weights before the step."""
        if self._training is not None and self._training.complete:
            for name in self._gathered:
                self._learn(name, 1)
        if self._projector is not None:
            self._projector.gradients_stand(rule)

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Project the change that the step made."""
        if self._projector is not None:
            self._projector.updated()

    def after_task(self, rule: Rule, task: int) -> None:
        """Freeze the task's rows and protect what they span; a task without a batch leaves nothing."""
        if self._training is not None:
            self._training.end()
        if self._grown:
            for name, lateral in self._lateral.items():
                lateral.merge()
                self._protect(name)
        self._grown = {}

    def _protect(self, name: str) -> None:
        lateral = self._lateral[name]
        if lateral.frozen and self._projector is not None:
            rows = lateral.rows[: lateral.frozen].clone()
            self._projector.protect(name, rows, orthonormal=self.config.orthonormal)

    def metrics(self) -> dict[str, float]:
        """Return lateral units and the explained share of the activity's energy, by matrix."""
        found = {}
        for name, lateral in self._lateral.items():
            found[f"hlop_rows/{name}"] = float(len(lateral.rows))
            found[f"hlop_explained/{name}"] = lateral.explained
        return found

    def state_dict(self) -> dict[str, Tensor]:
        """Return lateral connections, and where in a task they are."""
        if self._restored and not self._lateral:
            return dict(self._restored)
        state = {
            f"lateral/{name}/{key}": value.clone()
            for name, lateral in self._lateral.items()
            for key, value in lateral.tensors().items()
        }
        state |= {f"grown/{name}": torch.tensor(count) for name, count in self._grown.items()}
        return {**state, "place": torch.tensor([self._task, self._steps])}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Keep the state until the first batch tells which matrices there are."""
        self._restored = {name: value.clone() for name, value in state.items()}
        self._task, self._steps = (int(number) for number in state["place"])
        self._grown = {name[6:]: int(count) for name, count in state.items() if name.startswith("grown/")}

    def _take_back(self) -> None:
        for key, value in self._restored.items():
            if key.startswith("lateral/"):
                _, name, part = key.split("/")
                self._lateral[name].restore(part, value)
        self._restored = {}
        for name in self._lateral:
            self._protect(name)

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Lateral units of all tasks and what learns and projects them; before a network is known, at most."""
        if not self._lateral:
            # As many rows as inputs, of matrices as wide as high; a velocity; a copy of the weights.
            return MemoryCost(other=3 * parameters)
        return self.live_memory(sample)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of lateral connections and their velocities, and of what the projection holds."""
        held = 0 if self._projector is None else self._projector.held_bytes()
        tensors = [value for lateral in self._lateral.values() for value in lateral.tensors().values()]
        # The projector keeps the frozen rows by themselves.
        frozen = [lateral.rows[: lateral.frozen] for lateral in self._lateral.values()]
        return MemoryCost(other=held + sum(t.numel() * t.element_size() for t in [*tensors, *frozen]))
