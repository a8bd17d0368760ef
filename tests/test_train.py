import csv
import re
import signal
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from run_files import (
    PROFILE,
    TABULAR,
    glam,
    quiet,
    result_bytes,
    run_in_process,
    small_config,
)

from agents.base import AgentContext
from bench.evaluate import evaluate
from bench.interruption import Interrupted
from bench.lifecycle import build_agent
from bench.progress import RunProgress
from bench.storage.run import RunDirectory, RunFailed
from bench.train import train


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """A run that nothing disturbed, with one checkpoint on the way."""
    return run_in_process(small_config(), tmp_path_factory.mktemp("reference"))


def test_every_update_and_every_episode_has_its_row(reference):
    metrics, episodes = read(reference.metrics.path), read(reference.episodes.path)
    assert [(int(row["update"]), int(row["steps"])) for row in metrics] == [
        (1, 64),
        (2, 128),
        (3, 192),
        (4, 256),
    ]
    assert list(metrics[0]) == ["update", "steps", "table_norm"]
    assert [int(row["episode"]) for row in episodes] == list(range(len(episodes)))
    for env in range(4):
        played = sum(int(row["length"]) for row in episodes if int(row["env"]) == env)
        assert 0 < played <= 64
    for row in episodes:
        assert row["success"] != row["truncated"]
        assert re.fullmatch(r"0|1|0\.\d{1,6}", row["return"])
        assert (float(row["return"]) > 0) == (row["success"] == "1")


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(reference, tmp_path):
    again = run_in_process(small_config(), tmp_path)
    assert result_bytes(again.path) == result_bytes(reference.path)
    other = run_in_process(small_config(seed=4), tmp_path)
    assert other.episodes.path.read_bytes() != reference.episodes.path.read_bytes()


def test_the_trained_agent_can_be_opened_again(reference):
    agent = build_agent(small_config())
    agent.load(reference.checkpoints.latest().agent_directory)
    assert np.linalg.norm(agent.table) == float(read(reference.metrics.path)[-1]["table_norm"])


@pytest.mark.parametrize("stops", [[1], [2, 1], [3], [1, 1, 1]])
def test_a_run_stopped_after_any_update_ends_with_the_same_bytes(reference, tmp_path, stops):
    config = small_config()
    run = RunDirectory(tmp_path)
    run.create(config, {"label": "Tabular"}, learns=True)

    def session(updates):
        left = iter(range(updates - 1))

        def check_stop():
            if next(left, None) is None:
                raise Interrupted(signal.SIGTERM)

        train(build_agent(config), config, run, progress(config), check_stop)

    for updates in stops:
        with pytest.raises(Interrupted):
            session(updates)
    train(build_agent(config), config, run, progress(config), lambda: None)
    mine = result_bytes(run.path)
    assert mine == {k: v for k, v in result_bytes(reference.path).items() if k in mine}
    assert any(name.endswith("table.npy") for name in mine)


def progress(config):
    return RunProgress("train", config.train.steps, "steps", quiet())


def test_an_agent_that_does_not_learn_is_only_tested(tmp_path):
    run = run_in_process(small_config("random"), tmp_path)
    assert run.metrics.path.read_text() == "update,steps\n"
    assert read(run.episodes.path) == []
    assert run.manifest()["steps"] == 0
    assert not (run.path / "checkpoint").exists()
    assert len(read(run.evaluation("english-goto"))) == 5


BAD_UPDATES = {
    "stands still": ("return {'x': 0.0}", "took no environment step"),
    "nan": ("return {'x': float('nan') if self.n == 2 else 0.0}", "logs x as nan"),
    "infinite": ("return {'x': np.inf}", "logs x as inf"),
    "text": ("return {'x': 'high'}", "logs x as 'high', not a number"),
    "no mapping": ("return None", "not a mapping"),
    "other names": ("return {f'x{self.n}': 0.0}", "logs x1, x2 in some updates only"),
    "episodes": (
        "[envs.step(np.zeros(4, int)) for _ in range(99)]; envs.pop_episodes(); return {}",
        "reserved for the harness",
    ),
    "our column": ("return {'steps': 1.0}", "logs 'steps', which is the harness's own column"),
    "raises": ("raise KeyError('lost')", "KeyError: 'lost'"),
    "bad action": ("envs.step(np.full(4, 6))", "actions must lie between 0 and 5"),
}


@pytest.mark.parametrize("name", BAD_UPDATES)
def test_an_update_that_goes_wrong_fails_the_run_by_name(tmp_path, name):
    body, problem = BAD_UPDATES[name]
    moves = "" if name == "stands still" else "envs.step(np.zeros(4, int)); "
    plugin = tmp_path / "plugin.py"
    plugin.write_text(
        textwrap.dedent(f"""
        import numpy as np
        from agents import Agent
        class Bad(Agent):
            n = 0
            def act(self, observations): return np.zeros(len(observations), int)
            def update(self, envs):
                self.n += 1
                {moves}{body}
        """)
    )
    config = small_config(f"{plugin}:Bad")
    with pytest.raises(RunFailed, match=re.escape(problem)) as error:
        run_in_process(config, tmp_path)
    assert "agent seed 3" in str(error.value)
    run = RunDirectory.of(tmp_path, config)
    manifest = run.manifest()
    assert manifest["state"] == "failed"
    assert problem in manifest["error"]
    assert "Traceback" in run.log.read_text()
    if name == "nan":
        assert "'agent', update 2" in manifest["error"]
        assert len(read(run.metrics.path)) == 1  # what was logged before is kept


def test_a_failed_run_goes_on_from_its_checkpoint(reference, tmp_path):
    """What went wrong may have been the machine: the same command tries again."""
    plugin = tmp_path / "plugin.py"
    text = Path(TABULAR.rpartition(":")[0]).read_text(encoding="utf-8")
    update = "def update(self, envs):\n"
    breaks = "        if envs.steps >= 192: raise OSError(28, 'No space left on device')\n"
    plugin.write_text(text.replace(update, update + breaks))
    options = small_config().agent_options
    config = small_config(f"{plugin}:Tabular", agent_options=options)
    with pytest.raises(RunFailed, match="No space left on device"):
        run_in_process(config, tmp_path)
    run = RunDirectory.of(tmp_path, config)
    assert run.checkpoints.latest().steps == 128
    plugin.write_text(text)
    assert run_in_process(config, tmp_path).state() == "complete"
    for name, content in result_bytes(reference.path).items():
        if name != "config.json":  # the plugin's path
            assert (run.path / name).read_bytes() == content


def test_evaluation_after_training_is_that_of_the_saved_agent(reference):
    config = small_config()
    agent = build_agent(config)
    agent.load(reference.checkpoints.latest().agent_directory)
    played = evaluate(agent, "english-goto", config)
    rows = read(reference.evaluation("english-goto"))
    assert [row["prompt_hash"] for row in rows] == [episode.prompt_hash for episode in played]


@pytest.fixture(scope="module")
def killable(tmp_path_factory):
    """A command whose run takes a second or two, and the bytes of one that was left alone."""
    folder = tmp_path_factory.mktemp("killable")
    profile = folder / "killed.yaml"
    profile.write_text(PROFILE.replace("steps: 256", "steps: 6144").replace("128", "512"))
    arguments = ("train", "--profile", profile, "--agent", "tabular", "--out")
    process = glam(*arguments, folder / "whole")
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    return arguments, result_bytes(folder / "whole" / "killed" / "tabular" / "seed-0")


def signalled_when(reached, number, arguments):
    """Starts a run, sends it a signal at some moment, returns its exit code and complaint."""
    process = glam(*arguments)
    while not reached():
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.002)
    process.send_signal(number)
    return process.communicate()[1], process.returncode


@pytest.mark.parametrize(
    "moments",
    [
        [(signal.SIGKILL, 10), (signal.SIGKILL, 50), (signal.SIGKILL, "tested")],
        [(signal.SIGINT, 30), (signal.SIGTERM, "tested")],
    ],
    ids=["killed", "asked to stop"],
)
def test_a_killed_process_started_again_ends_with_the_same_bytes(killable, tmp_path, moments):
    command, expected = killable
    arguments = (*command, tmp_path)
    run = RunDirectory(tmp_path / "killed" / "tabular" / "seed-0")
    for number, moment in moments:

        def reached(moment=moment):
            if moment == "tested":
                return run.state() == "trained"
            path = run.metrics.path
            return path.exists() and path.read_bytes().count(b"\n") > moment

        complaint, code = signalled_when(reached, number, arguments)
        if number == signal.SIGKILL:
            assert code == -signal.SIGKILL
        else:
            assert code == 128 + number
            assert complaint.startswith(f"glam: stopped by {number.name}")
        assert run.state() == ("trained" if moment == "tested" else "running")
    process = glam(*arguments)
    assert process.communicate()[1] == ""
    assert process.returncode == 0
    assert run.state() == "complete"
    assert result_bytes(run.path) == expected


def test_an_agent_is_told_all_that_its_run_decides():
    config = small_config("random", threads=2)
    config = replace(config, environment=replace(config.environment, history=2, n_actions=5))
    threads = torch.get_num_threads()
    try:
        told = build_agent(config).context
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert told == AgentContext(n_envs=4, seed=3, n_actions=5, history=2, training_steps=256)
