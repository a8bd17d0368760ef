"""Our environments as stable-baselines3 sees them: symbolic views and mission words as arrays."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from gymnasium import spaces
from minigrid.core.constants import COLOR_NAMES, COLOR_TO_IDX, OBJECT_TO_IDX, STATE_TO_IDX
from numpy.typing import NDArray
from stable_baselines3.common.vec_env import VecEnv

from agents.base import AgentError
from envs.observation import Observation
from envs.vector import VectorEnv

VIEW_SIZE = 7
N_CODES = (len(OBJECT_TO_IDX), len(COLOR_TO_IDX), len(STATE_TO_IDX))
"""Numbers of MiniGrid's types, colours and door states."""

_WORDS = (
    *("go", "to", "pick", "up", "put", "next", "open", "then", "after", "you", "and", "the", "a"),
    *("key", "ball", "box", "door", "object", "on", "your", "in", "front", "of", "behind"),
    *("left", "right", *COLOR_NAMES),
)
PAD_WORD, UNKNOWN_WORD = 0, 1
N_WORDS = len(_WORDS) + 2
"""Size of the mission vocabulary: BabyAI's words, padding and one id for every other word."""
assert max(N_WORDS, *N_CODES) <= 256, "the network compares views and missions as bytes"
MAX_WORDS = 32
"""Mission words that the agent reads; BabyAI-Text's missions have at most 12."""

_WORD_IDS = {word: i for i, word in enumerate(_WORDS, start=2)}

Arrays = dict[str, NDArray[Any]]


def symbolic_space(history: int) -> spaces.Dict:
    """The space of one encoded observation.

    Args:
        history: Number of views stacked.

    Returns:
        ``views``: (7, 7, 3·history) uint8 codes, indexed [column][row], the latest view last;
        ``mission``: (MAX_WORDS,) int64 word ids, zero after the last word.
    """
    highest = np.tile(np.array(N_CODES, np.uint8) - 1, (VIEW_SIZE, VIEW_SIZE, history))
    return spaces.Dict(
        {
            "views": spaces.Box(np.zeros_like(highest), highest, dtype=np.uint8),
            "mission": spaces.Box(0, N_WORDS - 1, (MAX_WORDS,), np.int64),
        }
    )


def encode(observations: Sequence[Observation], history: int) -> Arrays:
    """Turns observations into a batch of :func:`symbolic_space`.

    Args:
        observations: (batch,) observations with images.
        history: Number of views stacked; missing earlier ones are zeros, MiniGrid's "unseen".

    Returns:
        ``views`` (batch, 7, 7, 3·history) and ``mission`` (batch, MAX_WORDS).

    Raises:
        AgentError: If an observation has no images.
    """
    views = np.zeros((len(observations), VIEW_SIZE, VIEW_SIZE, 3 * history), np.uint8)
    for stack, observation in zip(views, observations, strict=True):
        if observation.images is None:
            raise AgentError("symbolic-ppo reads images, and these observations have none")
        for age, image in enumerate(reversed(observation.images[-history:])):
            end = 3 * (history - age)
            stack[:, :, end - 3 : end] = image
    return {"views": views, "mission": np.stack([encode_goal(o.goal) for o in observations])}


@lru_cache(maxsize=2**16)
def encode_goal(goal: str) -> NDArray[np.int64]:
    """Word ids of a mission.

    Args:
        goal: The mission; words beyond ``MAX_WORDS`` are dropped.

    Returns:
        (MAX_WORDS,) ids: ``PAD_WORD`` after the end, ``UNKNOWN_WORD`` for words not of BabyAI's.
    """
    words = goal.lower().replace(",", " ").split()[:MAX_WORDS]
    ids = np.full(MAX_WORDS, PAD_WORD, np.int64)
    ids[: len(words)] = [_WORD_IDS.get(word, UNKNOWN_WORD) for word in words]
    return ids


class SymbolicVecEnv(VecEnv):
    """A VectorEnv for stable-baselines3; never resets it, as it starts new episodes by itself."""

    def __init__(
        self,
        n_envs: int,
        n_actions: int,
        history: int,
        *,
        reward_scale: float = 1.0,
        bootstrap_on_timeout: bool = False,
    ) -> None:
        """Describes environments; :attr:`envs` must be set before they are stepped.

        Args:
            n_envs: Number of environments.
            n_actions: Size of the action set.
            history: Number of views stacked.
            reward_scale: Factor on rewards.
            bootstrap_on_timeout: Whether time-outs are marked as such, so that
                stable-baselines3 adds the value of the last view.
        """
        self.envs: VectorEnv | None = None
        self.history = history
        self.reward_scale = reward_scale
        self.bootstrap_on_timeout = bootstrap_on_timeout
        self._actions: NDArray[np.integer] = np.zeros(n_envs, np.int64)
        super().__init__(n_envs, symbolic_space(history), spaces.Discrete(n_actions))

    def reset(self) -> Any:
        """What the environments show now; running episodes go on."""
        return encode(self._bound().observations, self.history)

    def step_async(self, actions: NDArray[np.integer]) -> None:
        """Keeps the (n_envs,) actions for :meth:`step_wait`."""
        self._actions = actions

    def step_wait(self) -> Any:
        """Steps all environments.

        Returns:
            Encoded observations, (n_envs,) scaled rewards, (n_envs,) ends of episodes, and for
            each environment the last view of an episode that ended.
        """
        result = self._bound().step(self._actions)
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        for i, last_view in enumerate(result.final_observations):
            if last_view is not None:
                encoded = encode([last_view], self.history)
                infos[i]["terminal_observation"] = {k: v[0] for k, v in encoded.items()}
                infos[i]["TimeLimit.truncated"] = (
                    bool(result.truncated[i]) and self.bootstrap_on_timeout
                )
        observations = encode(result.observations, self.history)
        return observations, result.rewards * self.reward_scale, result.done, infos

    def close(self) -> None:
        """Does nothing: the harness owns the environments."""

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """``render_mode`` is None everywhere; there are no other attributes."""
        if attr_name != "render_mode":
            raise AttributeError(attr_name)
        return [None] * self.num_envs

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Not supported: the environments are the harness's."""
        raise NotImplementedError("the environments cannot be changed through this view")

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Not supported: the environments are the harness's."""
        raise NotImplementedError("the environments cannot be called through this view")

    def env_is_wrapped(self, wrapper_class: Any, indices: Any = None) -> list[bool]:
        """No environment is wrapped."""
        return [False] * self.num_envs

    def _bound(self) -> VectorEnv:
        if self.envs is None:
            raise RuntimeError("set envs before stepping")
        return self.envs
