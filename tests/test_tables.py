import io
import json
import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_files import KINDS, outcomes, training, write_run

from bench.reporting import measures
from bench.reporting.caveats import caveats
from bench.reporting.comparison_tables import all_tables
from bench.reporting.measures import SeedValues, relative_change
from bench.reporting.paper import read_paper
from bench.reporting.records import read_records
from bench.reporting.setting import departures
from bench.reporting.statistics import mean_over_seeds
from bench.reporting.table_format import (
    to_csv,
    to_markdown,
)
from bench.reporting.tables import generalisation_table, q1_table, runs_table, seed_table
from bench.reporting.tables import task_kind_table as kinds_table
from envs.splits import ARTICLE_SPLITS, SPLITS

ALL = dict.fromkeys(ARTICLE_SPLITS, outcomes(5))


def text(cell):
    return cell if isinstance(cell, str) else cell.text


def cell(table, column, **where):
    """The text in a column of the only row that agrees with `where`."""
    index = {name: i for i, name in enumerate(table.columns)}
    rows = [row for row in table.rows if all(text(row[index[c]]) == v for c, v in where.items())]
    assert len(rows) == 1
    return text(rows[0][index[column]])


def csv_frame(table):
    return pd.read_csv(io.StringIO(to_csv(table)), comment="#", keep_default_na=False, dtype=str)


@given(st.lists(st.integers(0, 100), min_size=1, max_size=5), st.data())
def test_relative_change_is_that_of_the_means_over_common_seeds(base, data):
    rates = data.draw(st.lists(st.integers(0, 100), min_size=len(base), max_size=len(base)))
    lost = data.draw(st.integers(0, len(base) - 1))
    reference = SeedValues(dict(enumerate(base)))
    split = SeedValues({seed: rate for seed, rate in enumerate(rates) if seed != lost})
    seeds = sorted(split.values)
    change = relative_change(split, reference)
    if sum(base[seed] for seed in seeds) == 0:
        assert math.isnan(change)
    else:
        mean = sum(rates[seed] for seed in seeds) / len(seeds)
        mean_base = sum(base[seed] for seed in seeds) / len(seeds)
        assert change == pytest.approx((mean - mean_base) / mean_base)


def test_q1_numbers_follow_from_the_rows(tmp_path):
    # ten episodes in each of 20 windows of 50 steps; seed 0 succeeds from step 501 on, seed 1 in
    # its last window only
    late = [(50 * i + 25, int(i >= 10)) for i in range(20) for _ in range(10)]
    last = [(50 * i + 25, int(i == 19)) for i in range(20) for _ in range(10)]
    write_run(tmp_path, "gflan-t5", 0, training=late, tests={"train": outcomes(9)})
    write_run(tmp_path, "gflan-t5", 1, training=last, tests={"train": outcomes(7)})
    write_run(tmp_path, "random", 0, learns=False, tests={"train": outcomes(2)})
    table = q1_table(read_records(tmp_path), read_paper())
    assert cell(table, "success, end of training", agent="gflan-t5") == "1.00 ± 0.00"
    tested = mean_over_seeds([0.9, 0.7])
    expected = f"0.80 ± {tested.half_width:.2f}"
    assert cell(table, "success, test episodes", agent="gflan-t5") == expected
    assert cell(table, "sample efficiency SE", agent="gflan-t5").startswith("0.28 ± ")
    steps = mean_over_seeds([550, 1000])
    expected = f"775 ± {steps.half_width:,.0f}"
    assert cell(table, "steps to 0.8", agent="gflan-t5") == expected
    assert cell(table, "paper: success, test episodes", agent="gflan-t5") == "0.89"
    assert cell(table, "paper: steps to 0.8", agent="gflan-t5") == "250,000"
    assert cell(table, "sample efficiency SE", agent="random") == "does not learn"
    assert cell(table, "success, test episodes", agent="random") == "0.20 ± n/a"


def test_generalisation_in_the_articles_order_against_explicit_references(tmp_path):
    rates = {"train": 8, "renamed-nouns": 6, "french-goto": 3, "english-goto": 6}
    tests = {split: outcomes(rates.get(split, 4)) for split in ARTICLE_SPLITS}
    write_run(tmp_path, "gflan-t5", 0, tests=tests)
    table = generalisation_table(read_records(tmp_path), read_paper())
    assert [(text(row[1]), text(row[2])) for row in table.rows] == [
        ("Train tasks", "—"),
        ("Renamed nouns", "Train tasks"),
        ("Invented words", "Train tasks"),
        ("New composition", "Train tasks"),
        ("Synonym actions", "Train tasks"),
        ("French go to", "English go to"),
        ("French go to", "Train tasks"),
        ("English go to", "—"),
    ]
    column = "gflan-t5, 1 seed"
    assert cell(table, column, split="Renamed nouns") == "0.60 ± n/a (-25%)"
    french = {"split": "French go to"}
    assert cell(table, column, reference="English go to", **french) == "0.30 ± n/a (-50%)"
    assert cell(table, column, reference="Train tasks", **french) == "0.30 ± n/a (-63%)"  # -62.5%


def test_a_split_without_success_on_its_reference_has_no_change(tmp_path):
    write_run(tmp_path, "drrn", 0, tests=ALL | {"train": outcomes(0)})
    table = generalisation_table(read_records(tmp_path), read_paper())
    assert cell(table, "drrn, 1 seed", split="Renamed nouns") == "0.50 ± n/a (n/a)"


def test_evaluated_variants_follow_the_article_and_unknown_splits_come_last(tmp_path):
    tests = ALL | {"zz-own-split": outcomes(5), "held-out-pairs": outcomes(5)}
    write_run(tmp_path, "drrn", 0, tests=tests)
    table = generalisation_table(read_records(tmp_path), read_paper())
    last = [(text(row[0]), text(row[1])) for row in table.rows][-3:]
    assert last[0] == ("reference", "English go to")
    assert last[1:] == [("variant", "Held-out pairs"), ("variant", "zz-own-split")]
    assert cell(table, "paper: DRRN", split="Held-out pairs") == "—"


def test_the_papers_columns_hold_the_papers_file_and_nothing_else(tmp_path):
    write_run(tmp_path, "drrn", 0, tests=dict.fromkeys(ARTICLE_SPLITS, outcomes(10)))
    paper = read_paper()
    frame = csv_frame(generalisation_table(read_records(tmp_path), paper))
    titles = {SPLITS[name].title: name for name in ARTICLE_SPLITS}
    checked = 0
    for row in frame.to_dict("records"):
        assert row["drrn, 1 seed: mean"] == "1.000000"
        for agent in paper.agents:
            published = paper.success_rate[titles[row["split"]], agent]
            assert float(row[f"paper: {agent}"]) == published
            checked += 1
    assert checked == 8 * 5
    french = frame[(frame["split"] == "French go to") & (frame["reference"] == "Train tasks")]
    change = float(french["paper: DRRN: change"].item())
    assert change == pytest.approx(0.31 / 0.14 - 1, abs=1e-6)


def test_failed_and_missing_cells_are_shown(tmp_path):
    write_run(tmp_path, "drrn", 0, tests=ALL)
    write_run(tmp_path, "drrn", 1, tests=ALL, state="failed")
    write_run(tmp_path, "gflan-t5", 0, tests=ALL, state="failed")
    write_run(tmp_path, "npae-flan-t5", 0, tests={"train": outcomes(5)})
    records = read_records(tmp_path)
    table = generalisation_table(records, read_paper())
    where = {"split": "Renamed nouns"}
    assert cell(table, "drrn, 2 seeds", **where) == "0.50 ± n/a (0%) [n=1; 1 failed]"
    assert cell(table, "gflan-t5, 2 seeds", **where) == "1 failed, 1 missing"
    assert cell(table, "npae-flan-t5, 2 seeds", **where) == "missing"
    q1 = q1_table(records, read_paper())
    assert [text(row[0]) for row in q1.rows] == ["gflan-t5", "npae-flan-t5", "drrn"]
    assert cell(q1, "steps to 0.8", agent="gflan-t5") == "1 failed, 1 missing"
    frame = csv_frame(table).set_index("split")
    assert frame.loc["Renamed nouns", "npae-flan-t5, 2 seeds: mean"] == "missing"
    assert frame.loc["Renamed nouns", "drrn, 2 seeds: status"] == "1 failed"
    assert frame.loc["Renamed nouns", "drrn, 2 seeds: 95% half-width"] == "n/a"


def test_task_kinds_against_a_count_by_hand(tmp_path):
    won = [1, 0, 0, 1, 1, 0, 0, 1, 1, 1]  # episode i is of kind i modulo 5
    write_run(tmp_path, "drrn", 0, tests={"train": won})
    table = kinds_table(read_records(tmp_path))
    assert [text(row[2]) for row in table.rows] == list(KINDS)
    for i, kind in enumerate(KINDS):
        where = {"split": "Train tasks", "task kind": kind}
        assert cell(table, "episodes", **where) == "2"
        assert cell(table, "drrn", **where) == f"{(won[i] + won[i + 5]) / 2:.2f} ± n/a"


def test_seeds_carry_the_wilson_interval_of_each_checkpoint(tmp_path):
    write_run(tmp_path, "drrn", 0, tests={"train": outcomes(5)})
    write_run(tmp_path, "drrn", 1, state="failed", tests={"train": outcomes(5)})
    table = seed_table(read_records(tmp_path))
    first, second = {"seed": "0", "split": "train"}, {"seed": "1", "split": "train"}
    assert cell(table, "successes", **first) == "5/10"
    assert cell(table, "Wilson low", **first) == "0.237"  # Wilson 1927 at 5 of 10
    assert cell(table, "Wilson high", **first) == "0.763"
    assert cell(table, "success rate", **second) == "failed"


def test_every_run_can_be_traced(tmp_path):
    model = {"name": "tiny", "pretrained": False, "weights_sha256": "12ab" * 16}
    took = {"train": 5400.0, "evaluate": 1800.0}
    write_run(tmp_path, "gflan-t5", 0, model=model, wall_seconds=took)
    write_run(tmp_path, "drrn", 1, state="failed", git={"commit": "a" * 40, "dirty": True})
    write_run(tmp_path, "mine", 0, entry="mine.py:Mine", code_sha256=["ab" * 32])
    table = runs_table(read_records(tmp_path))
    assert "took 2.0 hours" in table.notes[0]
    frame = csv_frame(table).set_index("run directory")
    agents = ("drrn", "gflan-t5", "mine")
    assert sorted(frame.index) == [f"{agent}/seed-{n}" for agent in agents for n in (0, 1)]
    mine = frame.loc["mine/seed-0"]
    assert (mine["agent file"], mine["its sha256"]) == ("mine.py:Mine", "ab" * 32)
    run = frame.loc["gflan-t5/seed-0"]
    assert (run["model"], run["pretrained"], run["weights sha256"]) == (
        "tiny",
        "false",
        "12ab" * 16,
    )
    assert (run["config hash"], run["commit"]) == ("c0ffee" * 10, "5eed" * 10)
    assert (run["steps"], run["train seconds"], run["evaluate seconds"]) == (
        "1000",
        "5400.0",
        "1800.0",
    )
    failed = frame.loc["drrn/seed-1"]
    assert (failed["state"], failed["error"], failed["dirty"]) == (
        "failed",
        "out of memory",
        "true",
    )
    assert frame.loc["drrn/seed-0", "state"] == "missing"


def test_captions_name_the_setting_and_its_departures(tmp_path):
    small = {"room_size": 6, "num_distractors": 2, "history": 1, "task_kinds": ["go to", "open"]}
    tiny = {"name": "tiny", "pretrained": False}
    write_run(tmp_path, "gflan-t5", 3, tests=ALL, model=tiny, label="GFlan", environment=small)
    for table in all_tables(read_records(tmp_path), read_paper()):
        caption = " ".join(table.caption)
        for words in (
            "Profile laptop; MixedTrainLocal, room size 6, distractors 2, history 1, "
            "task kinds go to, open; 1,000 training steps; seed 3; 10 test episodes per split; "
            "language model tiny (not pretrained).",
            "This is not the paper's setting: profile laptop; training steps 1,000 (paper: "
            "1,500,000); test episodes per split 10 (paper: 1,000); room size 6 (paper: 8); "
            "history 1 (paper: 3); distractors 2 (paper: 8); task kinds go to, open "
            "(paper: go to, pick up, put next, sequence, open); language model tiny (paper: "
            "Flan-T5-large).",
            "Language model not pretrained here: GFlan.",
        ):
            assert words in caption
            assert words in to_markdown(table)
            assert words in " ".join(to_csv(table).replace("\n# ", " ").split())


def test_a_kind_of_a_users_own_is_not_the_papers(tmp_path):
    setting = {"profile": "paper", "steps": 1_500_000, "tests": {"train": outcomes(500, 1000)}}
    kinds = ["go to", "pick up", "put next", "sequence", "open", "visit two"]
    write_run(tmp_path, "drrn", 0, environment={"task_kinds": kinds}, **setting)
    (said,) = departures(read_records(tmp_path))
    assert f"task kinds {', '.join(kinds)} (paper: {', '.join(kinds[:-1])})" in said


def test_the_threshold_is_not_reached_by_one_lucky_episode(tmp_path):
    whole = [(i + 1, int(i % 10 < 9)) for i in range(1000)]  # 50 in each window, nine in ten solved
    write_run(tmp_path, "drrn", 0, training=whole)
    write_run(tmp_path, "gflan-t5", 0, training=[(30, 1), *((i, 0) for i in range(60, 1000, 50))])
    records = read_records(tmp_path)
    reached = {a: measures.steps_to_threshold(records, a) for a in ("drrn", "gflan-t5")}
    assert dict(reached["drrn"].values) == {0: 50.0}
    assert (dict(reached["gflan-t5"].values), reached["gflan-t5"].status) == (
        {},
        "too few episodes",
    )
    assert any(s.startswith("gflan-t5: fewer than 10 training episodes") for s in caveats(records))


def test_an_option_changed_in_the_papers_profile_is_named(tmp_path):
    setting = {"profile": "paper", "steps": 1_500_000, "tests": {"train": outcomes(500, 1000)}}
    write_run(tmp_path, "drrn", 0, environment={"n_actions": 3}, **setting)
    write_run(tmp_path, "random", 0, environment={"n_actions": 3}, **setting)
    config = tmp_path / "drrn/seed-0/config.json"
    values = json.loads(config.read_text())
    values["agent_options"] = {"learning_rate": 1.0}
    config.write_text(json.dumps(values))
    assert departures(read_records(tmp_path))[0] == (
        "This is not the paper's setting: n_actions 3 (paper: 6); learning_rate 1.0 (paper: "
        "0.0001) [drrn]."
    )


def test_the_papers_own_setting_needs_no_warning(tmp_path):
    test = {"train": outcomes(500, episodes=1000)}
    large = {"name": "google/flan-t5-large", "pretrained": True}
    scratch = {"name": "google/flan-t5-large", "pretrained": False}
    setting = {"profile": "paper", "steps": 1_500_000, "tests": test}
    write_run(tmp_path, "gflan-t5", 0, model=large, **setting)
    write_run(tmp_path, "npae-flan-t5", 0, model=scratch, **setting)
    records = read_records(tmp_path)
    for table in all_tables(records, read_paper()):
        assert "not the paper's setting" not in " ".join(table.caption)
    write_run(tmp_path, "npe-flan-t5", 0, **(setting | {"steps": 1000}))
    table = q1_table(read_records(tmp_path), read_paper())
    assert (
        "training steps 1,500,000 [gflan-t5, npae-flan-t5] / 1,000 [npe-flan-t5] (paper: 1,500,000)"
    ) in " ".join(table.caption)


def test_a_training_that_goes_on_has_no_efficiency_yet(tmp_path):
    write_run(tmp_path, "drrn", 0, state="running", training=training(12))
    measured = measures.sample_efficiency(read_records(tmp_path), "drrn")
    assert (dict(measured.values), measured.missing) == ({}, (0,))


def test_one_seed_without_pretraining_is_enough_to_say_so(tmp_path):
    for seed, pretrained in enumerate((True, False)):
        write_run(tmp_path, "gflan-t5", seed, model={"name": "tiny", "pretrained": pretrained})
    assert "not pretrained here: gflan-t5." in " ".join(departures(read_records(tmp_path)))
