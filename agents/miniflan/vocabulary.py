"""The words that MiniFlan is taught, read from the tables in ``words/``."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Literal

from envs.lexicon import INVENTED_ADJECTIVES, INVENTED_NOUNS

Language = Literal["english", "french"]

Exchange = tuple[str, str]
"""A question and its answer."""

_TABLES = Path(__file__).parent / "words"
_ONSETS = ("b", "br", "d", "f", "fl", "g", "h", "k", "l", "m", "n", "p", "pl", "r", "s", "st", "t")
_VOWELS = ("a", "e", "i", "o", "u", "oo", "ai")
_CODAS = ("", "", "b", "d", "k", "l", "m", "n", "p", "r", "s", "sh", "t", "x")
_NEVER = frozenset((*INVENTED_NOUNS.values(), *INVENTED_ADJECTIVES.values()))


@dataclass(frozen=True)
class Noun:
    """A thing, in English and French, with its category."""

    english: str
    french: str
    feminine: bool
    category: str


@dataclass(frozen=True)
class Colour:
    """A colour: its French forms, and the plain colour it is a kind of."""

    english: str
    masculine: str
    feminine: str
    family: str


def _rows(name: str) -> list[dict[str, str]]:
    with (_TABLES / f"{name}.csv").open(encoding="utf-8", newline="") as table:
        return list(csv.DictReader(table))


NOUNS = tuple(
    Noun(row["english"], row["french"], row["gender"] == "f", row["category"])
    for row in _rows("nouns")
)
COLOURS = tuple(
    Colour(row["english"], row["masculine"], row["feminine"], row["family"])
    for row in _rows("colours")
)
SYNONYMS: tuple[tuple[str, ...], ...] = tuple(
    (row["word"], *row["synonyms"].split("; ")) for row in _rows("synonyms")
)
VERBS_IN_FRENCH = tuple((row["word"], row["french"]) for row in _rows("synonyms"))
OPPOSITES = tuple((row["word"], row["opposite"]) for row in _rows("opposites"))


def noun_phrase(noun: Noun, colour: Colour, language: Language, article: str = "a") -> str:
    """Names a coloured thing, with French articles and colours agreeing in gender.

    Args:
        noun: The thing.
        colour: Its colour.
        language: ``"english"`` or ``"french"``.
        article: ``"a"``, ``"the"`` or ``""``.

    Returns:
        For example ``"the red ball"`` or ``"une balle rouge"``.
    """
    if language == "english":
        return f"{article} {colour.english} {noun.english}".strip()
    adjective = colour.feminine if noun.feminine else colour.masculine
    if article == "a":
        determiner = "une " if noun.feminine else "un "
    elif article == "the":
        # An h in the table is mute.
        vowel = noun.french[0] in "aeiouhéêîœ"
        determiner = "l'" if vowel else "la " if noun.feminine else "le "
    else:
        determiner = ""
    return f"{determiner}{noun.french} {adjective}"


def pseudo_word(rng: Random) -> str:
    """Makes up a word, so that names are bound by their letters and not only by heart.

    Args:
        rng: Source of randomness.

    Returns:
        One or two syllables; never an invented word of the Q2 splits.
    """
    while True:
        word = "".join(
            rng.choice(_ONSETS) + rng.choice(_VOWELS) + rng.choice(_CODAS)
            for _ in range(rng.randint(1, 2))
        )
        if word not in _NEVER:
            return word
