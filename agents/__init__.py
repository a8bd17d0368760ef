"""Agents for BabyAI-Text: the contract, the registry, and the published ones."""

from agents.base import (
    Agent,
    AgentContext,
    AgentEntry,
    AgentError,
    find,
    registered,
    sample_actions,
)

__all__ = [
    "Agent",
    "AgentContext",
    "AgentEntry",
    "AgentError",
    "find",
    "registered",
    "sample_actions",
]
