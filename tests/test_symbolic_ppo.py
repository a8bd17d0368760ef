"""Symbolic-PPO: its view of the world, the bridge to stable-baselines3, resumed runs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from agents.base import AgentContext, AgentError
from agents.symbolic_env import (
    encode,
)
from agents.symbolic_ppo import SymbolicPPOAgent, SymbolicPPOConfig
from envs import TextEnv, VectorEnv

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


def test_every_option_of_ppo_reaches_stable_baselines3() -> None:
    config = replace(
        SMALL,
        gamma=0.5,
        gae_lambda=0.6,
        clip=0.3,
        clip_value=0.4,
        entropy_coefficient=0.05,
        value_coefficient=0.7,
        max_grad_norm=0.8,
        adam_eps=1e-3,
    )
    ppo = build(config)[0].ppo
    assert (ppo.gamma, ppo.gae_lambda) == (0.5, 0.6)
    assert (ppo.rollout_buffer.gamma, ppo.rollout_buffer.gae_lambda) == (0.5, 0.6)
    assert (ppo.clip_range(1.0), ppo.clip_range_vf(1.0)) == (0.3, 0.4)
    assert (ppo.ent_coef, ppo.vf_coef, ppo.max_grad_norm) == (0.05, 0.7, 0.8)
    assert (ppo.n_steps, ppo.batch_size, ppo.n_epochs) == (8, 12, 2)
    assert ppo.policy.optimizer.defaults["eps"] == 1e-3
    assert not ppo.normalize_advantage
    assert build(replace(config, normalize_advantage=True))[0].ppo.normalize_advantage
    assert build(replace(config, clip_value=None))[0].ppo.clip_range_vf is None


def test_building_and_every_update_draw_from_streams_of_their_own() -> None:
    agent, _ = build()

    def drawn(*update: int) -> tuple[float, float]:
        with agent._own_randomness(*update):
            return float(torch.rand(1)), float(np.random.rand())  # noqa: NPY002  # as SB3 does

    assert drawn() == drawn()
    numbers = [number for update in ((), (0,), (1,)) for number in drawn(*update)]
    assert len(set(numbers)) == len(numbers)
