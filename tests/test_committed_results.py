"""What stands in `results/` is what its rows give, from clean commits, with today's settings.

That today's code still gives the same rows is for `make reproduce` to show, but for seeds, for
replays and for Random's first test episodes.
"""

import csv
import hashlib
import json
import statistics
from collections import defaultdict
from pathlib import Path

import pytest
from rich.console import Console

from bench.config import RunConfig, config_hash
from bench.evaluate import evaluate
from bench.launching.tune import load_search, tabulate
from bench.lifecycle import build_agent
from bench.profile import load_profile
from bench.replays import retraced
from bench.reporting.comparison_tables import all_tables
from bench.reporting.completeness import training_gap
from bench.reporting.paper import read_paper
from bench.reporting.records import ENDED, read_records
from bench.reporting.report import markdown
from bench.reporting.table_format import to_csv, to_markdown
from bench.storage.manifest import draws_version
from envs import DRAWS_VERSION, SPLITS
from envs.vector import training_seed

RESULTS = Path(__file__).parents[1] / "results"
REPORTS = sorted(RESULTS.glob("*/report.md"))
TRIALS = sorted((RESULTS / "tuning").glob("*/trial-*/*"))
DIRECTORIES = pytest.mark.parametrize(
    "directory", [report.parent for report in REPORTS], ids=lambda each: each.name
)


@DIRECTORIES
def test_report_and_tables_are_those_of_the_committed_rows(directory: Path) -> None:
    records, paper = read_records(directory), read_paper()
    tables, figures = all_tables(records, paper), [f.stem for f in directory.glob("figures/*.png")]
    report = (directory / "report.md").read_text(encoding="utf-8")
    assert report == markdown(records, paper, tables, figures), "make report"
    for table in tables:
        for ending, render in (("csv", to_csv), ("md", to_markdown)):
            path = directory / "tables" / f"{table.name}.{ending}"
            assert path.read_text(encoding="utf-8") == render(table), "make report"


@DIRECTORIES
def test_every_committed_run_is_complete_and_what_its_profile_says_today(directory: Path) -> None:
    found, seeds, names = {}, set(), set()
    for path in directory.glob("*/seed-*/manifest.json"):
        manifest = json.loads(path.read_text(encoding="utf-8"))
        assert manifest["state"] == "complete"
        assert not manifest["git"]["dirty"]
        found[manifest["agent"], manifest["seed"]] = manifest["config_hash"]
        seeds.add(manifest["seed"])
        names.add(manifest["profile"])
    profile = load_profile(*names)
    told = {(run.agent, run.seed): config_hash(run) for run in profile.runs(sorted(seeds))}
    assert found.items() <= told.items()
    if directory.name == profile.name:
        assert found.keys() == {(run.agent, run.seed) for run in profile.runs()}


@pytest.mark.parametrize(
    "directory", [*(r.parent for r in REPORTS), *TRIALS], ids=lambda each: "/".join(each.parts[-2:])
)
def test_no_committed_run_lacks_a_training_episode_or_an_update(directory: Path) -> None:
    for run in read_records(directory).runs:
        n_envs, rows = run.config["train"]["n_envs"], run.episodes
        assert run.state in ENDED
        assert training_gap(run) is None
        assert run.learns or rows.empty
        if run.learns:  # tighter than the rule, which must hold of unlucky runs too
            ended = rows.groupby("env")["length"].sum().reindex(range(n_envs), fill_value=0)
            unfinished = run.steps / n_envs - ended
            assert unfinished.between(0, rows["length"].max(), inclusive="left").all()


def test_the_table_of_the_search_is_that_of_its_committed_runs(tmp_path: Path) -> None:
    committed = RESULTS / "tuning" / "laptop"
    for trial in committed.glob("trial-*"):
        (tmp_path / trial.name).symlink_to(trial)
    tabulate(load_search(committed.with_suffix(".yaml")), tmp_path, Console(quiet=True))
    table = (tmp_path / "trials.csv").read_text(encoding="utf-8")
    assert (committed / "trials.csv").read_text(encoding="utf-8") == table, "make report"


def test_the_laptop_profile_takes_what_the_committed_search_chose() -> None:
    search = load_search(RESULTS / "tuning" / "laptop.yaml")
    with (RESULTS / "tuning" / "laptop" / "trials.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    means, chosen = defaultdict(dict), {}
    for agent, trials in search.trials.items():
        for number, options in enumerate(trials):
            found = [r for r in rows if (r["agent"], r["trial"]) == (agent, str(number))]
            assert sorted(int(row["seed"]) for row in found) == sorted(search.seeds)
            assert all(json.loads(row["options"]) == options for row in found)
            assert all(int(row["steps"]) == search.steps for row in found)
            means[agent][number] = statistics.fmean(float(row["success"]) for row in found)
            if any(row["chosen"] == "1" for row in found):
                chosen[agent] = number
    assert chosen == {agent: max(of, key=of.__getitem__) for agent, of in means.items()}
    profile = load_profile("laptop")
    for run in profile.runs([profile.seeds[0]]):
        if run.agent in chosen:
            assert run.train.steps == search.steps
            options = search.trials[run.agent][chosen[run.agent]]
            assert run.agent_options.items() >= options.items()


@DIRECTORIES
def test_seeds_of_the_committed_training_episodes_are_todays(directory: Path) -> None:
    for run in read_records(directory).runs:
        for env, own in run.episodes.groupby("env"):
            seeds = [training_seed(run.seed, int(env), k) for k in range(min(len(own), 5))]
            assert own["seed"].head(5).tolist() == seeds


@DIRECTORIES
def test_committed_replays_are_episodes_of_todays_environments(directory: Path) -> None:
    records = read_records(directory)
    for run in (records.of(agent)[0] for agent in records.agents):
        world = RunConfig.from_json(dict(run.config)).environment
        for split, rows in run.replays.items():
            env = world.build(SPLITS[split].level, SPLITS[split].view)
            hashes = run.evaluation[split].set_index("episode_seed")["prompt_hash"]
            for seed, own in rows.groupby("episode_seed"):
                digest = hashlib.sha256()
                for observation in retraced(env, int(seed), run.seed, own["action"].tolist()):
                    digest.update(observation.prompt().encode() + b"\0")
                assert digest.hexdigest().startswith(hashes[seed]), "raise its version"


@DIRECTORIES
def test_random_plays_the_first_committed_test_episodes_again(directory: Path) -> None:
    (run, *_) = read_records(directory).of("random")
    if draws_version(run.manifest) != DRAWS_VERSION:
        pytest.skip("played with other draws, which its report says")
    config = RunConfig.from_json(dict(run.config))
    agent = build_agent(config)
    for split, rows in run.evaluation.items():
        first = rows.head(8)
        played = evaluate(agent, split, config, seeds=first["episode_seed"].tolist())
        assert [e.prompt_hash for e in played] == first["prompt_hash"].tolist(), "raise its version"
