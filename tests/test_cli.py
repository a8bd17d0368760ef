import csv
import signal
import subprocess
import sys
import textwrap
import time

import click
import pytest
from click.testing import CliRunner
from run_files import PROFILE, TABULAR, glam, result_bytes

from agents.registry import BUILT_IN
from bench.cli import cli
from bench.storage.run import RunDirectory
from envs import SPLITS

COMMANDS = (
    "reproduce",
    "train",
    "evaluate",
    "report",
    "agents",
    "splits",
    "doctor",
    "pretrain",
    "tune",
    "plan",
    "play",
    "watch",
    "check",
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory beside a profile."""
    (tmp_path / "small.yaml").write_text(PROFILE)
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "raises.py").write_text("1 / 0")
    (tmp_path / "stranger.py").write_text("class Stranger: pass")
    place = tmp_path / "a place é"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def invoke(*arguments):
    return CliRunner().invoke(cli, [str(argument) for argument in arguments])


TRAIN = ("train", "--profile", "../small.yaml", "--agent")
BAD_INPUT = {
    "command": (("reprduce",), "'reproduce'"),
    "option": (("train", "--agnt", "random"), "'--agent'"),
    "no agent": (("train",), "--agent"),
    "profile": (("reproduce", "--profile", "laptp"), "'laptop'"),
    "profile file": (("reproduce", "--profile", "none.yaml"), "'none.yaml'"),
    "agent": (("train", "--agent", "gflan"), "'gflan-t5'"),
    "agent file": ((*TRAIN, "none.py:Agent"), "none.py"),
    "agent syntax": ((*TRAIN, "../broken.py:Agent"), "broken"),
    "agent import": ((*TRAIN, "../raises.py:Agent"), "ZeroDivisionError"),
    "agent class": ((*TRAIN, "../stranger.py:Strange"), "'Strange'"),
    "not an agent": ((*TRAIN, "../stranger.py:Stranger"), "Agent"),
    "key": ((*TRAIN, "random", "--set", "train.step=3"), "'train.steps'"),
    "agent key": ((*TRAIN, "tabular", "--set", "agent.row=3"), "rows"),
    "seeds of one run": ((*TRAIN, "random", "--set", "seeds=[3]"), "--seed"),
    "another agent's": ((*TRAIN, "random", "--set", "agents.drrn.gamma=0.5"), "is of random"),
    "type": ((*TRAIN, "tabular", "--set", "train.steps=many"), "train.steps"),
    "agent type": ((*TRAIN, "tabular", "--set", "agent.rows=1.5"), "agents.tabular.rows"),
    "range": ((*TRAIN, "tabular", "--set", "environment.room_size=2"), "room_size"),
    "split": ((*TRAIN, "random", "--set", "evaluation.splits=[trian]"), "'train'"),
    "level": ((*TRAIN, "random", "--set", "environment.level=GoTo"), "'GoToLocal'"),
    "device": ((*TRAIN, "random", "--device", "cuda:99"), "cuda:99"),
    "device name": ((*TRAIN, "random", "--device", "gpu"), "cuda"),
    "seed": ((*TRAIN, "random", "--seed", "-1"), "--seed"),
    "jobs": (("reproduce", "--jobs", "0"), "--jobs"),
    "evaluate nothing": (("evaluate", "nowhere"), "nowhere"),
    "evaluate split": (("evaluate", "nowhere", "--split", "frensh-goto"), "'french-goto'"),
    "report nothing": (("report", "nowhere"), "nowhere"),
    "out is a file": ((*TRAIN, "random", "--out", "../small.yaml"), "small.yaml"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input_is_one_line_exit_2_and_leaves_nothing(folder, case):
    arguments, named = BAD_INPUT[case]
    before = sorted(folder.parent.rglob("*"))
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith("glam: ")
    assert named in result.stderr
    assert result.stdout == ""
    left = [path for path in sorted(folder.parent.rglob("*")) if "__pycache__" not in path.parts]
    assert left == before


@pytest.mark.parametrize("command", COMMANDS)
def test_help_documents_every_option(command):
    result = invoke(command, "--help")
    assert result.exit_code == 0
    for parameter in cli.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_commands_are_the_promised_ones():
    assert set(cli.commands) == set(COMMANDS)
    assert invoke().stdout.startswith("Usage")


def test_lists_name_everything():
    agents = invoke("agents").stdout
    splits = invoke("splits").stdout
    assert all(name in agents for name in BUILT_IN)
    assert all(name in splits for name in SPLITS)


def test_a_strangers_agent_is_trained_and_tested(folder):
    result = invoke(*TRAIN, TABULAR, "--seed", "5", "--set", "agent.rows=64")
    assert (result.exit_code, result.stderr) == (0, "")
    run = RunDirectory(folder / "runs" / "small" / "tabular" / "seed-5")
    assert run.state() == "complete"
    assert run.config().agent_options["rows"] == 64
    again = invoke(*TRAIN, TABULAR, "--seed", "5", "--set", "agent.rows=64")
    assert again.exit_code == 0
    refused = invoke(*TRAIN, TABULAR, "--seed", "5", "--set", "agent.rows=65")
    assert refused.exit_code == 2
    assert "agent_options.rows (was 64, now 65)" in refused.stderr


def test_the_success_that_is_shown_of_a_test_is_the_recorded_one(folder):
    """Of all its episodes: the last hundred are the longest, and most of those failed."""
    longer = ("--set", "evaluation.episodes=120", "--set", "evaluation.n_envs=40")
    shown = invoke(*TRAIN, "random", *longer)
    assert shown.exit_code == 0, shown.output
    table = folder / "runs" / "small" / "random" / "seed-0" / "evaluation" / "train.csv"
    with table.open(encoding="utf-8", newline="") as rows:
        solved = [int(row["success"]) for row in csv.DictReader(rows)]
    assert len(solved) == 120
    assert f"120/120 episodes, success {sum(solved) / 120:.2f}" in shown.stdout


@pytest.fixture
def with_failing_agent(folder):
    (folder / "failing.py").write_text(
        textwrap.dedent("""
        import os, signal
        import numpy as np
        from agents import Agent
        class Nan(Agent):
            def act(self, observations): return np.zeros(len(observations), int)
            def update(self, envs):
                envs.step(np.zeros(envs.n_envs, int))
                return {"loss": float("nan")}
        class Crash(Nan):
            def update(self, envs): os.kill(os.getpid(), signal.SIGKILL)
        class Broken(Nan):
            def __init__(self, config, context): raise RuntimeError("no such model")
        """)
    )
    agents = ("Nan", "Crash", "Broken")
    extra = "".join(f"  {name.lower()}: {{agent: failing.py:{name}}}\n" for name in agents)
    (folder / "mixed.yaml").write_text(PROFILE + extra)
    return folder


def test_reproduce_goes_on_past_failures_reports_them_and_skips_what_is_done(with_failing_agent):
    folder = with_failing_agent
    process = glam("reproduce", "--profile", "mixed.yaml", "--jobs", 2, cwd=folder)
    printed, complaints = process.communicate()
    assert process.returncode == 1, complaints
    assert complaints.splitlines() == [
        "glam: nan seed 0 failed: agent 'nan', update 1: update() logs loss as nan, no finite "
        "number (log: runs/mixed/nan/seed-0/train.log)",
        "glam: crash seed 0 failed: killed by SIGKILL (log: runs/mixed/crash/seed-0/train.log)",
        "glam: broken seed 0 failed: agent 'broken', building it: RuntimeError: no such model "
        "(failing.py, line 13) "
        "(log: runs/mixed/broken/seed-0/train.log)",
    ]
    runs = folder / "runs" / "mixed"
    states = {path.name: RunDirectory(path / "seed-0").state() for path in runs.glob("*/")}
    assert {k: v for k, v in states.items() if v} == {
        "tabular": "complete",
        "random": "complete",
        "nan": "failed",
        "crash": "failed",
        "broken": "failed",
    }
    assert "Success on the test episodes" in " ".join(printed.split())
    assert "Read on: runs/mixed/report.html" in printed
    rows = (runs / "tables" / "q1.md").read_text().splitlines()
    for name in ("nan", "crash", "broken"):
        (row,) = [row for row in rows if row.lower().startswith(f"| {name} |")]
        assert "failed" in row

    alone = ("--profile", "mixed.yaml", "--agent", "tabular", "--out", "alone")
    assert invoke("train", *alone).exit_code == 0
    expected = result_bytes(folder / "alone" / "mixed" / "tabular" / "seed-0")
    assert result_bytes(runs / "tabular" / "seed-0") == expected  # two processes at a time, or one

    before = {p: p.stat().st_mtime_ns for p in (runs / "tabular").rglob("*")}
    chosen = ("--agent", "tabular", "--agent", "random", "--no-report")
    result = invoke("reproduce", "--profile", "mixed.yaml", *chosen)
    assert result.exit_code == 0
    assert result.stdout.count("already complete") == 2
    assert {p: p.stat().st_mtime_ns for p in (runs / "tabular").rglob("*")} == before

    changed = invoke("reproduce", "--profile", "mixed.yaml", "--set", "train.steps=300")
    assert changed.exit_code == 2
    assert "train.steps (was 256, now 300)" in changed.stderr


def test_reproduce_hands_a_signal_on_and_a_second_call_ends_with_the_bytes_of_train(folder):
    sets = ("--agent", "tabular", "--set", "train.steps=4096")
    arguments = ("reproduce", "--profile", "../small.yaml", *sets, "--no-report")
    run = RunDirectory(folder / "runs" / "small" / "tabular" / "seed-0")
    process = glam(*arguments, cwd=folder)
    while run.metrics.size < 100:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    _, complaint = process.communicate()
    assert process.returncode == 143
    assert len(complaint.splitlines()) == 1
    assert run.state() == "running"
    assert 0 < run.checkpoints.latest().steps < 4096
    with run.lock():  # nobody works in it any more
        pass
    process = glam(*arguments, cwd=folder)
    process.communicate()
    assert process.returncode == 0
    assert run.manifest()["steps"] == 4096
    assert invoke("train", "--profile", "../small.yaml", *sets, "--out", "alone").exit_code == 0
    alone = folder / "alone" / "small" / "tabular" / "seed-0"
    assert result_bytes(run.path) == result_bytes(alone)


def test_doctor_looks_at_everything(folder):
    result = invoke("doctor")
    for topic in ("python", "versions", "packages", "device", "machine", "disk", "rollout"):
        assert topic in result.stdout
    assert result.exit_code == int("problem " in result.stdout)


def test_two_reproductions_side_by_side_leave_each_other_alone(folder):
    """Two processes, one output directory, different seeds."""
    command = [sys.executable, "-m", "bench", "reproduce", "--profile", "../small.yaml"]
    command += ["--agent", "tabular", "--jobs", "1"]
    both = [
        subprocess.Popen([*command, "--seed", seed], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for seed in ("1", "2")
    ]
    printed = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], printed
    for seed in (1, 2):
        assert RunDirectory(folder / f"runs/small/tabular/seed-{seed}").state() == "complete"
    assert (folder / "runs/small/report.md").is_file()
