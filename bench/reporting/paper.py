"""The paper's published numbers, from `results/paper/*.csv` and from nowhere else."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.storage.parsing import read_rows

DIRECTORY = Path(__file__).resolve().parents[2] / "results" / "paper"

OWN_NAME: Mapping[str, str] = {
    "gflan-t5": "GFlan-T5",
    "npae-flan-t5": "NPAE-Flan-T5",
    "flan-t5": "Flan-T5",
    "drrn": "DRRN",
    "symbolic-ppo": "Symbolic-PPO",
    "random": "Random",
}
"""The paper's name of each of our agents that it has results for."""

_SUCCESS_TYPES = {"split": str, "agent": str, "success_rate": float, "source": str}
_CURVE_TYPES = {"agent": str, "steps": int, "relation": str, "success_rate": float, "source": str}

STEPS = 1_500_000
TEST_EPISODES = 1000
N_ENVS = 32
ROOM_SIZE = 8
HISTORY = 3
NUM_DISTRACTORS = 8
TASK_KINDS = ("go to", "pick up", "put next", "sequence", "open")
MODEL = "Flan-T5-large"
READING_ERROR = 0.01
"""Error of a success rate that was read off a figure."""


@dataclass(frozen=True)
class CurvePoint:
    """What is known of a Q1 learning curve at one point.

    Attributes:
        agent: The paper's name of the agent.
        steps: Environment steps.
        relation: "reaches" the rate there, stays "below" it up to there, or "approaches" it there.
        success_rate: Success rate in training, in [0, 1].
    """

    agent: str
    steps: int
    relation: str
    success_rate: float


@dataclass(frozen=True)
class PaperResults:
    """The published results.

    Attributes:
        success_rate: Test success rate by (split, agent), the agent by the paper's name.
        curve_points: Known points of the Q1 learning curves.
        success_sources: Where the success rates come from, each once.
        curve_sources: Where the curve points come from, each once.
    """

    success_rate: Mapping[tuple[str, str], float]
    curve_points: tuple[CurvePoint, ...]
    success_sources: tuple[str, ...]
    curve_sources: tuple[str, ...]

    @property
    def agents(self) -> tuple[str, ...]:
        """Agents with a test success rate, by the paper's names, in the order of `OWN_NAME`."""
        published = {agent for _, agent in self.success_rate}
        return tuple(name for name in OWN_NAME.values() if name in published)

    def change(self, agent: str, split: str, reference: str | None) -> float:
        """Relative change of the success rate against a reference split.

        NaN where it is unpublished, or a change from 0.
        """
        rate = self.success_rate.get((split, agent), math.nan)
        base = self.success_rate.get((reference or "", agent), math.nan)
        return rate / base - 1 if base else math.nan

    def steps_to(self, agent: str, rate: float) -> float:
        """Environment steps until a success rate is reached in training.

        Args:
            agent: The paper's name of the agent.
            rate: Success rate, in [0, 1].

        Returns:
            Steps; infinite if the curve stayed under the rate; NaN if nothing published tells.
        """
        known = [point for point in self.curve_points if point.agent == agent]
        for point in known:
            if point.relation == "reaches" and point.success_rate == rate:
                return float(point.steps)
        under = [p for p in known if p.relation != "reaches" and p.success_rate < rate]
        return math.inf if under else math.nan


def read_paper(directory: Path = DIRECTORY) -> PaperResults:
    """Read the published results.

    Args:
        directory: Directory of `success_rate.csv` and `learning_curve.csv`.

    Returns:
        The results.

    Raises:
        RecordError: If a file is absent or malformed.
    """
    rates = read_rows(directory / "success_rate.csv", _SUCCESS_TYPES)
    points = read_rows(directory / "learning_curve.csv", _CURVE_TYPES)
    return PaperResults(
        success_rate={
            (row["split"], row["agent"]): row["success_rate"] for row in rates.to_dict("records")
        },
        curve_points=tuple(
            CurvePoint(row["agent"], row["steps"], row["relation"], row["success_rate"])
            for row in points.to_dict("records")
        ),
        success_sources=tuple(dict.fromkeys(rates["source"])),
        curve_sources=tuple(dict.fromkeys(points["source"])),
    )
