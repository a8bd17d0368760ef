"""One Gymnasium environment that yields Observations."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from envs.language_view import ENGLISH, LanguageView
from envs.levels import BabyAITextLevel, Level
from envs.observation import Observation, ObservationSpace

_NO_OP = 6  # MiniGrid's "done", which BabyAI ignores

DRAWS_VERSION = 2
"""Raised whenever the same seeds would give observations other draws.

In version 1 they were the numbers that had built the level where ``draw_seed`` was 0: in training,
and in the tests of run seed 0.
"""


class TextEnv(gym.Env[Observation, int]):
    """BabyAI-Text: MiniGrid played through sentences.

    The reward is MiniGrid's, 1 − 0.9·n/max_steps on success and 0 otherwise; agents scale it.
    An episode ends with ``terminated`` on success and ``truncated`` at the time limit.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012  # Gymnasium declares it so
        "render_modes": ["ansi", "rgb_array"],
        "render_fps": 5,
    }

    def __init__(
        self,
        level: Level | str = "MixedTrainLocal",
        *,
        view: LanguageView = ENGLISH,
        history: int = 3,
        n_actions: int = 6,
        room_size: int = 8,
        num_distractors: int = 8,
        task_kinds: Collection[str] | None = None,
        max_steps: int | None = None,
        render_mode: str | None = None,
    ) -> None:
        """Builds the environment.

        Args:
            level: Row of the level table, or its name.
            view: Wording of goals, sentences and actions.
            history: Number of views an observation remembers.
            n_actions: Size of the action set: 6, or 3 to 9 for the ablations.
            room_size: Side of a room in cells, walls included.
            num_distractors: Objects besides those that the mission needs.
            task_kinds: Play only these of the level's kinds, or None for all.
            max_steps: Fixed time limit, or None for BabyAI's.
            render_mode: ``"ansi"``, ``"rgb_array"`` or None.

        Raises:
            ValueError: If a size is out of range or the level unknown.
        """
        if history < 1:
            raise ValueError(f"history must be at least 1, got {history}")
        if not 1 <= n_actions <= view.max_actions:
            raise ValueError(f"n_actions must be between 1 and {view.max_actions}, got {n_actions}")
        if render_mode is not None and render_mode not in self.metadata["render_modes"]:
            raise ValueError(f"render_mode must be 'ansi' or 'rgb_array', got {render_mode!r}")
        self.grid_env = BabyAITextLevel(
            level,
            room_size=room_size,
            num_distractors=num_distractors,
            task_kinds=task_kinds,
            max_steps=max_steps,
            render_mode="rgb_array" if render_mode == "rgb_array" else None,
        )
        self.view = view
        self.history = history
        self.n_actions = n_actions
        self.render_mode = render_mode
        self.action_space: gym.Space[int] = gym.spaces.Discrete(n_actions)  # type: ignore[assignment]
        self.observation_space = ObservationSpace(n_actions, history)
        self._phrases = view.action_phrases(n_actions)
        self._descriptions: deque[tuple[str, ...]] = deque(maxlen=history)
        self._images: deque[NDArray[np.uint8]] = deque(maxlen=history)
        self._actions: deque[str] = deque(maxlen=history - 1)
        self._goal = ""

    @property
    def task_kind(self) -> str:
        """Kind of the running episode's task, one of ``TASK_KINDS``."""
        return self.grid_env.task_kind

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Starts an episode.

        Args:
            seed: Fixes the whole episode: kind, grid, mission and the observations' draws.
            options: ``{"draw_seed": int}`` gives the observations other draws in the same episode.

        Returns:
            The first observation, and the mission in English with its kind.
        """
        super().reset(seed=seed)
        draw_seed = int((options or {}).get("draw_seed", 0))
        episode = seed if seed is not None else int(self.np_random.integers(2**62))
        # A stream of its own: to numpy a seed with a 0 behind it is the seed alone, which made the
        # level.
        own = np.random.SeedSequence(episode, spawn_key=(draw_seed,))
        self._draws = np.random.default_rng(own)
        seen, _ = self.grid_env.reset(seed=seed)
        self._descriptions.clear()
        self._images.clear()
        self._actions.clear()
        self._goal = self.view.goal(seen["mission"])
        return self._observe(seen["image"]), self._info()

    def step(self, action: int) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Performs a command.

        Args:
            action: Index into the observation's action phrases.

        Returns:
            Observation, reward in [0, 1], terminated, truncated, info.

        Raises:
            ValueError: If the action is not one of the indices.
        """
        index = int(action)
        if not 0 <= index < self.n_actions:
            raise ValueError(f"action must be between 0 and {self.n_actions - 1}, got {action!r}")
        seen, reward, terminated, truncated, _ = self.grid_env.step(min(index, _NO_OP))
        self._actions.append(self._phrases[index])
        observation = self._observe(seen["image"])
        return (
            observation,
            float(reward),
            bool(terminated),
            bool(truncated and not terminated),
            self._info(),
        )

    def render(self) -> Any:
        """The grid as text (``"ansi"``) or as pixels, (height, width, 3) uint8."""
        if self.render_mode == "ansi":
            return self.grid_env.pprint_grid()
        return self.grid_env.render()

    def close(self) -> None:
        """Releases MiniGrid's resources."""
        self.grid_env.close()

    def _observe(self, image: NDArray[np.uint8]) -> Observation:
        held = self.grid_env.carrying
        carrying = None if held is None else (held.color, held.type)
        self._images.append(image)
        self._descriptions.append(self.view.sentences(image, carrying))
        return Observation(
            goal=self._goal,
            descriptions=tuple(self._descriptions),
            past_actions=tuple(self._actions),
            action_phrases=self._phrases,
            language=self.view.language,
            images=tuple(self._images),
            goal_label=self.view.goal_label,
            draw=float(self._draws.random()),
        )

    def _info(self) -> dict[str, Any]:
        return {"mission": self.grid_env.mission, "task_kind": self.task_kind}
