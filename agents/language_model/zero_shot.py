"""The language model as it comes: the article's floor for what learning adds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from agents.base import Agent, Judgement
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

    def judge(self, observations: Sequence[Observation]) -> Judgement:
        """The policy alone: the value head was never trained."""
        return Judgement(super().judge(observations).probabilities)

    def identity(self) -> Mapping[str, Any]:
        """The same model under a label of its own."""
        found = super().identity()
        return {**found, "label": f"{found['label']}, zero-shot"}
