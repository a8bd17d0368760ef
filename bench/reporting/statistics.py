"""Statistics over seeds and over training, as pure functions.

The seed of a run is the unit of statistics: intervals come from the spread between seeds, never
from pooled episodes. `wilson_interval` is the one exception: it speaks of a single checkpoint only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats  # type: ignore[import-untyped]

CONFIDENCE = 0.95
"""Coverage of every interval."""


@dataclass(frozen=True)
class SeedMean:
    """Mean over seeds with its t interval.

    Attributes:
        mean: Mean over seeds; NaN without seeds.
        half_width: Half the width of the interval, in the unit of the values; NaN below two seeds.
        n: Number of seeds.
    """

    mean: float
    half_width: float
    n: int


def mean_over_seeds(values: ArrayLike) -> SeedMean:
    """Mean and Student t interval of one value per seed, with seeds - 1 degrees of freedom.

    Args:
        values: One value per seed, shape [seeds].

    Returns:
        The mean; its half-width is NaN below two seeds and zero only where all seeds agree.

    Raises:
        ValueError: If `values` is not one-dimensional.
    """
    sample = np.asarray(values, dtype=np.float64)
    if sample.ndim != 1:
        raise ValueError(f"expected one value per seed, shape [seeds]; got shape {sample.shape}")
    n = sample.size
    if n == 0:
        return SeedMean(math.nan, math.nan, 0)
    if n == 1:
        return SeedMean(float(sample[0]), math.nan, 1)
    if np.all(sample == sample[0]):  # the rounded mean of equal values can differ from them
        return SeedMean(float(sample[0]), 0.0, n)
    quantile = stats.t.ppf(0.5 + CONFIDENCE / 2, df=n - 1)
    half_width = quantile * sample.std(ddof=1) / math.sqrt(n)
    return SeedMean(float(sample.mean()), float(half_width), n)


def window_ends(budget: int, windows: int) -> NDArray[np.float64]:
    """Right ends of `windows` equal windows of a step budget.

    Args:
        budget: Environment steps of the whole training.
        windows: Number of windows.

    Returns:
        Environment steps, shape [windows]; the last is `budget`.

    Raises:
        ValueError: If `budget` or `windows` is not positive.
    """
    if budget <= 0 or windows <= 0:
        raise ValueError(f"budget and windows must be positive, got {budget} and {windows}")
    return np.arange(1, windows + 1, dtype=np.float64) * budget / windows


def learning_curve(
    steps: ArrayLike, success: ArrayLike, budget: int, windows: int, fewest: int = 1
) -> NDArray[np.float64]:
    """Success rate of the training episodes that ended in each window of the step budget.

    Window i holds the episodes with ends[i - 1] < steps <= ends[i] (see `window_ends`). Episodes
    that ended beyond the budget belong to no window: every agent is measured on the same steps.

    Args:
        steps: Total environment steps of the run when each episode ended, shape [episodes].
        success: 0 or 1 per episode, shape [episodes].
        budget: Environment steps of the whole training.
        windows: Number of windows.
        fewest: Episodes that a window must hold, at least 1.

    Returns:
        Success rates, shape [windows]; NaN where fewer episodes ended.

    Raises:
        ValueError: If the shapes differ or `budget` or `windows` is not positive.
    """
    ended = np.asarray(steps, dtype=np.float64)
    succeeded = np.asarray(success, dtype=np.float64)
    if ended.ndim != 1 or ended.shape != succeeded.shape:
        raise ValueError(f"steps {ended.shape} and success {succeeded.shape} are not [episodes]")
    window = np.searchsorted(window_ends(budget, windows), ended, side="left")
    inside = window < windows
    count = np.bincount(window[inside], minlength=windows)
    total = np.bincount(window[inside], weights=succeeded[inside], minlength=windows)
    return np.where(count >= fewest, total / np.maximum(count, 1), np.nan)


def sample_efficiency(curve: ArrayLike) -> float:
    """Sample efficiency SE: the mean over training of the success rate (Carta et al. 2023, Q1).

    Args:
        curve: Success rates in equal windows of training, shape [windows]; NaN in empty windows.

    Returns:
        The mean over the windows that hold an episode; NaN if none does.
    """
    rates = np.asarray(curve, dtype=np.float64)
    rates = rates[~np.isnan(rates)]
    return float(rates.mean()) if rates.size else math.nan


def steps_to_threshold(curve: ArrayLike, budget: int, threshold: float) -> float | None:
    """First window end at which the success rate of the window just ended reaches a threshold.

    Args:
        curve: Success rates in equal windows of training, shape [windows]; NaN in empty windows.
        budget: Environment steps of the whole training.
        threshold: Success rate to reach, in [0, 1].

    Returns:
        Environment steps, or None if no window reaches the threshold.

    Raises:
        ValueError: If `curve` has no window or `budget` is not positive.
    """
    rates = np.asarray(curve, dtype=np.float64)
    ends = window_ends(budget, rates.size)
    reached = np.flatnonzero(rates >= threshold)  # NaN compares false
    return float(ends[reached[0]]) if reached.size else None


def first_to_finish_rate(rates: ArrayLike, lengths: ArrayLike) -> float:
    """Success rate of a test that ends with the first episodes to finish, as the public code's.

    Each of its environments keeps one task kind, so a kind counts as often as its episodes fit
    into the same number of steps. What a long test tends to, with as many environments of each;
    the public code draws them: see `kind_draw_deviation`.

    Args:
        rates: Success rate on each task kind, shape [kinds].
        lengths: Mean steps of an episode of each, shape [kinds].

    Returns:
        The mean of the rates, weighted by 1 / length.
    """
    weights = 1 / np.asarray(lengths, dtype=np.float64)
    return float(np.average(np.asarray(rates), weights=weights))


def kind_draw_deviation(rates: ArrayLike, lengths: ArrayLike, n_envs: int) -> float:
    """How far `first_to_finish_rate` moves as the environments draw their task kinds.

    Args:
        rates: Success rate on each task kind, shape [kinds].
        lengths: Mean steps of an episode of each, shape [kinds].
        n_envs: Environments, each of which draws one of the kinds, all equally likely.

    Returns:
        Standard deviation of the rate of one such test, to first order (delta method); what the
        draw of its episodes adds is not in it.
    """
    weights = 1 / np.asarray(lengths, dtype=np.float64)
    shifts = weights * (np.asarray(rates) - first_to_finish_rate(rates, lengths))
    return float(np.sqrt((shifts**2).mean() / n_envs) / weights.mean())


def interquartile_mean(scores: ArrayLike) -> float:
    """Mean of the middle half of all scores (Agarwal et al. 2021, "rliable", section 4.2).

    Args:
        scores: One score per run and task, any shape, usually [seeds, splits].

    Returns:
        The mean after the lowest and the highest quarter (rounded down) are left out; NaN
        without scores.
    """
    flat = np.asarray(scores, dtype=np.float64).ravel()
    return float(stats.trim_mean(flat, 0.25)) if flat.size else math.nan


def probability_of_improvement(ours: ArrayLike, theirs: ArrayLike) -> float:
    """Chance that a run of one agent beats a run of another (Agarwal et al. 2021, section 4.3).

    Args:
        ours: Scores of the one, shape [seeds, tasks].
        theirs: Scores of the other, shape [other seeds, tasks]; the same tasks in the same order.

    Returns:
        The share of pairs of runs in which ours is higher, a tie counting half, averaged over the
        tasks; NaN without a pair.

    Raises:
        ValueError: If the tasks differ in number.
    """
    one, other = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if one.ndim != 2 or other.ndim != 2 or one.shape[1] != other.shape[1]:
        raise ValueError(f"scores {one.shape} and {other.shape} are not [seeds, the same tasks]")
    if not one.size or not other.size:
        return math.nan
    gap = one[:, None] - other[None]
    return float(((gap > 0) + 0.5 * (gap == 0)).mean())


def wilson_interval(successes: int, episodes: int) -> tuple[float, float]:
    """Wilson score interval of the success rate of one checkpoint (Wilson 1927).

    It covers the draw of the test episodes only, not the spread between seeds: never use it on
    episodes pooled over runs.

    Args:
        successes: Successful test episodes.
        episodes: Test episodes.

    Returns:
        Lower and upper bound, in [0, 1].

    Raises:
        ValueError: If not 0 <= successes <= episodes with episodes > 0.
    """
    interval = stats.binomtest(successes, episodes).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)
