"""From operations to hours: peaks of named GPUs and stated efficiencies. Pure arithmetic."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

EFFICIENCY: Mapping[str, float] = MappingProxyType({"float32": 0.5, "bfloat16": 0.3})
"""Assumed share of a GPU's peak that training reaches; never measured."""

LAUNCH_SECONDS = 10e-6
"""Assumed time of one operation on a GPU, however small."""

USABLE = 0.9
"""Share of a GPU's memory a plan may fill; the rest is the driver's and the allocator's."""

_TABLE = Path(__file__).parent / "gpus.csv"


@dataclass(frozen=True)
class Gpu:
    """A GPU as its data sheet has it.

    Attributes:
        name: Its name.
        memory_gb: Memory in GB (10⁹ bytes).
        peaks: Dense FLOPs a second by precision; a precision it lacks is not there.
        source: Where the peaks are published.
    """

    name: str
    memory_gb: float
    peaks: Mapping[str, float]
    source: str

    def seconds(self, flops: float, launches: float, precision: str) -> float | None:
        """Time of a computation.

        Args:
            flops: Floating-point operations.
            launches: Operations handed to the device.
            precision: ``"float32"`` or ``"bfloat16"``.

        Returns:
            The longer of what the operations take at the stated efficiency and what handing them
            over takes; None if the GPU lacks the precision.
        """
        if precision not in self.peaks:
            return None
        return max(
            flops / (self.peaks[precision] * EFFICIENCY[precision]), launches * LAUNCH_SECONDS
        )

    def holds(self, size: float) -> bool:
        """Whether so many bytes fit, with a tenth to spare."""
        return size <= USABLE * self.memory_gb * 1e9


def gpus() -> list[Gpu]:
    """The GPUs of the table, in its order."""
    with _TABLE.open(encoding="utf-8", newline="") as file:
        return [
            Gpu(
                row["name"],
                float(row["memory_gb"]),
                {
                    precision: float(row[f"{precision}_tflops"]) * 1e12
                    for precision in EFFICIENCY
                    if row[f"{precision}_tflops"]
                },
                row["source"],
            )
            for row in csv.DictReader(file)
        ]


def updates_of(steps: int, steps_per_update: int) -> int:
    """Updates until the budget is reached; the last one may go over it.

    Args:
        steps: Budget in environment steps.
        steps_per_update: Environment steps of an update, all environments together.
    """
    return -(-steps // steps_per_update)
