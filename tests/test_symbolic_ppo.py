"""Symbolic-PPO: its view of the world, the bridge to stable-baselines3, resumed runs."""

import json
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from agents.base import AgentContext, AgentError
from agents.symbolic_env import (
    MAX_WORDS,
    N_CODES,
    N_WORDS,
    PAD_WORD,
    UNKNOWN_WORD,
    SymbolicVecEnv,
    encode,
    encode_goal,
    symbolic_space,
)
from agents.symbolic_network import BagOfCodes, FiLMBlock, FiLMExtractor, Pooling
from agents.symbolic_ppo import SymbolicPPOAgent, SymbolicPPOConfig
from envs import LEVELS, SPLITS, TextEnv, VectorEnv

SMALL = SymbolicPPOConfig(
    channels=4,
    mission_size=4,
    pooling="none",
    head_size=8,
    rollout_length=8,
    batch_size=12,
    epochs=2,
    learning_rate=1e-2,
)


def make() -> TextEnv:
    return TextEnv("MixedTrainLocal", room_size=5, num_distractors=1, max_steps=5)


def make_easy() -> TextEnv:
    return TextEnv("GoToLocal", room_size=5, num_distractors=1, max_steps=10)


def build(
    config: SymbolicPPOConfig = SMALL, seed: int = 0, n_envs: int = 3
) -> tuple[SymbolicPPOAgent, VectorEnv]:
    agent = SymbolicPPOAgent(config, AgentContext(n_envs=n_envs, seed=seed))
    return agent, VectorEnv(make, n_envs, seed)


def saved(agent: SymbolicPPOAgent, directory: Path) -> dict[str, bytes]:
    directory.mkdir()
    agent.save(directory)
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}


def global_randomness() -> tuple[bytes, str]:
    numpy_state = repr(np.random.get_state())  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), numpy_state


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


def test_a_cell_is_the_sum_of_its_codes_embeddings() -> None:
    torch.manual_seed(0)
    bag = BagOfCodes(history=2, channels=5)
    highest = torch.tensor([n - 1 for n in N_CODES] * 2)
    views = torch.stack([torch.zeros(6, dtype=torch.int64), highest]).view(1, 2, 1, 6)
    views = torch.cat([views, torch.tensor([1, 0, 2, 5, 3, 0]).view(1, 1, 1, 6)], 1)
    embedded = bag(views)
    assert embedded.shape == (1, 5, 3, 1)
    for column in range(3):
        codes = views[0, column, 0].tolist()
        expected = sum(
            table[age, codes[3 * age + k]]
            for age, (k, table) in product(
                range(2), enumerate((bag.types, bag.colours, bag.states))
            )
        )
        torch.testing.assert_close(embedded[0, :, column, 0], expected)


def test_a_mission_scales_and_shifts_each_channel() -> None:
    torch.manual_seed(0)
    block = FiLMBlock(channels=2, mission_size=3)
    x, mission = torch.randn(1, 2, 4, 4), torch.randn(1, 3)
    gamma, beta = block.modulation(mission)[0].view(2, 2)
    plain = block.after(F.relu(block.before(x)))
    shifted = (1 + gamma.view(1, 2, 1, 1)) * plain + beta.view(1, 2, 1, 1)
    torch.testing.assert_close(block(x, mission), x + F.relu(shifted))


@pytest.mark.parametrize("pooling", ["end", "early", "none"])
def test_features_depend_on_view_and_mission_but_not_on_the_batch(pooling: Pooling) -> None:
    torch.manual_seed(0)
    extractor = FiLMExtractor(symbolic_space(3), channels=6, mission_size=5, pooling=pooling)
    env = TextEnv("MixedTrainLocal")
    observations = [env.reset(seed=seed)[0] for seed in range(5)]
    observations.append(replace(observations[0], goal=observations[1].goal))
    observations.append(replace(observations[0], images=observations[1].images))

    def features(group: list) -> torch.Tensor:
        arrays = encode(group, 3)
        return extractor({name: torch.from_numpy(array) for name, array in arrays.items()})

    together = features(observations)
    assert together.shape == (7, extractor.features_dim)
    torch.testing.assert_close(together, torch.cat([features([o]) for o in observations]))
    assert not torch.allclose(together[0], together[5])
    assert not torch.allclose(together[0], together[6])


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


def test_updates_go_on_where_the_last_one_stopped() -> None:
    agent, _ = build()
    envs = VectorEnv(lambda: TextEnv("MixedTrainLocal", n_actions=6, max_steps=1000), 3, 0)
    taken: list[list[int]] = [[], [], []]
    for count in (1, 2, 3):
        agent.update(envs)
        assert envs.steps == 24 * count
        episodes = envs.pop_episodes()
        for i, actions in enumerate(envs.state()["actions"]):
            if not any(episode.env == i for episode in episodes):
                assert actions[: len(taken[i])] == taken[i]
                assert len(actions) == len(taken[i]) + 8
            taken[i] = actions


@pytest.mark.parametrize("bootstrap", [False, True])
def test_only_a_bootstrapped_timeout_gains_the_value_of_the_last_view(bootstrap: bool) -> None:
    agent, envs = build(replace(SMALL, bootstrap_on_timeout=bootstrap, learning_rate=0.0))
    agent.update(envs)
    buffer, twin = agent.ppo.rollout_buffer, VectorEnv(make, 3, 0)
    # After learning the buffer's actions are flattened environment by environment.
    actions = buffer.actions.reshape(3, SMALL.rollout_length).T.astype(np.int64)
    timeouts = 0
    for step in range(SMALL.rollout_length):
        result = twin.step(actions[step])
        expected = result.rewards * 20
        for i in np.flatnonzero(result.truncated):
            timeouts += 1
            last_view = result.final_observations[i]
            assert last_view is not None
            arrays = encode([last_view], 3)
            tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
            with torch.no_grad():
                value = agent.policy.predict_values(tensors).item()
            assert value != 0
            expected[i] += 0.99 * value * bootstrap
        assert buffer.rewards[step].tolist() == pytest.approx(expected.tolist(), abs=1e-5)
    assert timeouts > 0


def test_two_runs_from_one_seed_are_the_same_bytes(tmp_path: Path) -> None:
    outcomes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        agent, envs = build(seed=seed)
        logs = [agent.update(envs) for _ in range(3)]
        outcomes.append((logs, saved(agent, tmp_path / name)))
        torch.rand(7)  # another agent of the process
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1]["policy.safetensors"] != outcomes[2][1]["policy.safetensors"]


def test_a_resumed_run_is_the_bytes_of_one_never_stopped(tmp_path: Path) -> None:
    agent, envs = build()
    agent.update(envs)
    envs.pop_episodes()
    first = saved(agent, tmp_path / "first")
    state = json.loads(json.dumps(envs.state()))
    logs = [agent.update(envs) for _ in range(2)]

    resumed, new_envs = build()
    resumed.load(tmp_path / "first")
    new_envs.restore(state)
    assert saved(resumed, tmp_path / "again") == first
    assert [resumed.update(new_envs) for _ in range(2)] == logs
    assert saved(resumed, tmp_path / "resumed") == saved(agent, tmp_path / "straight")


def test_acting_changes_nothing_and_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    agent, envs = build()
    agent.update(envs)
    before, randomness = saved(agent, tmp_path / "before"), global_randomness()
    training = [module.training for module in agent.policy.modules()]
    actions = agent.act(envs.observations)
    assert actions.tolist() == [int(agent.act([o])[0]) for o in envs.observations]
    assert saved(agent, tmp_path / "after") == before
    assert global_randomness() == randomness
    assert [module.training for module in agent.policy.modules()] == training


def test_acting_samples_from_the_policy() -> None:
    agent, envs = build()
    agent.update(envs)
    observation = envs.observations[0]
    arrays = encode([observation], 3)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with torch.no_grad():
        policy = agent.policy.get_distribution(tensors).distribution.probs[0].numpy()
    draws = (np.arange(2000) + 0.5) / 2000
    actions = agent.act([replace(observation, draw=draw) for draw in draws])
    shares = np.bincount(actions, minlength=6) / 2000
    assert shares == pytest.approx(policy, abs=1e-3)


def test_learning_leaves_the_global_generators_alone() -> None:
    randomness = global_randomness()
    agent, envs = build()
    agent.update(envs)
    assert global_randomness() == randomness


def test_logs_the_same_finite_numbers_every_round_and_prints_nothing(
    capfd: pytest.CaptureFixture[str],
) -> None:
    agent, envs = build()
    logs = [agent.update(envs) for _ in range(2)]
    assert list(logs[0]) == list(logs[1])
    assert {"loss", "value_loss", "entropy_loss", "approx_kl"} <= set(logs[0])
    assert all(np.isfinite(value) for log in logs for value in log.values())
    assert [log["n_updates"] for log in logs] == [2, 4]
    assert capfd.readouterr() == ("", "")


def test_an_undefined_explained_variance_is_zero() -> None:
    one_step = replace(SMALL, rollout_length=1, normalize_advantage=False)
    agent, envs = build(one_step, n_envs=1)
    assert agent.update(envs)["explained_variance"] == 0


def test_the_wrong_number_of_environments_is_refused() -> None:
    agent, _ = build()
    with pytest.raises(AgentError, match="3 environments, got 2"):
        agent.update(VectorEnv(make, 2, 0))


@pytest.mark.parametrize(
    "other",
    [replace(SMALL, channels=6), replace(SMALL, pooling="end"), replace(SMALL, head_size=4)],
)
def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path, other: SymbolicPPOConfig) -> None:
    build()[0].save(tmp_path)
    with pytest.raises(AgentError, match="does not fit"):
        build(other)[0].load(tmp_path)
