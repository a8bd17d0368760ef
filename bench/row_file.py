"""Rows on the disk: the columns of every file, and files that grow by whole rows."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import atomic
from bench.checkpoint import CheckpointError

METRIC_COLUMNS = ("update", "steps")
EPISODE_COLUMNS = (
    "episode",
    "env",
    "steps",
    "seed",
    "task_kind",
    "return",
    "success",
    "length",
    "truncated",
)
EVALUATION_COLUMNS = (
    "split",
    "split_version",
    "level",
    "level_version",
    "episode_seed",
    "task_kind",
    "return",
    "success",
    "length",
    "truncated",
    "prompt_hash",
)

Cell = str | int | float | bool


class RowFile:
    """A CSV that grows by whole rows and can be cut back to an earlier length."""

    def __init__(self, path: Path) -> None:
        """Looks at a file, which need not exist yet."""
        self.path = path

    @property
    def size(self) -> int:
        """Length in bytes; 0 if the file is not there."""
        return self.path.stat().st_size if self.path.exists() else 0

    def header(self) -> list[str]:
        """Names of the columns; none if the file is not there or empty."""
        if not self.size:
            return []
        with self.path.open(encoding="utf-8", newline="") as file:
            return next(csv.reader(file))

    def append(self, rows: Iterable[Sequence[Cell]]) -> None:
        """Adds rows; the first one of a file is its header.

        Raises:
            OSError: If they cannot be written; the file is as it was.
        """
        text = format_rows(rows)
        if text:
            atomic.append_text(self.path, text)

    def truncate(self, size: int) -> None:
        """Cuts the file back to ``size`` bytes; at 0 it is removed.

        Raises:
            CheckpointError: If the file is shorter than that.
        """
        if self.size < size:
            raise CheckpointError(f"{self.path} is shorter than its checkpoint says")
        if size == 0:
            self.path.unlink(missing_ok=True)
        else:
            os.truncate(self.path, size)


def format_rows(rows: Iterable[Sequence[Cell]]) -> str:
    """Rows as CSV: truth as 0 or 1, numbers of any kind in their shortest exact form."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([int(cell) if isinstance(cell, bool) else cell for cell in row])
    return text.getvalue()
