"""GPM, gradient projection memory (Saha, Garg and Roy 2021, ICLR, arXiv 2103.09762): the exact counterpart of `hlop`.

Each matrix W `[out, N]` that reads x `[N]` has orthonormal rows H `[M, N]`. When a task is over, with R the activity x
of some of its samples and P = I - H^T H,

    P E[x x^T] P = U diag(s) U^T            s falling; the residual's singular values squared
    k smallest with  E|H x|^2 + sum_{i <= k} s_i >= energy E|x|^2                                   (eq. 9)
    H <- [H; u_1; ...; u_k]                 the directions that the task adds

and from then on dW <- dW (I - H^T H) (eq. 7), biases and cells' own parameters being held still. E[x x^T] `[N, N]`
stands for R, of which the left singular vectors are its eigenvectors; it is a running mean over the last training
batches, of which every tenth is taken (`every`, `window`), so that no sample has to be kept or run again. As in
`hlop`, the projection acts on the optimiser's final change of W unless projection=gradient.
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

Share = Annotated[float, Field(gt=0, le=1)]


class GPMConfig(ProjectionConfig):
    """Settings of gradient projection memory."""

    energy: Share | tuple[Share, ...] = Field(
        0.97,
        description="share of the activity's energy to span; one for all matrices, or a list (layer by layer, a "
        "recurrent matrix after the layer's synapse, the readout last)",
    )
    every: int = Field(10, ge=1, description="activity is taken from every so many training batches")
    window: int = Field(10, ge=1, description="such batches that the running mean remembers")


class GPM(Modifier):
    """Gradient projection memory: changes stay orthogonal to past tasks' activity, its subspace found exactly."""

    Config: ClassVar[type[PluginConfig]] = GPMConfig
    config: GPMConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._sites: list[Site] = []
        self._projector: Projector | None = None
        self._training: TrainingActivity | None = None
        self._rows: dict[str, Tensor] = {}
        self._moment: dict[str, Tensor] = {}
        """Running mean of x x^T of the present task, by matrix."""
        self._batches = 0
        self._explained: dict[str, float] = {}
        self._restored: dict[str, Tensor] = {}

    def before_task(self, rule: Rule, task: int) -> None:
        """Forget the last task's activity. Raises ConfigurationError if the optimiser does not go with `projection`."""
        check_optimiser("gpm", self.config.projection, rule)
        self._moment, self._batches = {}, 0

    def before_batch(self, rule: Rule, batch: SequenceBatch) -> None:
        """Listen to every tenth batch (`every`)."""
        if not self._sites:
            self._begin(rule, batch)
        if self._training is not None and self._batches % self.config.every == 0:
            self._training.begin(layers_of(self._sites), batch.inputs.shape[0])
        self._batches += 1

    def _begin(self, rule: Rule, batch: SequenceBatch) -> None:
        from workbench.rules.training_activity import TrainingActivity

        self._sites = projected_sites(rule.network, projects_readout(self.config.readout, batch))
        if isinstance(self.config.energy, tuple) and len(self.config.energy) != len(self._sites):
            names = ", ".join(site.name for site in self._sites)
            raise ConfigurationError(
                f"energy of gpm has {len(self.config.energy)} values for {len(self._sites)} matrices ({names}); "
                "give one for all, or one each"
            )
        self._projector = Projector("gpm", self._sites, self.config.projection)
        self._training = TrainingActivity(self._hear)
        for site in self._sites:
            self._rows[site.name] = site.weight.new_zeros(0, site.width)
        self._take_back()

    def _hear(self, number: int, activity: Activity) -> None:
        """Move the running mean of x x^T towards that of a stretch of steps."""
        with torch.no_grad():
            layer = layers_of(self._sites)[number]
            # The first batches weigh alike, later ones as in an exponential window.
            seen = (self._batches - 1) // self.config.every + 1
            for site in self._sites:
                if site.layer is layer:
                    vectors = site.presynaptic(activity)
                    moment = vectors.T @ vectors / len(vectors)
                    before = self._moment.get(site.name)
                    weight = 1.0 / min(seen, self.config.window)
                    self._moment[site.name] = moment if before is None else torch.lerp(before, moment, weight)

    def after_gradients(self, rule: Rule, batch: SequenceBatch) -> None:
        """Project the gradients, or note the weights before the step."""
        if self._projector is not None:
            self._projector.gradients_stand(rule)

    def after_update(self, rule: Rule, batch: SequenceBatch) -> None:
        """Project the change that the step made."""
        if self._projector is not None:
            self._projector.updated()

    def after_task(self, rule: Rule, task: int) -> None:
        """Add the directions that the task's activity has beyond those of past tasks."""
        if self._training is not None:
            self._training.end()
        shares = self.config.energy
        for number, site in enumerate(self._sites):
            if site.name in self._moment:
                share = shares[number] if isinstance(shares, tuple) else shares
                new, explained = new_directions(self._moment[site.name], self._rows[site.name], share)
                self._rows[site.name] = torch.cat([self._rows[site.name], new])
                self._explained[site.name] = explained
                self._protect(site.name)
        self._moment = {}

    def _protect(self, name: str) -> None:
        if len(self._rows[name]) and self._projector is not None:
            self._projector.protect(name, self._rows[name], orthonormal=True)

    def metrics(self) -> dict[str, float]:
        """Return the protected directions, and the share of the last task's energy that they span, by matrix."""
        return {f"gpm_rows/{name}": float(len(rows)) for name, rows in self._rows.items()} | {
            f"gpm_explained/{name}": share for name, share in self._explained.items()
        }

    def state_dict(self) -> dict[str, Tensor]:
        """Return the protected rows and the running means."""
        state = {f"rows/{name}": rows.clone() for name, rows in self._rows.items()}
        state |= {f"moment/{name}": moment.clone() for name, moment in self._moment.items()}
        state |= {f"explained/{name}": torch.tensor(share) for name, share in self._explained.items()}
        return {**self._restored, **state, "batches": torch.tensor(self._batches)}

    def load_state_dict(self, state: dict[str, Tensor], experiences: Sequence[Any]) -> None:
        """Keep the state until the first batch tells which matrices there are."""
        self._restored = {name: value.clone() for name, value in state.items()}
        self._batches = int(state["batches"])
        self._moment = {
            name[7:]: value.clone() for name, value in state.items() if name.startswith("moment/")
        }

    def _take_back(self) -> None:
        for key, value in self._restored.items():
            kind, _, name = key.partition("/")
            if kind == "rows":
                self._rows[name] = value
                self._protect(name)
            elif kind == "explained":
                self._explained[name] = float(value)
        self._restored = {}

    def memory(self, sample: int, parameters: int, tasks: int) -> MemoryCost:
        """Protected rows, running means, a copy of the weights; before a network is known, at most."""
        if not self._rows:
            # As many rows as inputs, of matrices as wide as high.
            return MemoryCost(other=3 * parameters)
        return self.live_memory(sample)

    def live_memory(self, sample: int) -> MemoryCost:
        """Bytes of the protected rows, the running means, and what the projection holds."""
        held = 0 if self._projector is None else self._projector.held_bytes()
        # The running means come anew with every task.
        means = sum(site.width**2 * site.weight.element_size() for site in self._sites)
        rows = sum(rows.numel() * rows.element_size() for rows in self._rows.values())
        return MemoryCost(other=held + means + rows)


def new_directions(moment: Tensor, rows: Tensor, share: float) -> tuple[Tensor, float]:
    """Return the fewest rows `[k, N]` that, with `rows` `[M, N]`, span `share` of a moment E[x x^T] `[N, N]`.

    Also the share that all of them span. Equation 9 of the paper.
    """
    exact, old = moment.double(), rows.double()
    total = float(exact.trace())
    left = exact - (exact @ old.T) @ old
    left = left - old.T @ (old @ left)
    values, vectors = torch.linalg.eigh((left + left.T) / 2)
    values = values.flip(0).clamp_min(0.0)
    spanned = torch.cat([values.new_zeros(1), values.cumsum(0)]) + (total - float(left.trace()))
    enough = (spanned >= share * total).nonzero()
    count = int(enough[0]) if len(enough) else len(values)
    count = min(count, moment.shape[0] - len(rows))
    new = orthonormal_to(vectors.flip(1)[:, :count].T, old).to(rows.dtype)
    return new, float(spanned[count]) / total if total > 0 else 1.0
