"""TensorBoard's files beside `metrics.csv`, where tensorboard is installed.

They repeat what the rows say, for people who like to watch curves; no result is read from them, and
they are not the same bytes twice (they hold times).
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any


class TensorBoardLog:
    """Event files of one session of a training."""

    def __init__(self, directory: Path | None, steps: int) -> None:
        """Opens a new file; without tensorboard nothing is ever written.

        Args:
            directory: The run's ``tensorboard/``; None where another process writes it.
            steps: Environment steps that this session resumes from; what an earlier one showed
                beyond them was lost with it, and TensorBoard drops it.
        """
        self._writer: Any = None
        if directory is None:
            return
        try:
            from tensorboard.compat.proto import (  # type: ignore[import-untyped]
                event_pb2,
                summary_pb2,
            )
            from tensorboard.summary.writer.event_file_writer import (  # type: ignore[import-untyped]
                EventFileWriter,
            )
        except ImportError:
            return
        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        self._writer = EventFileWriter(str(directory))
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._add(steps + 1, session_log=start)

    def add(self, steps: int, numbers: Mapping[str, float], solved: Collection[bool]) -> None:
        """Shows an update.

        Args:
            steps: Environment steps after it.
            numbers: What it logged.
            solved: Whether the episodes that ended in it were solved.
        """
        if self._writer is None:
            return
        shown = {f"train/{name}": value for name, value in numbers.items()}
        if solved:
            shown["episodes/success"] = sum(solved) / len(solved)
        values = [self._summary.Value(tag=tag, simple_value=x) for tag, x in shown.items()]
        self._add(steps, summary=self._summary(value=values))

    def close(self) -> None:
        """Writes out what is still in memory."""
        if self._writer is not None:
            self._writer.close()

    def _add(self, steps: int, **what: Any) -> None:
        self._writer.add_event(self._event(wall_time=time.time(), step=steps, **what))
