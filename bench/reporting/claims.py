"""The paper's claims, checked on what was measured, each by a rule that is spelled out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.reporting import measures
from bench.reporting.records import Records
from bench.reporting.statistics import SeedMean
from bench.reporting.table_format import percent, rounded

SUBJECT = "gflan-t5"
RIVALS = ("npae-flan-t5", "drrn", "symbolic-ppo")
"""The paper's."""
ABLATIONS = ("npe-flan-t5",)
"""Ours: held against it as well, but not missed. Of a user's agents the paper claims nothing."""
MARGIN_OVER_RANDOM = 0.1
"""Success above Random's on the reference, below which an agent has nothing to lose."""

LARGEST_LOSS = -0.2
COLLAPSE = -0.5
KEPT = "kept"
REDUCED = "reduced"
LOST = "lost"

SAME = "same direction as the paper"
DIFFERENT = "not as in the paper"
UNDECIDED = "cannot be judged"


@dataclass(frozen=True)
class Verdict:
    """What became of one claim.

    Attributes:
        claim: The claim and the rule that decides it.
        outcome: `SAME`, `DIFFERENT` or `UNDECIDED`.
        evidence: The numbers, or why there are none.
    """

    claim: str
    outcome: str
    evidence: str


def fate(change: float) -> str:
    """What became of an agent whose success changed so much: `KEPT`, `REDUCED` or `LOST`."""
    change = round(change, 9)  # .72 of .9 is a loss of 20%, not of a hair more
    return KEPT if change >= LARGEST_LOSS else LOST if change < COLLAPSE else REDUCED


def verdicts(records: Records) -> tuple[Verdict, ...]:
    """Judge the claims on Q1, Q2 and Q3 by the means over seeds."""
    return (
        _fastest_learner(records),
        _generalisation(
            records,
            f"Q2: with new words GFlan-T5 loses at most {-LARGEST_LOSS:.0%} of its success",
            ("renamed-nouns", "invented-words"),
            KEPT,
        ),
        _generalisation(
            records,
            f"Q3: on new tasks GFlan-T5 collapses (loses more than {-COLLAPSE:.0%} of its success)",
            ("new-composition", "synonym-actions", "french-goto"),
            LOST,
        ),
    )


def _fastest_learner(records: Records) -> Verdict:
    claim = "Q1: GFlan-T5 learns fastest (higher mean SE than NPAE, NPE, DRRN and Symbolic-PPO)"
    by_seed = {agent: measures.sample_efficiency(records, agent) for agent in records.agents}
    summaries = {agent: found.over_seeds for agent, found in by_seed.items() if found.values}
    absent = [agent for agent in (SUBJECT, *RIVALS) if agent not in summaries]
    if SUBJECT in absent or set(RIVALS) <= set(absent):
        return Verdict(claim, UNDECIDED, f"no SE of {', '.join(absent)}")
    own = summaries.pop(SUBJECT)
    rivals = {agent: summaries.pop(agent) for agent in (*RIVALS, *ABLATIONS) if agent in summaries}
    best = max(rivals, key=lambda agent: rivals[agent].mean)
    evidence = f"SE {rounded(own.mean, 2)} against {rounded(rivals[best].mean, 2)} of {best}"
    evidence += f" ({_separation(own, rivals[best])})"
    evidence += _reduced({agent: by_seed[agent] for agent in (SUBJECT, best)})
    if absent:
        evidence += f"; no SE of {', '.join(absent)}"
    faster = [
        f"{agent} {rounded(se.mean, 2)}" for agent, se in summaries.items() if se.mean >= own.mean
    ]
    if faster:
        evidence += f"; as fast, but not the paper's: {', '.join(faster)}"
    outcome = SAME if own.mean > rivals[best].mean else DIFFERENT
    return Verdict(claim, UNDECIDED if own.mean == rivals[best].mean else outcome, evidence)


def _separation(one: SeedMean, other: SeedMean) -> str:
    if math.isnan(one.half_width) or math.isnan(other.half_width):
        return "no interval at one seed"
    apart = abs(one.mean - other.mean) > one.half_width + other.half_width
    return "95% intervals apart" if apart else "95% intervals overlap"


def _generalisation(records: Records, claim: str, splits: Sequence[str], expected: str) -> Verdict:
    evidence, held = [], []
    reduced = ""
    for split in splits:
        reference = measures.comparisons(split)[0] or split
        base = measures.success(records, SUBJECT, reference)
        found = measures.success(records, SUBJECT, split)
        change = measures.relative_change(found, base)
        floor = measures.success(records, "random", reference).over_seeds.mean
        if math.isnan(change):
            return Verdict(claim, UNDECIDED, f"no change of {SUBJECT} on {split}")
        if not base.over_seeds.mean >= floor + MARGIN_OVER_RANDOM:
            reason = (
                "Random was not evaluated" if math.isnan(floor) else f"Random: {rounded(floor, 2)}"
            )
            reason = (
                f"{SUBJECT} succeeds at {rounded(base.over_seeds.mean, 2)} on {reference}; {reason}"
            )
            rule = f"it must exceed Random by {MARGIN_OVER_RANDOM} there to have something to lose"
            return Verdict(claim, UNDECIDED, f"{reason}; {rule}")
        evidence.append(f"{split} {percent(change)} against {reference}")
        held.append(fate(change) == expected)
        reduced = reduced or _reduced({SUBJECT: found})
    return Verdict(claim, SAME if all(held) else DIFFERENT, ", ".join(evidence) + reduced)


def _reduced(measured: Mapping[str, measures.SeedValues]) -> str:
    """Says which agents lack seeds, as a verdict over the others may owe to that."""
    lacking = [f"{found.status} of {agent}" for agent, found in measured.items() if found.status]
    return f"; seeds: {', '.join(lacking)}" if lacking else ""
