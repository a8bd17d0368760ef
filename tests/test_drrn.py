"""DRRN: its targets, what it remembers, and that a resumed run is the same run."""

import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from agents.base import AgentContext, AgentError
from agents.drrn import DRRNAgent, DRRNConfig, QNetwork
from agents.replay_buffer import TransitionBatch
from agents.text_encoder import TextEncoder, zeros_for_denormals
from agents.token_tree import TOKEN_DTYPE, build_token_tree
from agents.tokenizer import train_tokenizer
from envs import TextEnv, VectorEnv
from envs.lexicon import ACTIONS

SMALL = DRRNConfig(
    embedding_size=8,
    hidden_size=8,
    batch_size=8,
    learning_rate=1e-2,
    rollout_length=12,
    steps_per_update=8,
    learning_starts=16,
)


def make(max_steps: int | None = 5) -> TextEnv:
    return TextEnv("MixedTrainLocal", room_size=5, num_distractors=1, max_steps=max_steps)


def build(config: DRRNConfig = SMALL, seed: int = 0) -> tuple[DRRNAgent, VectorEnv]:
    return DRRNAgent(config, AgentContext(n_envs=3, seed=seed)), VectorEnv(make, 3, seed)


def saved(agent: DRRNAgent, directory: Path) -> dict[str, bytes]:
    directory.mkdir()
    agent.save(directory)
    return {file.name: file.read_bytes() for file in sorted(directory.iterdir())}


@torch.no_grad()
def q_value(network: QNetwork, state: bytes, action: bytes) -> float:
    """Q(s, a) read off the weights with PyTorch's own GRU, one pair at a time."""
    encoded = []
    for encoder, text in ((network.state_encoder, state), (network.action_encoder, action)):
        gru = nn.GRU(encoder.cell.input_size, encoder.cell.hidden_size)
        gru.load_state_dict({f"{k}_l0": v for k, v in encoder.cell.state_dict().items()})
        ids = torch.tensor(np.frombuffer(text, TOKEN_DTYPE).astype(np.int64))
        encoded.append(gru(network.embedding(ids))[0][-1])
    hidden = torch.relu(network.hidden(torch.cat(encoded)))
    return float(network.scorer(hidden))


def test_targets_equal_a_hand_computation() -> None:
    agent, envs = build()
    agent.update(envs)
    texts = [agent.encode(observation) for observation in envs.observations]
    phrases = [agent._encode_piece(phrase) for phrase in ACTIONS]
    batch = TransitionBatch(
        states=texts,
        actions=np.array([0, 1, 2]),
        rewards=np.array([0.0, 18.2, 0.5], np.float32),
        next_states=[texts[1], texts[2], texts[0]],
        terminal=np.array([False, True, False]),
    )
    best = [max(q_value(agent.network, t, p) for p in phrases) for t in batch.next_states]
    expected = [0.9 * best[0], 18.2, 0.5 + 0.9 * best[2]]
    next_values = agent._forward(batch.next_states, ACTIONS)
    targets = agent.targets(batch, next_values)
    assert not targets.requires_grad
    assert targets.tolist() == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_a_gradient_step_lowers_the_huber_loss_of_the_action_taken() -> None:
    config = replace(SMALL, gamma=0.0, steps_per_update=10**9)
    agent, envs = build(config)
    agent.update(envs)
    state = agent.encode(envs.observations[0])
    agent.replay._states[:] = [state]
    agent.replay._next_states[:] = [state]
    agent.replay._outcomes[:] = [(2, 0.25, True)]
    phrases = [agent._encode_piece(phrase) for phrase in ACTIONS]
    value = q_value(agent.network, state, phrases[2])
    loss, _ = agent._learn(ACTIONS)
    assert loss == pytest.approx(0.5 * (value - 0.25) ** 2, rel=1e-4)  # |error| < 1: quadratic
    for _ in range(20):
        last, _ = agent._learn(ACTIONS)
    assert last < loss / 10


def test_texts_that_come_twice_are_read_once_and_count_twice() -> None:
    agent, envs = build(replace(SMALL, steps_per_update=10**9))
    agent.update(envs)
    a, b, c = (agent.encode(TextEnv("MixedTrainLocal").reset(seed=seed)[0]) for seed in range(3))
    agent.replay._states[:] = [a, a, b]
    agent.replay._next_states[:] = [b, c, c]
    agent.replay._outcomes[:] = [(0, 0.5, False), (3, 0.0, False), (3, 1.0, True)]
    phrases = [agent._encode_piece(phrase) for phrase in ACTIONS]
    following = [max(q_value(agent.network, t, p) for p in phrases) for t in (b, c)]
    errors = np.array(
        [
            q_value(agent.network, a, phrases[0]) - 0.5 - 0.9 * following[0],
            q_value(agent.network, a, phrases[3]) - 0.9 * following[1],
            q_value(agent.network, b, phrases[3]) - 1.0,
        ]
    )
    huber = np.where(abs(errors) < 1, errors**2 / 2, abs(errors) - 0.5)
    read: list[int] = []
    agent.network.register_forward_pre_hook(lambda _, given: read.append(len(given[0].ids)))
    loss, _ = agent._learn(ACTIONS)
    assert loss == pytest.approx(huber.mean(), rel=1e-4)
    assert read == [len({text[:end] for text in (a, b, c) for end in range(2, len(text) + 1, 2)})]


@pytest.mark.parametrize("bootstrap", [False, True])
def test_remembers_every_step_and_the_last_view_of_an_ended_episode(bootstrap: bool) -> None:
    agent, envs = build(replace(SMALL, bootstrap_on_timeout=bootstrap))
    agent.update(envs)
    replay, twin = agent.replay, VectorEnv(make, 3, 0)
    ends = timeouts = 0
    for step in range(SMALL.rollout_length):
        rows = range(3 * step, 3 * step + 3)
        before = [agent.encode(o) for o in twin.observations]
        actions, rewards, terminal = zip(*(replay._outcomes[i] for i in rows), strict=True)
        result = twin.step(list(actions))
        after = [
            agent.encode(now if last is None else last)
            for now, last in zip(result.observations, result.final_observations, strict=True)
        ]
        assert [replay._states[i] for i in rows] == before
        assert [replay._next_states[i] for i in rows] == after
        assert list(rewards) == pytest.approx((20 * result.rewards).tolist())
        over = result.terminated if bootstrap else result.done
        assert list(terminal) == over.tolist()
        ends, timeouts = ends + result.done.sum(), timeouts + result.truncated.sum()
    assert ends >= timeouts > 0
    assert len(replay) == 3 * SMALL.rollout_length


def test_gradient_steps_come_at_the_configured_ratio() -> None:
    agent, envs = build()  # 36 steps a round, an update every 8, none before 16
    assert [agent.update(envs)["gradient_steps"] for _ in range(3)] == [3, 5, 4]
    doubled = replace(SMALL, gradient_steps=2, learning_starts=10**6, replay_capacity=10**6)
    agent, envs = build(doubled)
    assert agent.update(envs)["gradient_steps"] == 0


def test_logs_the_same_finite_numbers_with_and_without_learning() -> None:
    agent, envs = build(replace(SMALL, learning_starts=50))
    first, second = agent.update(envs), agent.update(envs)
    assert first["gradient_steps"] == 0 < second["gradient_steps"]
    assert list(first) == list(second)
    assert all(np.isfinite(value) for value in (*first.values(), *second.values()))
    assert second["replay_size"] == 72
    assert 0 < second["entropy"] <= np.log(6) + 1e-6


def test_two_runs_from_one_seed_are_the_same_bytes(tmp_path: Path) -> None:
    outcomes = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        agent, envs = build(seed=seed)
        logs = [agent.update(envs) for _ in range(3)]
        outcomes.append((logs, saved(agent, tmp_path / name)))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][1]["network.safetensors"] != outcomes[2][1]["network.safetensors"]


def test_a_resumed_run_is_the_bytes_of_one_never_stopped(tmp_path: Path) -> None:
    config = replace(SMALL, replay_capacity=50)  # the replay wraps around
    agent, envs = build(config)
    agent.update(envs)
    envs.pop_episodes()
    first = saved(agent, tmp_path / "first")
    state = json.loads(json.dumps(envs.state()))
    logs = [agent.update(envs) for _ in range(2)]

    resumed, new_envs = build(config)
    resumed.load(tmp_path / "first")
    new_envs.restore(state)
    assert saved(resumed, tmp_path / "again") == first
    assert [resumed.update(new_envs) for _ in range(2)] == logs
    assert saved(resumed, tmp_path / "resumed") == saved(agent, tmp_path / "straight")


def test_acting_changes_nothing_and_does_not_depend_on_the_batch(tmp_path: Path) -> None:
    agent, envs = build()
    agent.update(envs)
    before = saved(agent, tmp_path / "before")
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    actions = agent.act(envs.observations)
    assert actions.tolist() == [int(agent.act([o])[0]) for o in envs.observations]
    assert actions.tolist() == agent.act(envs.observations).tolist()
    assert saved(agent, tmp_path / "after") == before
    assert torch.equal(torch_state, torch.get_rng_state())
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_gradients_that_fade_are_zeros_and_nothing_else_is() -> None:
    long, short = np.full(400, 5, TOKEN_DTYPE), np.full(3, 7, TOKEN_DTYPE)
    batch = build_token_tree([long.tobytes(), short.tobytes()])
    torch.manual_seed(0)
    encoder = TextEncoder(4, 4)
    found = []
    for scope in (nullcontext, zeros_for_denormals):
        table = torch.randn(9, 4, generator=torch.Generator().manual_seed(1), requires_grad=True)
        shrunk = table * 1e-20
        with scope():
            (encoder(batch, shrunk)[1] * 1e-22).sum().backward()
        assert table.grad is not None
        found.append(table.grad)
    plain, flushed = found
    assert (plain[7] != 0).any()
    assert (flushed[7] == 0).all()
    assert (torch.tensor([1e-30]) * 1e-10).item() > 0  # as before


def test_learning_leaves_the_global_generators_alone() -> None:
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002
    agent, envs = build()
    agent.update(envs)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_a_low_temperature_takes_the_best_action_of_each_action_set() -> None:
    agent, _ = build(replace(SMALL, temperature=1e-6))
    six, three = make(), TextEnv("GoToLocal", n_actions=3)
    observations = [env.reset(seed=s)[0] for s in range(3) for env in (six, three)]
    for observation, action in zip(observations, agent.act(observations), strict=True):
        state = agent.encode(observation)
        values = [
            q_value(agent.network, state, agent._encode_piece(phrase))
            for phrase in observation.action_phrases
        ]
        assert values[action] == pytest.approx(max(values), abs=1e-5)


def test_tokens_are_those_of_the_whole_prompt() -> None:
    agent, envs = build()
    tokenizer = train_tokenizer(SMALL.vocab_size)
    for _ in range(4):
        for observation in envs.observations:
            ids = np.frombuffer(agent.encode(observation), TOKEN_DTYPE).tolist()
            assert ids == tokenizer.encode(observation.prompt()).ids
        envs.step(np.array([0, 1, 2]))


def test_a_checkpoint_of_other_sizes_is_refused(tmp_path: Path) -> None:
    agent, _ = build()
    agent.save(tmp_path)
    other, _ = build(replace(SMALL, hidden_size=4))
    with pytest.raises(AgentError, match="does not fit"):
        other.load(tmp_path)


def test_a_replay_that_never_holds_enough_is_refused() -> None:
    with pytest.raises(AgentError, match="a replay of 50 transitions never holds the 64"):
        build(replace(SMALL, replay_capacity=50, learning_starts=64))


def test_a_low_temperature_leaves_nothing_to_chance_in_training_too() -> None:
    agent, envs = build(replace(SMALL, temperature=1e-6))
    assert agent.update(envs)["entropy"] < 0.05
    assert build()[0].update(envs)["entropy"] > 1


def test_gradients_are_cut_to_the_largest_norm() -> None:
    agent, envs = build(replace(SMALL, max_grad_norm=1e-3))
    assert agent.update(envs)["grad_norm"] > 1e-3  # before it is cut
    norms = torch.stack([p.grad.norm() for p in agent.network.parameters() if p.grad is not None])
    assert 0 < float(norms.norm()) <= 1.001e-3


def test_the_value_that_is_told_is_the_largest_q() -> None:
    agent, envs = build()
    agent.update(envs)
    told = agent.policy_output(envs.observations)
    phrases = [agent._encode_piece(phrase) for phrase in ACTIONS]
    for observation, value in zip(envs.observations, told.values, strict=True):
        state = agent.encode(observation)
        expected = max(q_value(agent.network, state, phrase) for phrase in phrases)
        assert value == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_learning_begins_with_as_many_transitions_as_it_says_in_batches_of_the_given_size() -> None:
    agent, envs = build(replace(SMALL, learning_starts=9, steps_per_update=9, rollout_length=3))
    sizes: list[int] = []
    sample = agent.replay.sample
    agent.replay.sample = lambda size, rng: sizes.append(size) or sample(size, rng)
    assert agent.update(envs)["gradient_steps"] == 1
    assert sizes == [8]
