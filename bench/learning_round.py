"""One round of learning, held to what the records need, in trainings and by ``glam check``."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Collection, Mapping

from agents.base import Agent, AgentError
from bench.storage.row_file import METRIC_COLUMNS
from envs import VectorEnv


def learning_round(
    agent: Agent, envs: VectorEnv, columns: Collection[str] | None
) -> dict[str, float]:
    """Has an agent learn once.

    Args:
        agent: An agent that learns.
        envs: Its training environments.
        columns: Names of what it logged in earlier rounds; None in the first.

    Returns:
        What it logs, by name.

    Raises:
        AgentError: If it takes no environment step or the finished episodes, or logs anything but
            finite numbers under the same names every time, none of them the harness's own.
    """
    before, ended, waiting = envs.steps, envs.ended, envs.waiting
    metrics = agent.update(envs)
    if envs.steps <= before:
        raise AgentError("update() took no environment step")
    if envs.waiting - waiting < envs.ended - ended:
        raise AgentError("update() called pop_episodes(), which is reserved for the harness")
    if not isinstance(metrics, Mapping):
        raise AgentError(f"update() returned {reprlib.repr(metrics)}, not a mapping of numbers")
    numbers = {str(name): _number(name, value) for name, value in metrics.items()}
    reserved = sorted(numbers.keys() & set(METRIC_COLUMNS))
    if reserved:
        raise AgentError(f"update() logs {reserved[0]!r}, which is the harness's own column")
    uneven = sorted(numbers.keys() ^ set(numbers if columns is None else columns))
    if uneven:
        raise AgentError(f"update() logs {', '.join(uneven)} in some updates only")
    return numbers


def _number(name: object, value: object) -> float:
    try:
        number = float(value)  # type: ignore[arg-type]  # it may be anything
    except (TypeError, ValueError) as error:
        raise AgentError(f"update() logs {name} as {reprlib.repr(value)}, not a number") from error
    if not math.isfinite(number):
        raise AgentError(f"update() logs {name} as {number}, no finite number")
    return number
