"""Stored samples of past tasks, by their place in the training pool: what gradient episodic memories refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from learners.avalanche_modifier import unheard
from workbench.streams import BatchLoader, Source, sample_indices

Indices = npt.NDArray[np.int64]


class EpisodicMemory:
    """Some samples of each past task, and the rule's gradient on them.

    Draws from torch's global generator, which the trainer seeds from the experiment's streams for each epoch.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self.parts: list[tuple[Indices, Indices]] = []
        """Places in the training pool `[k]` and task labels `[k]`, one pair a past task."""

    def __len__(self) -> int:
        return sum(len(places) for places, _ in self.parts)

    def add(self, dataset: Any) -> None:
        """Store `size` samples of an Avalanche data set, drawn without replacement, or all if there are fewer."""
        places = sample_indices(dataset)
        labels = np.fromiter(dataset.targets_task_labels, dtype=np.int64, count=len(places))
        chosen = torch.randperm(len(places))[: self.size].numpy()
        self.parts.append((places[chosen], labels[chosen]))

    def draw(self, count: int) -> tuple[Indices, Indices]:
        """Return `count` stored samples in all, as many of each past task, at least one and at most what it has."""
        share = max(1, count // len(self.parts))
        drawn = []
        for places, labels in self.parts:
            chosen = torch.randperm(len(places))[:share].numpy()
            drawn.append((places[chosen], labels[chosen]))
        return np.concatenate([places for places, _ in drawn]), np.concatenate(
            [labels for _, labels in drawn]
        )

    def gradient(self, trainer: Any, places: Indices, labels: Indices) -> Tensor:
        """Return the rule's own gradient `[parameters]` on these samples; `.grad` is cleared."""
        network = trainer.network
        network.zero_grad()
        with unheard(network):
            loader = BatchLoader(trainer.stream.training_pool, [Source(places, labels, len(places))])
            trainer.rule.train_step(trainer.sequences.make(next(iter(loader)), trainer.task))
        flat = torch.cat(
            [
                torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
                for p in network.parameters()
            ]
        )
        network.zero_grad()
        return flat

    def state_dict(self) -> dict[str, Tensor]:
        """Return places and task labels of each part."""
        state = {}
        for part, (places, labels) in enumerate(self.parts):
            state[f"{part}.samples"] = torch.from_numpy(places)
            state[f"{part}.labels"] = torch.from_numpy(labels)
        return state

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned."""
        self.parts[:] = [
            (state[f"{part}.samples"].cpu().numpy(), state[f"{part}.labels"].cpu().numpy())
            for part in range(len(state) // 2)
        ]
