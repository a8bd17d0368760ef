"""The instruction mixture that MiniFlan is pretrained on.

Every example is a prompt and an answer in words. There is no environment, reward or command to
take in it: what it teaches is to read (where is the red ball?), to follow the order of an
instruction, and what words mean, in English and French.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from agents.miniflan.instructions import Instruction, ask_order, draw_instruction
from agents.miniflan.knowledge import KNOWLEDGE
from agents.miniflan.scenes import QUESTIONS, Thing, draw_things, sentences, surroundings
from agents.miniflan.vocabulary import Language

MAX_BLANKS = 8
_FAMILIES = {"fill": 6, "name": 3, "question": 4, "instructed": 4, "words": 3}
_ASKED = ("where", "what", "what", "count", *QUESTIONS)
"""Questions are asked equally often, but for those that are learned late."""
_FRENCH_SHARE = 0.15
_GOAL_LABELS = {
    "english": ("Goal of the agent", "Goal", "Instruction", "Task", "Mission", "You have to"),
    "french": ("But de l'agent", "But", "Consigne", "Tâche"),
}


@dataclass(frozen=True)
class Example:
    """A prompt and its answer.

    Attributes:
        task: Name of the task, for validation.
        prompt: What the encoder reads.
        answer: What the decoder is to say.
    """

    task: str
    prompt: str
    answer: str


def blank(index: int) -> str:
    """T5's sentinel number ``index``: a blank in a prompt, and its label in the answer."""
    return f"<extra_id_{index}>"


def fill(rng: Random, count: int) -> Example:
    """Fills several blanks about one scene: the place of a named thing."""
    return _blanks(rng, count, "fill", Thing.name, Thing.where)


def name(rng: Random, count: int) -> Example:
    """Fills several blanks the other way round: the name of the thing in a place."""
    return _blanks(rng, count, "name", Thing.where, Thing.name)


def _blanks(
    rng: Random,
    count: int,
    task: str,
    told: Callable[[Thing, Language], str],
    wanted: Callable[[Thing, Language], str],
) -> Example:
    """Things are asked for with repetition, or the last ones could be told by elimination."""
    language = _language(rng)
    views = _views(rng, count)
    things = views[-1]
    asked = rng.choices(things, k=min(MAX_BLANKS, max(2, len(things))))
    given = [f"{told(thing, language)}{blank(i)}" for i, thing in enumerate(asked)]
    answers = [f"{blank(i)}{wanted(thing, language)}" for i, thing in enumerate(asked)]
    return Example(task, _layout(rng, views, "".join(given), language), "".join(answers))


def question(rng: Random, count: int) -> Example:
    """One question about a scene."""
    language = _language(rng)
    views = _views(rng, count)
    task = rng.choice(_ASKED)
    asked, answer = QUESTIONS[task](rng, views[-1], language)
    return Example(task, _layout(rng, views, asked, language), answer)


def instructed(rng: Random, count: int) -> Example:
    """An instruction and a scene: where is the thing of its first step, or of its last?"""
    language = _language(rng)
    views = _views(rng, count)
    steps = 2 if len(views[-1]) > 1 and rng.random() < 0.5 else 1
    instruction = draw_instruction(rng, views[-1], language, steps)
    label = rng.choice(_GOAL_LABELS[language])
    head = f"{label}: {instruction.text}"
    first = steps == 1 or rng.random() < 0.5
    thing = instruction.things[0 if first else -1]
    if language == "english":
        asked = "Where is it?" if steps == 1 else f"Where is the {_ORDER[first]} object?"
    else:
        asked = "Où est-ce?" if steps == 1 else f"Où est le {_FRENCH_ORDER[first]} objet?"
    if rng.random() < 0.25:
        head = f"{_options(rng, views[-1], language)} \n {head}"
    prompt = f"{head} \n {_observed(rng, views, language)} \n {asked}"
    return Example("instructed", prompt, thing.where(language))


def order(rng: Random) -> Example:
    """The order of an instruction's steps, without a scene."""
    language = _language(rng)
    instruction: Instruction = draw_instruction(rng, draw_things(rng, 3), language, 2)
    asked, answer = ask_order(rng, instruction, language)
    label = rng.choice(_GOAL_LABELS[language])
    return Example("order", f"{label}: {instruction.text} \n {asked}", answer)


def knowledge(rng: Random) -> Example:
    """Word knowledge or translation."""
    task = rng.choice(("translation", "translation", *KNOWLEDGE))
    prompt, answer = KNOWLEDGE[task](rng)
    return Example(task, prompt, answer)


def draw_batch(rng: Random, tokens: int, *, easy: bool = False) -> list[Example]:
    """Draws examples of one family and about one length, so that little is padded.

    Args:
        rng: Source of randomness.
        tokens: Rough number of prompt tokens; longer prompts make smaller batches.
        easy: Only blanks to fill about few things: the start of a curriculum. Looking up is
            learned there first, from the shortest prompts.

    Returns:
        The examples.
    """
    if easy:
        count = rng.choice((2, 3, 4))
        return [fill(rng, count) for _ in range(max(4, tokens // (count * 8 + 12)))]
    family = rng.choices(tuple(_FAMILIES), weights=tuple(_FAMILIES.values()))[0]
    if family == "words":
        return [order(rng) if rng.random() < 0.3 else knowledge(rng) for _ in range(tokens // 20)]
    count = rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 7, 8, 8))
    make = {"fill": fill, "name": name, "question": question, "instructed": instructed}[family]
    length = count * (8 if family in ("fill", "name") else 5) + 12
    return [make(rng, count) for _ in range(max(4, tokens // length))]


def _options(rng: Random, things: Sequence[Thing], language: Language) -> str:
    """A list of possible answers, as Flan's prompts have one: every place, in any order."""
    places = [thing.where(language) for thing in rng.sample(things, len(things))]
    label = "Possible answer" if language == "english" else "Réponses possibles"
    return f"{label}: {', '.join(places)}"


_ORDER = {True: "first", False: "last"}
_FRENCH_ORDER = {True: "premier", False: "dernier"}


def _language(rng: Random) -> Language:
    return "french" if rng.random() < _FRENCH_SHARE else "english"


def _views(rng: Random, count: int) -> list[list[Thing]]:
    """One view of ``count`` things, or two that share them out; questions are about the last."""
    things = draw_things(rng, count)
    if count < 3 or rng.random() < 0.8:
        return [things]
    again = draw_things(rng, count)
    earlier = max(1, count // 2)
    moved = [
        Thing(thing.noun, thing.colour, other.dx, other.dy)
        for thing, other in zip(rng.sample(things, earlier), again, strict=False)
    ]
    return [moved, rng.sample(things, count - earlier)]


def _observed(rng: Random, views: Sequence[Sequence[Thing]], language: Language) -> str:
    """The views in the prompt's own layout."""
    parts = []
    for i, view in enumerate(views):
        around = surroundings(rng, language) if rng.random() < 0.5 else []
        told = "".join(f"{sentence}, " for sentence in (*around, *sentences(view, language)))
        parts.append(f"Observation {i}: {told}")
    return "\n ".join(parts)


def _layout(
    rng: Random, views: Sequence[Sequence[Thing]], question: str, language: Language
) -> str:
    if rng.random() < 0.5:
        return f"{_observed(rng, views, language)} \n Question: {question}"
    return f"Question: {question} \n {_observed(rng, views, language)}"
