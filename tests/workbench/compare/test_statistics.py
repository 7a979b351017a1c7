"""Intervals and verdicts against brute force and references, and what they promise in simulations."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from workbench.compare import statistics
from workbench.compare.statistics import Best, best, holm, interval, paired_difference

VALUES = st.lists(st.integers(-1000, 1000).map(float), min_size=2, max_size=6).filter(
    lambda x: len(set(x)) > 1
)


def seeded(values: object) -> dict[int, float]:
    return dict(enumerate(np.asarray(values, dtype=float).tolist()))


def zeros(count: int) -> dict[int, float]:
    return dict.fromkeys(range(count), 0.0)


def brute_force(differences: list[float]) -> tuple[float, float, float]:
    """Both ends of the studentised interval, and p, from all n^n resamples one by one."""
    n, mean = len(differences), float(np.mean(differences))
    error = np.std(differences, ddof=1) / math.sqrt(n)
    ts = []
    for resample in itertools.product(differences, repeat=n):
        moved, spread = np.mean(resample) - mean, np.std(resample, ddof=1) / math.sqrt(n)
        far = 0.0 if abs(moved) < 1e-9 * error else math.copysign(math.inf, moved)
        ts.append(moved / spread if spread > 1e-9 * error else far)
    ts.sort()
    place = math.ceil(0.975 * len(ts) - 1e-9) - 1
    tails = [sum(t >= mean / error - 1e-9 for t in ts), sum(t <= mean / error + 1e-9 for t in ts)]
    return mean - ts[place] * error, mean - ts[-1 - place] * error, min(1.0, 2 * min(tails) / len(ts))


@pytest.mark.parametrize("values", [[0.1, 0.4], [0.1, 0.2, 0.7, 0.3, 0.35], list(range(30))])
def test_a_mean_has_students_interval(values: list[float]) -> None:
    found = interval(values)
    assert found is not None
    low, high = scipy.stats.t.interval(0.95, len(values) - 1, np.mean(values), scipy.stats.sem(values))
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-12)
    assert found.seeds == len(values)


def test_few_or_equal_values_have_the_interval_they_deserve() -> None:
    assert interval([]) is None
    single, equal = interval([0.3]), interval([0.1 + 0.2, 0.3, 0.3])
    assert single is not None
    assert (single.mean, single.low, single.high) == (0.3, None, None)
    assert equal is not None
    assert equal.low == equal.high == equal.mean


@pytest.mark.parametrize(
    "values",
    [[3, 2, 4, 3.5, 9], [0.1, 0.1, 0.3, 0.2, 0.4], [0.0, 1.0, -1.0, 0.25, 0.1], [5, 7, 6, 5.5, 6.1, 9]],
)
def test_the_paired_bootstrap_is_that_over_all_resamples(values: list[float]) -> None:
    found = paired_difference(seeded(values), zeros(len(values)))
    assert found is not None
    assert (found.low, found.high, found.p) == pytest.approx(brute_force(values), rel=1e-9)


@pytest.mark.parametrize("values", [[0.2, 0.3], [0.2, 0.3, 0.9], [1, 2, 4, 4.5], [0.5, 0.5, 0.5, 0.6, 0.7]])
def test_students_test_serves_where_resamples_are_too_coarse(values: list[float]) -> None:
    other = zeros(len(values))
    found = paired_difference(seeded(values), other)
    wanted = scipy.stats.ttest_rel(values, list(other.values()))
    assert found is not None
    assert found.p == pytest.approx(wanted.pvalue, rel=1e-9)
    ends = wanted.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((ends.low, ends.high), rel=1e-9)


def test_coinciding_differences_leave_the_bootstrap_without_an_end() -> None:
    assert math.isinf(brute_force([0.5, 0.5, 0.5, 0.6, 0.7])[1])


@given(VALUES)
def test_interval_and_p_say_the_same(values: list[float]) -> None:
    found = paired_difference(seeded(values), zeros(len(values)))
    assert found is not None
    outside = found.low is not None and found.high is not None and (found.low > 0 or found.high < 0)
    assert outside == (found.p <= 0.05 + 1e-12)


@given(VALUES, st.sampled_from([2.0, 0.5, -1.0, -8.0]))
def test_a_change_of_unit_or_side_changes_no_verdict(values: list[float], factor: float) -> None:
    one = paired_difference(seeded(values), zeros(len(values)))
    other = paired_difference(seeded([factor * value for value in values]), zeros(len(values)))
    assert one is not None
    assert other is not None
    assert other.p == pytest.approx(one.p, abs=1e-12)
    assert other.mean == pytest.approx(factor * one.mean)


def test_only_common_seeds_are_paired() -> None:
    found = paired_difference({0: 9.0, 1: 2.0, 2: 3.0}, {1: 1.0, 2: 1.0, 7: 0.0})
    assert found is not None
    assert (found.mean, found.seeds) == (1.5, 2)
    assert paired_difference({0: 1.0}, {1: 1.0}) is None


def test_differences_that_agree_prove_something_only_of_what_the_configuration_fixes() -> None:
    chance = paired_difference({0: 0.50, 1: 0.75}, {0: 0.25, 1: 0.50})
    assert chance is not None
    assert (chance.mean, chance.low, chance.p) == (0.25, None, 1.0)
    bytes_ = paired_difference({0: 300.0, 1: 300.0}, {0: 200.0, 1: 200.0}, fixed=True)
    assert bytes_ is not None
    assert (bytes_.mean, bytes_.low, bytes_.high, bytes_.p) == (100.0, 100.0, 100.0, 0.0)
    same = paired_difference({0: 300.0, 1: 301.0}, {0: 300.0, 1: 301.0}, fixed=True)
    assert same is not None
    assert (same.mean, same.low, same.high, same.p) == (0.0, 0.0, 0.0, 1.0)
    single = paired_difference({0: 0.5}, {0: 0.25})
    assert single is not None
    assert (single.low, single.p) == (None, 1.0)


def test_many_seeds_are_resampled_to_the_same_bits_and_near_the_exact_answer(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(5).normal(0.8, 1, 8)
    exact = paired_difference(seeded(values), zeros(8))
    monkeypatch.setattr(statistics, "EXACT", 4)
    drawn = [paired_difference(seeded(values), zeros(8)) for _ in range(2)]
    statistics._drawn_resamples.cache_clear()
    drawn.append(paired_difference(seeded(values), zeros(8)))
    assert drawn[0] == drawn[1] == drawn[2]
    assert exact is not None
    assert drawn[0] is not None
    # Four standard errors of 9,999 draws.
    assert drawn[0].p == pytest.approx(exact.p, abs=4 * math.sqrt(exact.p * (1 - exact.p) / 9999) + 1e-4)
    assert drawn[0].p != exact.p


def test_drawn_resamples_never_give_a_p_of_zero() -> None:
    found = paired_difference(seeded(100 + np.random.default_rng(1).normal(size=12)), zeros(12))
    assert found is not None
    assert found.p == pytest.approx(2 / 10_000)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_holm_is_the_closed_test_of_bonferroni(p_values: list[float]) -> None:
    wanted = []
    for index in range(len(p_values)):
        sets = [
            subset
            for size in range(1, len(p_values) + 1)
            for subset in itertools.combinations(range(len(p_values)), size)
            if index in subset
        ]
        wanted.append(max(min(1.0, len(one) * min(p_values[place] for place in one)) for one in sets))
    assert holm(p_values) == pytest.approx(wanted)


def test_intervals_of_five_seeds_hold_what_they_promise() -> None:
    """Simulated coverage at five seeds, 1,000 studies each: bounds are four standard errors from measured rates."""
    generator = np.random.default_rng(0)
    samples = {
        "normal": generator.normal(size=(1000, 5)),
        "exponential": generator.exponential(size=(1000, 5)) - 1,
    }
    held = {}
    for name, rows in samples.items():
        found = [paired_difference(seeded(row), zeros(5)) for row in rows]
        held[name] = np.mean([one is not None and one.p > 0.05 for one in found])
    assert 0.925 <= held["normal"] <= 0.98
    assert 0.90 <= held["exponential"] <= 0.965
    # What a percentile bootstrap would hold, and why it is not used.
    resamples = np.array(list(itertools.product(range(5), repeat=5)))
    means = samples["normal"][:400, resamples].mean(-1)
    low, high = np.quantile(means, [0.025, 0.975], axis=1)
    assert np.mean((low <= 0) & (high >= 0)) < 0.90


def test_among_equals_a_best_is_seldom_found() -> None:
    """Of 1,000 studies of four equal groups and five seeds, one in twenty at most may crown one."""
    generator = np.random.default_rng(3)
    crowned = 0
    for _ in range(1000):
        shared = generator.normal(size=5)
        samples = [seeded(shared + generator.normal(size=5)) for _ in range(4)]
        crowned += best(samples, higher=True).index is not None
    assert crowned <= 50


def test_a_clear_winner_of_ten_is_found_with_five_seeds() -> None:
    generator = np.random.default_rng(4)
    samples = [seeded(0.5 + 0.01 * generator.normal(size=5)) for _ in range(9)]
    samples.append(seeded(0.9 + 0.01 * generator.normal(size=5)))
    found = best(samples, higher=True)
    assert found.index == 9
    assert max(found.p.values()) <= 0.05


def test_less_can_be_better_and_ties_have_no_best() -> None:
    low, high = seeded([1.0, 1.1, 0.9, 1.05, 1.02]), seeded([9.0, 9.2, 9.1, 8.9, 9.05])
    assert best([high, low], higher=False).index == 1
    assert best([high, low], higher=True).index == 0
    assert best([high, dict(high), low], higher=True).index is None
    assert best([{0: 5.0}, {0: 5.0}, {0: 9.0}], higher=False, fixed=True).index is None


def test_the_runner_up_must_be_beaten_too() -> None:
    rows = [[0.90, 0.92, 0.88, 0.91, 0.89], [0.91, 0.90, 0.88, 0.92, 0.88], [0.1, 0.12, 0.11, 0.1, 0.09]]
    assert best([seeded(row) for row in rows], higher=True).index is None
    assert best([seeded(rows[0]), seeded(rows[2])], higher=True).index == 0


def test_groups_without_values_or_common_seeds_decide_nothing() -> None:
    assert best([{}, {0: 1.0}], higher=True) == Best(None, {})
    assert best([], higher=True) == Best(None, {})
    five = seeded([9.0, 9.1, 9.2, 9.3, 9.4])
    assert best([five, {seed + 10: 0.1 * seed for seed in range(5)}], higher=True).index is None
    assert best([five, seeded([1.0, 1.2, 1.1, 1.3, 1.15]), {}], higher=True).index == 0


def test_a_mean_that_leads_only_by_seeds_of_its_own_is_not_best() -> None:
    lucky = {**seeded([1.0, 1.1, 1.2, 1.05, 0.9]), 99: 100.0}
    assert best([lucky, seeded([2.0, 2.3, 2.1, 2.2, 1.95])], higher=True).index is None
