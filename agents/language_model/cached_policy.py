"""Prompts that come back are scored once.

A wall ahead, nothing to pick up, left and right again: the same view returns. With one view of
history about seven prompts of ten in a rollout or a test were there before, and a third of those of
a minibatch; with three views about one in fifteen, and hardly any.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

import torch
from torch import Tensor

from agents.ppo import Policy
from envs.observation import Observation

_KEPT = 100_000  # about 50 MB

CacheKey = Callable[[Observation], Hashable]
"""What decides the answer about an observation; where it is the same, so is the answer."""


def prompt_and_phrases(observation: Observation) -> Hashable:
    """All that a language model reads."""
    return observation.prompt(), observation.action_phrases


class CachedPolicy:
    """A policy that remembers its answers for as long as the weights stay."""

    def __init__(self, policy: Policy, key: CacheKey = prompt_and_phrases) -> None:
        """Begins with nothing scored.

        Args:
            policy: What is asked about observations whose key is new.
            key: What decides the answer about an observation.
        """
        self._policy = policy
        self._key = key
        self._answers: dict[Hashable, Tensor] = {}

    def __call__(self, observations: Sequence[Observation]) -> tuple[Tensor, Tensor]:
        """Log-policy (batch, n_actions) and values (batch,), as the policy's, without gradient."""
        if len(self._answers) > _KEPT:
            self.clear()
        keys = [*map(self._key, observations)]
        new = {
            key: observation
            for key, observation in zip(keys, observations, strict=True)
            if key not in self._answers
        }
        if new:
            with torch.no_grad():
                log_policy, values = self._policy(tuple(new.values()))
                answers = torch.cat([log_policy, values[:, None]], 1)
            self._answers.update(zip(new, answers.unbind(), strict=True))
        rows = torch.stack([self._answers[key] for key in keys])
        return rows[:, :-1], rows[:, -1]

    def clear(self) -> None:
        """To be called when the weights have changed."""
        self._answers.clear()


def distinct(
    observations: Sequence[Observation], key: CacheKey = prompt_and_phrases
) -> tuple[list[Observation], list[list[int]]]:
    """The observations that have different keys.

    Args:
        observations: (batch,) observations.
        key: What decides the answer about an observation.

    Returns:
        One observation of each key, in the order in which they come, and the indices of all of
        that key.
    """
    alike: dict[Hashable, list[int]] = {}
    for i, found in enumerate(map(key, observations)):
        alike.setdefault(found, []).append(i)
    members = list(alike.values())
    return [observations[rows[0]] for rows in members], members
