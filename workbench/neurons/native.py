"""What all Numba kernels have in common: when they apply, how threads share them, where they write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from torch import Tensor

_SMALL = 1 << 15
"""Numbers under which handing half of the work to another thread costs more than it saves."""
_BLOCK = 1 << 18
"""Numbers in a buffer that is filled and read again at once: 1 MB in float32, half of a core's own cache."""


def fast_kernels_apply(tensor: Tensor) -> bool:
    """Tell whether the Numba kernels serve this tensor."""
    forced = os.environ.get("WORKBENCH_KERNELS", "") == "reference"
    return not forced and tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


@cache
def _workers(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="kernels")


def share(kernel: Callable[..., None], parts: int, numbers: int, *arguments: Any) -> None:
    """Run `kernel(*arguments, first, last)` over slices of `parts`, one for each torch thread if `numbers` are many."""
    threads = min(torch.get_num_threads(), parts) if numbers >= _SMALL else 1
    edges = [parts * i // threads for i in range(threads + 1)]
    others = [
        _workers(threads - 1).submit(kernel, *arguments, first, last) for first, last in pairwise(edges[1:])
    ]
    kernel(*arguments, 0, edges[1])
    for other in others:
        other.result()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch to one thread: in small products threads wait for each other longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def buffer(like: Tensor, *shape: int) -> Tensor:
    """Return an empty tensor of the dtype and device of `like`.

    NumPy asks for huge pages where a buffer is large, torch does not: a buffer of 50 MB is filled five times as fast.
    """
    size = prod(shape)
    if size < _SMALL or like.device.type != "cpu" or like.dtype not in (torch.float32, torch.float64):
        return torch.empty(shape, dtype=like.dtype, device=like.device)
    # Torch aligns to 64 bytes, NumPy to 16; rows that lie askew of the cache's lines cost a fifth more.
    spare = 64 // like.element_size()
    whole = np.empty(size + spare, np.float32 if like.dtype == torch.float32 else np.float64)
    first = -whole.ctypes.data % 64 // like.element_size()
    return torch.from_numpy(whole)[first : first + size].view(shape)


def blocks(steps: int, numbers: int) -> list[tuple[int, int]]:
    """Cut `steps` of `numbers` each into consecutive stretches of a block.

    >>> blocks(5, _BLOCK // 2)
    [(0, 2), (2, 4), (4, 5)]
    """
    size = max(1, _BLOCK // max(numbers, 1))
    return [(first, min(first + size, steps)) for first in range(0, steps, size)]
