"""Every word the benchmark puts in place of another: renamed, invented, synonymous, French.

Source: Carta et al. 2023 (Q2 and Q3) and its public code for the word lists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType

ACTIONS = ("turn left", "turn right", "go forward", "pick up", "drop", "toggle")
"""The six commands, in the order of MiniGrid's actions 0 to 5."""
IDLE_ACTIONS = ("sleep", "do nothing", "think")
"""Commands of the nine-action ablation that do nothing."""

SYNONYM_ACTIONS = (
    "rotate left",
    "rotate right",
    "move ahead",
    "take",
    "release",
    "switch",
)
SECOND_SYNONYM_ACTIONS = (
    "shift left",
    "shift right",
    "go ahead",
    "take",
    "release",
    "turn",
)
FRENCH_ACTIONS = (
    "tourner à gauche",
    "tourner à droite",
    "aller tout droit",
    "attraper",
    "lâcher",
    "basculer",
)
FRENCH_IDLE_ACTIONS = ("dormir", "ne rien faire", "réfléchir")  # the public code: "penser"

RENAMED_NOUNS = {"key": "chair", "ball": "table", "box": "car"}
INVENTED_NOUNS = {"key": "dax", "ball": "xolo", "box": "afze"}
INVENTED_ADJECTIVES = {
    "red": "faze",
    "green": "jatu",
    "blue": "croh",
    "purple": "vurst",
    "yellow": "gakul",
    "grey": "sil",
}
ADJECTIVE_SYNONYMS = {
    "red": "vermilion",
    "green": "jade",
    "blue": "cyan",
    "purple": "violet",
    "yellow": "golden",
    "grey": "silver",
}

ENGLISH_DOOR_STATES = ("open", "closed", "locked")
FRENCH_DOOR_STATES = ("ouverte", "fermée", "fermée à clef")

# noun -> (French noun, whether it is feminine); the agent's own world uses the first four.
_FRENCH_NOUNS: Mapping[str, tuple[str, bool]] = MappingProxyType(
    {
        "key": ("clef", True),
        "ball": ("balle", True),
        "box": ("boîte", True),
        "door": ("porte", True),
        "goal": ("cible", True),
        "lava": ("lave", True),
        "object": ("objet", False),
        "wall": ("mur", False),
    }
)
_FRENCH_COLOURS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "red": ("rouge", "rouge"),
        "green": ("vert", "verte"),
        "blue": ("bleu", "bleue"),
        "purple": ("violet", "violette"),
        "yellow": ("jaune", "jaune"),
        "grey": ("gris", "grise"),
    }
)
_FRENCH_LOCATIONS = {
    "on your left": "à ta gauche",
    "on your right": "à ta droite",
    "in front of you": "devant toi",
    "behind you": "derrière toi",
}

_NOUN_PHRASE = re.compile(
    r"(?P<article>the|a) (?:(?P<colour>{colours}) )?(?P<noun>{nouns})"
    r"(?: (?P<place>{places}))?".format(
        colours="|".join(_FRENCH_COLOURS),
        nouns="|".join(_FRENCH_NOUNS),
        places="|".join(_FRENCH_LOCATIONS),
    )
)
# verb -> (infinitive, "after having done so")
_FRENCH_VERBS = {
    "go to": ("aller à", "après être allé à"),
    "pick up": ("attraper", "après avoir attrapé"),
    "open": ("ouvrir", "après avoir ouvert"),
}


def replace_words(text: str, words: Mapping[str, str]) -> str:
    """Replaces whole words, case-sensitively, all at once.

    Args:
        text: Any text.
        words: Old word to new word.

    Returns:
        The text in which no key of ``words`` stands as a word any more, unless put there as a
        replacement of another.
    """
    if not words:
        return text
    return _whole_words(tuple(words)).sub(lambda match: words[match.group()], text)


@lru_cache(maxsize=64)
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    alternatives = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    return re.compile(rf"(?<!\w)(?:{alternatives})(?!\w)")


def french_noun_phrase(noun: str, colour: str | None = None, article: str = "a") -> str:
    """Puts an object into French, with article and colour agreeing in gender.

    Args:
        noun: MiniGrid's object type, or ``"object"``.
        colour: MiniGrid's colour name, or None.
        article: ``"a"`` or ``"the"``.

    Returns:
        For example ``"une clef rouge"``.

    Raises:
        ValueError: If noun, colour or article has no translation.
    """
    if noun not in _FRENCH_NOUNS:
        raise ValueError(f"no French word for {noun!r}")
    if colour is not None and colour not in _FRENCH_COLOURS:
        raise ValueError(f"no French word for the colour {colour!r}")
    if article not in ("a", "the"):
        raise ValueError(f"article must be 'a' or 'the', got {article!r}")
    word, feminine = _FRENCH_NOUNS[noun]
    if article == "a":
        determiner = "une " if feminine else "un "
    else:
        determiner = "l'" if word[0] in "aeiouh" else ("la " if feminine else "le ")
    adjective = "" if colour is None else f" {_FRENCH_COLOURS[colour][feminine]}"
    return f"{determiner}{word}{adjective}"


@lru_cache(maxsize=65536)
def french_goal(goal: str) -> str:
    """Translates a mission of BabyAI's language into French.

    The article is the goal's own ("the" gives "la", "a" gives "une"); the public code gets it
    wrong whenever the goal holds a letter "a".

    Args:
        goal: Mission in English.

    Returns:
        The mission in French.

    Raises:
        ValueError: If the goal is not of BabyAI's language.
    """
    first, then, second = goal.partition(", then ")
    if then:
        return f"{_french_clauses(first)}, puis {_french_clauses(second)}"
    second, after, first = goal.partition(" after you ")
    if after:
        return f"{_french_clauses(second)} {_french_clauses(first, done=True)}"
    return _french_clauses(goal)


def _french_clauses(text: str, done: bool = False) -> str:
    return " et ".join(_french_clause(clause, done) for clause in text.split(" and "))


def _french_clause(clause: str, done: bool) -> str:
    moved, put, fixed = clause.partition(" next to ")
    if put and moved.startswith("put "):
        verb = "après avoir mis" if done else "mettre"
        beside = _french_object(fixed)
        # "de" elides before "une", and contracts with "le".
        beside = f"d'{beside}" if beside.startswith("un") else f"de {beside}"
        beside = beside.replace("de le ", "du ", 1)
        return f"{verb} {_french_object(moved.removeprefix('put '))} à côté {beside}"
    for english, (infinitive, past) in _FRENCH_VERBS.items():
        if clause.startswith(f"{english} "):
            translated = _french_object(clause.removeprefix(f"{english} "))
            phrase = f"{past if done else infinitive} {translated}"
            return phrase.replace(" à le ", " au ", 1)
    raise ValueError(f"no French for the goal {clause!r}")


def _french_object(text: str) -> str:
    match = _NOUN_PHRASE.fullmatch(text)
    if match is None:
        raise ValueError(f"no French for the object {text!r}")
    phrase = french_noun_phrase(match["noun"], match["colour"], match["article"])
    place = match["place"]
    return phrase if place is None else f"{phrase} {_FRENCH_LOCATIONS[place]}"
