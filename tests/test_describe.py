"""The world in words, against recordings of the public environment."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX

from envs.describe import describe

RECORDED = Path(__file__).parent / "data" / "text_observations.jsonl.gz"


def recorded() -> list[dict]:
    with gzip.open(RECORDED, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def test_equals_every_recorded_view_in_both_languages() -> None:
    cases = recorded()
    assert len(cases) == 545
    for case in cases:
        held = case["carrying"] and (case["carrying"][1], case["carrying"][0])
        for image in (case["image"], np.array(case["image"], np.uint8)):
            assert describe(image, held) == case["descriptions"]
        assert describe(case["image"], held, "french") == case["descriptions_fr"]


def empty_view() -> np.ndarray:
    view = np.zeros((7, 7, 3), np.uint8)
    view[..., 0] = OBJECT_TO_IDX["empty"]
    return view


@pytest.mark.parametrize(
    ("kind", "english", "french"),
    [
        ("goal", "You see a green goal 2 steps forward", "Tu vois une cible verte 2 pas devant"),
        ("lava", "You see a green lava 2 steps forward", "Tu vois une lave verte 2 pas devant"),
        ("ball", "You see a green ball 2 steps forward", "Tu vois une balle verte 2 pas devant"),
    ],
)
def test_other_minigrid_objects_are_described(kind: str, english: str, french: str) -> None:
    view = empty_view()
    view[3, 4] = (OBJECT_TO_IDX[kind], COLOR_TO_IDX["green"], 0)
    assert describe(view, None) == [english]
    assert describe(view, None, "french") == [french]


@pytest.mark.parametrize(
    ("state", "english", "french"),
    [(0, "open", "ouverte"), (1, "closed", "fermée"), (2, "locked", "fermée à clef")],
)
def test_doors_carry_their_state(state: int, english: str, french: str) -> None:
    view = empty_view()
    view[2, 6] = (OBJECT_TO_IDX["door"], COLOR_TO_IDX["blue"], state)
    assert describe(view, None) == [f"You see a {english} blue door 1 step left"]
    assert describe(view, None, "french") == [f"Tu vois une porte bleue {french} 1 pas à gauche"]


def test_floor_and_agent_say_nothing_and_do_not_hide_a_wall() -> None:
    view = empty_view()
    view[3, 4] = (OBJECT_TO_IDX["floor"], COLOR_TO_IDX["blue"], 0)
    view[3, 3] = (OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0)
    view[0, 0] = (OBJECT_TO_IDX["agent"], COLOR_TO_IDX["red"], 0)
    assert describe(view, None) == ["You see a wall 3 steps forward"]


def test_a_wall_behind_an_object_is_not_named() -> None:
    view = empty_view()
    view[1, 6] = (OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0)
    view[2, 6] = (OBJECT_TO_IDX["key"], COLOR_TO_IDX["red"], 0)
    assert describe(view, None) == ["You see a red key 1 step left"]


@given(
    st.lists(
        st.tuples(st.integers(0, 10), st.integers(0, 5), st.integers(0, 2)),
        min_size=49,
        max_size=49,
    )
)
def test_any_view_can_be_described_with_one_sentence_per_object(cells: list[tuple]) -> None:
    view = np.array(cells, np.uint8).reshape(7, 7, 3)
    silent = {OBJECT_TO_IDX[name] for name in ("unseen", "empty", "wall", "floor", "agent")}
    objects = sum(
        int(view[i, j, 0]) not in silent for i in range(7) for j in range(7) if (i, j) != (3, 6)
    )
    for language, wall in (("english", "You see a wall"), ("french", "Tu vois un mur")):
        sentences = describe(view, None, language)
        assert sum(not s.startswith(wall) for s in sentences) == objects
        assert sum(s.startswith(wall) for s in sentences) <= 3


def test_unknown_language_is_refused() -> None:
    with pytest.raises(ValueError, match="english"):
        describe(empty_view(), None, "german")
