"""One seed, named child streams: nothing in the workbench reads a global random generator.

A stream is named for what it decides (`"initialisation"`, `"data-order"`, `"feedback"`, ...). Its numbers depend on the
seed and the name alone, so adding a stream never changes another.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class RandomStreams:
    """Named, independent random streams of one experiment seed."""

    seed: int

    def integer(self, name: str) -> int:
        """Return a 63-bit integer that seeds the stream `name`.

        >>> RandomStreams(0).integer("data-order") == RandomStreams(0).integer("data-order")
        True
        >>> RandomStreams(0).integer("data-order") == RandomStreams(1).integer("data-order")
        False
        """
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def numpy(self, name: str) -> np.random.Generator:
        """Return a fresh NumPy generator for the stream `name`."""
        return np.random.default_rng(self.integer(name))

    def torch(self, name: str) -> torch.Generator:
        """Return a fresh CPU torch generator for the stream `name`."""
        import torch

        return torch.Generator().manual_seed(self.integer(name))
