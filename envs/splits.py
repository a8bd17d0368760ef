"""The evaluation splits Q1 to Q3 and the further published variants, as one table.

Source: Carta et al. 2023, Q1 to Q3 and ablations; word lists from the public code.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from envs import lexicon
from envs.language_view import ENGLISH, FRENCH, LanguageView
from envs.levels import LEVELS

Question = Literal["Q1", "Q2", "Q3", "reference", "variant"]


@dataclass(frozen=True)
class Split:
    """One evaluation setting.

    Attributes:
        name: Name on the command line and in every record.
        title: Name in tables and figures.
        question: The research question it answers; ``"reference"`` for a split that only serves
            to compare another with, ``"variant"`` for those outside the paper's main table.
        level: Level that is played.
        view: Wording of goals, sentences and actions.
        reference: Split that a change of success is measured against.
        version: Raised whenever the same seed would give another prompt.
    """

    name: str
    title: str
    question: Question
    level: str = "MixedTrainLocal"
    view: LanguageView = ENGLISH
    reference: str | None = "train"
    version: int = 1

    def __post_init__(self) -> None:
        """Checks that the level exists."""
        if self.level not in LEVELS:
            raise ValueError(f"split {self.name!r} names the unknown level {self.level!r}")


def _reworded(*lists: Mapping[str, str]) -> LanguageView:
    return LanguageView(words=tuple(pair for words in lists for pair in words.items()))


_TABLE = (
    Split("train", "Train tasks", "Q1", reference=None),
    Split("renamed-nouns", "Renamed nouns", "Q2", view=_reworded(lexicon.RENAMED_NOUNS)),
    Split(
        "invented-words",
        "Invented words",
        "Q2",
        view=_reworded(lexicon.INVENTED_NOUNS, lexicon.INVENTED_ADJECTIVES),
    ),
    Split("new-composition", "New composition", "Q3", level="PickUpSeqPickUpLocal"),
    Split(
        "synonym-actions",
        "Synonym actions",
        "Q3",
        view=LanguageView(actions=lexicon.SYNONYM_ACTIONS),
    ),
    Split(
        "french-goto",
        "French go to",
        "Q3",
        level="GoToLocal",
        view=FRENCH,
        reference="english-goto",
    ),
    Split("english-goto", "English go to", "reference", level="GoToLocal", reference=None),
    Split("held-out-pairs", "Held-out pairs", "variant", level="MixedTestLocal"),
    Split(
        "invented-nouns",
        "Invented nouns",
        "variant",
        view=_reworded(lexicon.INVENTED_NOUNS),
    ),
    Split(
        "invented-adjectives",
        "Invented adjectives",
        "variant",
        view=_reworded(lexicon.INVENTED_ADJECTIVES),
    ),
    Split(
        "adjective-synonyms",
        "Adjective synonyms",
        "variant",
        view=_reworded(lexicon.ADJECTIVE_SYNONYMS),
    ),
    Split(
        "goal-would-like",
        "Goal: I would like",
        "variant",
        view=LanguageView(goal_label="I would like the agent to"),
    ),
    Split(
        "goal-have-to",
        "Goal: you have to",
        "variant",
        view=LanguageView(goal_label="You have to"),
    ),
    Split(
        "synonym-actions-2",
        "Synonym actions 2",
        "variant",
        view=LanguageView(actions=lexicon.SECOND_SYNONYM_ACTIONS),
    ),
    Split(
        "pick-up-then-go-to",
        "Pick up, then go to",
        "variant",
        level="PickUpThenGoToLocal",
    ),
    Split(
        "go-to-after-pick-up",
        "Go to after pick up",
        "variant",
        level="GoToAfterPickUpLocal",
    ),
)
SPLITS: Mapping[str, Split] = MappingProxyType({split.name: split for split in _TABLE})

ARTICLE_SPLITS = tuple(s.name for s in _TABLE if s.question != "variant")
"""The rows of the paper's main table, in its order."""

TEST_SEED_BASE = 1_000_000_000
"""First test seed; training seeds lie above ``2**32`` and never meet these."""


def evaluation_seeds(count: int) -> tuple[int, ...]:
    """The fixed test episodes: the same for every agent and every split.

    Args:
        count: Number of episodes.

    Returns:
        ``count`` seeds; a longer list starts with the shorter one.
    """
    return tuple(range(TEST_SEED_BASE, TEST_SEED_BASE + count))
