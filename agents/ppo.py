"""Proximal policy optimisation: rollout storage, advantages and the clipped loss.

Source: Schulman et al. 2017 (PPO), Schulman et al. 2016 (GAE), with the settings of Carta et al.
2023. Every function checks shapes: the public code subtracts returns of shape [batch]
from values of shape [batch, 1], which silently regresses every value to every return.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from envs.observation import Observation
from envs.vector import VectorEnv

Policy = Callable[[tuple[Observation, ...]], tuple[Tensor, Tensor]]
"""Maps observations to action log-probabilities (batch, n_actions) and values (batch,)."""


@dataclass(frozen=True)
class Rollout:
    """What ``n_envs`` environments gave in ``length`` steps; tensors are (length, n_envs).

    Attributes:
        observations: ``length`` tuples of ``n_envs`` observations.
        actions: int64 action indices.
        log_probs: Log-probability of each action when it was taken.
        values: Value estimates when the action was taken.
        rewards: Scaled rewards.
        done: 1 where the episode ended with this step, else 0.
        last_values: (n_envs,) values of the observations after the last step.
    """

    observations: Sequence[tuple[Observation, ...]]
    actions: Tensor
    log_probs: Tensor
    values: Tensor
    rewards: Tensor
    done: Tensor
    last_values: Tensor

    def flat_observations(self) -> list[Observation]:
        """All observations in the order of ``tensor.flatten()``: step by step, then env by env."""
        return [observation for step in self.observations for observation in step]


def explained_variance(values: Tensor, returns: Tensor) -> float:
    """1 - Var(returns - values) / Var(returns): 1 if the values tell all; 0 of one transition."""
    if returns.numel() < 2:
        return 0.0
    return float(1 - (returns - values).var() / returns.var().clamp_min(1e-8))


@torch.no_grad()
def collect_rollout(
    envs: VectorEnv,
    policy: Policy,
    length: int,
    *,
    generator: torch.Generator,
    gamma: float,
    reward_scale: float,
    bootstrap_on_timeout: bool,
) -> Rollout:
    """Plays ``length`` steps in every environment with actions sampled from the policy.

    Args:
        envs: The training environments, which go on from where they are.
        policy: Log-probabilities and values of a batch of observations.
        length: Steps in each environment.
        generator: CPU generator that the actions are sampled with.
        gamma: Discount, for the bootstrap at a time limit.
        reward_scale: Factor on every reward (the paper's 20).
        bootstrap_on_timeout: Whether the value of the last view is added where the time limit
            ended an episode; the published code treats it as an ordinary end.

    Returns:
        The rollout.
    """
    seen, actions, log_probs, values, rewards, done = [], [], [], [], [], []
    for _ in range(length):
        observations = envs.observations
        log_policy, value = policy(observations)
        log_policy, value = log_policy.float().cpu(), value.float().cpu()
        action = torch.multinomial(log_policy.exp(), 1, generator=generator).squeeze(1)
        result = envs.step(action.numpy())
        reward = torch.from_numpy(result.rewards) * reward_scale
        if bootstrap_on_timeout and result.truncated.any():
            cut = torch.from_numpy(result.truncated)
            last_views = tuple(
                view
                for view, out_of_time in zip(
                    result.final_observations, result.truncated, strict=True
                )
                if view is not None and out_of_time
            )
            reward[cut] += gamma * policy(last_views)[1].float().cpu()
        seen.append(observations)
        actions.append(action)
        log_probs.append(log_policy.gather(1, action[:, None]).squeeze(1))
        values.append(value)
        rewards.append(reward)
        done.append(torch.from_numpy(result.done.astype(np.float32)))
    return Rollout(
        observations=seen,
        actions=torch.stack(actions),
        log_probs=torch.stack(log_probs),
        values=torch.stack(values),
        rewards=torch.stack(rewards),
        done=torch.stack(done),
        last_values=policy(envs.observations)[1].float().cpu(),
    )


def generalized_advantages(
    rewards: Tensor,
    values: Tensor,
    done: Tensor,
    last_values: Tensor,
    *,
    gamma: float,
    gae_lambda: float,
) -> tuple[Tensor, Tensor]:
    """Generalised advantage estimation (Schulman et al. 2016, equation 16).

    Args:
        rewards: (length, n_envs).
        values: (length, n_envs).
        done: (length, n_envs), 1 where an episode ended with the step.
        last_values: (n_envs,) values after the last step.
        gamma: Discount.
        gae_lambda: Trade-off between bias and variance.

    Returns:
        Advantages and returns (advantages + values), each (length, n_envs).

    Raises:
        ValueError: If the shapes do not fit.
    """
    if not rewards.shape == values.shape == done.shape or last_values.shape != rewards.shape[1:]:
        raise ValueError(
            f"rewards {tuple(rewards.shape)}, values {tuple(values.shape)}, done "
            f"{tuple(done.shape)} must agree, last_values {tuple(last_values.shape)} lack the first"
        )
    advantages = torch.zeros_like(rewards)
    running = torch.zeros_like(last_values)
    following = last_values
    for t in range(len(rewards) - 1, -1, -1):
        alive = 1.0 - done[t]
        delta = rewards[t] + gamma * following * alive - values[t]
        running = delta + gamma * gae_lambda * alive * running
        advantages[t] = running
        following = values[t]
    return advantages, advantages + values


class PPOLoss(NamedTuple):
    """The parts of the loss, each a scalar averaged over the minibatch."""

    loss: Tensor
    policy_loss: Tensor
    value_loss: Tensor
    entropy: Tensor
    approximate_kl: Tensor
    clipped_fraction: Tensor


def ppo_loss(
    log_policy: Tensor,
    values: Tensor,
    actions: Tensor,
    old_log_probs: Tensor,
    old_values: Tensor,
    advantages: Tensor,
    returns: Tensor,
    *,
    clip: float,
    clip_value: float,
    entropy_coefficient: float,
    value_coefficient: float,
) -> PPOLoss:
    """The clipped surrogate objective (Schulman et al. 2017, equations 7 and 9) as a loss.

    The value loss is clipped like the ratio, as in BabyAI's PPO: the larger of the squared errors
    of the value and of the value kept within ``clip_value`` of its old estimate.

    Args:
        log_policy: (batch, n_actions) log-probabilities under the current policy.
        values: (batch,) current value estimates.
        actions: (batch,) actions taken.
        old_log_probs: (batch,) their log-probabilities when taken.
        old_values: (batch,) value estimates then.
        advantages: (batch,).
        returns: (batch,).
        clip: Clipping range of the ratio.
        clip_value: Clipping range of the value.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.

    Returns:
        The loss and its parts.

    Raises:
        ValueError: If any of the vectors is not of shape (batch,).
    """
    batch = (len(log_policy),)
    vectors = (values, actions, old_log_probs, old_values, advantages, returns)
    if any(vector.shape != batch for vector in vectors):
        shapes = ", ".join(str(tuple(vector.shape)) for vector in vectors)
        raise ValueError(f"every vector must have shape {batch}, got {shapes}")
    log_probs = log_policy.gather(1, actions[:, None]).squeeze(1)
    log_ratio = log_probs - old_log_probs
    ratio = log_ratio.exp()
    surrogate = torch.min(ratio * advantages, ratio.clamp(1 - clip, 1 + clip) * advantages)
    kept = old_values + (values - old_values).clamp(-clip_value, clip_value)
    value_loss = torch.max((values - returns) ** 2, (kept - returns) ** 2).mean()
    entropy = -(log_policy.exp() * log_policy).sum(1).mean()
    policy_loss = -surrogate.mean()
    total = policy_loss + value_coefficient * value_loss - entropy_coefficient * entropy
    with torch.no_grad():
        kl = ((ratio - 1) - log_ratio).mean()
        clipped = ((ratio - 1).abs() > clip).float().mean()
    return PPOLoss(total, policy_loss, value_loss, entropy, kl, clipped)
