"""Held-out questions, the same after every pretraining."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from agents.miniflan.knowledge import KNOWLEDGE
from agents.miniflan.mixture import Example, fill, instructed, name, order
from agents.miniflan.scenes import QUESTIONS, draw_things, sentences

COUNTS = (1, 2, 4, 8)
"""Numbers of things in the scenes of the validation."""


@dataclass(frozen=True)
class Questionnaire:
    """Questions of one task at one difficulty.

    Attributes:
        task: Name of the task.
        things: Number of things in each scene, or None without one.
        examples: The questions, drawn apart from the training's.
        chance: Share that naming any thing of the scene would get right, or None where a task
            has no such level.
    """

    task: str
    things: int | None
    examples: tuple[Example, ...]
    chance: float | None


def questionnaires(questions: int = 100) -> list[Questionnaire]:
    """Draws the validation.

    Scenes do not repeat those of the training but by accident of few things; word knowledge and
    translations of single words do, as there are only so many words.

    Args:
        questions: Number for each task and number of things.

    Returns:
        One questionnaire for each task and number of things.
    """
    scene_tasks: dict[str, Callable[[Random, int], Example]] = {
        "fill": fill,
        "name": name,
        "instructed": instructed,
        **{task: _single(task) for task in QUESTIONS},
    }
    found = []
    for task, draw in scene_tasks.items():
        for count in COUNTS:
            rng = Random(f"validation {task} {count}")
            examples = tuple(draw(rng, count) for _ in range(questions))
            lookup = task in ("fill", "name", "instructed", "where", "what")
            found.append(Questionnaire(task, count, examples, 1 / count if lookup else None))
    words: dict[str, Callable[[Random], Example]] = {
        "order": order,
        **{task: _words(task) for task in KNOWLEDGE},
    }
    for task, ask in words.items():
        rng = Random(f"validation {task}")
        examples = tuple(ask(rng) for _ in range(questions))
        found.append(Questionnaire(task, None, examples, None))
    return found


def _single(task: str) -> Callable[[Random, int], Example]:
    def draw(rng: Random, count: int) -> Example:
        things = draw_things(rng, count)
        asked, answer = QUESTIONS[task](rng, things, "english")
        told = "".join(f"{sentence}, " for sentence in sentences(things, "english"))
        return Example(task, f"Observation 0: {told} \n Question: {asked}", answer)

    return draw


def _words(task: str) -> Callable[[Random], Example]:
    def draw(rng: Random) -> Example:
        return Example(task, *KNOWLEDGE[task](rng))

    return draw
