"""The language model as it comes: the paper's floor for what learning adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from agents.base import Agent, PolicyOutput
from agents.language_model.agent import LanguageModelAgent
from envs.observation import Observation
from envs.vector import VectorEnv


class ZeroShotAgent(LanguageModelAgent):
    """GFlan-T5 before any update."""

    learns: ClassVar[bool] = False

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """Refused: the point of this agent is that it never learns.

        Raises:
            AgentError: Always.
        """
        return Agent.update(self, envs)

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput:
        """The policy alone: the value head was never trained."""
        return PolicyOutput(super().policy_output(observations).probabilities)

    def identity(self) -> Mapping[str, Any]:
        """The same model under a label of its own."""
        found = super().identity()
        return {**found, "label": f"{found['label']}, zero-shot"}
