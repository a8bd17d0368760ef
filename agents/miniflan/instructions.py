"""Instructions of one or two steps, with questions about their order and their objects."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from agents.miniflan.scenes import Thing
from agents.miniflan.vocabulary import Language

_VERBS = {
    "english": ("go to", "pick up", "open", "look at", "take", "find"),
    "french": ("regarder", "attraper", "ouvrir", "prendre", "trouver", "chercher"),
}
_DONE = {
    "regarder": "avoir regardé",
    "attraper": "avoir attrapé",
    "ouvrir": "avoir ouvert",
    "prendre": "avoir pris",
    "trouver": "avoir trouvé",
    "chercher": "avoir cherché",
}


@dataclass(frozen=True)
class Instruction:
    """Steps in the order in which they are to be done, and their wording.

    Attributes:
        text: The whole sentence.
        steps: Each step in words, first to last.
        things: The thing each step is about.
    """

    text: str
    steps: tuple[str, ...]
    things: tuple[Thing, ...]


def draw_instruction(
    rng: Random, things: list[Thing], language: Language, steps: int
) -> Instruction:
    """Draws an instruction about things of a scene, in the grammar of BabyAI's missions.

    Args:
        rng: Source of randomness.
        things: At least ``steps`` things.
        language: ``"english"`` or ``"french"``.
        steps: 1 or 2.

    Returns:
        The instruction; of two steps, it says "A, then B" or "B after you A".
    """
    chosen = rng.sample(things, steps)
    verbs = [rng.choice(_VERBS[language]) for _ in chosen]
    article = rng.choice(("a", "the"))
    names = [thing.name(language, article) for thing in chosen]
    clauses = [f"{verb} {name}" for verb, name in zip(verbs, names, strict=True)]
    if language == "english" and rng.random() < 0.15 and len(things) > steps:
        beside = rng.choice([thing for thing in things if thing not in chosen])
        clauses[0] = f"put {names[0]} next to {beside.name(language, article)}"
    if steps == 1:
        text = clauses[0]
    elif rng.random() < 0.5:
        text = ", then ".join(clauses) if language == "english" else ", puis ".join(clauses)
    elif language == "english":
        text = f"{clauses[1]} after you {clauses[0]}"
    else:
        text = f"{clauses[1]} après {_DONE[verbs[0]]} {names[0]}"
    return Instruction(text, tuple(clauses), tuple(chosen))


def ask_order(rng: Random, instruction: Instruction, language: Language) -> tuple[str, str]:
    """What comes first, what comes last, which thing is first?"""
    first = rng.random() < 0.5
    step = 0 if first else -1
    if rng.random() < 0.5:
        answer = instruction.steps[step]
        if language == "english":
            return f"What comes {'first' if first else 'last'}?", answer
        return f"Que faut-il faire en {'premier' if first else 'dernier'}?", answer
    answer = instruction.things[step].name(language)
    if language == "english":
        return f"Which object comes {'first' if first else 'last'}?", answer
    return f"Quel objet vient en {'premier' if first else 'dernier'}?", answer
