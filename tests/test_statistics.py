import math
import statistics as stdlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from bench.reporting.statistics import (
    first_to_finish_rate,
    kind_draw_deviation,
    learning_curve,
    mean_over_seeds,
    sample_efficiency,
    steps_to_threshold,
    wilson_interval,
    window_ends,
)

RATES = st.floats(0, 1).map(lambda x: round(x, 3))
BUDGETS = st.integers(1, 2_000_000)


@given(st.lists(RATES, min_size=2, max_size=8))
def test_t_interval_is_that_of_the_t_test(values):
    summary = mean_over_seeds(values)
    assert summary.n == len(values)
    assert summary.mean == pytest.approx(stdlib.fmean(values))
    if len(set(values)) == 1:
        assert summary.half_width == 0
    else:
        low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert summary.mean - summary.half_width == pytest.approx(low)
        assert summary.mean + summary.half_width == pytest.approx(high)
        assert summary.half_width > 0


@pytest.mark.parametrize(("n", "quantile"), [(2, 12.706), (3, 4.303), (5, 2.776), (10, 2.262)])
def test_t_interval_has_seeds_minus_one_degrees_of_freedom(n, quantile):
    values = [0.0] * (n - 1) + [1.0]
    expected = quantile * stdlib.stdev(values) / math.sqrt(n)
    assert mean_over_seeds(values).half_width == pytest.approx(expected, rel=3e-4)


def test_one_seed_has_a_mean_and_no_interval():
    summary = mean_over_seeds([0.7])
    assert summary.mean == 0.7
    assert math.isnan(summary.half_width)


def test_no_seed_has_no_mean():
    summary = mean_over_seeds([])
    assert summary.n == 0
    assert math.isnan(summary.mean)
    assert math.isnan(summary.half_width)


def test_equal_seeds_have_exactly_zero_width():
    summary = mean_over_seeds([0.1, 0.1, 0.1])  # whose rounded mean is not 0.1
    assert (summary.mean, summary.half_width) == (0.1, 0.0)


def test_rejects_values_that_are_not_one_per_seed():
    with pytest.raises(ValueError, match=r"\(2, 1\)"):
        mean_over_seeds([[0.1], [0.2]])


@given(
    BUDGETS,
    st.integers(1, 30),
    st.lists(st.tuples(st.integers(1, 2_500_000), st.integers(0, 1)), max_size=60),
    st.lists(st.integers(1, 30), max_size=5),
)
def test_learning_curve_is_the_rate_of_the_episodes_in_each_window(budget, windows, rows, at_ends):
    rows = rows + [(max(budget * i // windows, 1), 1) for i in at_ends]
    curve = learning_curve([s for s, _ in rows], [w for _, w in rows], budget, windows)
    assert curve.shape == (windows,)
    for i in range(windows):
        # in integers: budget * i / windows < steps <= budget * (i + 1) / windows
        inside = [won for s, won in rows if budget * i < s * windows <= budget * (i + 1)]
        if inside:
            assert curve[i] == pytest.approx(sum(inside) / len(inside))
        else:
            assert np.isnan(curve[i])


def test_episode_at_the_end_of_a_window_belongs_to_it_and_one_beyond_the_budget_to_none():
    curve = learning_curve([50, 51, 100, 101], [1, 0, 0, 1], budget=100, windows=2)
    assert curve.tolist() == [1.0, 0.0]


def test_window_ends_divide_the_budget():
    assert window_ends(100, 4).tolist() == [25, 50, 75, 100]


@pytest.mark.parametrize(("budget", "windows"), [(0, 5), (-1, 5), (100, 0)])
def test_learning_curve_needs_a_budget_and_windows(budget, windows):
    with pytest.raises(ValueError, match="positive"):
        learning_curve([1], [1], budget, windows)


def test_learning_curve_needs_one_outcome_per_episode():
    with pytest.raises(ValueError, match="episodes"):
        learning_curve([1, 2], [1], 10, 2)


@given(st.lists(st.one_of(st.just(math.nan), RATES), max_size=20))
def test_sample_efficiency_is_the_mean_of_the_windows_that_hold_an_episode(curve):
    known = [rate for rate in curve if not math.isnan(rate)]
    if known:
        assert sample_efficiency(curve) == pytest.approx(sum(known) / len(known))
    else:
        assert math.isnan(sample_efficiency(curve))


@given(st.lists(st.one_of(st.just(math.nan), RATES), min_size=1, max_size=20), RATES, BUDGETS)
def test_steps_to_threshold_is_the_end_of_the_first_window_that_reaches_it(curve, level, budget):
    expected = None
    for i, rate in enumerate(curve):
        if expected is None and rate >= level:
            expected = budget * (i + 1) / len(curve)
    assert steps_to_threshold(curve, budget, level) == expected


def test_a_rate_of_exactly_the_threshold_reaches_it():
    curve = learning_curve([10, 20, 30, 40, 50], [1, 1, 1, 1, 0], budget=100, windows=2)
    assert steps_to_threshold(curve, 100, 0.8) == 50


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(1, 128)), min_size=1, max_size=5))
def test_first_to_finish_is_the_rate_of_what_ends_in_the_same_steps(kinds):
    steps = math.lcm(*(length for _, length in kinds))  # whole episodes of each kind
    ended = [(rate, steps // length) for rate, length in kinds]
    expected = sum(rate * count for rate, count in ended) / sum(count for _, count in ended)
    rates, lengths = zip(*kinds, strict=True)
    assert first_to_finish_rate(rates, lengths) == pytest.approx(expected)


def test_the_draw_of_kinds_moves_a_test_as_a_simulation_says():
    rates, lengths = np.array([0.33, 0.12, 0.02, 0.08, 0.0]), np.array([51, 60, 127, 123, 128])
    counts = np.random.default_rng(0).multinomial(32, [0.2] * 5, 20_000)
    tests = (counts * rates / lengths).sum(1) / (counts / lengths).sum(1)
    assert kind_draw_deviation(rates, lengths, 32) == pytest.approx(tests.std(), rel=0.05)
    assert kind_draw_deviation([0.3], [50], 32) == 0  # one kind: nothing to draw


def test_first_to_finish_favours_short_episodes():
    assert first_to_finish_rate([1, 0], [10, 30]) == pytest.approx(0.75)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_wilson_bounds_are_where_the_score_test_turns(counts):
    won, played = counts
    low, high = wilson_interval(won, played)
    assert 0 <= low <= won / played <= high <= 1
    z = stats.norm.ppf(0.975)
    for bound in (low, high):
        if 0 < bound < 1:
            score = abs(won / played - bound) / math.sqrt(bound * (1 - bound) / played)
            assert score == pytest.approx(z)


@pytest.mark.parametrize(("won", "played"), [(0, 0), (-1, 5), (6, 5)])
def test_wilson_rejects_impossible_counts(won, played):
    with pytest.raises(ValueError):  # noqa: PT011  # scipy's own words
        wilson_interval(won, played)
