"""What is measured of an agent: one value per seed, and what is failed or missing.

Every table, figure and verdict takes its numbers from here, so that they cannot disagree.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from bench.reporting import statistics
from bench.reporting.records import ENDED, MISSING, Records, Run
from envs.levels import TASK_KINDS
from envs.splits import ARTICLE_SPLITS, SPLITS

CURVE_WINDOWS = 20
"""Windows of the step budget in a learning curve; the last one is "the end of training"."""

THRESHOLD = 0.8
"""Success rate whose first crossing Q1 reports (Carta et al. 2023, Q1)."""


FEWEST = 10
"""Episodes in a window below which its success rate is no sign that `THRESHOLD` was reached."""

_EMPTY = "too few episodes"


@dataclass(frozen=True)
class SeedValues:
    """One quantity of one agent, seed by seed.

    Attributes:
        values: Value by seed, for the seeds that have one.
        failed: Seeds whose run failed.
        missing: Seeds whose run or rows are not there, or not all of them yet.
        empty: Seeds of which all is there, but too few episodes ended where it is measured.
    """

    values: Mapping[int, float]
    failed: tuple[int, ...] = ()
    missing: tuple[int, ...] = ()
    empty: tuple[int, ...] = ()

    @property
    def over_seeds(self) -> statistics.SeedMean:
        """Mean over the seeds that have a value, with its t interval."""
        return statistics.mean_over_seeds(list(self.values.values()))

    @property
    def status(self) -> str:
        """Empty when every seed has its value, else how many have none, and why."""
        lacking = ((self.failed, "failed"), (self.missing, MISSING), (self.empty, _EMPTY))
        parts = [(len(seeds), word) for seeds, word in lacking if seeds]
        if not self.values and len(parts) < 2:
            return parts[0][1] if parts else MISSING
        return ", ".join(f"{count} {word}" for count, word in parts)


def per_seed(records: Records, agent: str, value: Callable[[Run], float | None]) -> SeedValues:
    """Measures each run of an agent.

    Args:
        records: All runs.
        agent: The agent.
        value: What is measured of a run that did not fail; None if it is not there, NaN if too
            few episodes ended.
    """
    values: dict[int, float] = {}
    failed, missing, empty = [], [], []
    for run in records.of(agent):
        measured = None if run.state == "failed" else value(run)
        if measured is not None and math.isnan(measured):
            empty.append(run.seed)
        elif measured is not None:
            values[run.seed] = measured
        elif run.state == "failed":
            failed.append(run.seed)
        else:
            missing.append(run.seed)
    return SeedValues(values, tuple(failed), tuple(missing), tuple(empty))


def success(records: Records, agent: str, split: str) -> SeedValues:
    """Success rate over the test episodes of a split, by seed."""
    return per_seed(records, agent, lambda run: _rate(run, split))


def _rate(run: Run, split: str) -> float | None:
    rows = run.test_rows(split)
    return None if rows is None or rows.empty else float(rows["success"].mean())


def success_first_to_finish(records: Records, agent: str, split: str) -> SeedValues:
    """Success rate on a split's test episodes, counted as the public code would, by seed."""
    return per_seed(
        records, agent, lambda run: _by_kind(run, split, statistics.first_to_finish_rate)
    )


def kind_draw_deviation(records: Records, agent: str, split: str, n_envs: int) -> SeedValues:
    """How far that rate moves as the public code's environments draw their kinds, by seed."""

    def deviation(rates: ArrayLike, lengths: ArrayLike) -> float:
        return statistics.kind_draw_deviation(rates, lengths, n_envs)

    return per_seed(records, agent, lambda run: _by_kind(run, split, deviation))


def _by_kind(run: Run, split: str, value: Callable[[ArrayLike, ArrayLike], float]) -> float | None:
    rows = run.test_rows(split)
    if rows is None or rows.empty:
        return None
    kinds = rows.groupby("task_kind")[["success", "length"]].mean()
    return value(kinds["success"], kinds["length"])


def success_by_kind(records: Records, agent: str, split: str, kind: str) -> SeedValues:
    """Success rate over the test episodes of one task kind of a split, by seed."""

    def rate(run: Run) -> float | None:
        rows = run.test_rows(split)
        if rows is None:
            return None
        own = rows["success"][rows["task_kind"] == kind]
        return None if own.empty else float(own.mean())

    return per_seed(records, agent, rate)


def kind_counts(records: Records, split: str) -> dict[str, int]:
    """Test episodes of each task kind that occurs in a split, per run, in the levels' order."""
    counts: dict[str, int] = {}
    for run in records.runs:
        rows = run.test_rows(split)
        if rows is not None:
            counts |= {str(kind): int(n) for kind, n in rows["task_kind"].value_counts().items()}
    order = [
        *(kind for kind in TASK_KINDS if kind in counts),
        *sorted(set(counts) - set(TASK_KINDS)),
    ]
    return {kind: counts[kind] for kind in order}


def curve(run: Run, fewest: int = 1) -> NDArray[np.float64]:
    """Learning curve of a run over its step budget, shape [CURVE_WINDOWS]; see `learning_curve`."""
    return statistics.learning_curve(
        run.episodes["steps"], run.episodes["success"], run.budget, CURVE_WINDOWS, fewest
    )


def _of_curve(
    records: Records,
    agent: str,
    value: Callable[[NDArray[np.float64], int], float],
    fewest: int = 1,
) -> SeedValues:
    def measure(run: Run) -> float | None:
        if run.state not in ENDED or not run.learns or run.budget == 0:
            return None
        return value(curve(run, fewest), run.budget)

    return per_seed(records, agent, measure)


def success_at_end(records: Records, agent: str) -> SeedValues:
    """Success rate of the training episodes in the last window of training, by seed."""
    return _of_curve(records, agent, lambda rates, budget: float(rates[-1]))


def sample_efficiency(records: Records, agent: str) -> SeedValues:
    """Sample efficiency SE (see `statistics.sample_efficiency`), by seed."""
    return _of_curve(records, agent, lambda rates, budget: statistics.sample_efficiency(rates))


def steps_to_threshold(records: Records, agent: str) -> SeedValues:
    """Environment steps until `THRESHOLD` is reached, by seed; infinite where it never is.

    In short runs the first window to hold an episode at all would reach it: short episodes are the
    solved ones. Only windows of at least `FEWEST` episodes count.
    """

    def steps(rates: NDArray[np.float64], budget: int) -> float:
        if np.isnan(rates).all():
            return math.nan
        reached = statistics.steps_to_threshold(rates, budget, THRESHOLD)
        return math.inf if reached is None else reached

    return _of_curve(records, agent, steps, FEWEST)


def relative_change(measured: SeedValues, reference: SeedValues) -> float:
    """Change of mean success against a reference, over the seeds that have both.

    Args:
        measured: Success on the split.
        reference: Success on what it is compared with.

    Returns:
        (mean - reference mean) / reference mean; NaN without a common seed or if the reference
        mean is 0.
    """
    seeds = [seed for seed in measured.values if seed in reference.values]
    base = sum(reference.values[seed] for seed in seeds)
    return sum(measured.values[seed] for seed in seeds) / base - 1 if base else math.nan


def difference(records: Records, agent: str, other: str, split: str) -> SeedValues:
    """Success of one agent minus another's on a split, seed by seed, on the same test episodes.

    A seed of which the two played other episodes counts as missing.
    """
    one, two = success(records, agent, split), success(records, other, split)
    differences = {
        seed: one.values[seed] - two.values[seed]
        for seed, ours, theirs in _both_played(records, agent, other, split)
        if seed in one.values and list(ours["episode_seed"]) == list(theirs["episode_seed"])
    }
    lacking = (one.values.keys() | two.values.keys()) - differences.keys()
    return SeedValues(
        differences,
        failed=tuple(sorted(s for s in lacking if s in (*one.failed, *two.failed))),
        missing=tuple(sorted(s for s in lacking if s not in (*one.failed, *two.failed))),
    )


def solved_by_one_only(
    records: Records, agent: str, other: str, split: str
) -> tuple[int, int, int]:
    """Test episodes that only the one, only the other agent solved, and all that both played.

    Episodes are paired by the run's seed and their own; those of all seeds are added up.
    """
    only_one = only_other = both_played = 0
    for _, one, two in _both_played(records, agent, other, split):
        pairs = one[["episode_seed", "success"]].merge(
            two[["episode_seed", "success"]], on="episode_seed", suffixes=("_one", "_other")
        )
        only_one += int((pairs["success_one"] & ~pairs["success_other"]).sum())
        only_other += int((~pairs["success_one"] & pairs["success_other"]).sum())
        both_played += len(pairs)
    return only_one, only_other, both_played


def _both_played(
    records: Records, agent: str, other: str, split: str
) -> Iterator[tuple[int, pd.DataFrame, pd.DataFrame]]:
    """Every seed of which both agents played a split, with the rows of the one and the other."""
    theirs = {run.seed: run.test_rows(split) for run in records.of(other)}
    for run in records.of(agent):
        one, two = run.test_rows(split), theirs.get(run.seed)
        if one is not None and two is not None:
            yield run.seed, one, two


def article_scores(records: Records, agent: str) -> NDArray[np.float64]:
    """Success rates of the seeds that played all of the paper's questions, [seeds, splits].

    The split that only serves as a reference is left out.
    """
    rates = [rates for run in records.of(agent) if (rates := _article_rates(run)) is not None]
    return np.array(rates, np.float64).reshape(len(rates), len(_ASKED))


def article_success(records: Records, agent: str) -> SeedValues:
    """Mean of a seed's success rates on the paper's questions, for those that played them all."""

    def mean(run: Run) -> float | None:
        rates = _article_rates(run)
        return None if rates is None else sum(rates) / len(rates)

    return per_seed(records, agent, mean)


_ASKED = [name for name in ARTICLE_SPLITS if SPLITS[name].question != "reference"]


def _article_rates(run: Run) -> list[float] | None:
    rates = [rate for name in _ASKED if (rate := _rate(run, name)) is not None]
    return rates if len(rates) == len(_ASKED) else None


def splits(records: Records) -> tuple[str, ...]:
    """Splits to report: the paper's, then every other that a run evaluated or was asked for."""
    asked = asked_splits(records)
    known = [name for name in SPLITS if name in ARTICLE_SPLITS or name in asked]
    return (*known, *sorted(asked - set(SPLITS)))


def asked_splits(records: Records) -> set[str]:
    """Splits that a run evaluated or was asked for."""
    return {
        name
        for run in records.runs
        for name in (*run.evaluation, *run.config.get("evaluation", {}).get("splits", ()))
    }


def comparisons(split: str) -> tuple[str | None, ...]:
    """What the success on a split is set against: its own reference, and the train tasks.

    French is played on go to and is set against that; against the train tasks too, as the others.
    """
    reference = SPLITS[split].reference if split in SPLITS else "train"
    return (reference,) if reference in (None, "train") else (reference, "train")
