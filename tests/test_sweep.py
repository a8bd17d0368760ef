"""Grids, what is skipped, what the live table shows after a restart."""

import csv
import math
import re
import shutil
from io import StringIO

import pytest
from click.testing import CliRunner
from record_files import write_run
from rich.console import Console
from run_files import HERE, PROFILE, small_config

from bench.cli import cli
from bench.launching import reproduce as reproducing
from bench.launching.executors import Ending, PlannedRun
from bench.launching.reproduce import reproduce, train_command
from bench.launching.run_status import running_status
from bench.launching.sweep import last_quarter, parse_grid, points
from bench.reporting.records import read_records
from bench.storage.row_file import EPISODE_COLUMNS, METRIC_COLUMNS
from bench.storage.run import RunDirectory
from bench.validation import ConfigError


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "small.yaml").write_text(PROFILE)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def found(*grids, agents=(), seeds=(0,)):
    every = points("small.yaml", (), agents, seeds, [parse_grid(grid) for grid in grids])
    return [(point.name, [run.agent for run in point.runs]) for point in every]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("train.n_envs=8,16", ("8", "16")),
        ("agents.drrn.gamma=0.9,1e-4,1.0e-4", None),
        ("a.b=1e-4,3e-4", ("0.0001", "0.0003")),
        (
            "evaluation.splits=[train],[train,french-goto]",
            ('["train"]', '["train", "french-goto"]'),
        ),
        ("a.model=/models/x,miniflan", ('"/models/x"', '"miniflan"')),
        ("a.lora_rank=null,8", ("null", "8")),
        ("=1,2", None),
        ("train.steps", None),
        ("train.steps=", None),
        ("train.steps=[1", None),
        ("train.steps=1],[2", None),
    ],
)
def test_a_grid_is_values_in_yaml_or_refused(text, values):
    if values is None:
        with pytest.raises(ConfigError, match="--grid"):
            parse_grid(text)
    else:
        assert parse_grid(text).values == values


def test_points_are_the_product_and_an_agent_is_run_only_where_a_grid_concerns_it(folder):
    assert found() == [("", ["tabular"]), ("", ["random"])]
    assert found("agents.tabular.rows=32,64") == [
        ("agents.tabular.rows=32", ["tabular"]),
        ("agents.tabular.rows=64", ["tabular"]),
        ("", ["random"]),
    ]
    both = found("train.n_envs=2,4", "agents.tabular.rows=32,64", seeds=(0, 1))
    assert both == [
        *(
            (f"train.n_envs={n},agents.tabular.rows={rows}", ["tabular"] * 2)
            for n in (2, 4)
            for rows in (32, 64)
        ),
        ("train.n_envs=2", ["random"] * 2),
        ("train.n_envs=4", ["random"] * 2),
    ]


def test_points_that_hold_what_no_directory_may_are_kept_apart(folder):
    names = [name for name, _ in found("description=/a/b,_a_b,../x", agents=("random",))]
    assert len(set(names)) == 3
    assert not [name for name in names if "/" in name]
    (long,) = [name for name, _ in found(f"description={'x' * 300}", agents=("random",))]
    assert len(long) < 200


@pytest.mark.parametrize(
    ("grid", "named"),
    [
        (("agents.tabluar.rows=1,2",), "'tabular'"),
        (("agents.tabular.row=1,2",), "'agents.tabular.rows'"),
        (("train.steps=128,many",), "train.steps"),
        (("train.steps=1", "train.steps=2"), "stands twice"),
        (("train.steps=128,128",), "names a value twice"),
    ],
)
def test_a_grid_that_cannot_be_run_is_refused_before_anything_starts(folder, grid, named):
    options = [part for text in grid for part in ("--grid", text)]
    refused = CliRunner().invoke(cli, ["reproduce", "--profile", "small.yaml", *options])
    assert refused.exit_code == 2
    assert len(refused.stderr.splitlines()) == 1
    assert named in refused.stderr
    assert not (folder / "runs").exists()


def sweep(*arguments):
    base = ["reproduce", "--profile", "small.yaml", "--split", "train", "--set", "train.steps=128"]
    grid = ["--grid", "agents.tabular.rows=32,64"]
    return CliRunner().invoke(cli, [*base, *grid, *map(str, arguments)])


def test_a_sweep_keeps_each_point_apart_skips_what_is_done_and_lists_all_in_one_table(folder):
    first = sweep("--agent", "tabular", "--jobs", 2)
    assert first.exit_code == 0, first.stderr
    for rows in (32, 64):
        run = RunDirectory(folder / f"runs/agents.tabular.rows={rows}/small/tabular/seed-0")
        assert run.state() == "complete"
        assert run.config().agent_options["rows"] == rows
        assert run.config().evaluation.splits == ("train",)
    again = sweep()
    assert again.exit_code == 0, again.stderr
    assert again.stdout.count("already complete") == 2
    assert "threads share" not in again.stdout
    assert "random seed 0: complete" in again.stdout
    with (folder / "runs/sweep-small.csv").open() as file:
        table = list(csv.DictReader(file))
    assert [(row["point"], row["agent"], row["state"]) for row in table] == [
        ("agents.tabular.rows=32", "tabular", "complete"),
        ("agents.tabular.rows=64", "tabular", "complete"),
        ("", "random", "complete"),
    ]
    for row in table:
        assert 0 <= float(row["train"]) <= 1
    grid = ("--grid", "agents.tabular.rows=16")
    base = ("--profile", "small.yaml", "--split", "train", "--set", "train.steps=128")
    more = CliRunner().invoke(cli, ["reproduce", *base, "--agent", "tabular", *grid])
    assert more.exit_code == 0, more.stderr
    with (folder / "runs/sweep-small.csv").open() as file:
        points = [row["point"].rpartition("=")[2] for row in csv.DictReader(file)]
    assert points == ["16", "32", "64"]
    shutil.rmtree(folder / "runs/agents.tabular.rows=16")
    watched = CliRunner().invoke(cli, ["watch", "runs"]).stdout.splitlines()
    assert sorted(line.partition(": ")[0] for line in watched) == [
        "random seed 0, small",
        "tabular seed 0, agents.tabular.rows=32/small",
        "tabular seed 0, agents.tabular.rows=64/small",
    ]


def shown_on_a_terminal(runs):
    console = Console(file=StringIO(), force_terminal=True, width=120)
    reproduce(runs, console, jobs=2)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())


def test_a_run_is_told_its_own_options_in_every_way_of_writing_them(folder):
    mine = (
        "agents.tabular={rows: 64}",
        "agents.tabular.rows=32",
        "train.steps=128",
        "agent.rows=8",
    )
    others = ("agents.random.n_envs=3", "agents.random={n_envs: 3}")
    (point,) = points("small.yaml", (), ("tabular",), (0,), ())
    (config,) = point.runs
    told = train_command("small.yaml", (*mine, *others), folder)(config)
    assert [told[i + 1] for i, part in enumerate(told) if part == "--set"][:4] == list(mine)
    assert not set(told) & set(others)


def test_a_point_is_trained_with_the_value_that_its_directory_names(folder):
    given = ("train.steps=128", "train.steps=64")
    (point, _) = points("small.yaml", given, ("tabular",), (0,), [parse_grid("train.steps=128,32")])
    (config,) = point.runs
    told = train_command("small.yaml", (*given, *point.pairs), folder)(config)
    assert config.train.steps == 128
    assert [part for part in told if part.startswith("train.steps")][-1] == "train.steps=128"


def test_the_live_table_after_a_restart_shows_what_was_done_before(folder):
    (point,) = points("small.yaml", ("train.steps=128",), ("tabular",), (0, 1), ())
    command = train_command("small.yaml", ("train.steps=128",), folder)
    runs = [PlannedRun(config, folder, command(config)) for config in point.runs]
    shown_on_a_terminal(runs[:1])
    frames = shown_on_a_terminal(runs)
    assert re.search(r"tabular seed 0 +skipped +128/128 +[01]\.\d\d", frames)
    assert re.search(r"tabular seed 1 +(starting|training)", frames)
    assert re.search(r"tabular seed 1 +complete +128/128", frames)


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (("reproduce", "--no-report", "--split", "train"), "500 threads of a run share"),
        (("reproduce", "--no-report", "--split", "train", "--jobs", "1"), "500 threads of a run"),
        (("reproduce", "--no-report", "--seed", "0", "--seed", "1", "--jobs", "2"), "2 jobs of"),
        (("train", "--no-test"), "500 threads of a run share"),
    ],
)
def test_more_threads_than_cores_are_named_and_left_as_they_are(folder, command, expected):
    arguments = ["--profile", "small.yaml", "--agent", "random", "--set", "threads=500"]
    loud = CliRunner().invoke(cli, [*command, *arguments])
    assert expected in loud.stdout
    assert RunDirectory(folder / "runs/small/random/seed-0").config().threads == 500
    quiet = CliRunner().invoke(
        cli, ["train", "--no-test", *arguments[:-1], "threads=1", "--seed=9"]
    )
    assert "threads" not in quiet.stdout


def test_late_success_is_of_the_last_quarter_of_a_training_that_ended(tmp_path):
    rows = [(740, 0), (750, 0), (751, 1), (1000, 0)]
    write_run(tmp_path, "drrn", 0, training=rows)
    write_run(tmp_path, "drrn", 1, training=rows, state="running")
    ended, going_on = read_records(tmp_path).runs
    assert last_quarter(ended) == 0.5
    assert math.isnan(last_quarter(going_on))


def test_the_success_that_is_shown_is_of_the_last_hundred_episodes(tmp_path):
    run = RunDirectory(tmp_path)
    rows = [(i, 0, i + 1, 0, "go to", 0, i < 100, 1, i >= 100) for i in range(150)]
    run.episodes.append([EPISODE_COLUMNS, *rows])
    assert running_status(run, small_config()).success == 0.5


def test_no_more_runs_are_started_than_jobs(tmp_path, monkeypatch):
    monkeypatch.setattr(reproducing, "_POLL_SECONDS", 0.0)
    going_on: list[object] = []
    most: list[int] = []

    class Job:
        title, stays = "job", False

        def begun(self):
            return True

        def ending(self):
            going_on.remove(self)
            return Ending(0, "", "exit code 0")

    class Executor:
        def attached(self, planned):
            return None

        def start(self, planned, folder):
            jobs = [Job() for _ in planned]
            going_on.extend(jobs)
            most.append(len(going_on))
            return jobs

    configs = [small_config("random", seed=seed) for seed in range(5)]
    command = train_command("small.yaml", (), tmp_path)
    runs = [PlannedRun(config, tmp_path, command(config)) for config in configs]
    outcomes = reproduce(runs, Console(file=StringIO()), jobs=2, executor=Executor())
    assert most == [2, 2, 1]
    assert [outcome.error for outcome in outcomes] == [None] * 5


def test_a_runs_process_has_its_own_number_of_threads(tmp_path):
    planned = PlannedRun(small_config("random", threads=3), tmp_path, ())
    told = planned.environment()
    assert told["OMP_NUM_THREADS"] == told["MKL_NUM_THREADS"] == "3"


def write_bandit(path):
    code = (HERE / "tabular_agent.py").read_text()
    path.write_text(code.replace("class Tabular(", "class Bandit("))


def test_agents_that_go_by_one_name_are_refused_together(folder):
    write_bandit(folder / "a.py")
    write_bandit(folder / "b.py")
    with pytest.raises(ConfigError, match="goes by 'bandit', and so does"):
        points("small.yaml", (), ("a.py:Bandit", "b.py:Bandit"), (0,), ())
    twice = points("small.yaml", (), ("a.py:Bandit", "./a.py:Bandit"), (0,), ())
    assert len(twice) == 1


def test_an_agents_own_setting_does_not_disturb_the_others(folder):
    write_bandit(folder / "a.py")
    pairs = ("agents.bandit.learning_rate=0.25",)
    every = points("small.yaml", pairs, ("random", "a.py:Bandit"), (0,), ())
    assert [point.runs[0].agent for point in every] == ["random", "bandit"]
    assert every[1].runs[0].agent_options["learning_rate"] == 0.25


def test_a_run_that_will_be_moved_aside_is_not_taken_for_the_new_one(tmp_path, monkeypatch):
    monkeypatch.setattr(reproducing, "_POLL_SECONDS", 0.0)
    old, new = (small_config("random", agent="random", threads=threads) for threads in (1, 2))
    run = RunDirectory.of(tmp_path, old)
    run.create(old, {"label": "Random"}, learns=True)
    run.metrics.append([METRIC_COLUMNS, (1, 256, 9)])
    shown = []

    class Job:
        title, stays = "job", False

        def begun(self):
            return True

        def ending(self):
            return Ending(-9, "", "killed by SIGKILL")

    class Executor:
        def attached(self, planned):
            return None

        def start(self, planned, folder):
            return [Job()]

    look = reproducing._Child.status
    monkeypatch.setattr(
        reproducing._Child, "status", lambda child: shown.append(look(child)) or shown[-1]
    )
    planned = [PlannedRun(new, tmp_path, ("true",))]
    console = Console(file=StringIO())
    outcomes = reproduce(planned, console, jobs=1, executor=Executor(), force_new=True)
    assert [outcome.error for outcome in outcomes] == ["killed by SIGKILL"]
    assert {(status.phase, status.steps) for status in shown} == {("starting", 0)}
    assert run.state() == "running"  # and its failure is not this one's
