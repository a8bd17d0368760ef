"""Ours beside the paper's, agent by split: the difference, and a verdict by a rule spelled out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from bench.reporting import measures
from bench.reporting.claims import (
    COLLAPSE,
    KEPT,
    LARGEST_LOSS,
    LOST,
    MARGIN_OVER_RANDOM,
    REDUCED,
    fate,
)
from bench.reporting.measures import SeedValues
from bench.reporting.paper import (
    N_ENVS,
    OWN_NAME,
    READING_ERROR,
    TEST_EPISODES,
    PaperResults,
)
from bench.reporting.records import Records
from bench.reporting.setting import departures, lacks_pretraining, profiles
from envs.splits import ARTICLE_SPLITS, SPLITS

FLOOR = "near Random"
ABOVE = "above Random"

WITHIN = "within interval"
OUTSIDE = "not reproduced"
TOO_WIDE = "undecided: interval too wide"
WIDEST = 0.2
"""Half of an interval beyond which it meets nearly every rate; of two seeds .03 apart it is .19."""
_NORMAL_95 = 1.96
SAME_DIRECTION = "direction reproduced"
OTHER_DIRECTION = "direction not reproduced"
NOT_MEASURED = "not measured"

RULE = (
    f"Result: {FLOOR} if the success on the reference (without one: on the split itself) is less "
    f"than {MARGIN_OVER_RANDOM:g} above Random's there, so that there is nothing to lose; else "
    f"{ABOVE} where there is no reference, {KEPT} at a loss of at most {-LARGEST_LOSS:.0%}, "
    f"{LOST} at more than {-COLLAPSE:.0%}, {REDUCED} between. Every test episode of ours counts as "
    "one.",
    "First to finish: the success rate estimated as the public code counts, whose environments "
    "keep one task kind each and whose test ends with the first episodes to finish: each kind's "
    "rate weighted by 1 / the mean length of its episodes. Draw of kinds: 1.96 standard deviations "
    f"of one such test, as its {N_ENVS} environments draw their kinds.",
    f"Verdict, in the paper's setting: {WITHIN} if the paper's rate, ±{READING_ERROR:g} for "
    "reading it off a figure, is as near to our success, first to finish, as the 95% t interval "
    f"over our seeds, the draw of kinds and the draws of {TEST_EPISODES} test episodes, theirs and "
    "ours (1.96 standard deviations of their difference), allow (the root of the sum of their "
    f"squares); else {OUTSIDE}; undecided if half of the interval is more than {WIDEST:g}; not "
    "comparable at one seed.",
    f"Elsewhere the rates themselves are not comparable and only the result is: {SAME_DIRECTION} "
    f"if ours is the paper's, else {OTHER_DIRECTION}. A language model that is not pretrained "
    "where the paper's is makes the agent not comparable at all.",
)


@dataclass(frozen=True)
class Comparison:
    """One agent on one split, published and measured.

    Attributes:
        agent: Our name of the agent.
        split: Name of the split.
        published: The paper's success rate.
        measured: Ours by seed.
        first_to_finish: Ours by seed, counted as the published ones are.
        draw_of_kinds: How far one test counted so moves as its environments draw their kinds.
        difference: That of the means counted alike and the paper's rate; NaN where they are not
            comparable.
        published_result: The paper's result in one word of `RULE`; empty if it cannot be said.
        result: Ours.
        verdict: What `RULE` makes of it.
    """

    agent: str
    split: str
    published: float
    measured: SeedValues
    first_to_finish: SeedValues
    draw_of_kinds: float
    difference: float
    published_result: str
    result: str
    verdict: str


def comparisons(records: Records, paper: PaperResults) -> tuple[Comparison, ...]:
    """Every agent of ours that the paper has results for, on every split of the paper."""
    setting = _setting(records)
    found = []
    for agent in records.agents:
        name = OWN_NAME.get(agent, "")
        for split in ARTICLE_SPLITS:
            published = paper.success_rate.get((split, name), math.nan)
            if math.isnan(published):
                continue
            reference = SPLITS[split].reference
            base, rate_of = reference or split, paper.success_rate.get
            measured = measures.success(records, agent, split)
            before = measures.success(records, agent, base)
            published_before = rate_of((base, name), math.nan)
            theirs = result(
                published_before,
                paper.change(name, split, reference) if reference else None,
                rate_of((base, "Random"), math.nan),
            )
            ours = result(
                before.over_seeds.mean,
                measures.relative_change(measured, before) if reference else None,
                measures.success(records, "random", base).over_seeds.mean,
            )
            if agent == "random":  # it is the floor that the others are held against
                theirs = ours = ""
            if not measured.values:
                ours = ""
            alike = measures.success_first_to_finish(records, agent, split)
            deviation = measures.kind_draw_deviation(records, agent, split, N_ENVS)
            draw = _NORMAL_95 * deviation.over_seeds.mean
            verdict = _verdict(alike, draw, published, theirs, ours, setting)
            apart = math.nan if setting else alike.over_seeds.mean - published
            if measured.values and lacks_pretraining(records, agent):
                verdict = "not comparable: model not pretrained"
            found.append(
                Comparison(
                    agent,
                    split,
                    published,
                    measured,
                    first_to_finish=alike,
                    draw_of_kinds=draw,
                    difference=apart,
                    published_result=theirs,
                    result=ours,
                    verdict=verdict,
                )
            )
    return tuple(found)


def result(before: float, change: float | None, random: float) -> str:
    """What became of an agent on a split, in one word of `RULE`.

    Args:
        before: Success on the split's reference; on the split itself if it has none.
        change: From there to the split, as a part of it; None if it has no reference.
        random: Random's success where ``before`` is from.

    Returns:
        The word; empty if a number is NaN.
    """
    if math.isnan(before) or math.isnan(random):
        return ""
    if before < random + MARGIN_OVER_RANDOM:
        return FLOOR
    if change is None:
        return ABOVE
    return "" if math.isnan(change) else fate(change)


def count_verdicts(compared: Sequence[Comparison]) -> dict[str, int]:
    """How many comparisons ended in each verdict, in order of first occurrence."""
    counts: dict[str, int] = {}
    for comparison in compared:
        counts[comparison.verdict] = counts.get(comparison.verdict, 0) + 1
    return counts


def _verdict(
    measured: SeedValues, draw: float, published: float, theirs: str, ours: str, setting: str
) -> str:
    if not measured.values:
        return f"{NOT_MEASURED}: {measured.status}"
    if not setting:
        summary = measured.over_seeds
        if math.isnan(summary.half_width):
            return "not comparable: one seed"
        if summary.half_width > WIDEST:
            return TOO_WIDE
        # Both tests drew their episodes; those of our seeds are the same, so that the interval
        # over seeds does not know.
        variance = summary.mean * (1 - summary.mean) / TEST_EPISODES
        episodes = _NORMAL_95 * math.sqrt(2 * variance)
        allowed = math.hypot(summary.half_width, draw, episodes) + READING_ERROR
        near = abs(summary.mean - published) <= allowed
        return WITHIN if near else OUTSIDE
    if not ours or not theirs:
        return f"not comparable: {setting}"
    return SAME_DIRECTION if ours == theirs else OTHER_DIRECTION


def _setting(records: Records) -> str:
    """The profiles of runs outside the paper's setting; empty inside it."""
    return f"profile {profiles(records)}" if departures(records) else ""
