"""The search for options: the same budget for all, everything in the record."""

import csv
import statistics
from dataclasses import replace

import pytest
from click.testing import CliRunner
from rich.console import Console
from run_files import PROFILE, TABULAR

from bench.cli import cli
from bench.config import ConfigError
from bench.tune import load_search, tune

SEARCH = """
profile: small.yaml
steps: 128
seeds: [9, 8]
trials:
  tabular: [{rows: 32}, {rows: 64}]
  other: [{rows: 16}, {rows: 8}]
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(f"{PROFILE}  other: {{agent: {TABULAR}}}\n")
    (tmp_path / "search.yaml").write_text(SEARCH)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_trial_is_recorded_and_one_of_each_agent_chosen(folder):
    path = tune(load_search(folder / "search.yaml"), folder / "out", Console(), jobs=2)
    with path.open() as file:
        rows = list(csv.DictReader(file))
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


def test_a_seed_that_is_no_longer_asked_for_does_not_count(folder):
    search = load_search(folder / "search.yaml")
    first = tune(search, folder / "out", Console(), jobs=2).read_text().splitlines()
    path = tune(replace(search, seeds=[9]), folder / "out", Console(), jobs=2)
    kept = [line.rsplit(",", 1)[0] for line in first if ",9,complete," in line]
    assert [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()[1:]] == kept


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SEARCH.replace(", {rows: 64}", ""), "more trials"),
        (SEARCH.replace("steps: 128", "step: 128"), "step"),
        (SEARCH.replace("[9, 8]", "[9, 9]"), "seeds"),
        (SEARCH.replace("[9, 8]", "[]"), "seeds"),
        (SEARCH.replace("[9, 8]", "9"), "no search"),
        ("[1, 2]", "mapping"),
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
