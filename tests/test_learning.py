"""Every learning agent clearly beats Random on a tiny task; minutes, so marked slow."""

from collections.abc import Callable
from typing import Any

import pytest

from agents import Agent, AgentContext, find
from envs import TextEnv, VectorEnv, evaluation_seeds

STEPS = 16_000
LANGUAGE_MODEL: dict[str, Any] = {
    "learning_rate": 1e-3,
    "adam_eps": 1e-8,
    "epochs": 2,
    "normalize_advantage": True,
    "reward_scale": 1.0,
    "value_hidden": 128,
    "max_batch_tokens": 2048,
}
DRRN: dict[str, Any] = {
    "embedding_size": 64,
    "hidden_size": 64,
    "learning_rate": 2e-3,
    "steps_per_update": 16,
    "learning_starts": 500,
}
SYMBOLIC_PPO: dict[str, Any] = {
    "channels": 32,
    "mission_size": 32,
    "pooling": "none",
    "learning_rate": 5e-4,
    "batch_size": 160,
    "reward_scale": 1.0,
    "clip_value": None,
    "normalize_advantage": True,
}


def build(name: str, options: dict[str, Any], history: int) -> Agent:
    entry = find(name)
    agent_class = entry.load()
    config = agent_class.Config(**{**entry.preset, **options})
    return agent_class(config, AgentContext(n_envs=16, history=history))


def success_rate(agent: Agent, make_env: Callable[[], TextEnv], episodes: int) -> float:
    """Plays the fixed evaluation episodes to their ends."""
    envs = [make_env() for _ in range(episodes)]
    seeds = evaluation_seeds(episodes)
    observations = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    playing, solved = list(range(episodes)), 0
    while playing:
        actions = agent.act([observations[i] for i in playing])
        going_on = []
        for i, action in zip(playing, actions, strict=True):
            observations[i], _, terminated, truncated, _ = envs[i].step(int(action))
            solved += terminated
            if not terminated and not truncated:
                going_on.append(i)
        playing = going_on
    return solved / episodes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "history", "margin"),
    [
        ("gflan-t5", LANGUAGE_MODEL, 1, 0.4),
        ("npae-flan-t5", LANGUAGE_MODEL, 1, 0.4),
        ("drrn", DRRN, 1, 0.2),
        ("symbolic-ppo", SYMBOLIC_PPO, 3, 0.3),
    ],
)
def test_learns_to_go_to_the_one_object_of_a_small_room(
    name: str, options: dict[str, Any], history: int, margin: float
) -> None:
    def task() -> TextEnv:
        return TextEnv("GoToLocal", room_size=5, num_distractors=1, history=history)

    agent, envs = build(name, options, history), VectorEnv(task, 16, seed=0)
    while envs.steps < STEPS:
        agent.update(envs)
        envs.pop_episodes()
    floor = success_rate(build("random", {}, history), task, 150)
    assert floor < 0.5
    assert success_rate(agent, task, 150) > floor + margin
