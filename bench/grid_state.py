"""What stands in an environment's grid, for people who look on: in a terminal, on a page."""

from __future__ import annotations

from dataclasses import dataclass

from minigrid.core.constants import OBJECT_TO_IDX

from envs import TextEnv

Thing = tuple[int, int, str, str, str]
"""Column, row, type, colour and, of a door, its state."""

_DOOR_STATES = ("open", "closed", "locked")


@dataclass(frozen=True)
class State:
    """What stands in the grid, and what is said of it.

    Attributes:
        agent: Column, row and direction (0 right, 1 down, 2 left, 3 up).
        carrying: Colour and type of the object in hand; empty if there is none.
        things: Everything but walls.
        visible: Indices (row × width + column) of the cells in view.
        sentences: The newest observation.
    """

    agent: tuple[int, int, int]
    carrying: str
    things: tuple[Thing, ...]
    visible: tuple[int, ...]
    sentences: tuple[str, ...]


def held(env: TextEnv) -> tuple[str, str] | None:
    """Colour and type of the object in hand; None if there is none."""
    thing = env.grid_env.carrying
    return None if thing is None else (thing.color, thing.type)


def state_of(env: TextEnv, sentences: tuple[str, ...]) -> State:
    """What stands in an environment's grid now, with what is said of it."""
    grid = env.grid_env
    things = []
    for index, cell in enumerate(grid.grid.grid):
        if cell is not None and cell.type != "wall":
            row, column = divmod(index, grid.grid.width)
            door = _DOOR_STATES[cell.encode()[2]] if cell.type == "door" else ""
            things.append((column, row, str(cell.type), str(cell.color), door))
    carried = held(env)
    x, y = (int(part) for part in grid.agent_pos)
    return State(
        agent=(x, y, int(grid.agent_dir)),
        carrying=" ".join(carried) if carried else "",
        things=tuple(things),
        visible=_visible(env),
        sentences=sentences,
    )


def _visible(env: TextEnv) -> tuple[int, ...]:
    """Cells whose content the agent sees, walls included, as indices into the grid."""
    grid = env.grid_env
    image = grid.gen_obs()["image"]
    size = image.shape[0]
    ahead, right = grid.dir_vec, grid.right_vec
    corner = grid.agent_pos + ahead * (size - 1) - right * (size // 2)
    seen = []
    for i in range(size):
        for j in range(size):
            if image[i, j, 0] != OBJECT_TO_IDX["unseen"]:
                x, y = corner - ahead * j + right * i
                seen.append(int(y) * grid.grid.width + int(x))
    return tuple(sorted(seen))
