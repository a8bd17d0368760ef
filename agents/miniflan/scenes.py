"""Scenes in the environment's wording, with questions that need reading and nothing else.

A scene is drawn, not played: no environment, no agent, no command to take.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from agents.miniflan.vocabulary import (
    COLOURS,
    NOUNS,
    Colour,
    Exchange,
    Language,
    Noun,
    noun_phrase,
    pseudo_word,
)
from envs.describe import place

_CELLS = tuple((dx, dy) for dx in range(-3, 4) for dy in range(7) if (dx, dy) != (0, 0))
_OWN_NOUNS = tuple(noun for noun in NOUNS if noun.english in ("key", "ball", "box", "door"))
_OWN_COLOURS = tuple(
    colour
    for colour in COLOURS
    if colour.english in ("red", "green", "blue", "purple", "yellow", "grey")
)


@dataclass(frozen=True)
class Thing:
    """A coloured thing somewhere in view: ``dx`` steps right, ``dy`` steps forward."""

    noun: Noun
    colour: Colour
    dx: int
    dy: int

    def name(self, language: Language, article: str = "") -> str:
        """The thing's name, with an article or without."""
        return noun_phrase(self.noun, self.colour, language, article)

    def where(self, language: Language) -> str:
        """The thing's place in words."""
        return place(self.dx, self.dy, language)

    @property
    def steps(self) -> int:
        """Steps to walk there."""
        return abs(self.dx) + self.dy


def draw_things(rng: Random, count: int) -> list[Thing]:
    """Draws a scene of things with different names in different cells.

    Half of the scenes repeat nouns and colours, so that only both together tell two things apart.

    Args:
        rng: Source of randomness.
        count: Number of things, at most 12.

    Returns:
        The things in the order in which the environment would tell of them.
    """
    names = _names(rng, count)
    cells = rng.sample(_CELLS, count)
    things = [Thing(*name, *cell) for name, cell in zip(names, cells, strict=True)]
    return sorted(things, key=lambda thing: (thing.dx, -thing.dy))


def _names(rng: Random, count: int) -> list[tuple[Noun, Colour]]:
    shared = rng.random() < 0.5
    if rng.random() < 0.4:
        nouns, colours = _OWN_NOUNS, _OWN_COLOURS
    else:
        nouns, colours = NOUNS, COLOURS
        if rng.random() < 0.25:
            nouns = tuple(_made_up_noun(rng) for _ in range(count + 2))
        if rng.random() < 0.25:
            colours = tuple(_made_up_colour(rng) for _ in range(count + 2))
    if not shared and len(nouns) >= count and len(colours) >= count:
        return list(zip(rng.sample(nouns, count), rng.sample(colours, count), strict=True))
    few = max(2, (count + 2) // 3)
    some_nouns = rng.sample(nouns, min(len(nouns), few))
    some_colours = rng.sample(colours, min(len(colours), few + 2))
    pairs = [(noun, colour) for noun in some_nouns for colour in some_colours]
    return rng.sample(pairs, count)


def _made_up_noun(rng: Random) -> Noun:
    word = pseudo_word(rng)
    return Noun(word, word, rng.random() < 0.5, "object")


def _made_up_colour(rng: Random) -> Colour:
    word = pseudo_word(rng)
    return Colour(word, word, word, word)


def surroundings(rng: Random, language: Language) -> list[str]:
    """Draws what stands before the things in the environment's views: a load, up to two walls."""
    told = []
    if rng.random() < 0.15:
        name = noun_phrase(*_names(rng, 2)[0], language, "a")
        told.append(f"You carry {name}" if language == "english" else f"Tu portes {name}")
    cells = ((0, rng.randint(1, 6)), (-rng.randint(1, 3), 0), (rng.randint(1, 3), 0))
    wall = "You see a wall" if language == "english" else "Tu vois un mur"
    for index in sorted(rng.sample(range(3), rng.choice((0, 1, 1, 2)))):
        told.append(f"{wall} {place(*cells[index], language)}")
    return told


def sentences(things: Sequence[Thing], language: Language) -> list[str]:
    """Tells of each thing as the environment does."""
    if language == "french":
        return [f"Tu vois {t.name(language, 'a')} {t.where(language)}" for t in things]
    return [f"You see {t.name(language, 'a')} {t.where(language)}" for t in things]


def ask_where(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """Where is the X?"""
    thing = rng.choice(things)
    name = thing.name(language, "the")
    asked = f"Where is {name}?" if language == "english" else f"Où est {name}?"
    return asked, thing.where(language)


def ask_what(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """What stands in a place?"""
    thing = rng.choice(things)
    if language == "english":
        return f"What is {thing.where(language)}?", thing.name(language, "a")
    return f"Qu'y a-t-il {thing.where(language)}?", thing.name(language, "a")


def ask_side(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """On which side is the X? The answers are asked for equally often."""
    sides: dict[int, list[Thing]] = {}
    for thing in things:
        sides.setdefault((thing.dx > 0) - (thing.dx < 0), []).append(thing)
    side = rng.choice(sorted(sides))
    name = rng.choice(sides[side]).name(language, "the")
    if language == "english":
        return f"On which side is {name}?", ("left", "straight ahead", "right")[side + 1]
    return f"De quel côté est {name}?", ("à gauche", "tout droit", "à droite")[side + 1]


def ask_nearest(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """Which thing takes the fewest steps to reach? Where two are as near: where is one?"""
    fewest = min(thing.steps for thing in things)
    nearest = [thing for thing in things if thing.steps == fewest]
    if len(nearest) > 1:
        return ask_where(rng, things, language)
    asked = "Which one is nearest?" if language == "english" else "Lequel est le plus près?"
    return asked, nearest[0].name(language, "a")


def ask_exists(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """Is there an X? Half of the answers are no, about a name made of the scene's own words."""
    present = {(t.noun, t.colour) for t in things}
    absent = [(a.noun, b.colour) for a in things for b in things]
    absent = [pair for pair in absent if pair not in present]
    if absent and rng.random() < 0.5:
        name, there = noun_phrase(*rng.choice(absent), language), False
    else:
        name, there = rng.choice(things).name(language, "a"), True
    if language == "english":
        return f"Is there {name}?", "yes" if there else "no"
    return f"Y a-t-il {name}?", "oui" if there else "non"


def ask_count(rng: Random, things: Sequence[Thing], language: Language) -> Exchange:
    """How many things are there of a kind or of a colour? Numbers are asked for equally often."""
    words = Counter(t.noun.english if language == "english" else t.noun.french for t in things)
    words += Counter(
        t.colour.english if language == "english" else t.colour.masculine for t in things
    )
    number = rng.choice(sorted(set(words.values())))
    word = rng.choice([word for word, found in words.items() if found == number])
    if language == "english":
        return f"How many are called {word}?", str(number)
    return f"Combien s'appellent {word}?", str(number)


QUESTIONS: dict[str, Callable[[Random, Sequence[Thing], Language], Exchange]] = {
    "where": ask_where,
    "what": ask_what,
    "side": ask_side,
    "nearest": ask_nearest,
    "exists": ask_exists,
    "count": ask_count,
}
"""Single questions about one scene, by task name."""
