"""A short real piece of a run, to tell what the whole of it takes."""

from __future__ import annotations

import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from agents.base import Agent, speaking_for
from bench.config import RunConfig
from bench.evaluate import evaluate
from bench.learning_round import learning_round
from envs import VectorEnv

_MANY = 1000


@dataclass(frozen=True)
class TrainingTrial:
    """Some updates of an agent.

    Attributes:
        steps_per_update: Environment steps, all environments together.
        seconds_per_step: Mean over the updates after the first.
        checkpoint_bytes: Size of what the agent saves after the trial.
        growth_per_step: Bytes by which that grew with a step, such as a replay's; 0 where only
            one update was made.
    """

    steps_per_update: int
    seconds_per_step: float
    checkpoint_bytes: int
    growth_per_step: float


@dataclass(frozen=True)
class TestingTrial:
    """Some steps of a test.

    Attributes:
        seconds_per_step: Of one environment.
    """

    __test__ = False  # not a test case of pytest's

    seconds_per_step: float


class _Enough(Exception):
    pass


def try_training(agent: Agent, config: RunConfig, seconds: float) -> TrainingTrial:
    """Trains for a while; the agent is changed.

    Args:
        agent: The agent as it was built.
        config: The run.
        seconds: Time after which no further update begins. If the first takes that long it is the
            only one, else it is not counted: it pays for what is set up once.
    """
    envs = VectorEnv(config.environment.build, config.train.n_envs, config.seed)
    try:
        with speaking_for(f"agent {config.agent!r}, trying it"):
            size, first_steps, started = _saved_bytes(agent), 0, time.perf_counter()
            learning_round(agent, envs, None)
            steps_per_update = envs.steps
            if time.perf_counter() - started < seconds:
                size, first_steps, started = _saved_bytes(agent), envs.steps, time.perf_counter()
            while time.perf_counter() - started < seconds or envs.steps == first_steps:
                learning_round(agent, envs, None)
                envs.pop_episodes()
            elapsed, steps = time.perf_counter() - started, envs.steps - first_steps
            grown = _saved_bytes(agent)
    finally:
        envs.close()
    return TrainingTrial(
        steps_per_update=steps_per_update,
        seconds_per_step=elapsed / steps,
        checkpoint_bytes=grown,
        # From nothing to the first optimiser state is no growth.
        growth_per_step=(grown - size) / steps if first_steps else 0.0,
    )


def try_testing(agent: Agent, config: RunConfig, seconds: float) -> TestingTrial:
    """Plays test episodes of the first split for a while.

    Args:
        agent: An agent, trained or not.
        config: The run.
        seconds: Time after which it stops.
    """
    beside = min(config.evaluation.n_envs, config.evaluation.episodes)
    many = replace(config.evaluation, episodes=max(_MANY, beside), n_envs=beside)
    calls: list[float] = []

    def check() -> None:
        calls.append(time.perf_counter())
        if calls[-1] - calls[0] > seconds:
            raise _Enough

    with suppress(_Enough):
        evaluate(
            agent, config.evaluation.splits[0], replace(config, evaluation=many), check_stop=check
        )
    return TestingTrial((calls[-1] - calls[0]) / (len(calls) - 1) / beside)


def _saved_bytes(agent: Agent) -> int:
    with tempfile.TemporaryDirectory() as folder:
        agent.save(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())
