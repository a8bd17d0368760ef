"""N environments side by side: seeded per episode, counted and recorded by themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from envs.observation import Observation
from envs.text_env import TextEnv


@dataclass(frozen=True)
class Episode:
    """One finished training episode.

    Attributes:
        env: Index of the environment that played it.
        steps: Steps of all environments together when it ended.
        seed: Seed of the episode.
        task_kind: Kind of the task.
        episode_return: Sum of rewards, unscaled.
        success: Whether the task was solved.
        length: Number of steps.
        truncated: Whether the time limit ended it.
    """

    env: int
    steps: int
    seed: int
    task_kind: str
    episode_return: float
    success: bool
    length: int
    truncated: bool


@dataclass(frozen=True)
class StepResult:
    """What one step of all environments gave; every sequence has ``n_envs`` entries.

    Attributes:
        observations: What each agent sees now; the new episode's first view where one ended.
        rewards: (n_envs,) float32, unscaled.
        terminated: (n_envs,) bool, solved.
        truncated: (n_envs,) bool, out of time.
        final_observations: The last view of an episode that ended, None elsewhere.
    """

    observations: tuple[Observation, ...]
    rewards: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    final_observations: tuple[Observation | None, ...]

    @property
    def done(self) -> NDArray[np.bool_]:
        """(n_envs,) bool: the episode ended, for either reason."""
        return self.terminated | self.truncated


def training_seed(run_seed: int, env: int, episode: int) -> int:
    """Seed of a training episode: a function of the run's seed, the environment and its episode.

    Returns:
        A number in [2**32, 2**63), away from the test episodes' seeds.
    """
    word = np.random.SeedSequence((run_seed, env, episode)).generate_state(1, np.uint64)[0]
    return int(word) % (2**63 - 2**32) + 2**32


class VectorEnv:
    """Steps ``n_envs`` environments and keeps the books of a training run."""

    def __init__(self, make: Callable[[], TextEnv], n_envs: int, seed: int) -> None:
        """Builds the environments and starts the first episode in each.

        Args:
            make: Builds one environment.
            n_envs: Number of environments.
            seed: The run's seed.

        Raises:
            ValueError: If ``n_envs`` is not positive.
        """
        if n_envs < 1:
            raise ValueError(f"n_envs must be at least 1, got {n_envs}")
        self.envs = [make() for _ in range(n_envs)]
        self.n_envs = n_envs
        self.n_actions = self.envs[0].n_actions
        self.seed = seed
        self._steps = 0
        self._finished: list[Episode] = []
        self._episode_index = [0] * n_envs
        self._taken: list[list[int]] = [[] for _ in range(n_envs)]
        self._returns = [0.0] * n_envs
        self._observations = [self._start(i) for i in range(n_envs)]

    @property
    def observations(self) -> tuple[Observation, ...]:
        """What each of the agents sees now."""
        return tuple(self._observations)

    @property
    def waiting(self) -> int:
        """Episodes that have ended and were not collected by :meth:`pop_episodes`."""
        return len(self._finished)

    @property
    def ended(self) -> int:
        """Episodes that have ended in all environments together since the run began."""
        return sum(self._episode_index)

    @property
    def steps(self) -> int:
        """Steps taken by all environments together since the run began."""
        return self._steps

    def step(self, actions: Sequence[int] | NDArray[np.integer]) -> StepResult:
        """Performs one action in each environment; a finished one starts its next episode.

        Args:
            actions: (n_envs,) action indices.

        Returns:
            The outcome of each.

        Raises:
            ValueError: If the number of actions or one of them is wrong.
        """
        chosen = np.asarray(actions)
        if chosen.shape != (self.n_envs,) or not np.issubdtype(chosen.dtype, np.integer):
            raise ValueError(
                f"actions must be {self.n_envs} integers, "
                f"got {chosen.dtype} of shape {chosen.shape}"
            )
        if chosen.min() < 0 or chosen.max() >= self.n_actions:
            raise ValueError(
                f"actions must lie between 0 and {self.n_actions - 1}, got {chosen.tolist()}"
            )
        rewards = np.zeros(self.n_envs, np.float32)
        terminated = np.zeros(self.n_envs, np.bool_)
        truncated = np.zeros(self.n_envs, np.bool_)
        final: list[Observation | None] = [None] * self.n_envs
        for i, action in enumerate(chosen.tolist()):
            seen, reward, terminated[i], truncated[i], _ = self.envs[i].step(action)
            self._steps += 1
            self._taken[i].append(action)
            self._returns[i] += reward
            rewards[i] = reward
            if terminated[i] or truncated[i]:
                self._finished.append(self._record(i, bool(terminated[i])))
                final[i] = seen
                self._episode_index[i] += 1
                self._taken[i] = []
                self._returns[i] = 0.0
                seen = self._start(i)
            self._observations[i] = seen
        return StepResult(self.observations, rewards, terminated, truncated, tuple(final))

    def pop_episodes(self) -> list[Episode]:
        """The episodes finished since the last call, in the order they ended."""
        finished, self._finished = self._finished, []
        return finished

    def state(self) -> dict[str, Any]:
        """Everything needed to go on later, as JSON values.

        Returns:
            Step count, and per environment the number of its episode and the actions taken in it.

        Raises:
            RuntimeError: If finished episodes have not been collected, as they would be lost.
        """
        if self._finished:
            raise RuntimeError("collect finished episodes with pop_episodes() before saving")
        return {
            "seed": self.seed,
            "steps": self._steps,
            "episode_index": list(self._episode_index),
            "actions": [list(taken) for taken in self._taken],
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Returns to a saved state by playing each running episode again from its seed.

        Args:
            state: What :meth:`state` returned.

        Raises:
            ValueError: If it was saved by another run or with another number of environments.
        """
        if state["seed"] != self.seed or len(state["actions"]) != self.n_envs:
            raise ValueError(
                f"the saved environments belong to seed {state['seed']} with "
                f"{len(state['actions'])} environments, not to seed {self.seed} with {self.n_envs}"
            )
        self._steps = int(state["steps"])
        self._episode_index = [int(k) for k in state["episode_index"]]
        self._taken = [[int(a) for a in taken] for taken in state["actions"]]
        self._returns = [0.0] * self.n_envs
        for i, taken in enumerate(self._taken):
            self._observations[i] = self._start(i)
            for action in taken:
                self._observations[i], reward, _, _, _ = self.envs[i].step(action)
                self._returns[i] += reward

    def close(self) -> None:
        """Closes every environment."""
        for env in self.envs:
            env.close()

    def _start(self, i: int) -> Observation:
        seed = training_seed(self.seed, i, self._episode_index[i])
        return self.envs[i].reset(seed=seed)[0]

    def _record(self, i: int, solved: bool) -> Episode:
        return Episode(
            env=i,
            steps=self._steps,
            seed=training_seed(self.seed, i, self._episode_index[i]),
            task_kind=self.envs[i].task_kind,
            episode_return=self._returns[i],
            success=solved,
            length=len(self._taken[i]),
            truncated=not solved,
        )
