"""The network as Avalanche sees a model, and its warnings held back."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from workbench.backbones.network import Network
from workbench.rules.loss import decision
from workbench.tasks import TaskStream

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from avalanche.models import MultiTaskModule

OUT_OF_TASK = -1e4
"""Score of a class of another task, as plug-ins see it: no weight in a softmax, and its square still a number."""


@contextmanager
def quiet() -> Iterator[None]:
    """Hold back warnings: Avalanche deprecates its own calls; none of this is the user's to mend."""
    # Recorded, not only ignored: its decorator puts the filter for its own warnings back on.
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


class SequenceClassifier(nn.Module):
    """The network as Avalanche sees a model: `[B, T, N]` -> decision scores `[B, C]`."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the readout averaged over time."""
        return decision(self.network(inputs.transpose(0, 1)))


class MaskedClassifier(MultiTaskModule):  # type: ignore[misc]
    """The same for the task setting: only the classes of each sample's task compete."""

    def __init__(self, network: Network, masks: Tensor) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("masks", masks)

    def forward(self, inputs: Tensor, task_labels: Tensor | None = None) -> Tensor | dict[int, Tensor]:
        """Return the readout averaged over time, other tasks' classes masked; without labels, for every task."""
        scores = decision(self.network(inputs.transpose(0, 1)))
        if task_labels is None:
            return {task: scores.masked_fill(~mask, OUT_OF_TASK) for task, mask in enumerate(self.masks)}
        return scores.masked_fill(~self.masks[task_labels], OUT_OF_TASK)


def class_masks(stream: TaskStream) -> Tensor | None:
    """Return which classes compete in each task, `[tasks, C]` bool, or None where all always do."""
    if stream.setting != "task":
        return None
    masks = torch.zeros(len(stream.tasks), stream.classes, dtype=torch.bool)
    for number, task in enumerate(stream.tasks):
        masks[number, list(task.classes)] = True
    return masks
