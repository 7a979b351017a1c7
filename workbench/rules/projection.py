"""Orthogonal projection of weight changes: what a matrix answers to old activity stays as it is.

W `[out, N]` reads x `[N]`; the orthonormal rows H `[M, N]` span what x was in past tasks. A change D of W becomes

    D <- D (I - H^T H) = D Q^T Q          Q `[N - M, N]`: orthonormal rows that complete H to a basis

so that D x = 0 for every x in the span of H. Projecting a gradient delta x^T is projecting the x in it: (delta x^T) P =
delta (P x)^T, for any rule that makes its gradient of such products, traces of x among them.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from workbench.errors import ConfigurationError
from workbench.lazy import lazy_module
from workbench.plugin import PluginConfig

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from workbench.backbones.network import Activity, Layer, Network
    from workbench.plugin import Rule, SequenceBatch
else:
    torch = lazy_module("torch")


class ProjectionConfig(PluginConfig):
    """Settings that all learners share which project."""

    projection: Literal["update", "gradient"] = Field(
        "update",
        description="what is kept orthogonal to old activity: the optimiser's final change of the weights, or the "
        "gradient before it (as in the papers; plain sgd only)",
    )
    readout: Literal["auto", "project", "free"] = Field(
        "auto", description="project the readout as well; auto: unless only a task's own classes compete"
    )


@dataclass(frozen=True)
class Site:
    """A weight matrix that is projected, `[out, width]`: a layer's synapse, or its recurrent synapse."""

    name: str
    layer: Layer
    recurrent: bool

    @property
    def weight(self) -> Tensor:
        """The matrix itself."""
        weight = self.layer.recurrent_weight() if self.recurrent else self.layer.synapse.weight
        assert weight is not None
        return weight

    @property
    def width(self) -> int:
        """Number of presynaptic units."""
        return int(self.weight.shape[1])

    def presynaptic(self, activity: Activity) -> Tensor:
        """Return what the matrix read, `[n, width]`: a vector for each step and sample."""
        read = activity.before if self.recurrent else activity.inputs
        assert read is not None
        # One step seen T times (stride 0) tells no more than once.
        vectors = read[0] if read.stride(0) == 0 else read.flatten(0, 1)
        return vectors.to(self.weight.dtype)


def projected_sites(network: Network, readout: bool) -> list[Site]:
    """Return the matrices in order: each hidden layer's synapse, then its recurrent one; at last the readout's."""
    sites = []
    for number, layer in enumerate(network.layers):
        if layer is network.readout and not readout:
            continue
        prefix = "readout" if layer is network.readout else f"hidden.{number}"
        sites.append(Site(f"{prefix}.synapse", layer, recurrent=False))
        if layer.recurrent is not None:
            sites.append(Site(f"{prefix}.recurrent", layer, recurrent=True))
    return sites


def layers_of(sites: Iterable[Site]) -> list[Layer]:
    """Return the layers that the matrices belong to, each once, in order."""
    return list(dict.fromkeys(site.layer for site in sites))


def projects_readout(readout: str, batch: SequenceBatch) -> bool:
    """Return whether the readout is projected: asked for, or because all tasks share it."""
    return readout == "project" or (readout == "auto" and batch.class_mask is None)


def check_optimiser(learner: str, projection: str, rule: Rule) -> None:
    """Raise ConfigurationError if the optimiser turns projected gradients back into the old subspace."""
    config = rule.config
    if projection == "update":
        return
    for fault, reason in (
        (config.optimiser != "sgd", "adam scales every weight's step on its own"),
        (config.weight_decay > 0, "weight decay shrinks weights along old activity too"),
    ):
        if fault:
            raise ConfigurationError(
                f"learner={learner}, projection=gradient: {reason}, so that steps would not be orthogonal to the "
                "activity of old tasks; use optimiser=sgd without weight_decay, or projection=update, which projects "
                "the final change of the weights"
            )


def complete(rows: Tensor) -> Tensor:
    """Return orthonormal rows `[N - M, N]` that complete the orthonormal `rows` `[M, N]` to a basis."""
    basis: Tensor = torch.linalg.qr(rows.T.double(), mode="complete").Q
    return basis[:, len(rows) :].T.to(rows.dtype).contiguous()


def orthonormal_to(candidates: Tensor, rows: Tensor) -> Tensor:
    """Return orthonormal rows that span what `candidates` `[k, N]` add to orthonormal `rows` `[M, N]`; k <= N - M."""
    exact, old = candidates.double(), rows.double()
    for _ in range(
        2
    ):  # Twice is enough (Kahan, in Parlett 1980): the first leaves a trace where little is left.
        exact = exact - (exact @ old.T) @ old
        exact = torch.linalg.qr(exact.T).Q.T
    return exact.to(candidates.dtype).contiguous()


class Projector:
    """Keeps what happened in past tasks from being changed: projects matrices, holds other parameters still."""

    def __init__(self, learner: str, sites: Sequence[Site], projection: str) -> None:
        self.learner = learner
        self.sites = list(sites)
        self.projection = projection
        self._rows: dict[str, Tensor] = {}
        self._rest: dict[str, Tensor] = {}
        """Completing rows where they are the fewer."""
        self._before: list[tuple[Tensor, Tensor]] = []

    def protect(self, name: str, rows: Tensor, *, orthonormal: bool) -> None:
        """From now on keep changes of the matrix `name` orthogonal to `rows` `[M, width]`."""
        self._rows[name] = rows
        self._rest.pop(name, None)
        if orthonormal and 2 * len(rows) > rows.shape[1]:
            self._rest[name] = complete(rows)

    def project(self, name: str, change: Tensor) -> Tensor:
        """Return the part of a change `[out, width]` that is orthogonal to the protected rows."""
        if name in self._rest:
            return (change @ self._rest[name].T) @ self._rest[name]
        rows = self._rows[name]
        return change - (change @ rows.T) @ rows

    def gradients_stand(self, rule: Rule) -> None:
        """Project the gradients (projection=gradient), or note the weights before the step."""
        with torch.no_grad():
            check_optimiser(self.learner, self.projection, rule)
            if self.projection == "gradient":
                for site in self._protected():
                    if site.weight.grad is not None:
                        site.weight.grad = self.project(site.name, site.weight.grad)
                for parameter in self._held():
                    parameter.grad = None
            else:
                values = [*(site.weight for site in self._protected()), *self._held()]
                self._before = [(value, value.detach().clone()) for value in values]

    def updated(self) -> None:
        """Project what the step changed since it was noted (projection=update)."""
        with torch.no_grad():
            names = [site.name for site in self._protected()]
            for position, (value, before) in enumerate(self._before):
                if position < len(names):
                    before += self.project(names[position], value - before)
                value.copy_(before)
            self._before = []

    def held_bytes(self) -> int:
        """Bytes of completing rows and of the copies that an update needs."""
        copies = [*(site.weight for site in self._protected()), *self._held()]
        needed = copies if self.projection == "update" else []
        return sum(value.numel() * value.element_size() for value in [*self._rest.values(), *needed])

    def _protected(self) -> list[Site]:
        return [site for site in self.sites if site.name in self._rows]

    def _held(self) -> list[Tensor]:
        """Biases and cells' own parameters of layers that are projected: no projection can keep their effect."""
        layers = {id(site.layer): site.layer for site in self._protected()}
        return [
            parameter for layer in layers.values() for parameter in layer.parameters() if parameter.ndim == 1
        ]
