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

Question = Callable[[Observation], Hashable]
"""What a model is asked about an observation; where it is the same, so is the answer."""


def prompt_and_phrases(observation: Observation) -> Hashable:
    """All that a language model reads."""
    return observation.prompt(), observation.action_phrases


class Recall:
    """A policy that remembers its answers for as long as the weights stay."""

    def __init__(self, policy: Policy, question: Question = prompt_and_phrases) -> None:
        """Begins with nothing scored.

        Args:
            policy: What is asked about observations that ask something new.
            question: What an observation asks.
        """
        self._policy = policy
        self._question = question
        self._answers: dict[Hashable, Tensor] = {}

    def __call__(self, observations: Sequence[Observation]) -> tuple[Tensor, Tensor]:
        """Log-policy (batch, n_actions) and values (batch,), as the policy's, without gradient."""
        if len(self._answers) > _KEPT:
            self.forget()
        asked = [*map(self._question, observations)]
        new = {
            question: observation
            for question, observation in zip(asked, observations, strict=True)
            if question not in self._answers
        }
        if new:
            with torch.no_grad():
                log_policy, values = self._policy(tuple(new.values()))
                answers = torch.cat([log_policy, values[:, None]], 1)
            self._answers.update(zip(new, answers.unbind(), strict=True))
        rows = torch.stack([self._answers[question] for question in asked])
        return rows[:, :-1], rows[:, -1]

    def forget(self) -> None:
        """To be called when the weights have changed."""
        self._answers.clear()


def distinct(
    observations: Sequence[Observation], question: Question = prompt_and_phrases
) -> tuple[list[Observation], list[list[int]]]:
    """The observations that ask something different.

    Args:
        observations: (batch,) observations.
        question: What an observation asks.

    Returns:
        One observation of each kind, in the order in which they come, and the indices of all of
        that kind.
    """
    alike: dict[Hashable, list[int]] = {}
    for i, asked in enumerate(map(question, observations)):
        alike.setdefault(asked, []).append(i)
    members = list(alike.values())
    return [observations[rows[0]] for rows in members], members
