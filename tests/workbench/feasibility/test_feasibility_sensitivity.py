"""Curves along the axes, and how far a device may go along them before more is lost than allowed."""

from __future__ import annotations

import pytest
from fixtures.feasible import runs_on
from hypothesis import given
from hypothesis import strategies as st

from workbench.compare.statistics import Interval
from workbench.feasibility.axes import axis_named
from workbench.feasibility.plan import Place
from workbench.feasibility.runs import Found
from workbench.feasibility.sensitivity import Curve, Point, Tolerance, curves

NOISE, BITS = axis_named("noise"), axis_named("bits")


def curve(axis, losses, unknown=()):
    points = tuple(
        Point(value, Interval(0.5, None, None, 1), {0: 0.5}, loss, ["runs/a"])
        for value, loss in sorted(losses.items())
    )
    return Curve(axis, "pcm", "osttp", points, None, unknown)


@pytest.mark.parametrize(
    ("axis", "losses", "wanted"),
    [
        # From the best value on: what comes after a loss does not count.
        (NOISE, {0: 0.0, 1: 0.04, 2: 0.06, 4: 0.01}, Tolerance(1, "lost", 2)),
        (NOISE, {0: 0.0, 1: 0.05}, Tolerance(1, "all", None)),
        (NOISE, {0: 0.06, 1: 0.0}, Tolerance(None, "lost", 0)),
        (BITS, {2: 0.3, 4: 0.02, 8: -0.1}, Tolerance(4, "lost", 2)),
        (BITS, {2: 0.0, 8: 0.0}, Tolerance(2, "all", None)),
        # Without ideal hardware nothing is known to be tolerated.
        (NOISE, {0: None, 1: None}, Tolerance(None, "unknown", 0)),
    ],
)
def test_tolerated_is_what_is_safe_from_the_best_value_on(axis, losses, wanted):
    assert curve(axis, losses).tolerance(0.05) == wanted


def test_a_hole_ends_what_is_tolerated():
    assert curve(NOISE, {0: 0.0, 1: 0.0, 4: 0.0}, unknown=(2,)).tolerance(0.05) == Tolerance(1, "unknown", 2)
    assert curve(BITS, {2: 0.0, 8: 0.0}, unknown=(4,)).tolerance(0.05) == Tolerance(8, "unknown", 4)
    assert curve(NOISE, {1: 0.0}, unknown=(0,)).tolerance(0.05) == Tolerance(None, "unknown", 0)


@given(st.dictionaries(st.integers(0, 20), st.floats(-1, 1), min_size=1), st.floats(0, 1), st.floats(0, 1))
def test_who_allows_more_tolerates_no_less(losses, one, other):
    found = curve(NOISE, losses)
    less, more = (found.tolerance(allowed).last for allowed in sorted((one, other)))
    assert less is None or (more is not None and more >= less)
    if less is not None:
        assert all(loss <= min(one, other) for value, loss in losses.items() if value <= less)


def found(accuracies, ideal=(0.8, 0.9), values=(0, 1, 2)):
    """Return a study of osttp on pcm along noise; accuracies by value, for seeds 0, 1, ..."""
    runs = {Place("osttp", "ideal", run.seed): run for run in runs_on("ideal", *ideal)}
    for value, accs in accuracies.items():
        for run in runs_on("pcm", *accs):
            runs[Place("osttp", "pcm", run.seed, "noise", value)] = run
    return Found(runs, (), {("noise", "pcm"): values})


def test_points_are_means_over_seeds_held_against_the_same_seeds():
    [one] = curves(found({0: (0.8, 0.88), 1: (0.7, 0.8), 2: (0.7, 0.7)}), ["osttp"])
    assert [point.accuracy.mean for point in one.points] == pytest.approx([0.84, 0.75, 0.7])
    assert [point.loss for point in one.points] == pytest.approx([0.01, 0.1, 0.15])
    assert one.ideal.mean == pytest.approx(0.85)
    assert one.points[0].by_seed == {0: 0.8, 1: 0.88}
    assert one.points[0].runs == ["runs/osttp-pcm-0", "runs/osttp-pcm-1"]


def test_fewer_seeds_along_an_axis_are_held_against_these_alone():
    [one] = curves(found({0: (0.8,), 1: (0.78,), 2: (0.7,)}), ["osttp"])
    assert one.ideal.mean == 0.8
    assert [run.seed for run in one.reference] == [0]
    assert one.tolerance(0.05).last == 1


def test_values_without_a_finished_run_are_unknown():
    [one] = curves(found({0: (0.8,), 2: (0.8,)}), ["osttp", "bptt"])
    assert [point.value for point in one.points] == [0, 2]
    assert one.unknown == (1,)


def test_without_ideal_hardware_no_loss_is_known():
    [one] = curves(found({0: (0.8,), 1: (0.8,), 2: (0.8,)}, ideal=()), ["osttp"])
    assert [point.loss for point in one.points] == [None] * 3
    assert one.ideal is None
