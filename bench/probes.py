"""Probes: fixed prompts whose action probabilities are written down as training goes on.

After the paper's figure of action probabilities over training (appendix). The four views are drawn
by hand, each with one best action; the last two show the same view under two goals, so that an
agent that does not read nouns answers both alike.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from minigrid.core.constants import COLOR_TO_IDX, OBJECT_TO_IDX
from numpy.typing import NDArray

from agents.base import Agent
from bench.config import RunConfig
from bench.replays import policy_rows, probability_columns
from bench.storage.row_file import RowFile, Value
from envs import ENGLISH, Observation

PROBE_COLUMNS = ("steps", "probe", "value")
"""Followed by ``p0``, ``p1``, ... by action."""

POINTS = 20
"""Probings during training, at equal distances, besides the one before it."""

_WALLS = {(x, y) for x in range(1, 6) for y in range(3, 7) if x in (1, 5) or y == 3}
_FLOOR = {(x, y) for x in (2, 3, 4) for y in (4, 5, 6)}


@dataclass(frozen=True)
class Probe:
    """One fixed question.

    Attributes:
        name: Name in the records.
        goal: The mission.
        objects: (colour, type, column, row) of what lies in the view.
        best: Index of the best action.
    """

    name: str
    goal: str
    objects: tuple[tuple[str, str, int, int], ...]
    best: int

    def observation(self, n_actions: int) -> Observation:
        """The question as an agent receives it, at the start of an episode."""
        image: NDArray[np.uint8] = np.zeros((7, 7, 3), np.uint8)
        for cells, kind in ((_WALLS, "wall"), (_FLOOR, "empty")):
            for column, row in cells:
                image[column, row, 0] = OBJECT_TO_IDX[kind]
                image[column, row, 1] = COLOR_TO_IDX["grey"] if kind == "wall" else 0
        for colour, kind, column, row in self.objects:
            image[column, row] = (OBJECT_TO_IDX[kind], COLOR_TO_IDX[colour], 0)
        return Observation(
            goal=self.goal,
            descriptions=(ENGLISH.sentences(image, None),),
            past_actions=(),
            action_phrases=ENGLISH.action_phrases(n_actions),
            images=(image,),
        )


_BOTH_SIDES = (("blue", "ball", 2, 6), ("red", "box", 4, 6))
PROBES = (
    Probe("ball ahead", "go to the blue ball", (("blue", "ball", 3, 4),), best=2),
    Probe("ball in reach", "pick up the blue ball", (("blue", "ball", 3, 5),), best=3),
    Probe("ball left of box", "go to the blue ball", _BOTH_SIDES, best=0),
    Probe("box right of ball", "go to the red box", _BOTH_SIDES, best=1),
)


class ProbeLog:
    """Writes an agent's answers to the probes at fixed points of its training."""

    def __init__(self, agent: Agent, config: RunConfig, rows: RowFile) -> None:
        """Asks nothing yet.

        Args:
            agent: The agent in training.
            config: The run.
            rows: Where the answers go.
        """
        self._agent, self._rows, self._budget = agent, rows, config.train.steps
        n_actions = config.environment.n_actions
        self._questions = [probe.observation(n_actions) for probe in PROBES]
        self._columns = (*PROBE_COLUMNS, *probability_columns(n_actions))

    def start(self) -> None:
        """Begins the file with the answers before training."""
        self._rows.clear()
        self._ask(0)

    def passed(self, before: int, steps: int) -> None:
        """Asks again if training has passed one of the fixed points.

        Args:
            before: Environment steps before the last update.
            steps: Environment steps after it.
        """
        if steps * POINTS // self._budget > before * POINTS // self._budget:
            self._ask(steps)

    def _ask(self, steps: int) -> None:
        answers = policy_rows(self._agent, self._questions, len(PROBES))
        if not any(map(any, answers)):
            return  # an agent that does not tell leaves no file
        rows: list[tuple[Value, ...]] = [] if self._rows.size else [self._columns]
        rows += [(steps, p.name, *answer) for p, answer in zip(PROBES, answers, strict=True)]
        self._rows.append(rows)
