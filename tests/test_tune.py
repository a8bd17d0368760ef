"""The search for options: the same budget for all, everything in the record."""

import csv
import json
import re
import shutil
import statistics
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console
from run_files import PROFILE, TABULAR

from bench.cli import cli
from bench.launching.tune import load_search, tabulate, tune
from bench.validation import ConfigError

SEARCH = """
profile: small.yaml
steps: 128
seeds: [9, 8]
trials:
  tabular: [{rows: 32}, {rows: 64}]
  other: [{rows: 16}, {rows: 8}]
"""


def trials(folder):
    with (folder / "out" / "trials.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(f"{PROFILE}  other: {{agent: {TABULAR}}}\n")
    (tmp_path / "search.yaml").write_text(SEARCH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_trial_is_recorded_and_one_of_each_agent_chosen(folder):
    tune(load_search(folder / "search.yaml"), folder / "out", Console(), jobs=2)
    rows = trials(folder)
    assert [(row["agent"], row["trial"], row["seed"]) for row in rows] == [
        (agent, trial, seed) for agent in ("tabular", "other") for trial in "01" for seed in "89"
    ]
    for agent in ("tabular", "other"):
        means, chosen = {}, set()
        for trial in "01":
            seeds = [row for row in rows if (row["agent"], row["trial"]) == (agent, trial)]
            means[trial] = statistics.fmean(float(row["success"]) for row in seeds)
            chosen |= {(trial, row["chosen"]) for row in seeds}
        best = max(means, key=lambda trial: means[trial])
        assert chosen == {(trial, "1" if trial == best else "0") for trial in "01"}
    assert rows[2]["options"] == '{"rows": 64}'


def test_the_table_is_made_again_from_the_runs_that_are_there(folder):
    tune(load_search(folder / "search.yaml"), folder / "out", Console(), jobs=2)
    first = trials(folder)
    for path in (folder / "out" / "trials.csv", *folder.glob("out/**/checkpoint")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    command = ["tune", "search.yaml", "--out", "out", "--no-train"]
    assert CliRunner().invoke(cli, command).exit_code == 0
    assert trials(folder) == first
    for changed in (SEARCH.replace("128", "64"), SEARCH.replace("rows: 16", "rows: 15")):
        (folder / "search.yaml").write_text(changed)
        result = CliRunner().invoke(cli, command)
        assert (result.exit_code, "what the search tries" in result.output) == (2, True)
    (folder / "search.yaml").write_text(SEARCH)
    shutil.rmtree(folder / "out" / "trial-1")
    result = CliRunner().invoke(cli, command)
    assert (result.exit_code, "trial-1" in result.output) == (2, True)


def test_a_seed_that_is_no_longer_asked_for_does_not_count(folder):
    search = load_search(folder / "search.yaml")
    tune(search, folder / "out", Console(), jobs=2)
    first = trials(folder)
    tune(replace(search, seeds=[9]), folder / "out", Console(), jobs=2)
    found = trials(folder)
    for row in first + found:
        row.pop("chosen")  # may be another
    assert found == [row for row in first if row["seed"] == "9"]


def test_an_agent_in_a_file_is_tried_with_its_options(folder):
    one_agent = SEARCH[: SEARCH.index("  other:")]
    (folder / "search.yaml").write_text(one_agent.replace("tabular:", f'"{TABULAR}":'))
    tune(replace(load_search(folder / "search.yaml"), seeds=[9]), folder / "out", Console(), jobs=2)
    for number, row in enumerate(trials(folder)):
        (config,) = (folder / f"out/trial-{number}/small/{row['agent']}").glob("*/config.json")
        assert json.loads(config.read_text())["agent_options"]["rows"] == (32, 64)[number]
        assert row["state"] == "complete"


def test_a_trial_that_fails_is_listed_and_never_chosen(folder):
    (folder / "search.yaml").write_text(re.sub("rows: (64|16|8)", "rows: 0", SEARCH))
    result = CliRunner().invoke(cli, ["tune", "search.yaml", "--out", "out"])
    assert result.exit_code == 1
    assert "tabular: best trial 0" in result.output
    assert "other: no trial got through" in result.output
    assert result.output.count("(log: ") == 6
    assert {row["trial"] for row in trials(folder) if row["chosen"] == "1"} == {"0"}
    assert {row["agent"] for row in trials(folder) if row["chosen"] == "1"} == {"tabular"}


def test_a_search_that_was_changed_can_begin_afresh(folder):
    for steps, arguments, code in ((128, [], 0), (64, [], 2), (64, ["--force-new"], 0)):
        (folder / "search.yaml").write_text(SEARCH.replace("steps: 128", f"steps: {steps}"))
        result = CliRunner().invoke(cli, ["tune", "search.yaml", "--out", "out", *arguments])
        assert result.exit_code == code, result.output
    assert {row["steps"] for row in trials(folder)} == {"64"}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SEARCH.replace(", {rows: 64}", ""), "more trials"),
        (SEARCH.replace("steps: 128", "step: 128"), "step"),
        (SEARCH.replace("[9, 8]", "[9, 9]"), "seeds"),
        (SEARCH.replace("[9, 8]", "[]"), "seeds"),
        (SEARCH.replace("[9, 8]", "9"), "no search"),
        (SEARCH.replace("{rows: 64}", "null"), "no search"),
        (SEARCH[: SEARCH.index("  tabular")] + "  tabular: []", "tries nothing"),
        ("[1, 2]", "mapping"),
        (SEARCH.replace("small.yaml", "[laptop]"), "no search: profile"),
        (SEARCH.replace("[9, 8]", '["9", "8"]'), "no search: seeds"),
        ("profile: x\nsteps: 1\nseeds: [1]\ntrials: 3", "no search"),
    ],
)
def test_a_search_that_is_none_is_refused_in_one_line(folder, text, named):
    (folder / "search.yaml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_search(folder / "search.yaml")
    result = CliRunner().invoke(cli, ["tune", "search.yaml"])
    assert result.exit_code == 2
    assert not (folder / "runs").exists()


def test_a_trial_of_which_a_seed_left_nothing_is_not_chosen(folder):
    search = load_search(folder / "search.yaml")
    tune(search, folder / "out", Console(), jobs=2)
    for run in folder.glob("out/*/small/*/seed-8"):
        shutil.rmtree(run)
    tabulate(search, folder / "out", Console())
    assert [(row["seed"], row["chosen"]) for row in trials(folder)] == [("9", "0")] * 4


@pytest.mark.parametrize("key", ["n_envs", "device", "agent"])
def test_what_belongs_to_the_harness_cannot_be_tried(folder, key):
    text = SEARCH.replace("rows: 64", f"{key}: 8")
    (folder / "search.yaml").write_text(text)
    with pytest.raises(ConfigError, match=f"tries {key}, which is no option of an agent"):
        load_search(folder / "search.yaml")
