"""Advantages and losses against hand-written recursions."""

import math

import numpy as np
import pytest
import torch

from agents.ppo import collect_rollout, explained_variance, generalized_advantages, ppo_loss
from envs import TextEnv, VectorEnv

LOSS_OPTIONS = {
    "clip": 0.2,
    "clip_value": 0.2,
    "entropy_coefficient": 0.01,
    "value_coefficient": 0.5,
}


def by_hand(rewards, values, done, last, gamma, lam):
    """Sums the exponentially weighted TD errors of each step directly (GAE, equation 16)."""
    length, n_envs = rewards.shape
    out = np.zeros((length, n_envs))
    for i in range(n_envs):
        for t in range(length):
            weight, total = 1.0, 0.0
            for k in range(t, length):
                following = last[i] if k + 1 == length else values[k + 1, i]
                delta = rewards[k, i] + gamma * following * (1 - done[k, i]) - values[k, i]
                total += weight * delta
                if done[k, i]:
                    break
                weight *= gamma * lam
            out[t, i] = total
    return out


@pytest.mark.parametrize("gae_lambda", [0.0, 0.7, 1.0])
def test_advantages_equal_the_sum_of_weighted_errors(gae_lambda: float) -> None:
    rng = np.random.default_rng(0)
    rewards, values = rng.normal(size=(2, 30, 4))
    done = (rng.random((30, 4)) < 0.15).astype(float)
    last = rng.normal(size=4)
    advantages, returns = generalized_advantages(
        *(torch.from_numpy(x) for x in (rewards, values, done, last)),
        gamma=0.9,
        gae_lambda=gae_lambda,
    )
    expected = by_hand(rewards, values, done, last, 0.9, gae_lambda)
    np.testing.assert_allclose(advantages.numpy(), expected, atol=1e-12)
    np.testing.assert_allclose(returns.numpy(), expected + values, atol=1e-12)


def test_with_lambda_one_returns_are_discounted_sums() -> None:
    rewards = torch.tensor([[0.0], [0.0], [1.0], [0.0]])
    done = torch.tensor([[0.0], [0.0], [1.0], [0.0]])
    values = torch.tensor([[0.3], [-0.2], [0.7], [0.1]])
    _, returns = generalized_advantages(
        rewards, values, done, torch.tensor([2.0]), gamma=0.5, gae_lambda=1.0
    )
    torch.testing.assert_close(returns, torch.tensor([[0.25], [0.5], [1.0], [1.0]]))


def test_shapes_that_would_broadcast_are_refused() -> None:
    """Returns of shape [16] against values of shape [16, 1] regress every value to every return."""
    batch = 16
    log_policy = torch.full((batch, 6), -math.log(6))
    vector = torch.zeros(batch)
    actions = torch.zeros(batch, dtype=torch.long)
    good = [log_policy, vector, actions, vector, vector, vector, vector]
    ppo_loss(*good, **LOSS_OPTIONS)
    for i in range(1, 7):
        bad = list(good)
        bad[i] = bad[i][:, None]
        with pytest.raises(ValueError, match="shape"):
            ppo_loss(*bad, **LOSS_OPTIONS)
    column = torch.zeros(5, 1)
    with pytest.raises(ValueError, match="must agree"):
        generalized_advantages(column, column, column[:, 0], column[0], gamma=0.9, gae_lambda=0.9)


def test_loss_equals_a_loop_over_the_batch() -> None:
    torch.manual_seed(0)
    batch = 32
    log_policy = torch.log_softmax(torch.randn(batch, 6), 1)
    actions = torch.randint(0, 6, (batch,))
    old_log_probs = log_policy[range(batch), actions] + 0.3 * torch.randn(batch)
    values, old_values, advantages, returns = torch.randn(4, batch)
    found = ppo_loss(
        log_policy, values, actions, old_log_probs, old_values, advantages, returns, **LOSS_OPTIONS
    )
    policy = value = entropy = kl = clipped = 0.0
    for i in range(batch):
        ratio = math.exp(float(log_policy[i, actions[i]] - old_log_probs[i]))
        kept = min(max(ratio, 0.8), 1.2)
        advantage = float(advantages[i])
        policy -= min(ratio * advantage, kept * advantage) / batch
        v, v0, r = float(values[i]), float(old_values[i]), float(returns[i])
        near = v0 + min(max(v - v0, -0.2), 0.2)
        value += max((v - r) ** 2, (near - r) ** 2) / batch
        entropy -= sum(math.exp(x) * x for x in log_policy[i].tolist()) / batch
        kl += (ratio - 1 - math.log(ratio)) / batch
        clipped += (abs(ratio - 1) > 0.2) / batch
    wanted = (policy + 0.5 * value - 0.01 * entropy, policy, value, entropy, kl, clipped)
    torch.testing.assert_close(torch.stack(found), torch.tensor(wanted), atol=1e-5, rtol=1e-5)
    assert 0 < clipped < 1


def test_nothing_is_learned_from_a_ratio_that_is_already_clipped() -> None:
    log_policy = torch.log_softmax(torch.tensor([[2.0, 0.0]]), 1).requires_grad_()
    zero = torch.zeros(1)
    loss = ppo_loss(
        log_policy,
        zero,
        torch.tensor([0]),
        torch.tensor([-2.0]),
        zero,
        torch.ones(1),
        zero,
        **{**LOSS_OPTIONS, "entropy_coefficient": 0.0},
    )
    loss.loss.backward()
    assert torch.equal(log_policy.grad, torch.zeros(1, 2))


class Fixed:
    """A uniform policy whose value is the number of views in the observation."""

    def __call__(self, observations):
        n = len(observations)
        return torch.full((n, 6), -math.log(6)), torch.tensor(
            [float(len(o.descriptions)) for o in observations]
        )


@pytest.mark.parametrize("bootstrap", [False, True])
def test_a_timeout_is_bootstrapped_only_if_asked(bootstrap: bool) -> None:
    envs = VectorEnv(lambda: TextEnv("GoToLocal", max_steps=4), 3, seed=1)
    rollout = collect_rollout(
        envs,
        Fixed(),
        25,
        generator=torch.Generator().manual_seed(0),
        gamma=0.5,
        reward_scale=20.0,
        bootstrap_on_timeout=bootstrap,
    )
    ends = [(e.steps - 1) // 3 for e in envs.pop_episodes() if e.truncated]
    assert len(ends) > 3
    cut = rollout.done.bool() & ((rollout.rewards == 0) | (rollout.rewards == 1.5))
    assert int(cut.sum()) == len(ends)
    # At a time-out the last view holds three remembered ones: 0.5 × 3.
    assert torch.all(rollout.rewards[cut] == (1.5 if bootstrap else 0.0))
    solved = rollout.done.bool() & ~cut
    assert torch.all(rollout.rewards[solved] > 2.0)
    assert rollout.values.shape == rollout.actions.shape == (25, 3)
    assert len(rollout.flat_observations()) == 75


def test_what_comes_after_a_rollout_is_valued_by_the_view_after_its_last_step() -> None:
    envs = VectorEnv(lambda: TextEnv("GoToLocal"), 3, seed=1)
    rollout = collect_rollout(
        envs,
        Fixed(),
        1,
        generator=torch.Generator().manual_seed(0),
        gamma=0.5,
        reward_scale=20.0,
        bootstrap_on_timeout=False,
    )
    assert rollout.values.tolist() == [[1.0, 1.0, 1.0]]
    assert rollout.last_values.tolist() == [2.0, 2.0, 2.0]


def test_explained_variance_is_one_at_best_and_zero_of_one_transition() -> None:
    returns = torch.tensor([[1.0, 2.0], [4.0, 5.0]])
    assert explained_variance(returns, returns) == 1
    assert explained_variance(torch.zeros(2, 2), returns) == pytest.approx(0)
    assert explained_variance(torch.zeros(1, 1), torch.ones(1, 1)) == 0
