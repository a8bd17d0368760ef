"""Replays: what an agent did, step by step, in one solved and one unsolved test episode.

An episode is a function of its seed, the run's seed and the actions, so a replay holds the actions
and what the agent made of each view; grid and sentences come from the environment again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from agents.base import Agent, AgentError, PolicyOutput, speaking_for
from bench.config import RunConfig
from bench.evaluate import EvaluationEpisode
from bench.storage.row_file import Value
from envs import SPLITS, Observation, TextEnv

REPLAY_COLUMNS = ("episode_seed", "step", "action", "value")
"""Followed by ``p0``, ``p1``, ... by action; empty where the agent does not tell."""


def replay_header(n_actions: int) -> tuple[str, ...]:
    """Columns of a replay file for an action set."""
    return (*REPLAY_COLUMNS, *probability_columns(n_actions))


def probability_columns(n_actions: int) -> tuple[str, ...]:
    """Columns that hold the probabilities of the actions."""
    return tuple(f"p{action}" for action in range(n_actions))


def chosen_episodes(episodes: Sequence[EvaluationEpisode]) -> list[EvaluationEpisode]:
    """The first solved and the first unsolved episode, where there is one: nobody picks."""
    firsts = [next((e for e in episodes if e.success is wanted), None) for wanted in (True, False)]
    return [episode for episode in firsts if episode is not None]


def replay_rows(
    agent: Agent, split: str, config: RunConfig, episodes: Sequence[EvaluationEpisode]
) -> list[tuple[Value, ...]]:
    """What the agent did and thought in the chosen ones of a split's test episodes.

    Args:
        agent: The agent that played them; it is not changed.
        split: Name of the split.
        config: The run.
        episodes: The split's test episodes.

    Returns:
        One row per step under ``replay_header``.

    Raises:
        AgentError: If the agent's output does not fit the observations.
    """
    env = config.environment.build(SPLITS[split].level, SPLITS[split].view)
    rows: list[tuple[Value, ...]] = []
    try:
        for episode in chosen_episodes(episodes):
            seen = list(retraced(env, episode.seed, config.seed, episode.actions))
            thoughts = policy_rows(agent, seen, config.evaluation.n_envs)
            for step, (action, thought) in enumerate(zip(episode.actions, thoughts, strict=True)):
                rows.append((episode.seed, step, action, *thought))
    finally:
        env.close()
    return rows


def retraced(
    env: TextEnv, seed: int, draw_seed: int, actions: Sequence[int]
) -> Iterator[Observation]:
    """Plays an episode again.

    Args:
        env: The environment; while an observation is out, it stands where that was made.
        seed: Seed of the episode.
        draw_seed: Seed of the run, which the observations' draws depend on.
        actions: What was done.

    Yields:
        The observation that each action answered.
    """
    observation, _ = env.reset(seed=seed, options={"draw_seed": draw_seed})
    for action in actions:
        yield observation
        observation = env.step(action)[0]


def checked_output(output: object, count: int, n_actions: int, said: str) -> None:
    """Refuses what is not the output of a policy.

    Args:
        output: What ``policy_output`` returned.
        count: Number of observations.
        n_actions: Size of the action set.
        said: Who returned it, for the message.

    Raises:
        AgentError: If it does not fit, or its rows are no distributions.
    """
    if not isinstance(output, PolicyOutput):
        raise AgentError(f"{said} returned {type(output).__name__}, expected a PolicyOutput")
    chances = np.asarray(output.probabilities)
    if chances.shape != (count, n_actions):
        expected = f"({count}, {n_actions})"
        raise AgentError(f"{said}: probabilities of shape {chances.shape}, expected {expected}")
    if not (np.all(chances >= 0) and np.allclose(chances.sum(1), 1, atol=1e-3)):
        raise AgentError(f"{said}: probabilities are no distribution: {chances[0].tolist()}")
    if output.values is not None and np.shape(output.values) != (count,):
        shape = np.shape(output.values)
        raise AgentError(f"{said}: values of shape {shape}, expected ({count},)")


def policy_rows(
    agent: Agent, observations: Sequence[Observation], batch: int
) -> list[tuple[Value, ...]]:
    """Value and probabilities of each observation as short text; empty if the agent tells none.

    Args:
        agent: The agent.
        observations: All with the same number of actions.
        batch: Observations judged at once.

    Raises:
        AgentError: If the output does not fit the observations.
    """
    n_actions = len(observations[0].action_phrases)
    said = f"{type(agent).__name__}.policy_output"
    rows: list[tuple[Value, ...]] = []
    for start in range(0, len(observations), batch):
        part = observations[start : start + batch]
        with speaking_for(said):
            output = agent.policy_output(part)
        if output is None:
            rows += [("",) * (1 + n_actions)] * len(part)
            continue
        checked_output(output, len(part), n_actions, said)
        values = [""] * len(part)
        if output.values is not None:
            values = [f"{value:.3g}" for value in np.asarray(output.values).tolist()]
        chosen = np.asarray(output.probabilities)
        rows += [
            (value, *(f"{p:.3f}" for p in chances))
            for value, chances in zip(values, chosen.tolist(), strict=True)
        ]
    return rows
