"""MiniGrid's partial view without its intermediate grids.

MiniGrid slices a sub-grid, rotates it up to four times and encodes it cell by cell; that is most of
the cost of a step. The same array comes from one pass over the 49 cells of the view.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from minigrid.minigrid_env import MiniGridEnv

_UNSEEN = (0, 0, 0)
_EMPTY = (1, 0, 0)
_OUTSIDE = (2, 5, 0)  # MiniGrid shows what lies beyond the grid as grey wall


def encode_view(env: MiniGridEnv) -> NDArray[np.uint8]:
    """Encodes what the agent sees.

    Args:
        env: A MiniGrid environment with ``see_through_walls`` off.

    Returns:
        Array of shape (size, size, 3), indexed [column][row] with the agent at the middle of the
        last row, looking up; equal to ``env.gen_obs()["image"]`` of MiniGrid.
    """
    size = env.agent_view_size
    half = size // 2
    cells = env.grid.grid
    width, height = env.grid.width, env.grid.height
    ax, ay = int(env.agent_pos[0]), int(env.agent_pos[1])
    fx, fy = ((1, 0), (0, 1), (-1, 0), (0, -1))[env.agent_dir]  # one cell forward
    rx, ry = -fy, fx  # one to the right

    codes: list[list[tuple[int, int, int]]] = []
    clear: list[list[bool]] = []
    for i in range(size):
        x0, y0 = ax + rx * (i - half), ay + ry * (i - half)
        column: list[tuple[int, int, int]] = []
        transparent: list[bool] = []
        for j in range(size):
            ahead = size - 1 - j
            x, y = x0 + fx * ahead, y0 + fy * ahead
            if not (0 <= x < width and 0 <= y < height):
                column.append(_OUTSIDE)
                transparent.append(False)
                continue
            cell = cells[y * width + x]
            if cell is None:
                column.append(_EMPTY)
                transparent.append(True)
            else:
                column.append(cell.encode())
                transparent.append(cell.see_behind())
        codes.append(column)
        clear.append(transparent)

    visible = _visible(clear, size)
    carried = env.carrying
    codes[half][size - 1] = _EMPTY if carried is None else carried.encode()
    return np.array(
        [
            [code if seen else _UNSEEN for code, seen in zip(column, mask, strict=True)]
            for column, mask in zip(codes, visible, strict=True)
        ],
        dtype=np.uint8,
    )


def _visible(clear: list[list[bool]], size: int) -> list[list[bool]]:
    """MiniGrid's occlusion rule: light spreads sideways and forwards from the agent's cell."""
    seen = [[False] * size for _ in range(size)]
    seen[size // 2][size - 1] = True
    for j in range(size - 1, -1, -1):
        for i in range(size - 1):
            if seen[i][j] and clear[i][j]:
                seen[i + 1][j] = True
                if j > 0:
                    seen[i + 1][j - 1] = True
                    seen[i][j - 1] = True
        for i in range(size - 1, 0, -1):
            if seen[i][j] and clear[i][j]:
                seen[i - 1][j] = True
                if j > 0:
                    seen[i - 1][j - 1] = True
                    seen[i][j - 1] = True
    return seen
