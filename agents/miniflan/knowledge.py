"""Word knowledge and translation: questions without a scene."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from agents.miniflan.vocabulary import (
    COLOURS,
    NOUNS,
    OPPOSITES,
    SYNONYMS,
    VERBS_IN_FRENCH,
    Exchange,
    noun_phrase,
)
from envs.describe import place


def synonym(rng: Random) -> Exchange:
    """Another word for X: the group's first word for any other, and a choice for the first."""
    group = rng.choice(SYNONYMS)
    right = rng.choice(group[1:])
    if rng.random() < 0.5:
        return f"What is a plain word for {right}?", group[0]
    wrong = rng.choice([other for other in SYNONYMS if other is not group])
    return _choice(rng, f"Which means {group[0]}?", right, rng.choice(wrong[1:]))


def same(rng: Random) -> Exchange:
    """Do two words mean the same? Half do."""
    group = rng.choice(SYNONYMS)
    if rng.random() < 0.5:
        one, other = rng.sample(group, 2)
        return f"Does {one} mean {other}?", "yes"
    elsewhere = rng.choice([g for g in SYNONYMS if g is not group])
    return f"Does {rng.choice(group)} mean {rng.choice(elsewhere)}?", "no"


def opposite(rng: Random) -> Exchange:
    """The opposite of X."""
    pair = list(rng.choice(OPPOSITES))
    rng.shuffle(pair)
    return f"What is the opposite of {pair[0]}?", pair[1]


def category(rng: Random) -> Exchange:
    """What kind of thing is X?"""
    noun = rng.choice(NOUNS)
    if rng.random() < 0.5:
        return f"What kind of thing is a {noun.english}?", noun.category
    wrong = rng.choice([other for other in NOUNS if other.category != noun.category])
    asked = f"Which is of the kind {noun.category}?"
    return _choice(rng, asked, noun.english, wrong.english)


def shade(rng: Random) -> Exchange:
    """The plain colour of a shade."""
    colour = rng.choice(COLOURS)
    return f"What colour is {colour.english}?", colour.family


def translation(rng: Random) -> Exchange:
    """A word, a named thing, a place or an instruction from English to French or back."""
    kind = rng.randrange(4)
    noun, colour = rng.choice(NOUNS), rng.choice(COLOURS)
    if kind == 0:
        english, french = rng.choice(
            (
                (noun.english, noun.french),
                (colour.english, colour.masculine),
                rng.choice(VERBS_IN_FRENCH),
            )
        )
    elif kind == 1:
        article = rng.choice(("a", "the"))
        english = noun_phrase(noun, colour, "english", article)
        french = noun_phrase(noun, colour, "french", article)
    elif kind == 2:
        dx, dy = rng.randint(-3, 3), rng.randint(1, 6)
        english, french = place(dx, dy, "english"), place(dx, dy, "french")
    else:
        verb, verb_in_french = rng.choice(VERBS_IN_FRENCH[:8])
        english = f"{verb} {noun_phrase(noun, colour, 'english', 'the')}"
        french = f"{verb_in_french} {noun_phrase(noun, colour, 'french', 'the')}"
    if rng.random() < 0.5:
        return f"Translate to French: {english}", french
    return f"Translate to English: {french}", english


def _choice(rng: Random, question: str, right: str, wrong: str) -> Exchange:
    options = [right, wrong]
    rng.shuffle(options)
    return f"Possible answer: {', '.join(options)} \n {question}", right


KNOWLEDGE: dict[str, Callable[[Random], Exchange]] = {
    "synonym": synonym,
    "same": same,
    "opposite": opposite,
    "category": category,
    "shade": shade,
    "translation": translation,
}
"""Questions without a scene, by task name."""
