"""Against the paper and against each other: rules, pairs and aggregates, by brute force."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_files import outcomes, write_run

from bench.reporting import measures, statistics
from bench.reporting.comparison import (
    ABOVE,
    FLOOR,
    KEPT,
    LOST,
    OTHER_DIRECTION,
    OUTSIDE,
    REDUCED,
    SAME_DIRECTION,
    TOO_WIDE,
    WITHIN,
    comparisons,
    result,
)
from bench.reporting.comparison_tables import aggregate_table, comparison_table, difference_table
from bench.reporting.paper import read_paper
from bench.reporting.records import read_records
from bench.reporting.table_format import to_csv
from envs.splits import ARTICLE_SPLITS

scores = st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=1, max_size=5)


@given(scores)
def test_interquartile_mean_drops_a_quarter_on_either_side(rates):
    flat = sorted(itertools.chain(*rates))
    cut = len(flat) // 4
    middle = flat[cut : len(flat) - cut]
    assert statistics.interquartile_mean(rates) == pytest.approx(math.fsum(middle) / len(middle))


@given(scores, scores)
def test_probability_of_improvement_counts_pairs_of_runs_task_by_task(ours, theirs):
    by_task = []
    for task in range(3):
        points = [
            1.0 if x[task] > y[task] else 0.5 if x[task] == y[task] else 0.0
            for x in ours
            for y in theirs
        ]
        by_task.append(sum(points) / len(points))
    expected = sum(by_task) / 3
    assert statistics.probability_of_improvement(ours, theirs) == pytest.approx(expected)
    back = statistics.probability_of_improvement(theirs, ours)
    assert back == pytest.approx(1 - expected)


def test_without_runs_there_is_no_aggregate():
    assert math.isnan(statistics.interquartile_mean([]))
    assert math.isnan(statistics.probability_of_improvement(np.empty((0, 3)), [[1, 2, 3]]))
    with pytest.raises(ValueError, match="same tasks"):
        statistics.probability_of_improvement([[1, 2]], [[1, 2, 3]])


@pytest.mark.parametrize(
    ("before", "change", "random", "expected"),
    [
        (0.15, None, 0.15, FLOOR),
        (0.25, None, 0.15, ABOVE),
        (0.9, 0.72 / 0.9 - 1, 0.15, KEPT),
        (0.9, 0.71 / 0.9 - 1, 0.15, REDUCED),
        (0.9, 0.45 / 0.9 - 1, 0.15, REDUCED),
        (0.9, 0.44 / 0.9 - 1, 0.15, LOST),
        (0.2, 3.5, 0.15, FLOOR),  # it had nothing to lose
        (0.0, math.nan, 0.15, FLOOR),
        (0.9, math.nan, 0.15, ""),
        (0.9, 0.0, math.nan, ""),
    ],
)
def test_the_result_in_one_word(before, change, random, expected):
    assert result(before, change, random) == expected


def all_splits(**rates):
    return {s: outcomes(rates.get(s.replace("-", "_"), 2)) for s in ARTICLE_SPLITS}


LIKE_PAPER = {
    "train": 9,
    "renamed_nouns": 9,
    "invented_words": 8,
    "new_composition": 1,
    "synonym_actions": 1,
    "french_goto": 0,
    "english_goto": 10,
}


def verdicts_of(directory, agent):
    compared = comparisons(read_records(directory), read_paper())
    return {c.split: c.verdict for c in compared if c.agent == agent}


def write(directory, rates, profile="laptop", **manifest):
    for seed in (0, 1):
        more = {"train": 10} if seed else {}  # seeds that agree would have no interval
        tests = all_splits(**rates, **({k: v for k, v in more.items() if profile == "paper"}))
        write_run(directory, "gflan-t5", seed, tests=tests, profile=profile, **manifest)
        random = all_splits()
        write_run(directory, "random", seed, learns=False, tests=random, profile=profile)


def test_outside_the_papers_setting_only_directions_are_judged(tmp_path):
    write(tmp_path, LIKE_PAPER)
    assert set(verdicts_of(tmp_path, "gflan-t5").values()) == {SAME_DIRECTION}
    assert set(verdicts_of(tmp_path, "random").values()) == {"not comparable: profile laptop"}


def test_another_result_is_another_direction(tmp_path):
    write(tmp_path, {**LIKE_PAPER, "synonym_actions": 9, "invented_words": 5})
    verdicts = verdicts_of(tmp_path, "gflan-t5")
    assert [s for s, v in verdicts.items() if v == OTHER_DIRECTION] == [
        "invented-words",
        "synonym-actions",
    ]


def test_without_pretraining_the_agent_is_not_compared(tmp_path):
    write(tmp_path, LIKE_PAPER, model={"name": "Small", "pretrained": False})
    verdicts = set(verdicts_of(tmp_path, "gflan-t5").values())
    assert verdicts == {"not comparable: model not pretrained"}


def test_in_the_papers_setting_the_interval_decides(tmp_path):
    episodes = 1000
    rates = {"train": (880, 900), "renamed-nouns": (700, 702), "invented-words": (720, 820)}
    for seed in (0, 1):
        tests = {s: outcomes(rates[s][seed], episodes) for s in rates}
        write_run(tmp_path, "gflan-t5", seed, tests=tests, profile="paper", steps=1_500_000)
    verdicts = verdicts_of(tmp_path, "gflan-t5")
    assert verdicts["train"] == WITHIN
    assert verdicts["renamed-nouns"] == OUTSIDE
    assert verdicts["invented-words"] == TOO_WIDE  # the paper's .77, but ± .64 says nothing
    assert verdicts["french-goto"] == "not measured: missing"


def test_beside_the_rate_stands_what_the_public_code_would_count(tmp_path):
    # of the five kinds in turn "go to" alone is solved, in half of the others' steps
    path = write_run(tmp_path, "gflan-t5", 0, tests={"train": [1, 0, 0, 0, 0] * 2})
    rows = path / "evaluation" / "train.csv"
    lines = rows.read_text().splitlines(keepends=True)
    rows.write_text(
        "".join(line if ",go to," in line else line.replace(",10,", ",20,") for line in lines)
    )
    table = comparison_table(read_records(tmp_path), read_paper())
    row = dict(zip(table.columns, table.rows[0], strict=True))
    assert row["success"].text.startswith("0.20")
    assert row["success, first to finish"].text.startswith("0.33")  # counts 2 of 6
    draw = 1.96 * statistics.kind_draw_deviation([1, 0, 0, 0, 0], [10, 20, 20, 20, 20], 32)
    assert row["draw of kinds"].text == f"{draw:.2f}"
    assert row["difference"].text == "—"  # another setting: not comparable


def test_rates_are_held_against_the_papers_when_counted_alike(tmp_path):
    # 90 of 1000 solved, all of them "go to", in 10 steps where the others take 20
    solved = [int(i % 5 == 0 and i < 450) for i in range(1000)]
    setting = {"learns": False, "profile": "paper", "tests": {"train": solved}}
    for seed in (0, 1):
        rows = write_run(tmp_path, "random", seed, **setting) / "evaluation" / "train.csv"
        lines = rows.read_text().splitlines(keepends=True)
        rows.write_text(
            "".join(line if ",go to," in line else line.replace(",10,", ",20,") for line in lines)
        )
    (found,) = [c for c in comparisons(read_records(tmp_path), read_paper()) if c.split == "train"]
    assert found.published == 0.15
    assert found.measured.over_seeds.mean == pytest.approx(0.09)
    assert found.first_to_finish.over_seeds.mean == pytest.approx(0.45 * 2 / 6)
    assert found.difference == pytest.approx(0)
    assert found.verdict == WITHIN


def test_one_seed_is_not_compared_and_a_failed_run_is_said(tmp_path):
    tests = {"train": outcomes(890, 1000)}
    write_run(tmp_path, "gflan-t5", 0, tests=tests, profile="paper", steps=1_500_000)
    write_run(tmp_path, "drrn", 0, state="failed", profile="paper", episodes=1000, steps=1_500_000)
    assert verdicts_of(tmp_path, "gflan-t5")["train"] == "not comparable: one seed"
    assert verdicts_of(tmp_path, "drrn")["train"] == "not measured: failed"
    assert "not measured: failed" in to_csv(comparison_table(read_records(tmp_path), read_paper()))


def test_differences_are_paired_by_seed_and_by_episode(tmp_path):
    ours = {0: [1, 1, 0, 1], 1: [1, 0, 0, 1], 2: [1, 1, 1, 1]}
    theirs = {0: [1, 0, 1, 0], 1: [0, 0, 0, 1]}
    for seed, won in ours.items():
        write_run(tmp_path, "gflan-t5", seed, tests={"train": won})
    for seed, won in theirs.items():
        write_run(tmp_path, "drrn", seed, tests={"train": won})
    records = read_records(tmp_path)
    measured = measures.difference(records, "gflan-t5", "drrn", "train")
    assert measured.values == {0: 0.25, 1: 0.25}
    assert measured.missing == (2,)
    assert measures.solved_by_one_only(records, "gflan-t5", "drrn", "train") == (3, 1, 8)
    row = difference_table(records).rows[0]
    assert row[2].text.startswith("+0.25 ± 0.00 [n=2; 1 missing")
    assert row[3:] == ("3", "1", "8")


def test_a_difference_is_of_the_same_episodes_only(tmp_path):
    for agent, count in (("gflan-t5", 4), ("drrn", 8)):
        write_run(tmp_path, agent, 0, tests={"train": outcomes(2, count)})
    measured = measures.difference(read_records(tmp_path), "gflan-t5", "drrn", "train")
    assert (dict(measured.values), measured.missing) == ({}, (0,))


def test_the_aggregate_says_what_failed(tmp_path):
    for seed in (0, 1):
        write_run(tmp_path, "gflan-t5", seed, tests=all_splits(**LIKE_PAPER))
    write_run(tmp_path, "gflan-t5", 2, state="failed")
    table = aggregate_table(read_records(tmp_path))
    assert "[n=2; 1 failed]" in table.rows[0][2].text


def test_an_aggregate_of_nothing_is_empty_in_every_file(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, tests=all_splits(**LIKE_PAPER))
    write_run(tmp_path, "drrn", 0)
    assert "nan" not in to_csv(aggregate_table(read_records(tmp_path)))


def test_aggregates_leave_out_a_seed_that_lacks_a_split(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, tests=all_splits(**LIKE_PAPER))
    write_run(tmp_path, "gflan-t5", 1, tests={"train": outcomes(9)})
    write_run(tmp_path, "random", 0, learns=False, tests=all_splits())
    table = aggregate_table(read_records(tmp_path))
    gflan = dict(zip(table.columns, table.rows[0], strict=True))
    assert gflan["seeds"] == "1"
    # .9 .9 .8 .1 .1 .0 without the lowest and the highest: .475
    assert gflan["interquartile mean"].text == "0.48"
    assert gflan["P(> random)"].text == "0.50"


def test_a_rate_read_off_a_figure_may_miss_the_interval_by_the_reading_error(tmp_path):
    # .925 ± .013, and its test's and the paper's episodes another ± .023: within .0364 of .89, but
    # not without the reading error (.0264) or the draw of episodes (.0227); .927 is not any more.
    for one, verdict in ((924, WITHIN), (926, OUTSIDE)):
        for seed, won in enumerate((one, one + 2)):
            tests = {"train": outcomes(won, 1000)}
            out = tmp_path / verdict
            write_run(out, "gflan-t5", seed, tests=tests, profile="paper", steps=1_500_000)
        assert verdicts_of(out, "gflan-t5")["train"] == verdict
