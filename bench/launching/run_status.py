"""How far runs are, read from their directories while other processes work in them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from bench.config import RunConfig
from bench.progress import WINDOW, duration
from bench.storage.row_file import EPISODE_COLUMNS, METRIC_COLUMNS
from bench.storage.run import RunDirectory

_TAIL_BYTES = 16384  # holds more than the last WINDOW rows of episodes.csv


@dataclass(frozen=True)
class RunStatus:
    """A run as it stands.

    Attributes:
        config: The run.
        phase: ``waiting``, ``queued``, ``starting``, ``training``, ``evaluating``, ``complete``,
            ``failed`` or ``skipped``.
        steps: Environment steps taken.
        success: Success rate of the last training episodes; None before the first.
        seconds: Time since its process was started.
        splits: Number of splits played.
        started_at: Steps taken when its process was started.
        point: Its point of a grid; empty if there is none.
    """

    config: RunConfig
    phase: str
    steps: int = 0
    success: float | None = None
    seconds: float = 0.0
    splits: int = 0
    started_at: int = 0
    point: str = ""

    @property
    def name(self) -> str:
        """Agent, seed and point."""
        name = f"{self.config.agent} seed {self.config.seed}"
        return f"{name}, {self.point}" if self.point else name

    @property
    def pace(self) -> float | None:
        """Environment steps a second in this session; None if it cannot be said."""
        gained = self.steps - self.started_at
        return gained / self.seconds if self.phase == "training" and gained > 0 else None

    @property
    def seconds_left(self) -> float | None:
        """Time to the end of training at the pace of this session; None if it cannot be said."""
        return self.pace and max(self.config.train.steps - self.steps, 0) / self.pace

    def cells(self) -> tuple[str, str, str, str, str, str]:
        """Name, phase, steps, steps a second, success and time left, as text."""
        phase = self.phase
        if phase in ("evaluating", "trained"):
            phase = f"{phase} {self.splits}/{len(self.config.evaluation.splits)}"
        steps = f"{self.steps:,}/{self.config.train.steps:,}" if self.steps else ""
        success = "" if self.success is None else f"{self.success:.2f}"
        left = "" if self.seconds_left is None else duration(self.seconds_left)
        pace = "" if self.pace is None else f"{self.pace:,.0f}"
        return self.name, phase, steps, pace, success, left

    def line(self) -> str:
        """The status as a plain line."""
        name, phase, steps, pace, success, left = self.cells()
        parts = [f"{name}: {phase}"]
        parts += [f"{steps} steps"] if steps else []
        parts += [f"{pace} steps/s"] if pace else []
        parts += [f"success {success}"] if success else []
        parts += [f"{left} left"] if left else []
        return ", ".join(parts)


def steps_taken(run: RunDirectory) -> int:
    """Environment steps that a run has logged."""
    rows = _last_rows(run.metrics.path)
    column = METRIC_COLUMNS.index("steps")
    return int(rows[-1][column]) if rows and rows[-1][column].isdecimal() else 0


def running_status(
    run: RunDirectory, config: RunConfig, seconds: float = 0.0, started_at: int = 0
) -> RunStatus:
    """Looks at a run whose process is alive.

    Args:
        run: Its directory, which need not exist yet.
        config: The run.
        seconds: Time since its process was started.
        started_at: Steps it had taken then.

    Returns:
        Its status.
    """
    state = run.state()
    phases = {
        None: "starting",
        "running": "training",
        "trained": "evaluating",
        "complete": "complete",
    }
    column = EPISODE_COLUMNS.index("success")
    solved = [row[column] == "1" for row in _last_rows(run.episodes.path)[-WINDOW:]]
    return RunStatus(
        config=config,
        phase=phases.get(state, "starting"),  # an earlier failure is being tried again
        steps=steps_taken(run),
        success=sum(solved) / len(solved) if solved else None,
        seconds=seconds,
        splits=sum(
            run.tested(name, config.evaluation.episodes) for name in config.evaluation.splits
        ),
        started_at=started_at,
    )


def status_table(statuses: Iterable[RunStatus]) -> Table:
    """The live table of runs."""
    table = Table("run", "state", "steps", "steps/s", "success", "left", box=None, pad_edge=False)
    for status in statuses:
        table.add_row(*status.cells())
    return table


def _last_rows(path: Path) -> list[list[str]]:
    """The last whole data rows of a growing CSV whose cells hold no quotes."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(size - _TAIL_BYTES, 0))
            lines = file.read().decode(errors="replace").split("\n")
    except FileNotFoundError:
        return []
    # The first line is the header or cut off; the last is empty or not whole yet.
    return [line.split(",") for line in lines[1:-1]]
