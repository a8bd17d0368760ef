"""The ceiling: MiniGrid's BabyAI bot, which plans on the grid itself."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from minigrid.utils.baby_ai_bot import BabyAIBot
from numpy.typing import NDArray

from agents.base import Agent, AgentError
from envs.observation import Observation
from envs.text_env import TextEnv

log = logging.getLogger("glam")


class BotAgent(Agent):
    """Plays with a planner that reads the environment's state, not the observation."""

    learns: ClassVar[bool] = False
    privileged: ClassVar[bool] = True

    def __init__(self, config: Any, context: Any) -> None:
        """Starts without any running episode."""
        super().__init__(config, context)
        self._envs: Sequence[TextEnv] = ()
        self._bots: dict[int, tuple[BabyAIBot | None, int]] = {}

    def attach(self, envs: Sequence[TextEnv]) -> None:
        """Notes which environments the next observations come from."""
        self._envs = envs

    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Asks each environment's planner for its next action.

        Raises:
            AgentError: If :meth:`attach` was not told about every observation.
        """
        if len(self._envs) != len(observations):
            raise AgentError("the bot needs attach(envs) before act(observations)")
        return np.array([self._plan(env) for env in self._envs])

    def identity(self) -> Mapping[str, Any]:
        """The label in tables."""
        return {"label": "BabyAI bot", "model": {}}

    def _plan(self, env: TextEnv) -> int:
        grid = env.grid_env
        if grid.step_count == 0:
            self._bots[id(env)] = (BabyAIBot(grid), -1)
        bot, previous = self._bots[id(env)]
        if bot is None:
            return int(grid.actions.left)
        try:
            action = int(bot.replan(None if previous < 0 else previous))
        except (AssertionError, IndexError, AttributeError, TypeError, ValueError) as error:
            log.warning("the bot gave up on %r: %r", grid.mission, error)
            action = int(grid.actions.done)
        # It gave up, thinks it is done, or needs an action that there is not: the episode is lost.
        if action >= min(env.n_actions, grid.actions.done):
            bot, action = None, int(grid.actions.left)
        self._bots[id(env)] = (bot, action)
        return action
