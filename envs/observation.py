"""What an agent receives, and the prompt made of it (Carta et al. 2023)."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

ENGLISH_GOAL_LABEL = "Goal of the agent"
FRENCH_GOAL_LABEL = "But de l'agent"


@dataclass(frozen=True)
class Observation:
    """A goal, what was seen and done lately, and the actions to choose from.

    Attributes:
        goal: The mission in words.
        descriptions: One tuple of sentences for each remembered view, oldest first.
        past_actions: Phrases of the actions between those views, oldest first.
        action_phrases: One phrase for each action, in the order of the action indices.
        language: ``"english"`` or ``"french"``; chooses the prompt's own words.
        images: The symbolic views behind ``descriptions``, each (7, 7, 3) uint8, for agents that
            read no text.
        goal_label: Words that announce the goal; by default the language's published ones.
        draw: A uniform number in [0, 1) fixed by the episode and the step alone. An agent that
            samples with it plays an episode the same way in any batch, order or process.
    """

    goal: str
    descriptions: tuple[tuple[str, ...], ...]
    past_actions: tuple[str, ...]
    action_phrases: tuple[str, ...]
    language: str = "english"
    images: tuple[NDArray[np.uint8], ...] | None = field(default=None, compare=False, repr=False)
    goal_label: str | None = None
    draw: float = 0.5

    def prompt(self) -> str:
        """The text that a language model reads; equal to the public code's to the letter.

        Returns:
            Actions, goal, then observations and actions in turn, ending where the next action
            would be named.
        """
        return self._prompt

    @cached_property
    def _prompt(self) -> str:
        actions = ", ".join(self.action_phrases)
        if self.language == "french":
            head = f"Actions possibles pour l'agent: {actions}"
            label = self.goal_label or FRENCH_GOAL_LABEL
        else:
            head = f"Possible action of the agent: {actions}"
            label = self.goal_label or ENGLISH_GOAL_LABEL
        parts = [f"{head} \n {label}: {self.goal}"]
        for i, sentences in enumerate(self.descriptions):
            parts.append(f" \n Observation {i}: ")
            parts.extend(f"{sentence}, " for sentence in sentences)
            parts.append(f"\n Action {i}: ")
            if i < len(self.past_actions):
                parts.append(self.past_actions[i])
        return "".join(parts)


class ObservationSpace(gym.Space[Observation]):
    """The set of all observations, so that Gymnasium's tools accept the environment."""

    def __init__(self, n_actions: int, history: int, seed: int | None = None) -> None:
        """Describes observations of ``n_actions`` phrases and at most ``history`` views."""
        super().__init__(seed=seed)
        self.n_actions = n_actions
        self.history = history

    @property
    def is_np_flattenable(self) -> bool:
        """Observations hold text and cannot be flattened to an array."""
        return False

    def contains(self, x: Any) -> bool:
        """Whether ``x`` is an observation of this shape."""
        return (
            isinstance(x, Observation)
            and len(x.action_phrases) == self.n_actions
            and 1 <= len(x.descriptions) <= self.history
            and len(x.past_actions) == len(x.descriptions) - 1
        )

    def sample(self, mask: Any = None, probability: Any = None) -> Observation:
        """Draws an observation with an empty view (``mask`` and ``probability`` are unused)."""
        return Observation(
            goal="go to the red ball",
            descriptions=((),),
            past_actions=(),
            action_phrases=tuple(f"action {i}" for i in range(self.n_actions)),
            draw=float(self.np_random.random()),
        )

    def __eq__(self, other: object) -> bool:
        """Spaces are equal if they hold the same observations."""
        return (
            isinstance(other, ObservationSpace)
            and self.n_actions == other.n_actions
            and self.history == other.history
        )

    def __hash__(self) -> int:
        """Hashes by what equality compares."""
        return hash((self.n_actions, self.history))

    def __repr__(self) -> str:
        """Shows the two sizes."""
        return f"ObservationSpace(n_actions={self.n_actions}, history={self.history})"
