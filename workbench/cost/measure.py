"""Memory of learning as measured: tensors that autograd saved, and the live state of learner and optimiser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from workbench.backbones.network import Network
from workbench.plugin import MemoryCost, Modifier, Rule


def storage_bytes(tensors: Iterable[Tensor]) -> int:
    """Return the bytes of the storages behind `tensors`, each storage once.

    >>> x = torch.zeros(10)
    >>> storage_bytes([x, x[2:], torch.zeros(5)])
    60
    """
    sizes = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}
    return sum(sizes.values())


class _Kept:
    """A saved tensor: alive as long as the graph that needs it."""

    def __init__(self, tensor: Tensor, owner: SavedTensors) -> None:
        self.tensor = tensor
        self.owner = owner

    def __del__(self) -> None:
        self.owner._let_go(self.tensor)


class SavedTensors:
    """The most that autograd kept for backward passes at any moment while it watched; known storages are left out."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        self._users: Counter[int] = Counter()
        self._live = 0
        self._peak = 0

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what is saved inside this context."""
        with torch.autograd.graph.saved_tensors_hooks(self._keep, _unpacked):
            yield

    def take(self) -> int:
        """Return the peak so far, bytes, and start anew from what is alive now."""
        peak, self._peak = self._peak, self._live
        return peak

    def _keep(self, tensor: Tensor) -> Tensor | _Kept:
        storage = tensor.untyped_storage()
        if storage.data_ptr() in self._known:
            return tensor
        if not self._users[storage.data_ptr()]:
            self._live += storage.nbytes()
            self._peak = max(self._peak, self._live)
        self._users[storage.data_ptr()] += 1
        # Detached: a saved result that held its own graph would keep itself alive.
        return _Kept(tensor.detach(), self)

    def _let_go(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        self._users[storage.data_ptr()] -= 1
        if not self._users[storage.data_ptr()]:
            del self._users[storage.data_ptr()]
            self._live -= storage.nbytes()


def _unpacked(saved: Tensor | _Kept) -> Tensor:
    return saved.tensor if isinstance(saved, _Kept) else saved


def measured_cost(
    rule: Rule,
    network: Network,
    optimiser: torch.optim.Optimizer,
    modifiers: Iterable[Modifier],
    step: MemoryCost,
    sample: int,
) -> MemoryCost:
    """Return the measured cost after a training step.

    step: what the step held at its peak: tensors that autograd saved, gradients, `rule.live_memory()`.
    sample: bytes of one stored sample.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    moments = [
        value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    cost = step + MemoryCost(
        parameters=storage_bytes(trained),
        optimiser=storage_bytes(moments),
        other=storage_bytes(rule.state_dict().values()),
    )
    for modifier in modifiers:
        cost += modifier.live_memory(sample)
    return cost
