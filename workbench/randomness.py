"""One seed, named child streams: nothing in the workbench reads a global random generator.

A stream is named for what it decides (`"initialisation"`, `"data-order"`, `"feedback"`, ...). Its numbers depend on the
seed and the name alone, so adding a stream never changes another.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from workbench.lazy import lazy_module

if TYPE_CHECKING:
    import numpy as np
    import torch
else:
    np = lazy_module("numpy")


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

    @contextmanager
    def lent_to_globals(self, name: str) -> Iterator[None]:
        """Seed the global generators of torch, NumPy and Python inside this context, and restore them after it.

        For libraries that read the global generators (Avalanche's replay buffers do).
        """
        import torch

        python_state, numpy_state = random.getstate(), np.random.get_state()
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
        with torch.random.fork_rng(devices=devices):
            self.seed_globals(name)
            try:
                yield
            finally:
                random.setstate(python_state)
                np.random.set_state(numpy_state)

    def seed_globals(self, name: str) -> None:
        """Seed the global generators from the stream `name`; only inside `lent_to_globals`, which restores them."""
        import torch

        seed = self.integer(name)
        torch.default_generator.manual_seed(seed)
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.manual_seed_all(seed)
        random.seed(seed)
        np.random.seed(seed % 2**32)
