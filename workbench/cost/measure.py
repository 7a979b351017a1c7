"""Memory of learning as measured: tensors that autograd saved, and the live state of learner and optimiser."""

from __future__ import annotations

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


class SavedTensors:
    """What autograd saved for backward passes while it watched; storages known beforehand are left out."""

    def __init__(self, known: Iterable[Tensor]) -> None:
        self._known = {tensor.untyped_storage().data_ptr() for tensor in known}
        # Kept alive, so that no address is used twice while counting.
        self._saved: list[Tensor] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Count what is saved inside this context."""

        def keep(tensor: Tensor) -> Tensor:
            if tensor.untyped_storage().data_ptr() not in self._known:
                self._saved.append(tensor.detach())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            yield

    def take(self) -> int:
        """Return the bytes saved so far, and forget them."""
        size = storage_bytes(self._saved)
        self._saved = []
        return size


def measured_cost(
    rule: Rule,
    network: Network,
    optimiser: torch.optim.Optimizer,
    modifiers: Iterable[Modifier],
    saved: int,
    sample: int,
) -> MemoryCost:
    """Return the measured cost after a training step.

    saved: bytes that autograd saved in the step. sample: bytes of one stored sample.
    """
    trained = [p for p in network.parameters() if p.requires_grad]
    moments = [
        value for state in optimiser.state.values() for value in state.values() if torch.is_tensor(value)
    ]
    cost = MemoryCost(
        parameters=storage_bytes(trained),
        gradients=storage_bytes(p.grad for p in trained if p.grad is not None),
        optimiser=storage_bytes(moments),
        activations=saved,
        other=storage_bytes(rule.state_dict().values()),
    )
    cost += rule.live_memory()
    for modifier in modifiers:
        cost += modifier.live_memory(sample)
    return cost
