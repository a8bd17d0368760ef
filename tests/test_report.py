import os
import shutil
import subprocess
import sys

import pytest
from record_files import outcomes, write_run

from bench import report
from bench.caveats import caveats
from bench.claims import DIFFERENT, SAME, UNDECIDED, verdicts
from bench.parsing import RecordError
from bench.records import read_records
from bench.report import write_report
from envs.splits import ARTICLE_SPLITS

TABLES = (
    "comparison",
    "q1",
    "q2_q3",
    "aggregate",
    "differences",
    "task_kinds",
    "difficulty",
    "seeds",
    "runs",
)
FIGURES = (
    "q1_learning_curves",
    "q2_q3_generalisation",
    "q2_q3_generalisation_paper",
    "success_by_task_kind",
)


def played(rates):
    return {split: outcomes(rates.get(split, 2)) for split in ARTICLE_SPLITS}


LEARNED = {
    "train": 9,
    "renamed-nouns": 9,
    "invented-words": 8,
    "english-goto": 10,
    "french-goto": 0,
}


def training(successes):
    """One episode in each of 20 windows of 50 steps, the last `successes` of them solved."""
    return [(50 * i + 25, int(i >= 20 - successes)) for i in range(20)]


def write_all(directory, gflan=LEARNED, rival=4):
    for seed in (0, 1):
        write_run(directory, "gflan-t5", seed, training=training(12), tests=played(gflan))
        write_run(directory, "drrn", seed, training=training(rival), tests=played({}))
    write_run(directory, "random", 0, learns=False, tests=played({}))


def contents(directory):
    paths = [path for path in directory.rglob("*") if path.is_file()]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    directory = tmp_path_factory.mktemp("report") / "laptop"
    write_all(directory)
    rows = contents(directory)
    return directory, rows, write_report(directory)


def test_writes_every_table_figure_and_the_page(written):
    directory, rows, paths = written
    expected = {f"tables/{name}.{ending}" for name in TABLES for ending in ("csv", "md", "tex")}
    expected |= {f"figures/{name}.{ending}" for name in FIGURES for ending in ("png", "svg", "pdf")}
    expected |= {"report.md", "report.html"}
    assert {path.relative_to(directory).as_posix() for path in paths} == expected
    now = contents(directory)
    assert set(now) == expected | set(rows)  # no temporary file stays
    assert all(now[name] == content for name, content in rows.items())


def test_another_process_without_torch_writes_the_same_bytes_elsewhere(written, tmp_path):
    directory, rows, _ = written
    for name, content in rows.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(content)
    code = """
import pathlib, sys
from bench.report import write_report
write_report(pathlib.Path(sys.argv[1]))
print({"torch", "transformers"} & set(sys.modules))
"""
    other = os.environ | {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C"}
    command = [sys.executable, "-c", code, str(tmp_path)]
    answer = subprocess.run(command, check=True, env=other, capture_output=True, text=True)
    assert answer.stdout == "set()\n"
    assert contents(tmp_path) == contents(directory)


def test_the_page_shows_what_it_wrote(written):
    directory, _, paths = written
    page = (directory / "report.md").read_text()
    for path in paths:
        name = path.relative_to(directory).as_posix()
        if name.startswith("tables/") or name.endswith(".png"):
            assert f"({name})" in page
    assert "not the paper's setting" in page
    assert "| drrn | 2 | 1.00 ± 0.00 | 0.20 ± 0.00 | 0.20 ± 0.00 |" in page
    assert str(directory) not in page


def draw_nothing(records, paper):
    return {}


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(report, "all_figures", draw_nothing)


@pytest.mark.usefixtures("without_figures")
@pytest.mark.parametrize("case", ["random", "failed", "begun", "no runs of a seed", "no splits"])
def test_partial_results_are_reported(tmp_path, case):
    if case == "random":
        write_run(tmp_path, "random", 0, learns=False, tests=played({}))
    elif case == "failed":
        write_run(tmp_path, "gflan-t5", 0, state="failed")
    elif case == "begun":
        write_run(tmp_path, "gflan-t5", 0, state="running")
    elif case == "no runs of a seed":
        write_all(tmp_path)
        shutil.rmtree(tmp_path / "drrn" / "seed-1")
    else:
        write_run(tmp_path, "gflan-t5", 0, training=training(3), state="trained")
    page = write_report(tmp_path)[-1].read_text()
    expected = {
        "random": "| Q1 | Train tasks | — | 0.20 ± n/a |",
        "failed": "gflan-t5, seed 0 failed (out of memory).",
        "begun": "gflan-t5, seed 0 has not finished its training",
        "no runs of a seed": "drrn, seed 1 is missing.",
        "no splits": "| gflan-t5 | 1 | 1.00 ± n/a | missing | 0.15 ± n/a |",
    }
    assert expected[case] in page


@pytest.mark.usefixtures("without_figures")
def test_nothing_is_written_if_a_record_is_malformed(tmp_path):
    write_all(tmp_path)
    (tmp_path / "drrn" / "seed-1" / "manifest.json").write_text("{")
    before = contents(tmp_path)
    with pytest.raises(RecordError, match=r"drrn/seed-1/manifest\.json"):
        write_report(tmp_path)
    assert contents(tmp_path) == before


@pytest.mark.usefixtures("without_figures")
def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    write_all(tmp_path)
    write_report(tmp_path)
    before = contents(tmp_path)
    write_run(tmp_path, "bot", 0, learns=False)
    changed = contents(tmp_path)

    def no_space(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", no_space)
    with pytest.raises(OSError, match="No space"):
        write_report(tmp_path)
    assert contents(tmp_path) == changed
    assert changed.items() >= before.items()


def outcome_of(directory):
    return [verdict.outcome for verdict in verdicts(read_records(directory))]


def test_claims_that_hold(tmp_path):
    write_all(tmp_path)
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
    write_all(tmp_path, gflan, rival)
    assert outcome_of(tmp_path) == expected


def test_every_agent_that_learns_is_a_rival(tmp_path):
    write_all(tmp_path)
    for seed in (0, 1):
        write_run(tmp_path, "npe-flan-t5", seed, training=training(13))
    (q1, *_) = verdicts(read_records(tmp_path))
    assert q1.outcome == DIFFERENT
    assert q1.evidence.startswith("SE 0.60 against 0.65 of npe-flan-t5")


def test_a_loss_on_the_threshold_is_judged_as_the_rule_says(tmp_path):
    exact = LEARNED | {"train": 180, "renamed-nouns": 144, "invented-words": 144}
    exact |= {"new-composition": 90, "synonym-actions": 0, "english-goto": 200}
    for agent, won in (("gflan-t5", exact), ("random", {"train": 20, "english-goto": 20})):
        tests = {split: outcomes(won.get(split, 0), 200) for split in exact}
        write_run(tmp_path, agent, 0, learns=agent != "random", training=training(5), tests=tests)
    _, q2, q3 = verdicts(read_records(tmp_path))
    assert (q2.outcome, q3.outcome) == (SAME, DIFFERENT)  # at most 20%; not more than 50%


def test_seeds_that_failed_are_said_with_the_claims(tmp_path):
    write_all(tmp_path)
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


def test_caveats_name_what_a_reader_must_know(tmp_path):
    whole = {"tests": {"train": outcomes(5)}}
    write_run(tmp_path, "gflan-t5", 0, git={"commit": "a", "dirty": True}, **whole)
    write_run(tmp_path, "gflan-t5", 1, **whole)
    write_run(tmp_path, "drrn", 0, tests={"train": outcomes(3, episodes=7)}, episodes=10)
    sentences = caveats(read_records(tmp_path))
    for expected in (
        "One seed of drrn: no interval can be given, and a difference to another agent may be "
        "luck.",
        "drrn, seed 0 has 7 of 10 test episodes on train: missing there.",
        "drrn, seed 1 is missing.",
        "The runs come from 2 commits (see the table of runs).",
        "Some runs come from a tree with uncommitted changes.",
    ):
        assert expected in sentences


def test_seeds_of_another_origin_are_named(tmp_path):
    for seed, (weights, torch) in enumerate((("a", "2.13"), ("a", "2.13"))):
        origin = {"weight_files_sha256": weights, "versions": {"torch": torch}}
        write_run(tmp_path, "gflan-t5", seed, **origin)
        write_run(tmp_path, "drrn", seed, **origin)
    assert not any("different" in sentence for sentence in caveats(read_records(tmp_path)))
    write_run(tmp_path, "gflan-t5", 2, weight_files_sha256="b", versions={"torch": "2.13"})
    write_run(tmp_path, "drrn", 2, weight_files_sha256="a", versions={"torch": "2.14"})
    found = [s for s in caveats(read_records(tmp_path)) if "different" in s]
    assert found[0].startswith("gflan-t5: its seeds began from 2 different weights")
    assert found[1].startswith("drrn: its seeds come from 2 different machines")


def test_training_rows_that_do_not_add_up_are_named(tmp_path):
    whole = [(10 * i, 0) for i in range(1, 11)]  # one environment, ten steps an episode
    for seed, ended in enumerate((whole, whole[:4] + whole[5:], whole[:-2], whole[:-1])):
        path = write_run(tmp_path, "drrn", seed, training=ended, steps=105) / "config.json"
        path.write_text(path.read_text().replace('"steps"', '"n_envs": 1, "steps"'))
    rows = tmp_path / "drrn" / "seed-0" / "metrics.csv"
    found = [s.partition(": ")[2] for s in caveats(read_records(tmp_path)) if "add up" in s]
    for sentence, gap in zip(found, ("episode 4 ", *2 * ["the last episodes "]), strict=True):
        assert sentence.startswith(f"its training rows do not add up ({gap}")
    rows.write_text(rows.read_text().replace("1,105,", "2,105,"))
    assert any("an update is not there" in s for s in caveats(read_records(tmp_path)))
    for left in (rows.read_text().replace("2,105,", "1,100,"), "update,steps,loss\n"):
        rows.write_text(left)
        assert any("the last updates are not there" in s for s in caveats(read_records(tmp_path)))
    config = tmp_path / "drrn" / "seed-0" / "config.json"
    for count in (0, 10**30):
        config.write_text(config.read_text().replace('"n_envs": 1,', f'"n_envs": {count},'))
        assert any(f"{count} environments cannot" in s for s in caveats(read_records(tmp_path)))
        config.write_text(config.read_text().replace(f'"n_envs": {count},', '"n_envs": 1,'))


def test_steps_beyond_the_budget_are_named(tmp_path):
    write_run(tmp_path, "drrn", 0)
    assert not any("more than others" in sentence for sentence in caveats(read_records(tmp_path)))
    path = write_run(tmp_path, "gflan-t5", 0) / "manifest.json"
    path.write_text(path.read_text().replace('"steps": 1000', '"steps": 4800'))
    expected = "gflan-t5, seed 0 took 4,800 steps of 1,000: more than others had to learn from."
    assert expected in caveats(read_records(tmp_path))


def test_a_world_without_sequences_has_a_page(tmp_path):
    kinds = {"task_kinds": ["go to"], "room_size": 6, "num_distractors": 2}
    write_run(tmp_path, "random", 0, learns=False, tests={"train": outcomes(5)}, environment=kinds)
    write_report(tmp_path)
    assert "Level PickUpSeqPickUpLocal." in (tmp_path / "report.html").read_text()


def test_a_split_that_was_never_played_is_named(tmp_path):
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5), "french-goto": outcomes(5)})
    (path / "evaluation" / "french-goto.csv").unlink()
    sentences = caveats(read_records(tmp_path))
    assert "drrn, seed 0 has 0 of 10 test episodes on french-goto: missing there." in sentences


def test_agents_that_played_other_episodes_are_named(tmp_path):
    write_run(tmp_path, "gflan-t5", 0, tests={"train": outcomes(5)})
    path = write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5)})
    assert not any("same test episodes" in sentence for sentence in caveats(read_records(tmp_path)))
    rows = path / "evaluation" / "train.csv"
    rows.write_text(rows.read_text().replace(",1003,", ",2003,"))
    sentences = caveats(read_records(tmp_path))
    assert any("train: drrn, gflan-t5 did not play the same" in sentence for sentence in sentences)
