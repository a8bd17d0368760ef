"""Every registered agent is held to the contract."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from agents import Agent, AgentContext, AgentError, find, registered, sample_actions
from bench.config import EnvironmentConfig
from bench.contract import check_rules
from envs import TextEnv, VectorEnv, evaluation_seeds

N_ENVS = 4
# What makes a round short enough for a test; everything else is the agent's default.
QUICK: dict[str, Any] = {
    "rollout_length": 8,
    "epochs": 1,
    "batch_size": 16,
    "value_hidden": 16,
    "channels": 8,
    "mission_size": 8,
    "embedding_size": 8,
    "hidden_size": 8,
    "learning_starts": 16,
    "steps_per_update": 16,
}


def build(name: str, seed: int = 0) -> Agent:
    entry = find(name)
    agent_class = entry.load()
    fields = {field.name for field in dataclasses.fields(agent_class.Config)}
    options = {key: value for key, value in QUICK.items() if key in fields}
    config = agent_class.Config(**{**options, **entry.preset})
    return agent_class(config, AgentContext(n_envs=N_ENVS, seed=seed))


WORLD = EnvironmentConfig(room_size=5, num_distractors=1)


def environments(seed: int = 0) -> VectorEnv:
    return VectorEnv(WORLD.build, N_ENVS, seed)


# A gigabyte of a real language model: its own test opens it where its package is installed.
AGENTS = [name for name in registered() if "smollm2" not in name]


@pytest.mark.parametrize("name", AGENTS)
def test_says_what_it_is(name: str) -> None:
    entry = find(name)
    agent_class = entry.load()
    assert entry.summary
    for field in dataclasses.fields(agent_class.Config):
        assert f"{field.name}:" in agent_class.Config.__doc__, f"{field.name} is not documented"


@pytest.mark.parametrize("name", AGENTS)
def test_keeps_the_contract(name: str) -> None:
    found = list(check_rules(lambda: build(name), WORLD, N_ENVS, learning_steps=16))
    assert len(found) >= 5
    assert [verdict for verdict in found if verdict.breach] == []


def test_the_bot_solves_nearly_everything_and_random_little() -> None:
    solved = {}
    for name in ("bot", "random"):
        agent, env, wins = build(name), TextEnv(), 0
        for seed in evaluation_seeds(40):
            observation = env.reset(seed=seed)[0]
            ended = cut = False
            while not (ended or cut):
                if agent.privileged:
                    agent.attach([env])
                observation, _, ended, cut, _ = env.step(int(agent.act([observation])[0]))
            wins += ended
        solved[name] = wins / 40
    assert solved["bot"] > 0.9
    assert solved["random"] < 0.4


def test_sampling_follows_the_probabilities_and_only_the_draw() -> None:
    env = TextEnv()
    observation = env.reset(seed=0)[0]
    draws = np.linspace(0, 1, 2000, endpoint=False)
    seen = [dataclasses.replace(observation, draw=float(draw)) for draw in draws]
    policy = np.array([0.5, 0.0, 0.25, 0.125, 0.125, 0.0])
    actions = sample_actions(np.tile(policy, (2000, 1)), seen)
    np.testing.assert_allclose(np.bincount(actions, minlength=6) / 2000, policy, atol=1e-3)
    assert sample_actions(policy[None], [seen[1200]])[0] == actions[1200]
    assert sample_actions(3 * policy[None], [seen[1200]])[0] == actions[1200]
    for wrong in ([-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [np.inf, 0.0]):
        with pytest.raises(AgentError, match="no distribution"):
            sample_actions(np.array([wrong]), [seen[0]])


def test_an_installed_package_offers_an_agent_by_name(tmp_path: Path) -> None:
    (tmp_path / "stranger.py").write_text(
        "from agents.random_policy import RandomAgent\n\n\nclass Drunk(RandomAgent):\n    pass\n"
    )
    metadata = tmp_path / "stranger-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[glam.agents]\ndrunk = stranger:Drunk\nrandom = stranger:Drunk\n"
    )
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from agents import find, registered\n"
        "print(find('drunk').load().__name__, find('drunk').summary, find('random').target)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    # A package cannot take a built-in name.
    assert shown.split() == ["Drunk", "from", "stranger", "agents.random_policy:RandomAgent"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gflan-t", "did you mean 'gflan-t5'"),
        ("nothing/here.py:Agent", "no file"),
        ("nothing/here.py", "say nothing/here.py:CLASS"),
        (f"{__file__}:Random", "'random' is taken; rename the class"),
    ],
)
def test_an_unknown_agent_is_named_with_the_nearest(name: str, message: str) -> None:
    with pytest.raises(AgentError, match=message):
        find(name)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("class Agent:\n    pass\n", "not a subclass"),
        ("x = 1\n", "no class"),
        ("def (\n", "cannot import"),
    ],
)
def test_a_wrong_plugin_file_is_one_clear_line(tmp_path: Path, code: str, message: str) -> None:
    path = tmp_path / "plugin.py"
    path.write_text(code)
    with pytest.raises(AgentError, match=message) as caught:
        find(f"{path}:Agent").load()
    assert "\n" not in str(caught.value)


def test_seeds_of_one_run_differ_and_do_not_depend_on_how_many_are_asked() -> None:
    one, other = (AgentContext(seed=seed).seeds(3) for seed in (0, 1))
    assert len({*one, *other}) == 6
    assert AgentContext(seed=0).seeds(2) == one[:2]
