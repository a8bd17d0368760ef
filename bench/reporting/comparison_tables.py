"""The tables that set agents against the paper and against each other."""

from __future__ import annotations

import math

from bench.reporting import measures, statistics
from bench.reporting.comparison import RULE, comparisons
from bench.reporting.difficulty import difficulty_table
from bench.reporting.paper import PaperResults
from bench.reporting.records import Records
from bench.reporting.setting import STANDING_DEPARTURES
from bench.reporting.table_format import (
    Cell,
    Table,
    difference_cell,
    published_rate_cell,
    rate_cell,
    rounded,
)
from bench.reporting.tables import (
    INTERVAL_NOTE,
    Row,
    generalisation_table,
    published_note,
    q1_table,
    question_of,
    runs_table,
    seed_table,
    setting_sentences,
    split_title,
    task_kind_table,
)


def all_tables(records: Records, paper: PaperResults) -> tuple[Table, ...]:
    """Every table of the report, in its order."""
    return (
        comparison_table(records, paper),
        q1_table(records, paper),
        generalisation_table(records, paper),
        aggregate_table(records),
        difference_table(records),
        task_kind_table(records),
        difficulty_table(records),
        seed_table(records),
        runs_table(records),
    )


def comparison_table(records: Records, paper: PaperResults) -> Table:
    """The paper's rate, ours, the difference and the verdict, agent by split."""
    rows: list[Row] = [
        (
            records.label(found.agent),
            question_of(found.split),
            split_title(found.split),
            published_rate_cell(found.published),
            found.published_result,
            rate_cell(found.measured),
            found.result,
            rate_cell(found.first_to_finish),
            _number(found.draw_of_kinds),
            difference_cell(found.difference),
            found.verdict,
        )
        for found in comparisons(records, paper)
    ]
    return Table(
        name="comparison",
        title="Ours beside the paper's: success on the test episodes, and what it says.",
        setting=setting_sentences(records),
        notes=(
            *RULE,
            f"The main differences in every profile: {'; '.join(STANDING_DEPARTURES)}.",
            INTERVAL_NOTE,
            published_note(*paper.success_sources),
        ),
        columns=(
            "agent",
            "question",
            "split",
            "paper: success",
            "paper: result",
            "success",
            "result",
            "success, first to finish",
            "draw of kinds",
            "difference",
            "verdict",
        ),
        rows=tuple(rows),
    )


def aggregate_table(records: Records) -> Table:
    """All of the paper's splits in one number, and how often a run of an agent beats another's.

    As in Agarwal et al. 2021 (rliable): interquartile mean and probability of improvement.
    """
    scores = {agent: measures.article_scores(records, agent) for agent in records.agents}
    rows: list[Row] = []
    for agent, own in scores.items():
        chances = [
            "" if other == agent else _number(statistics.probability_of_improvement(own, theirs))
            for other, theirs in scores.items()
        ]
        middle = _number(statistics.interquartile_mean(own))
        mean = rate_cell(measures.article_success(records, agent))
        rows.append((records.label(agent), str(len(own)), mean, middle, *chances))
    return Table(
        name="aggregate",
        title="All questions together: success over the paper's splits.",
        setting=setting_sentences(records),
        notes=(
            "Over the paper's splits but the one that only serves as a reference, for the seeds "
            "that played them all. Mean: over splits, then over seeds. Interquartile mean: over "
            "the middle half of all seeds' rates on all splits; no interval, for a bootstrap over "
            "so few seeds promises more than it keeps.",
            "P(> agent): share of pairs of runs, one of each agent, in which the row's succeeds "
            "more, averaged over splits; ties count half (Agarwal et al. 2021).",
            INTERVAL_NOTE,
        ),
        columns=(
            "agent",
            "seeds",
            "mean",
            "interquartile mean",
            *(f"P(> {records.label(agent)})" for agent in records.agents),
        ),
        rows=tuple(rows),
    )


def difference_table(records: Records) -> Table:
    """The first agent against every other, on the same test episodes."""
    first = records.agents[0]
    rows: list[Row] = []
    for other in records.agents[1:]:
        for split in measures.splits(records):
            measured = measures.difference(records, first, other, split)
            one, two, played = measures.solved_by_one_only(records, first, other, split)
            rows.append(
                (
                    records.label(other),
                    split_title(split),
                    rate_cell(measured, signed=True),
                    *((str(one), str(two), str(played)) if played else ("", "", "")),
                )
            )
    return Table(
        name="differences",
        title=f"{records.label(first)} against each other agent on the same test episodes.",
        setting=setting_sentences(records),
        notes=(
            "Difference: success of the one minus the other's, run by run of the same seed; above "
            "0 it favours the one in the title. Episodes: pairs of the same test episode, added "
            "up over the seeds; they show where a difference comes from and carry no interval.",
            INTERVAL_NOTE,
        ),
        columns=(
            "other agent",
            "split",
            "difference",
            "solved by the one only",
            "solved by the other only",
            "episodes",
        ),
        rows=tuple(rows),
    )


def _number(value: float) -> Cell:
    if math.isnan(value):
        return Cell("—", {"": ""})
    return Cell(rounded(value, 2), {"": f"{value:.6f}"})
