"""One run trained by two processes, over gloo: as by one, killed, stopped, resumed, refused."""

import csv
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from run_files import quiet, result_bytes
from safetensors.torch import load_file

from agents.language_model.parallel import Shard
from bench.config import RunConfig
from bench.interruption import Interrupted
from bench.lifecycle import perform
from bench.profile import load_profile
from bench.storage.run import RunDirectory, RunError, RunFailed
from envs import VectorEnv

# Uneven on purpose: three rows to score, minibatches of 7, 7 and 1, three test episodes.
PROFILE = """
description: a small run of two processes
environment: {level: GoToLocal, room_size: 5, num_distractors: 1}
train: {steps: 60, n_envs: 3, checkpoint_every: 30}
evaluation: {splits: [english-goto], episodes: 3, n_envs: 3}
seeds: [3]
agents:
  agent:
    agent: gflan-t5
    learning_rate: 1.0e-4
    rollout_length: 5
    epochs: 1
    batch_size: 7
    value_hidden: 16
    max_batch_tokens: 300
  random:
"""
FAILED, STOPPED = 3, 128 + signal.SIGTERM


@pytest.fixture(scope="module")
def profile(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "small.yaml"
    path.write_text(PROFILE)
    return path


@pytest.fixture(scope="module")
def config(profile) -> RunConfig:
    (run,) = load_profile(str(profile), (), ("agent",)).runs([3])
    return run


def accelerate_launch(profile: Path, out: Path, agent: str) -> subprocess.CompletedProcess[str]:
    """Runs `glam train` in two processes, as a user does."""
    launch = [sys.executable, "-P", "-m", "accelerate.commands.launch", "--multi_gpu"]
    flags = ["--num_processes", "2", "--num_machines", "1", "--main_process_port", "0"]
    run = ["-m", "bench", "train", "--profile", profile, "--seed", "3"]
    return subprocess.run(
        [*map(str, (*launch, *flags, *run, "--out", out, "--agent", agent))],
        capture_output=True,
        text=True,
        timeout=600,  # a busy machine
        cwd=Path(__file__).parent.parent,
    )


def two_forks(
    config: RunConfig,
    out: Path,
    after: Callable[[int, int], None] = lambda process, steps: None,
) -> list[int]:
    """Two processes perform a run; `after(process, steps)` is called in each after every update.

    Returns:
        How each of them ended.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = []
    for index in range(2):
        child = os.fork()
        if child == 0:
            place = {"RANK": index, "LOCAL_RANK": index, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
            os.environ.update({name: str(value) for name, value in place.items()})
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS="1")
            os._exit(_perform(config, out, index, after))
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def _perform(config: RunConfig, out: Path, index: int, after: Callable[[int, int], None]) -> int:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    collect = VectorEnv.pop_episodes

    def collect_and_call(envs):
        after(index, envs.steps)
        return collect(envs)

    VectorEnv.pop_episodes = collect_and_call
    try:
        perform(config, out, quiet())
    except RunFailed:
        return FAILED
    except RunError:
        return 2
    except Interrupted as stopped:
        return stopped.exit_code
    except BaseException:
        return 1
    return 0


def losses(run: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((run / "metrics.csv").open()))


@pytest.fixture(scope="module")
def alone(config, tmp_path_factory) -> Path:
    return perform(config, tmp_path_factory.mktemp("one"), quiet()).path


@pytest.fixture(scope="module")
def whole(config, alone, tmp_path_factory) -> Path:
    """A run of two processes that nothing disturbed; by now all that forks need is imported."""
    out = tmp_path_factory.mktemp("two")
    assert two_forks(config, out) == [0, 0]
    return RunDirectory.of(out, config).path


def test_two_processes_learn_what_one_does(whole, alone):
    found, expected = losses(whole), losses(alone)
    assert len(found) == len(expected) == 4
    for row, reference in zip(found, expected, strict=True):
        for name, value in reference.items():
            assert math.isclose(float(row[name]), float(value), rel_tol=1e-4, abs_tol=1e-4), name
    for file in ("episodes.csv", "evaluation/english-goto.csv"):
        assert (whole / file).read_bytes() == (alone / file).read_bytes()
    for file in ("model/model.safetensors", "heads.safetensors"):
        at = Path("checkpoint/steps-60/agent") / file
        weights, reference = load_file(whole / at), load_file(alone / at)
        for name, tensor in reference.items():
            torch.testing.assert_close(weights[name], tensor, atol=1e-5, rtol=1e-4)


def test_they_agree_on_heads_and_on_time_outs_too(profile, tmp_path):
    """Where not every process has a row or a gradient of its own."""
    sets = ("agent.policy_head=action_heads", "agent.bootstrap_on_timeout=true", "train.steps=90")
    (config,) = load_profile(str(profile), sets, ("agent",)).runs([3])
    alone = perform(config, tmp_path / "one", quiet()).path
    assert two_forks(config, tmp_path / "two") == [0, 0]
    found = losses(RunDirectory.of(tmp_path / "two", config).path)
    assert any(row["truncated"] == "1" for row in csv.DictReader((alone / "episodes.csv").open()))
    for row, reference in zip(found, losses(alone), strict=True):
        for name, value in reference.items():
            assert math.isclose(float(row[name]), float(value), rel_tol=1e-4, abs_tol=1e-4), name


def test_accelerate_launch_gives_these_bytes(profile, whole, tmp_path):
    ended = accelerate_launch(profile, tmp_path, "agent")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("complete: ") == 1
    run = RunDirectory(tmp_path / "small" / "agent" / "seed-3")
    assert run.manifest()["processes"] == 2
    assert result_bytes(run.path) == result_bytes(whole)


def test_an_agent_that_cannot_share_its_work_is_one_line(profile, tmp_path):
    ended = accelerate_launch(profile, tmp_path, "random")
    lines = [line for line in ended.stderr.splitlines() if line.startswith("glam: ")]
    assert len(lines) == 1
    assert "agent 'random' cannot share a run between 2 processes; start it without" in lines[0]
    assert "exitcode  : 2" in ended.stderr  # the launcher's report; it ends with 1 itself
    assert not (tmp_path / "small").exists()


def test_killed_and_stopped_and_gone_on_with_it_ends_with_the_same_bytes(config, whole, tmp_path):
    run = RunDirectory.of(tmp_path, config)

    def told(process: int, *signals: int) -> list[int]:
        """Goes on with the run until this process gets these signals, in its first update."""

        def tell(index: int, steps: int) -> None:
            for number in signals if index == process else ():
                os.kill(os.getpid(), number)

        return two_forks(config, tmp_path, tell)

    assert told(1, signal.SIGKILL) == [FAILED, -signal.SIGKILL]
    assert "another process of the run has ended; run it again" in run.manifest()["error"]
    refusal = r"number of processes \(was 2, now 1\): `accelerate launch --num_processes 2`"
    with pytest.raises(RunError, match=refusal):
        perform(config, tmp_path, quiet())
    assert told(0, signal.SIGKILL) == [-signal.SIGKILL, FAILED]
    # Told twice, by the queue and by the launcher; what one is told, all do.
    assert told(1, signal.SIGTERM, signal.SIGTERM) == [STOPPED, STOPPED]
    assert run.manifest()["steps"] == 15 * len(losses(run.path)) < 60
    assert two_forks(config, tmp_path) == [0, 0]
    assert result_bytes(run.path) == result_bytes(whole)


def test_a_run_in_use_ends_both(config, tmp_path):
    run = RunDirectory.of(tmp_path, config)
    with run.lock():
        main, other = two_forks(config, tmp_path)
    assert main == 2
    assert other != 0
    assert not run.path.exists()


def test_every_row_is_dealt_out_once_and_lengths_evenly():
    lengths = [7, 90, 12, 50, 3, 88, 41]
    shards = [Shard(3, index).rows(lengths) for index in range(3)]
    assert sorted(row for shard in shards for row in shard) == list(range(7))
    assert [len(shard) for shard in shards] == [3, 2, 2]
    assert Shard(2, 1).rows([5]) == []
