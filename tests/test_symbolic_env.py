"""Symbolic-PPO's view of the world, and the bridge to stable-baselines3."""

from dataclasses import replace

import numpy as np
import pytest

from agents.base import AgentError
from agents.symbolic_env import (
    MAX_WORDS,
    N_WORDS,
    PAD_WORD,
    UNKNOWN_WORD,
    SymbolicVecEnv,
    encode,
    encode_goal,
    symbolic_space,
)
from envs import LEVELS, SPLITS, TextEnv, VectorEnv


def make() -> TextEnv:
    return TextEnv("MixedTrainLocal", room_size=5, num_distractors=1, max_steps=5)


def make_easy() -> TextEnv:
    return TextEnv("GoToLocal", room_size=5, num_distractors=1, max_steps=10)


def test_views_are_stacked_with_the_latest_last_and_zeros_before_the_first() -> None:
    env = make()
    observations = [env.reset(seed=1)[0]]
    observations += [env.step(action)[0] for action in (0, 0, 0)]
    views = encode(observations, history=3)["views"]
    assert views.shape == (4, 7, 7, 9)
    images = [observation.images[-1] for observation in observations if observation.images]
    assert not views[0, :, :, :6].any()
    assert np.array_equal(views[0, :, :, 6:], images[0])
    assert not views[1, :, :, :3].any()
    assert np.array_equal(views[3], np.concatenate(images[1:], axis=2))
    assert np.array_equal(encode(observations, history=1)["views"][3], images[3])


@pytest.mark.parametrize("level", LEVELS)
def test_every_mission_fits_and_has_no_unknown_word(level: str) -> None:
    env = TextEnv(level)
    for seed in range(30):
        goal = env.reset(seed=seed)[0].goal
        ids = encode_goal(goal).tolist()
        length = len(goal.split())
        assert length < MAX_WORDS
        assert all(UNKNOWN_WORD < word < N_WORDS for word in ids[:length])
        assert ids[length:] == [PAD_WORD] * (MAX_WORDS - length)


def test_words_of_other_splits_are_unknown_and_long_goals_are_cut() -> None:
    env = TextEnv("MixedTrainLocal", view=SPLITS["invented-words"].view)
    words = {word for seed in range(20) for word in encode_goal(env.reset(seed=seed)[0].goal)}
    assert UNKNOWN_WORD in words
    ids = encode_goal("go to the dax, then pick up the red ball")
    assert ids[3] == UNKNOWN_WORD
    assert ids[9] == encode_goal("ball")[0]
    assert len(set(encode_goal("red green blue purple yellow grey").tolist())) == 7
    assert encode_goal("the " * 100).tolist() == [encode_goal("the")[0]] * MAX_WORDS


def test_observations_lie_in_the_declared_space() -> None:
    env = TextEnv("MixedTrainLocal")
    space = symbolic_space(3)
    for seed in range(10):
        arrays = encode([env.reset(seed=seed)[0]], 3)
        assert space.contains({name: array[0] for name, array in arrays.items()})


def test_observations_without_images_are_refused() -> None:
    with pytest.raises(AgentError, match="images"):
        encode([replace(make().reset(seed=0)[0], images=None)], 3)


@pytest.mark.parametrize("bootstrap", [False, True])
def test_the_bridge_gives_what_the_environments_gave(bootstrap: bool) -> None:
    bridge = SymbolicVecEnv(3, 6, 3, reward_scale=20.0, bootstrap_on_timeout=bootstrap)
    bridge.envs, twin = VectorEnv(make_easy, 3, 0), VectorEnv(make_easy, 3, 0)
    rng = np.random.default_rng(0)
    successes = timeouts = 0
    for _ in range(120):
        actions = rng.integers(0, 6, 3)
        observations, rewards, done, infos = bridge.step(actions)
        result = twin.step(actions)
        expected = encode(result.observations, 3)
        assert all(np.array_equal(observations[name], expected[name]) for name in expected)
        assert rewards.tolist() == (result.rewards * 20).tolist()
        assert done.tolist() == result.done.tolist()
        for i, last_view in enumerate(result.final_observations):
            assert ("terminal_observation" in infos[i]) == result.done[i]
            if last_view is None:
                continue
            for name, array in encode([last_view], 3).items():
                assert np.array_equal(infos[i]["terminal_observation"][name], array[0])
            assert infos[i]["TimeLimit.truncated"] == (bootstrap and result.truncated[i])
            successes, timeouts = successes + result.terminated[i], timeouts + result.truncated[i]
    assert successes > 0
    assert timeouts > 0


def test_the_bridge_s_reset_leaves_running_episodes_alone() -> None:
    bridge = SymbolicVecEnv(3, 6, 3)
    with pytest.raises(RuntimeError, match="set envs"):
        bridge.reset()
    bridge.envs = VectorEnv(make, 3, 0)
    bridge.envs.step([0, 1, 2])
    before = bridge.envs.state()
    shown = bridge.reset()
    assert bridge.envs.state() == before
    assert np.array_equal(shown["views"], encode(bridge.envs.observations, 3)["views"])
