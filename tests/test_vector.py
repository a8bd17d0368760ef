"""The vector environment: bookkeeping, seeds, saving and restoring."""

import json

import numpy as np
import pytest

from envs import TextEnv, VectorEnv, evaluation_seeds
from envs.vector import training_seed


def make() -> TextEnv:
    return TextEnv("MixedTrainLocal", room_size=5, num_distractors=1)


def play(envs: VectorEnv, rng: np.random.Generator, rounds: int) -> list:
    trace = []
    for _ in range(rounds):
        result = envs.step(rng.integers(0, 6, envs.n_envs))
        trace.append(
            (
                [o.prompt() for o in result.observations],
                [o.draw for o in result.observations],
                result.rewards.tolist(),
                result.done.tolist(),
            )
        )
    return trace


def test_counts_steps_and_records_every_episode() -> None:
    envs = VectorEnv(make, 4, seed=3)
    rng = np.random.default_rng(0)
    ends, rewards = 0, 0.0
    for _ in range(150):
        result = envs.step(rng.integers(0, 6, 4))
        ends += int(result.done.sum())
        rewards += float(result.rewards.sum())
        for i in range(4):
            assert (result.final_observations[i] is not None) == result.done[i]
            assert not (result.terminated[i] and result.truncated[i])
    episodes = envs.pop_episodes()
    assert envs.steps == 600
    assert len(episodes) == ends > 4
    assert envs.pop_episodes() == []
    assert sum(e.episode_return for e in episodes) == pytest.approx(rewards, rel=1e-5)
    for episode in episodes:
        assert episode.success == (episode.episode_return > 0)
        assert episode.truncated == (not episode.success)
        assert 0 < episode.length <= episode.steps <= 600


def test_the_final_observation_belongs_to_the_episode_that_ended() -> None:
    envs = VectorEnv(make, 1, seed=0)
    rng = np.random.default_rng(1)
    goal = envs.observations[0].goal
    for _ in range(300):
        result = envs.step(rng.integers(0, 6, 1))
        last = result.final_observations[0]
        if last is not None:
            assert last.goal == goal
            goal = result.observations[0].goal
            assert len(result.observations[0].descriptions) == 1


def test_a_restored_environment_goes_on_as_if_never_stopped() -> None:
    rng = np.random.default_rng(5)
    envs = VectorEnv(make, 3, seed=9)
    play(envs, rng, 57)
    envs.pop_episodes()
    saved = json.loads(json.dumps(envs.state()))
    going_on = np.random.default_rng(6)
    expected = play(envs, going_on, 80), envs.pop_episodes(), envs.state()
    restored = VectorEnv(make, 3, seed=9)
    restored.restore(saved)
    going_on = np.random.default_rng(6)
    assert (play(restored, going_on, 80), restored.pop_episodes(), restored.state()) == expected


def test_unsaved_episodes_are_not_lost_silently() -> None:
    envs = VectorEnv(make, 2, seed=0)
    play(envs, np.random.default_rng(0), 200)
    with pytest.raises(RuntimeError, match="pop_episodes"):
        envs.state()


def test_another_runs_state_is_refused() -> None:
    state = VectorEnv(make, 2, seed=0).state()
    with pytest.raises(ValueError, match="seed 0"):
        VectorEnv(make, 2, seed=1).restore(state)
    with pytest.raises(ValueError, match="2 environments"):
        VectorEnv(make, 3, seed=0).restore(state)


@pytest.mark.parametrize("actions", [[0], [0, 6], [0, -1], [0.0, 1.0], [[0, 1]]])
def test_wrong_actions_are_named(actions: list) -> None:
    with pytest.raises(ValueError, match="actions must"):
        VectorEnv(make, 2, seed=0).step(np.array(actions))


def test_training_and_test_seeds_never_meet() -> None:
    seeds = {training_seed(run, env, k) for run in range(3) for env in range(8) for k in range(50)}
    assert len(seeds) == 3 * 8 * 50
    assert min(seeds) >= 2**32 > max(evaluation_seeds(1000))
    assert evaluation_seeds(10) == evaluation_seeds(1000)[:10]
