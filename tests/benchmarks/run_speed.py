"""Timings of environments, rounds of learning and start-up for `make bench`, never asserted."""

from __future__ import annotations

import multiprocessing
import resource
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from stock_level import StockLevel
from turns import compare, seconds

from bench.lifecycle import build_agent
from bench.profile import load_profile
from envs import TextEnv, VectorEnv
from envs.levels import BabyAITextLevel

EPISODES, EPISODE_STEPS = 8, 40
RESETS = 40  # a few levels take many tries


ENVIRONMENTS = {
    "stock MiniGrid, no text": StockLevel,
    "ours, no text": BabyAITextLevel,
    "ours, with text": TextEnv,
}


def step_seconds(env) -> float:
    """Seconds in ``step`` alone; what happens after an episode's end costs the same."""
    actions = np.random.default_rng(0).integers(0, 6, (EPISODES, EPISODE_STEPS)).tolist()
    spent = 0.0
    for seed, taken in enumerate(actions):
        env.reset(seed=seed)
        spent += seconds(lambda taken=taken: [env.step(action) for action in taken])
    return spent


def reset_seconds(env) -> float:
    return seconds(lambda: [env.reset(seed=seed) for seed in range(RESETS)])


@pytest.mark.parametrize("work", ["step", "reset"])
def test_environment(benchmark, work: str) -> None:
    play = {"step": step_seconds, "reset": reset_seconds}[work]
    ways = {name: partial(play, build("MixedTrainLocal")) for name, build in ENVIRONMENTS.items()}
    count = EPISODES * EPISODE_STEPS if work == "step" else RESETS
    compare(benchmark, ways, cell="environment", work=work, count=count)


class Learner:
    """A process of its own that does a round of learning when it is told to."""

    def __init__(self, agent: str, setting: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        args = (theirs, agent, setting)
        self._process = context.Process(target=learn_when_told, args=args, daemon=True)
        self._process.start()

    def start(self) -> None:
        self._pipe.send(None)

    def answer(self) -> float:
        answer: float = self._pipe.recv()
        return answer

    def stop(self) -> None:
        self._process.terminate()


def learn_when_told(pipe: Connection, agent: str, setting: str) -> None:
    """Answers when it is ready, then every message with a step's processor seconds."""
    torch.set_num_threads(1)
    profile = load_profile("laptop", [setting], (agent,))
    (config,) = profile.runs([0])
    learner = build_agent(config)
    envs = VectorEnv(config.environment.build, config.train.n_envs, seed=0)
    pipe.send(0.0)
    while True:
        pipe.recv()
        before = envs.steps
        taken = seconds(lambda: learner.update(envs))
        pipe.send(taken / (envs.steps - before))


def rounds_of(learners: Sequence[Learner]) -> float:
    """Lets each do a round at the same time; the slowest one's seconds a step."""
    for learner in learners:
        learner.start()
    return max([learner.answer() for learner in learners])


ROUNDS = [
    ("gflan-t5", "environment.history=1"),
    ("gflan-t5", "environment.history=3"),
    ("drrn", "agent.steps_per_update=8"),  # the laptop profile's
    ("drrn", "agent.steps_per_update=128"),  # published
    ("symbolic-ppo", "environment.history=1"),
]


@pytest.mark.parametrize(("agent", "setting"), ROUNDS)
def test_round(benchmark, agent: str, setting: str) -> None:
    """Rounds of learning with the laptop profile's options but one, one thread a run."""
    learners = [Learner(agent, setting) for _ in range(2)]
    try:
        for learner in learners:
            learner.answer()
        ways = {"one run": lambda: rounds_of(learners[:1]), "two runs": lambda: rounds_of(learners)}
        compare(benchmark, ways, cell="round", agent=agent, setting=setting)
    finally:
        for learner in learners:
            learner.stop()


TRAIN = (
    "train",
    "--no-test",
    "--agent",
    "gflan-t5",
    "--set",
    "train.steps=2",
    "--set",
    "train.n_envs=1",
)
TRAIN += ("--set", "agent.rollout_length=2", "--set", "agent.batch_size=2")
BUILD = """
from bench.memory import postpone_collection
postpone_collection()  # as every command does
from bench.lifecycle import build_agent
from bench.profile import load_profile
(config,) = load_profile("laptop", [], ("{}",)).runs([0])
build_agent(config)
"""
START = "start of a training: imports and model"
COMMANDS = {
    "glam --help": ("-m", "bench", "--help"),
    "glam agents": ("-m", "bench", "agents"),
    "glam splits": ("-m", "bench", "splits"),
    START: ("-c", BUILD.format("gflan-t5")),
    f"{START}, drrn": ("-c", BUILD.format("drrn")),
    f"{START}, symbolic-ppo": ("-c", BUILD.format("symbolic-ppo")),
    "glam train, two steps and one update": ("-m", "bench", *TRAIN),
}


def processor_seconds(command: list[str]) -> float:
    """User and system time of a process: what it would take alone on the machine."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(command, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize("command", COMMANDS)
def test_start_up(benchmark, command: str, tmp_path: Path) -> None:
    started = [sys.executable, *COMMANDS[command]]
    runs = iter(range(100))

    def run() -> float:
        out = ["--out", str(tmp_path / str(next(runs)))] if "train" in started else []
        return processor_seconds([*started, *out])

    compare(benchmark, {command: run}, cell="start-up", command=command)
