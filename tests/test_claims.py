"""The paper's claims, judged by records."""

import pytest
from record_files import LEARNED, outcomes, played, training, write_run, write_three_agents

from bench.reporting.claims import DIFFERENT, SAME, UNDECIDED, _separation, verdicts
from bench.reporting.records import read_records
from bench.reporting.statistics import SeedMean


def outcome_of(directory):
    return [verdict.outcome for verdict in verdicts(read_records(directory))]


def test_claims_that_hold(tmp_path):
    write_three_agents(tmp_path)
    q1, q2, q3 = verdicts(read_records(tmp_path))
    assert [q1.outcome, q2.outcome, q3.outcome] == [SAME] * 3
    assert q1.evidence.startswith("SE 0.60 against 0.20 of drrn (95% intervals apart)")
    assert q1.evidence.endswith("no SE of npae-flan-t5, symbolic-ppo")
    assert q2.evidence == "renamed-nouns 0% against train, invented-words -11% against train"
    assert "french-goto -100% against english-goto" in q3.evidence


@pytest.mark.parametrize(
    ("gflan", "rival", "expected"),
    [
        (LEARNED, 13, [DIFFERENT, SAME, SAME]),
        (LEARNED | {"invented-words": 7}, 4, [SAME, DIFFERENT, SAME]),
        (LEARNED | {"synonym-actions": 5}, 4, [SAME, SAME, DIFFERENT]),
        # no better than Random (2 of 10) in training: nothing to lose
        (LEARNED | {"train": 2}, 4, [SAME, UNDECIDED, UNDECIDED]),
    ],
)
def test_claims_that_do_not_hold(tmp_path, gflan, rival, expected):
    write_three_agents(tmp_path, gflan, rival)
    assert outcome_of(tmp_path) == expected


def test_our_ablation_is_a_rival(tmp_path):
    write_three_agents(tmp_path)
    for seed in (0, 1):
        write_run(tmp_path, "npe-flan-t5", seed, training=training(13))
    (q1, *_) = verdicts(read_records(tmp_path))
    assert q1.outcome == DIFFERENT
    assert q1.evidence.startswith("SE 0.60 against 0.65 of npe-flan-t5")


def test_of_a_users_agent_the_article_claims_nothing(tmp_path):
    write_three_agents(tmp_path)
    for seed in (0, 1):
        write_run(tmp_path, "mine", seed, training=training(13))
    (q1, *_) = verdicts(read_records(tmp_path))
    assert q1.outcome == SAME
    assert q1.evidence.endswith("; as fast, but not the paper's: mine 0.65")


def test_a_tie_is_no_verdict_and_nor_is_a_rival_of_ours_alone(tmp_path):
    write_three_agents(tmp_path / "tie", rival=12)
    assert outcome_of(tmp_path / "tie")[0] == UNDECIDED
    for agent, won in (("gflan-t5", 12), ("npe-flan-t5", 4)):
        write_run(tmp_path / "ours", agent, 0, training=training(won))
    assert outcome_of(tmp_path / "ours")[0] == UNDECIDED


def test_a_loss_on_the_threshold_is_judged_as_the_rule_says(tmp_path):
    exact = LEARNED | {"train": 180, "renamed-nouns": 144, "invented-words": 144}
    exact |= {"new-composition": 90, "synonym-actions": 0, "english-goto": 200}
    for agent, won in (("gflan-t5", exact), ("random", {"train": 20, "english-goto": 20})):
        tests = {split: outcomes(won.get(split, 0), 200) for split in exact}
        write_run(tmp_path, agent, 0, learns=agent != "random", training=training(5), tests=tests)
    _, q2, q3 = verdicts(read_records(tmp_path))
    assert (q2.outcome, q3.outcome) == (SAME, DIFFERENT)  # at most 20%; not more than 50%


def test_seeds_that_failed_are_said_with_the_claims(tmp_path):
    write_three_agents(tmp_path)
    write_run(tmp_path, "gflan-t5", 7, state="failed")
    found = verdicts(read_records(tmp_path))
    assert all("seeds: 1 failed of gflan-t5" in verdict.evidence for verdict in found)


def test_claims_are_not_judged_without_the_runs_they_need(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, training=training(12), tests=played(LEARNED))
    assert outcome_of(tmp_path) == [UNDECIDED] * 3
    write_run(tmp_path, "drrn", 0, training=training(4))
    (q1, *_) = verdicts(read_records(tmp_path))
    assert q1.outcome == SAME
    assert "no interval at one seed" in q1.evidence


def test_intervals_are_apart_only_beyond_both_half_widths_together():
    other = SeedMean(0.4, 0.1, 2)
    assert _separation(SeedMean(0.6, 0.15, 2), other) == "95% intervals overlap"
    assert _separation(SeedMean(0.66, 0.15, 2), other) == "95% intervals apart"


def test_random_is_the_floor_on_the_reference_not_on_the_split(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, training=training(12), tests=played(LEARNED))
    write_run(tmp_path, "random", 0, learns=False, tests=played({"english-goto": 10}))
    _, q2, q3 = verdicts(read_records(tmp_path))
    assert (q2.outcome, q3.outcome) == (SAME, UNDECIDED)
    assert "on english-goto; Random: 1.00" in q3.evidence


def test_seeds_that_lack_the_first_split_alone_are_said(tmp_path):
    write_three_agents(tmp_path)
    (tmp_path / "gflan-t5/seed-1/evaluation/renamed-nouns.csv").unlink()
    _, q2, _ = verdicts(read_records(tmp_path))
    assert q2.evidence.endswith("; seeds: 1 missing of gflan-t5")
