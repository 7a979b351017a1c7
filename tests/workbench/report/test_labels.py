"""Places of names: apart, in order, and where they want to be when nothing is in the way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.report.labels import LETTER, beside, spread

PLACES = st.lists(st.floats(0, 100), min_size=1, max_size=12).map(sorted)


@given(PLACES)
def test_names_are_a_gap_apart_and_in_order(wanted: list[float]) -> None:
    found = spread(wanted, 7.0, 0.0, 100.0)
    assert all(later - earlier >= 7.0 - 1e-9 for earlier, later in itertools.pairwise(found))
    assert len(found) == len(wanted)
    assert found[0] >= -1e-9
    assert found[-1] <= 100.0 + 1e-9


@given(st.lists(st.integers(0, 10), min_size=1, max_size=8, unique=True).map(sorted))
def test_names_with_room_stay_where_they_want_to_be(places: list[int]) -> None:
    wanted = [10.0 * place for place in places]
    assert spread(wanted, 7.0, 0.0, 100.0) == wanted


def test_names_that_want_one_place_stand_around_it() -> None:
    assert spread([50.0, 50.0, 50.0], 10.0, 0.0, 100.0) == [40.0, 50.0, 60.0]
    assert spread([0.0, 0.0], 10.0, 0.0, 100.0) == [0.0, 10.0]


POINTS = st.lists(st.tuples(st.floats(0, 400), st.floats(0, 300)), min_size=1, max_size=6).map(sorted)


@pytest.mark.parametrize("direction", [1, -1])
@given(POINTS)
def test_names_beside_points_lie_neither_on_each_other_nor_on_points(
    direction: int, points: list[tuple[float, float]]
) -> None:
    names = ["osttp+hlop"[: 3 + place] for place in range(len(points))]
    offsets = beside(points, names, direction)
    # One pixel of play: offsets are rounded.
    boxes = [
        (x - 8 - LETTER * len(name), x - 8, y + offset - 5, y + offset + 5)
        for (x, y), name, offset in zip(points, names, offsets, strict=True)
    ]
    dots = [(x - 6, x + 6, y - 5, y + 5) for x, y in points]
    for one, other in [*itertools.combinations(boxes, 2), *itertools.product(boxes, dots)]:
        assert one[1] <= other[0] or other[1] <= one[0] or one[3] <= other[2] or other[3] <= one[2]
    assert all(direction * offset >= 10 for offset in offsets)
