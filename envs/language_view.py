"""How a split words the world: the one place where text is changed before any agent sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from envs.describe import Language, describe
from envs.lexicon import (
    ACTIONS,
    FRENCH_ACTIONS,
    FRENCH_IDLE_ACTIONS,
    IDLE_ACTIONS,
    french_goal,
    replace_words,
)

Words = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class LanguageView:
    """The wording of goals, sentences and actions.

    Attributes:
        language: ``"english"`` or ``"french"``.
        words: Pairs (old word, new word) applied to goals and sentences, whole words only.
        actions: Phrases of the six commands.
        idle_actions: Phrases of the commands that do nothing (nine-action ablation).
        goal_label: Words that announce the goal, or None for the published ones.

    Raises:
        ValueError: If words are to be replaced in French, or the commands are not six.
    """

    language: Language = "english"
    words: Words = ()
    actions: tuple[str, ...] = ACTIONS
    idle_actions: tuple[str, ...] = IDLE_ACTIONS
    goal_label: str | None = None

    def __post_init__(self) -> None:
        """Checks that the parts fit together."""
        if self.words and self.language != "english":
            raise ValueError("words can only be replaced in the English view")
        if len(self.actions) != len(ACTIONS):
            raise ValueError(f"actions must be {len(ACTIONS)} phrases, got {len(self.actions)}")

    @property
    def max_actions(self) -> int:
        """The largest action set this view has words for."""
        return len(self.actions) + len(self.idle_actions)

    def goal(self, mission: str) -> str:
        """Words MiniGrid's English mission.

        Raises:
            ValueError: If the mission has no French.
        """
        if self.language == "french":
            return french_goal(mission)
        return _reworded(mission, self.words)

    def sentences(
        self,
        image: NDArray[np.integer] | Sequence[Sequence[Sequence[int]]],
        carrying: tuple[str, str] | None,
    ) -> tuple[str, ...]:
        """Describes a view, (columns, rows, 3), and the carried (colour, type) in this wording."""
        described = describe(image, carrying, self.language)
        if not self.words:
            return tuple(described)
        return tuple(_reworded(sentence, self.words) for sentence in described)

    def action_phrases(self, n_actions: int) -> tuple[str, ...]:
        """The first ``n_actions`` commands: 3 for moving only, 6, or up to 9 with idle ones."""
        return (self.actions + self.idle_actions)[:n_actions]


ENGLISH = LanguageView()
FRENCH = LanguageView("french", actions=FRENCH_ACTIONS, idle_actions=FRENCH_IDLE_ACTIONS)


@lru_cache(maxsize=65536)
def _reworded(text: str, words: Words) -> str:
    return replace_words(text, dict(words))
