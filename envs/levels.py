"""BabyAI-Text levels on stock MiniGrid, every draw taken from the episode's seed.

Source: Carta et al. 2023 and its public code. The public environment draws the task kind
once, unseeded, when it is built; here it is the first draw of every episode.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from minigrid.core.roomgrid import RoomGrid
from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling
from minigrid.envs.babyai.core.verifier import (
    AfterInstr,
    BeforeInstr,
    GoToInstr,
    Instr,
    ObjDesc,
    OpenInstr,
    PickupInstr,
    PutNextInstr,
)

from envs.fast_level import FastRoomGridLevel

HELD_OUT_PAIRS = ("yellow box", "red key", "red door", "green ball", "grey door")
"""Colour-noun pairs that no training mission names."""

TASK_KINDS = ("go to", "pick up", "put next", "sequence", "open")
"""The five kinds of the training mix, as they are named in every record."""

_TRAIN_DOORS = ("yellow", "green", "blue", "purple")
_TEST_DOORS = ("red", "grey")
_MAX_REJECTIONS = 10_000

Pairs = Literal["train", "held-out", "all"]
Order = Literal["before", "after"]


@dataclass(frozen=True)
class Level:
    """One row of the level table.

    Attributes:
        name: Name without prefix; the environment is registered as ``BabyAIText/<name>-v0``.
        kinds: Task kinds, drawn uniformly at the start of each episode.
        pairs: Which colour-noun pairs missions may name: all but the held-out ones, only the
            held-out ones, or all.
        orders: How the two halves of a sequence may be ordered.
        second: What the later half of a sequence asks for.
        extra_objects: Whether the objects that missions name come on top of the distractors.
        version: Raised whenever the same seed would give another episode.
    """

    name: str
    kinds: tuple[str, ...]
    pairs: Pairs = "train"
    orders: tuple[Order, ...] = ("before", "after")
    second: Literal["go to", "pick up"] = "go to"
    extra_objects: bool = True
    version: int = 1


_TABLE = (
    Level("MixedTrainLocal", TASK_KINDS),
    Level("MixedTestLocal", TASK_KINDS, pairs="held-out"),
    Level("PickUpSeqPickUpLocal", ("sequence",), second="pick up"),
    Level("PickUpThenGoToLocal", ("sequence",), orders=("before",)),
    Level("GoToAfterPickUpLocal", ("sequence",), orders=("after",)),
    Level("GoToLocal", ("go to",), pairs="all", extra_objects=False),
)
LEVELS: Mapping[str, Level] = MappingProxyType({level.name: level for level in _TABLE})


class BabyAITextLevel(FastRoomGridLevel):
    """A MiniGrid environment that plays one row of the level table.

    Args:
        level: Row of the table, or its name.
        room_size: Side of a room in cells, walls included.
        num_distractors: Objects placed besides those that the mission needs.
        task_kinds: Play only these of the level's kinds: an easier rung. By default all of them.
        max_steps: Fixed time limit in steps; by default BabyAI's, ``room_size**2`` × rooms ×
            navigations in the mission.
        **kwargs: Passed to MiniGrid (``render_mode``, ...).

    Raises:
        ValueError: If the level is unknown, the room or the number of distractors is out of range,
            or none of the level's kinds is left.
    """

    def __init__(
        self,
        level: Level | str = "MixedTrainLocal",
        *,
        room_size: int = 8,
        num_distractors: int = 8,
        task_kinds: Collection[str] | None = None,
        max_steps: int | None = None,
        **kwargs: Any,
    ) -> None:
        if isinstance(level, str):
            if level not in LEVELS:
                raise ValueError(f"unknown level {level!r}; choose from {', '.join(LEVELS)}")
            level = LEVELS[level]
        if room_size < 4:
            raise ValueError(f"room_size must be at least 4, got {room_size}")
        if not 1 <= num_distractors <= (room_size - 2) ** 2 // 2:
            raise ValueError(
                f"num_distractors must be between 1 and half the room's floor "
                f"({(room_size - 2) ** 2 // 2} at room_size {room_size}), got {num_distractors}"
            )
        unknown = set(task_kinds or ()) - set(TASK_KINDS)
        if unknown:
            raise ValueError(
                f"unknown task kind {min(unknown)!r}; choose from {', '.join(TASK_KINDS)}"
            )
        self.kinds = tuple(k for k in level.kinds if task_kinds is None or k in task_kinds)
        if not self.kinds:
            raise ValueError(
                f"{level.name} plays {', '.join(level.kinds)}, none of which is among the "
                f"task_kinds {', '.join(task_kinds or ())}"
            )
        self.level = level
        self.num_distractors = num_distractors
        self.task_kind = self.kinds[0]
        super().__init__(room_size=room_size, num_rows=1, num_cols=1, max_steps=max_steps, **kwargs)

    def _gen_grid(self, width: int, height: int) -> None:
        # MiniGrid fixes the number of rooms when an environment is built and prints every
        # rejected sample; here the kind, hence the number of rooms, belongs to the episode.
        self.task_kind = str(self._rand_elem(self.kinds))
        self.num_cols = 2 if self.task_kind == "open" else 1
        self.width = (self.room_size - 1) * self.num_cols + 1
        with self.drawing_single_integers():
            self._gen_level()
        column, row = map(np.int64, self.agent_pos)
        # MiniGrid's hash() tells numpy's integers, which a step leaves here, from Python's.
        self.agent_pos: tuple[np.int64, np.int64] = (column, row)
        self.surface = self.mission = self.instrs.surface(self)

    def _gen_level(self) -> None:
        for _ in range(_MAX_REJECTIONS):
            try:
                RoomGrid._gen_grid(self, self.width, self.height)
                self.gen_mission()
                self.validate_instrs(self.instrs)
            except (
                RejectSampling,
                RecursionError,
            ):  # MiniGrid's word for "no place found"
                continue
            return
        raise RuntimeError(
            f"no valid episode of {self.level.name} in {_MAX_REJECTIONS} tries; "
            f"use a larger room_size or a smaller num_distractors"
        )

    def gen_mission(self) -> None:
        """Places door, agent and objects and draws the mission.

        Raises:
            RejectSampling: If the mission names a forbidden pair or an object is out of reach.
        """
        if self.task_kind == "open":
            self.instrs = self._open_mission()
        else:
            self.place_agent()
            named = 1 if self.task_kind in ("go to", "pick up") else 2
            extra = named if self.level.extra_objects else 0
            objects = self.add_distractors(
                num_distractors=self.num_distractors + extra, all_unique=False
            )
            self.instrs = self._object_mission(objects)
        if not self._pairs_allowed(self.instrs):
            raise RejectSampling("the mission names a pair of the other distribution")
        self.check_objs_reachable()

    def _open_mission(self) -> Instr:
        colours = _TEST_DOORS if self.level.pairs == "held-out" else _TRAIN_DOORS
        colour = self._rand_elem(colours)
        locked = self._rand_int(0, 2)
        # The door stands in the only inner wall: east of room 0, west of room 1.
        self.add_door(locked, 0, 0 if locked == 0 else 2, color=colour, locked=True)
        start = 1 - locked
        self.add_object(start, 0, "key", colour)
        self.add_distractors(start, 0, num_distractors=self.num_distractors, all_unique=False)
        self.place_agent(start, 0)
        named = self.level.pairs == "held-out" or self._rand_bool()
        return OpenInstr(ObjDesc("door", colour if named else None))

    def _object_mission(self, objects: list[WorldObj]) -> Instr:
        first = self._rand_elem(objects)
        if self.task_kind == "go to":
            return GoToInstr(ObjDesc(first.type, first.color))
        if self.task_kind == "pick up":
            return PickupInstr(ObjDesc(first.type, first.color))
        twins = sum(o.type == first.type and o.color == first.color for o in objects)
        second = self._rand_elem(objects)
        while twins == 1 and second is first:
            second = self._rand_elem(objects)
        a, b = ObjDesc(first.type, first.color), ObjDesc(second.type, second.color)
        if self.task_kind == "put next":
            return PutNextInstr(a, b)
        later = GoToInstr(b) if self.level.second == "go to" else PickupInstr(b)
        if self._rand_elem(self.level.orders) == "before":
            return BeforeInstr(PickupInstr(a), later)
        return AfterInstr(later, PickupInstr(a))

    def _pairs_allowed(self, instruction: Instr) -> bool:
        if self.level.pairs == "all":
            return True
        held_out = [
            f"{desc.color} {desc.type}" in HELD_OUT_PAIRS
            for desc in _object_descriptions(instruction)
        ]
        return all(held_out) if self.level.pairs == "held-out" else not any(held_out)

    def first_target(self) -> tuple[int, bool]:
        """Where the nearest object that serves the mission's first step stands.

        Returns:
            Its distance, in cells along both axes together, and whether it is in the agent's view.
        """
        instruction = self.instrs
        while isinstance(instruction, BeforeInstr | AfterInstr):
            before = isinstance(instruction, BeforeInstr)
            instruction = instruction.instr_a if before else instruction.instr_b
        description = _object_descriptions(instruction)[0]
        description.find_matching_objs(self)
        x, y = map(int, self.agent_pos)
        distances = [
            (abs(column - x) + abs(row - y), not self.in_view(column, row))
            for column, row in description.obj_poss
        ]
        distance, hidden = min(distances)
        return distance, not hidden


def _object_descriptions(instruction: Instr) -> list[ObjDesc]:
    if isinstance(instruction, BeforeInstr | AfterInstr):
        return _object_descriptions(instruction.instr_a) + _object_descriptions(instruction.instr_b)
    if isinstance(instruction, PutNextInstr):
        return [instruction.desc_move, instruction.desc_fixed]
    return [instruction.desc]
