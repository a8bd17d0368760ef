"""MiniGrid's rooms, built and seen by shorter routes: the same draws, levels and views."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from minigrid.core.world_object import WorldObj
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel

from envs.draws import single_integers
from envs.fast_view import encode_view


class FastRoomGridLevel(RoomGridLevel):
    """A BabyAI level that takes half of MiniGrid's time to be made, and a third to be seen."""

    @contextmanager
    def drawing_single_integers(self) -> Iterator[None]:
        """Draws integers in blocks while the block of code runs; MiniGrid gets one at a time.

        Meanwhile ``np_random`` has only ``integers(low, high)``.
        """
        generator = self.np_random
        with single_integers(generator) as draws:
            self._np_random = draws
            try:
                yield
            finally:
                self._np_random = generator

    def place_obj(
        self,
        obj: WorldObj | None,
        top: tuple[int, int] | None = None,
        size: tuple[int, int] | None = None,
        reject_fn: Callable[[Any, tuple[int, int]], bool] | None = None,
        max_tries: float = math.inf,
    ) -> tuple[int, int]:
        """MiniGrid's: puts an object on a free cell of a rectangle, drawn until one fits.

        Args:
            obj: The object, or None to find a cell only.
            top: (column, row) of the rectangle's first cell; by default the grid's.
            size: Its columns and rows; by default all.
            reject_fn: Whether a place must not be taken.
            max_tries: Gives up after so many cells and one more.

        Returns:
            The object's (column, row).

        Raises:
            RecursionError: MiniGrid's word for "no place found".
        """
        cells, columns, rows = self.grid.grid, self.grid.width, self.grid.height
        left, upper = (0, 0) if top is None else (max(top[0], 0), max(top[1], 0))
        width, height = (columns, rows) if size is None else size
        right, lower = min(left + width, columns), min(upper + height, rows)
        agent_column, agent_row = self.agent_pos
        integers = self.np_random.integers
        tries = 0
        while tries <= max_tries:
            tries += 1
            column, row = place = integers(left, right), integers(upper, lower)
            if cells[row * columns + column] is not None:
                continue
            if column == agent_column and row == agent_row:
                continue
            if reject_fn is not None and reject_fn(self, place):
                continue
            self.grid.set(column, row, obj)
            if obj is not None:
                obj.init_pos = obj.cur_pos = place
            return place
        raise RecursionError("rejection sampling failed in place_obj")

    def check_objs_reachable(self, raise_exc: bool = True) -> bool:
        """MiniGrid's: nothing must be moved to reach an object.

        Args:
            raise_exc: Whether to raise instead of answering False.

        Returns:
            Whether the agent can come to a side of every object and door.

        Raises:
            RejectSampling: If it cannot and ``raise_exc`` is set.
        """
        cells, width = self.grid.grid, self.grid.width
        x, y = map(int, self.agent_pos)
        reached = {y * width + x}
        going_on = list(reached)
        while going_on:
            here = going_on.pop()
            cell = cells[here]
            if cell is None or cell.type == "door":  # the walls around the grid end every way
                beside = {here - 1, here + 1, here - width, here + width} - reached
                reached |= beside
                going_on += beside
        for place, cell in enumerate(cells):
            if cell is not None and cell.type != "wall" and place not in reached:
                if raise_exc:
                    raise RejectSampling(f"unreachable object at {(place % width, place // width)}")
                return False
        return True

    def gen_obs(self) -> dict[str, Any]:
        """The agent's view as MiniGrid defines it.

        Returns:
            ``image`` of shape (7, 7, 3), uint8, indexed [column][row]; ``direction``; ``mission``.
        """
        return {
            "image": encode_view(self),
            "direction": self.agent_dir,
            "mission": self.mission,
        }
