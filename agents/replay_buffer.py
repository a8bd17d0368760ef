"""A replay buffer of transitions between texts, as small on disk as in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from agents.token_tree import TOKEN_DTYPE


@dataclass(frozen=True)
class TransitionBatch:
    """Transitions drawn from the replay.

    Attributes:
        states: Token ids of the observations, as bytes (see ``TOKEN_DTYPE``).
        actions: (batch,) int64 action indices.
        rewards: (batch,) float32, as the learner sees them.
        next_states: Token ids of the observations that followed.
        terminal: (batch,) bool; nothing is to be expected after this transition.
    """

    states: list[bytes]
    actions: NDArray[np.int64]
    rewards: NDArray[np.float32]
    next_states: list[bytes]
    terminal: NDArray[np.bool_]


class ReplayBuffer:
    """The latest ``capacity`` transitions; memory grows with what is stored.

    A text that ends one transition and starts the next is stored once, as the same object.
    """

    def __init__(self, capacity: int) -> None:
        """Starts empty.

        Args:
            capacity: Number of transitions kept.

        Raises:
            ValueError: If the capacity is not positive.
        """
        if capacity < 1:
            raise ValueError(f"replay capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._oldest = 0
        self._states: list[bytes] = []
        self._next_states: list[bytes] = []
        self._outcomes: list[tuple[int, float, bool]] = []  # action, reward, terminal

    def __len__(self) -> int:
        """Number of transitions stored."""
        return len(self._outcomes)

    def add(
        self, state: bytes, action: int, reward: float, next_state: bytes, terminal: bool
    ) -> None:
        """Stores a transition, in place of the oldest when full.

        Args:
            state: Token ids of the observation.
            action: Index of the action taken.
            reward: Reward as the learner sees it.
            next_state: Token ids of the observation that followed.
            terminal: Whether nothing is to be expected after it.
        """
        if len(self) < self.capacity:
            self._states.append(state)
            self._next_states.append(next_state)
            self._outcomes.append((action, reward, terminal))
            return
        self._states[self._oldest] = state
        self._next_states[self._oldest] = next_state
        self._outcomes[self._oldest] = (action, reward, terminal)
        self._oldest = (self._oldest + 1) % self.capacity

    def sample(self, size: int, rng: np.random.Generator) -> TransitionBatch:
        """Draws transitions uniformly, each at most once.

        Args:
            size: Number of transitions; all of them if fewer are stored.
            rng: Source of the draw.

        Returns:
            The transitions.

        Raises:
            ValueError: If the replay is empty.
        """
        if not self._outcomes:
            raise ValueError("cannot sample from an empty replay")
        chosen = rng.choice(len(self), min(size, len(self)), replace=False, shuffle=False).tolist()
        return self._batch(chosen)

    def save(self, path: Path) -> None:
        """Writes the contents as safetensors: every text once, one after the other.

        Args:
            path: File to write.
        """
        texts = list({id(text): text for text in (*self._states, *self._next_states)}.values())
        numbers = {id(text): number for number, text in enumerate(texts)}
        everything = self._batch(range(len(self)))
        arrays: dict[str, NDArray[np.generic]] = {
            "tokens": np.frombuffer(b"".join(texts), TOKEN_DTYPE),
            "lengths": np.array([len(text) for text in texts], np.uint32),
            "states": np.array([numbers[id(text)] for text in self._states], np.uint32),
            "next_states": np.array([numbers[id(text)] for text in self._next_states], np.uint32),
            "actions": everything.actions.astype(np.uint16),
            "rewards": everything.rewards,
            "terminal": everything.terminal,
            "oldest": np.array([self._oldest], np.int64),
        }
        save_file(arrays, path)

    def load(self, path: Path) -> None:
        """Replaces the contents by what :meth:`save` wrote.

        Args:
            path: File to read.

        Raises:
            ValueError: If it holds more than this replay's capacity.
        """
        arrays = load_file(path)
        if len(arrays["actions"]) > self.capacity:
            raise ValueError(
                f"{path} holds {len(arrays['actions'])} transitions, more than the replay's "
                f"capacity of {self.capacity}"
            )
        flat = arrays["tokens"].tobytes()
        ends = np.cumsum(arrays["lengths"], dtype=np.int64).tolist()
        texts = [flat[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        self._states = [texts[i] for i in arrays["states"].tolist()]
        self._next_states = [texts[i] for i in arrays["next_states"].tolist()]
        outcomes = (arrays[name].tolist() for name in ("actions", "rewards", "terminal"))
        self._outcomes = list(zip(*outcomes, strict=True))
        self._oldest = int(arrays["oldest"][0])

    def _batch(self, rows: Sequence[int]) -> TransitionBatch:
        outcomes = [self._outcomes[i] for i in rows]
        return TransitionBatch(
            [self._states[i] for i in rows],
            np.array([outcome[0] for outcome in outcomes], np.int64),
            np.array([outcome[1] for outcome in outcomes], np.float32),
            [self._next_states[i] for i in rows],
            np.array([outcome[2] for outcome in outcomes], np.bool_),
        )
