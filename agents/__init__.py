"""Agents for BabyAI-Text: the contract, the registry, and the published ones."""

from agents.base import Agent, AgentContext, AgentError, PolicyOutput, sample_actions
from agents.registry import AgentEntry, find, registered

__all__ = [
    "Agent",
    "AgentContext",
    "AgentEntry",
    "AgentError",
    "PolicyOutput",
    "find",
    "registered",
    "sample_actions",
]
