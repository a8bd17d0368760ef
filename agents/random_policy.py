"""The floor: actions drawn uniformly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from agents.base import Agent, PolicyOutput, sample_actions
from envs.observation import Observation


class RandomAgent(Agent):
    """Chooses every action with the same probability."""

    learns: ClassVar[bool] = False

    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Samples uniformly with each observation's own draw; returns (batch,) indices."""
        return sample_actions(self.policy_output(observations).probabilities, observations)

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput:
        """The same chance for every action."""
        n_actions = len(observations[0].action_phrases)
        return PolicyOutput(np.full((len(observations), n_actions), 1.0 / n_actions))

    def identity(self) -> Mapping[str, Any]:
        """The label in tables."""
        return {"label": "Random", "model": {}}
