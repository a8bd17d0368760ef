"""The agent's view as sentences, in English and French (BabyAI-Text, Carta et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

import numpy as np
from minigrid.core.constants import IDX_TO_COLOR, IDX_TO_OBJECT, OBJECT_TO_IDX
from numpy.typing import NDArray

from envs.lexicon import ENGLISH_DOOR_STATES, FRENCH_DOOR_STATES, french_noun_phrase

Language = Literal["english", "french"]

_WALL = OBJECT_TO_IDX["wall"]
_DOOR = OBJECT_TO_IDX["door"]
_NOTHING = (OBJECT_TO_IDX["unseen"], OBJECT_TO_IDX["empty"], OBJECT_TO_IDX["floor"])
_NOT_AN_OBJECT = frozenset((*_NOTHING, _WALL, OBJECT_TO_IDX["agent"]))


def describe(
    image: NDArray[np.integer] | Sequence[Sequence[Sequence[int]]],
    carrying: tuple[str, str] | None,
    language: Language = "english",
) -> list[str]:
    """Describes a symbolic view in words.

    Args:
        image: View of shape (columns, rows, 3) holding MiniGrid's (type, colour, state) codes,
            the agent in the middle of the last row, looking towards row 0.
        carrying: (colour, type) of the object in the agent's hands, or None.
        language: ``"english"`` or ``"french"``.

    Returns:
        Sentences in the published order: the carried object, walls (ahead, left, right), then
        objects by column from the left and by row from far to near.

    Raises:
        ValueError: If the language is not one of the two.
    """
    if language not in ("english", "french"):
        raise ValueError(f"language must be 'english' or 'french', got {language!r}")
    view = image.tolist() if isinstance(image, np.ndarray) else image
    columns, rows = len(view), len(view[0])
    half, last = columns // 2, rows - 1
    sentences = [] if carrying is None else [_carried(*carrying, language)]

    rays = (
        ("forward", [view[half][row] for row in range(last - 1, -1, -1)]),
        ("left", [view[column][last] for column in range(half - 1, -1, -1)]),
        ("right", [view[column][last] for column in range(half + 1, columns)]),
    )
    for direction, ray in rays:
        for distance, cell in enumerate(ray, start=1):
            if cell[0] not in _NOTHING:
                if cell[0] == _WALL:
                    sentences.append(_wall(distance, direction, language))
                break

    for i, column in enumerate(view):
        for j, (kind, colour, state) in enumerate(column):
            if kind not in _NOT_AN_OBJECT and (i != half or j != last):
                sentences.append(_object(kind, colour, state, i - half, last - j, language))
    return sentences


@lru_cache(maxsize=1024)
def _carried(colour: str, kind: str, language: Language) -> str:
    if language == "french":
        return f"Tu portes {french_noun_phrase(kind, colour)}"
    return f"You carry a {colour} {kind}"


@lru_cache(maxsize=1024)
def _wall(distance: int, direction: str, language: Language) -> str:
    if language == "french":
        place = {"forward": "devant", "left": "à gauche", "right": "à droite"}[direction]
        return f"Tu vois un mur à {distance} pas {place}"
    return f"You see a wall {_steps(distance)} {direction}"


@lru_cache(maxsize=65536)
def _object(kind: int, colour: int, state: int, dx: int, dy: int, language: Language) -> str:
    noun, adjective = IDX_TO_OBJECT[kind], IDX_TO_COLOR[colour]
    where = place(dx, dy, language)
    if language == "french":
        phrase = french_noun_phrase(noun, adjective)
        if kind == _DOOR:
            phrase = f"{phrase} {FRENCH_DOOR_STATES[state]}"
        return f"Tu vois {phrase} {where}"
    door = f"{ENGLISH_DOOR_STATES[state]} " if kind == _DOOR else ""
    return f"You see a {door}{adjective} {noun} {where}"


def place(dx: int, dy: int, language: Language = "english") -> str:
    """Words a cell's place as the agent sees it.

    Args:
        dx: Steps to the right (negative: to the left).
        dy: Steps forward, not negative.
        language: ``"english"`` or ``"french"``.

    Returns:
        For example ``"2 steps left and 1 step forward"``; empty for the agent's own cell.
    """
    parts = []
    if language == "french":
        if dx:
            parts.append(f"{abs(dx)} pas {'à gauche' if dx < 0 else 'à droite'}")
        if dy:
            parts.append(f"{dy} pas devant")
        return " et ".join(parts)
    if dx:
        parts.append(f"{_steps(abs(dx))} {'left' if dx < 0 else 'right'}")
    if dy:
        parts.append(f"{_steps(dy)} forward")
    return " and ".join(parts)


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
