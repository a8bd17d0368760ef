"""How a learning rate changes over a run."""

from __future__ import annotations

from typing import Literal

from agents.base import AgentContext, AgentError

Decay = Literal["none", "linear"]
"""``"linear"``: from the given learning rate to 0 at the run's last step."""


def decayed(rate: float, decay: Decay, steps: int, context: AgentContext) -> float:
    """The learning rate of an update.

    Args:
        rate: Learning rate of the first update.
        decay: How it changes.
        steps: Environment steps before the update.
        context: Knows how many there will be.

    Raises:
        AgentError: If it changes over a run whose length nobody told.
    """
    if decay == "none":
        return rate
    if context.training_steps is None:
        raise AgentError("learning_rate_decay: needs a run of known length")
    return rate * max(0.0, 1.0 - steps / context.training_steps)
