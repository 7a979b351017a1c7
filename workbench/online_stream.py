"""A stream of tasks seen once, sample after sample, its boundaries sharp or blurred. Pure NumPy.

Sharp: the tasks one after the other, each in an order drawn at random. Blurred: around each boundary lies a region in
which the next task's samples take over, their share growing linearly from 0 to 1. The region is `blur` times the
smaller of the two tasks wide, half of it on either side, so neighbouring regions touch at blur = 1 and never overlap.
Within it a sample of the old task falls at a time of density 2 (1 - t), one of the new task of density 2 t, t in
[0, 1]: together they are spread evenly, and each sample is still seen exactly once. A task keeps its number of
training steps; some of its samples are lent by its neighbours (`Task.origins`), and in the task setting they keep
their own label, so that their own classes compete.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from workbench.tasks import TaskStream

Boundaries = Literal["sharp", "blurred"]
Indices = npt.NDArray[np.int64]


def online(
    stream: TaskStream, generator: np.random.Generator, boundaries: Boundaries, blur: float
) -> TaskStream:
    """Return the stream in the order in which it is seen, `in_order`; tests, validation and classes stay.

    blur: width of the region around a boundary as a share of the smaller task, in (0, 1]; unused if sharp.
    """
    trains = [generator.permutation(len(task.train)) for task in stream.tasks]
    indices = np.concatenate([task.train[order] for task, order in zip(stream.tasks, trains, strict=True)])
    origins = np.concatenate(
        [
            np.full(len(order), number) if task.origins is None else task.origins[order]
            for number, (task, order) in enumerate(zip(stream.tasks, trains, strict=True))
        ]
    )
    sizes = [len(order) for order in trains]
    if boundaries == "blurred":
        places = blurred_places(sizes, blur, generator)
        indices, origins = indices[places], origins[places]
    ends = np.cumsum(sizes)
    tasks = tuple(
        replace(task, train=indices[end - size : end], origins=origins[end - size : end])
        for task, size, end in zip(stream.tasks, sizes, ends, strict=True)
    )
    return replace(stream, tasks=tasks, in_order=True)


def blurred_places(sizes: Sequence[int], blur: float, generator: np.random.Generator) -> Indices:
    """Return a permutation of the places 0 to sum(sizes) - 1 that mixes neighbouring segments of those sizes.

    >>> blurred_places([3, 3], 1e-9, np.random.default_rng(0)).tolist()
    [0, 1, 2, 3, 4, 5]
    """
    places = np.arange(sum(sizes), dtype=np.int64)
    boundary = 0
    for size, following in pairwise(sizes):
        boundary += size
        half = int(blur * min(size, following) / 2)
        # The inverse distribution functions of the two densities.
        old = 1.0 - np.sqrt(generator.random(half))
        new = np.sqrt(generator.random(half))
        region = slice(boundary - half, boundary + half)
        places[region] = places[region][np.argsort(np.concatenate([old, new]), kind="stable")]
    return places
