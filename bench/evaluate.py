"""The evaluation loop: a fixed list of test episodes, each played to its end."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent, AgentError, speaking_for
from bench.config import RunConfig
from bench.storage.row_file import PROMPT_HASH_DIGITS, Value
from envs import LEVELS, SPLITS, Observation, Split, TextEnv, evaluation_seeds


@dataclass(frozen=True)
class EvaluationEpisode:
    """One finished test episode.

    Attributes:
        seed: Seed of the episode.
        task_kind: Kind of the task.
        episode_return: Sum of rewards, unscaled.
        success: Whether the task was solved.
        length: Number of steps.
        truncated: Whether the time limit ended it.
        prompt_hash: First digits of the SHA-256 over the prompts of its decisions, in order.
        actions: Indices of the actions taken.
    """

    seed: int
    task_kind: str
    episode_return: float
    success: bool
    length: int
    truncated: bool
    prompt_hash: str
    actions: tuple[int, ...]

    def row(self, split: Split) -> tuple[Value, ...]:
        """The episode under ``EVALUATION_COLUMNS``."""
        return (
            split.name,
            split.version,
            split.level,
            LEVELS[split.level].version,
            self.seed,
            self.task_kind,
            f"{self.episode_return:.6g}",
            self.success,
            self.length,
            self.truncated,
            self.prompt_hash,
        )


@dataclass
class _Slot:
    """An environment and the test episode it is playing."""

    env: TextEnv
    seed: int
    observation: Observation
    rewards: float = 0.0
    actions: list[int] = field(default_factory=list)
    prompts: Any = field(default_factory=hashlib.sha256)

    def perform(self, action: int) -> EvaluationEpisode | None:
        """Takes one step; returns the episode if that ended it."""
        self.prompts.update(self.observation.prompt().encode() + b"\0")
        self.observation, reward, solved, out_of_time, _ = self.env.step(action)
        self.rewards += reward
        self.actions.append(action)
        if not (solved or out_of_time):
            return None
        return EvaluationEpisode(
            seed=self.seed,
            task_kind=self.env.task_kind,
            episode_return=self.rewards,
            success=solved,
            length=len(self.actions),
            truncated=out_of_time,
            prompt_hash=self.prompts.hexdigest()[:PROMPT_HASH_DIGITS],
            actions=tuple(self.actions),
        )


def evaluate(
    agent: Agent,
    split_name: str,
    config: RunConfig,
    on_episode: Callable[[int, EvaluationEpisode], None] = lambda done, episode: None,
    check_stop: Callable[[], None] = lambda: None,
    seeds: Sequence[int] | None = None,
) -> list[EvaluationEpisode]:
    """Plays a split's test episodes.

    Each episode is a function of the agent, the run's seed and the episode's seed alone: it does
    not matter how many are played side by side.

    Args:
        agent: The trained agent; it is not changed.
        split_name: Name of the split.
        config: The run; gives the world, the number of episodes and how many are played at once.
        on_episode: Told of every episode as it ends, with how many have.
        check_stop: Called after every step; raises to stop.
        seeds: Which of the test episodes are played; by default all.

    Returns:
        The episodes in the order of their seeds.

    Raises:
        AgentError: If the agent raises, or returns anything but one valid action for each
            observation; names the agent and the split.
    """
    split = SPLITS[split_name]
    if seeds is None:
        seeds = evaluation_seeds(config.evaluation.episodes)
    waiting = iter(seeds)
    n_envs = min(config.evaluation.n_envs, len(seeds))
    who = f"agent {config.agent!r}, split {split_name!r}"
    envs = [config.environment.build(split.level, split.view) for _ in range(n_envs)]
    finished: dict[int, EvaluationEpisode] = {}
    try:
        with speaking_for(who):
            agent.begin_test()
        slots = [_start(env, seed, config.seed) for env, seed in zip(envs, waiting, strict=False)]
        while slots:
            worlds, seen = [slot.env for slot in slots], [slot.observation for slot in slots]
            with speaking_for(who):
                actions = choose_actions(agent, worlds, seen)
            still: list[_Slot] = []
            for slot, action in zip(slots, actions.tolist(), strict=True):
                episode = slot.perform(action)
                if episode is None:
                    still.append(slot)
                    continue
                finished[episode.seed] = episode
                on_episode(len(finished), episode)
                seed = next(waiting, None)
                if seed is not None:
                    still.append(_start(slot.env, seed, config.seed))
            slots = still
            check_stop()
    finally:
        for env in envs:
            env.close()
    return [finished[seed] for seed in seeds]


def _start(env: TextEnv, seed: int, run_seed: int) -> _Slot:
    observation, _ = env.reset(seed=seed, options={"draw_seed": run_seed})
    return _Slot(env, seed, observation)


def choose_actions(
    agent: Agent, envs: Sequence[TextEnv], observations: Sequence[Observation]
) -> NDArray[np.integer]:
    """Asks an agent, and takes nothing but one valid action for each observation.

    Args:
        agent: The agent.
        envs: The environments behind the observations, which only a privileged agent is shown.
        observations: All with the same number of actions.

    Returns:
        (len(observations),) action indices.

    Raises:
        AgentError: If it returns anything else.
    """
    if agent.privileged:
        agent.attach(envs)
    actions = np.asarray(agent.act(observations))
    n_actions = len(observations[0].action_phrases)
    if actions.shape != (len(observations),):
        expected = f"({len(observations)},) action indices"
        raise AgentError(f"act returned shape {actions.shape}, expected {expected}")
    if not np.issubdtype(actions.dtype, np.integer):
        raise AgentError(f"act returned {actions.dtype}, not integers")
    if actions.min() < 0 or actions.max() >= n_actions:
        odd = int(actions[(actions < 0) | (actions >= n_actions)][0])
        raise AgentError(f"act returned action {odd}, outside 0 to {n_actions - 1}")
    return actions
