"""What a random policy meets: prompts, episode lengths and the pace of the environments."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from bench.config import RunConfig
from envs import SPLITS, Observation, VectorEnv

_STEPS = 24
_EPISODES = 16


@dataclass(frozen=True)
class RandomPlay:
    """A sample of a run's world.

    Attributes:
        rounds: What all environments saw at one step of training, for some steps.
        seconds_per_step: Of one environment, its prompt included.
        test_lengths: Mean length of test episodes, by split.
    """

    rounds: tuple[tuple[Observation, ...], ...]
    seconds_per_step: float
    test_lengths: dict[str, float]


def play_at_random(config: RunConfig) -> RandomPlay:
    """Plays a run's environments with uniformly random actions.

    Args:
        config: The run.

    Returns:
        A sample of its training environments and of its splits.
    """
    rng = np.random.default_rng(config.seed)
    n_actions = config.environment.n_actions
    envs = VectorEnv(config.environment.build, config.train.n_envs, config.seed)
    rounds, seconds = [], 0.0
    for _ in range(_STEPS):
        actions = rng.integers(0, n_actions, envs.n_envs)
        started = time.perf_counter()
        envs.step(actions)
        for observation in envs.observations:
            observation.prompt()
        seconds += time.perf_counter() - started
        rounds.append(envs.observations)
    envs.close()
    seconds_per_step = seconds / envs.steps
    lengths: dict[str, float] = {}
    by_level: dict[str, float] = {}
    for name in config.evaluation.splits:
        level = SPLITS[name].level  # words change no length
        if level not in by_level:
            by_level[level] = _mean_length(config, name, rng)
        lengths[name] = by_level[level]
    return RandomPlay(tuple(rounds), seconds_per_step, lengths)


def _mean_length(config: RunConfig, split: str, rng: np.random.Generator) -> float:
    env = config.environment.build(SPLITS[split].level, SPLITS[split].view)
    steps = 0
    for episode in range(_EPISODES):
        env.reset(seed=2**40 + episode)  # no test episode's seed
        ended = False
        while not ended:
            action = int(rng.integers(0, config.environment.n_actions))
            _, _, solved, out_of_time, _ = env.step(action)
            ended = solved or out_of_time
            steps += 1
    env.close()
    return steps / _EPISODES
