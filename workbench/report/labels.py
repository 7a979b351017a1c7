"""Places for names in charts, so that they do not lie on each other."""

from __future__ import annotations

from collections.abc import Sequence

LETTER, LINE = 7.2, 14.0
"""Width of a letter and height of a line of a label, in pixels."""


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Return rising places at least `gap` apart, near those wanted (rising), within low and high if there is room.

    >>> spread([1.0, 1.0, 5.0], 1.0, 0.0, 10.0)
    [0.5, 1.5, 5.0]
    """
    clusters: list[list[float]] = []
    for value in wanted:
        clusters.append([value])
        # A cluster stands around the mean of what its members want; clusters that touch become one.
        while len(clusters) > 1 and (
            _bottom(clusters[-1], gap, low, high)
            < _bottom(clusters[-2], gap, low, high) + gap * len(clusters[-2])
        ):
            last = clusters.pop()
            clusters[-1] += last
    return [_bottom(one, gap, low, high) + gap * place for one in clusters for place in range(len(one))]


def _bottom(cluster: Sequence[float], gap: float, low: float, high: float) -> float:
    half = gap * (len(cluster) - 1) / 2
    middle = sum(cluster) / len(cluster)
    return min(max(middle, low + half), max(high - half, low + half)) - half


def beside(points: Sequence[tuple[float, float]], names: Sequence[str], direction: int) -> list[float]:
    """Return how far from its point each name stands, in pixels down the page, right-aligned at its left.

    points: in pixels, from the left to the right. direction: 1 for below, -1 for above. Names that would lie on each
    other or on another point move on in that direction.

    >>> beside([(100.0, 50.0), (120.0, 52.0)], ["one", "two"], 1)
    [10.0, 20.0]
    """
    taken = [(x - 6, x + 6, y - 6, y + 6) for x, y in points]
    offsets = []
    for (x, y), name in zip(points, names, strict=True):
        offset = 10.0 * direction
        while any(_meet(box, _box(x, y + offset, name)) for box in taken):
            offset += LINE * direction / 7
        taken.append(_box(x, y + offset, name))
        offsets.append(round(offset))
    return [float(offset) for offset in offsets]


def _box(x: float, y: float, name: str) -> tuple[float, float, float, float]:
    return x - 8 - LETTER * len(name), x - 8, y - LINE / 2 + 1, y + LINE / 2 - 1


def _meet(one: tuple[float, float, float, float], other: tuple[float, float, float, float]) -> bool:
    return one[0] < other[1] and other[0] < one[1] and one[2] < other[3] and other[2] < one[3]
