"""The search for options: the same budget for all, everything in the record."""

import csv

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
seed: 9
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
    assert [(row["agent"], row["trial"]) for row in rows] == [
        ("tabular", "0"),
        ("tabular", "1"),
        ("other", "0"),
        ("other", "1"),
    ]
    for agent in ("tabular", "other"):
        trials = [row for row in rows if row["agent"] == agent]
        (chosen,) = [row for row in trials if row["chosen"] == "1"]
        assert float(chosen["success"]) == max(float(row["success"]) for row in trials)
    assert rows[1]["options"] == '{"rows": 64}'


@pytest.mark.parametrize(
    ("text", "named"),
    [
        (SEARCH.replace(", {rows: 64}", ""), "more trials"),
        (SEARCH.replace("steps: 128", "step: 128"), "step"),
        ("[1, 2]", "mapping"),
        ("profile: x\nsteps: 1\nseed: 1\ntrials: 3", "no search"),
    ],
)
def test_a_search_that_is_none_is_refused_in_one_line(folder, text, named):
    (folder / "search.yaml").write_text(text)
    with pytest.raises(ConfigError, match=named):
        load_search(folder / "search.yaml")
    result = CliRunner().invoke(cli, ["tune", "search.yaml"])
    assert result.exit_code == 2
    assert not (folder / "runs").exists()
