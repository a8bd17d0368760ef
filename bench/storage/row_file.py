"""Rows on the disk: the columns of every file, and files that grow by whole rows."""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.storage import atomic
from bench.storage.checkpoint import CheckpointError

METRIC_TYPES: Mapping[str, type] = {"update": int, "steps": int}
EPISODE_TYPES: Mapping[str, type] = {
    "episode": int,
    "env": int,
    "steps": int,
    "seed": int,
    "task_kind": str,
    "return": float,
    "success": bool,
    "length": int,
    "truncated": bool,
}
EVALUATION_TYPES: Mapping[str, type] = {
    "split": str,
    "split_version": str,
    "level": str,
    "level_version": str,
    "episode_seed": int,
    "task_kind": str,
    "return": float,
    "success": bool,
    "length": int,
    "truncated": bool,
    "prompt_hash": str,
}
METRIC_COLUMNS, EPISODE_COLUMNS, EVALUATION_COLUMNS = map(
    tuple, (METRIC_TYPES, EPISODE_TYPES, EVALUATION_TYPES)
)
PROMPT_HASH_DIGITS = 16
"""First digits of a SHA-256 that a row holds."""

Value = str | int | float | bool


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

    def append(self, rows: Iterable[Sequence[Value]]) -> None:
        """Adds rows.

        Args:
            rows: Values in the order of the columns; the first row of a file is its header.

        Raises:
            OSError: If they cannot be written; the file is as it was.
        """
        text = format_rows(rows)
        if text:
            atomic.append_text(self.path, text)

    def mark(self) -> dict[str, Any]:
        """Where the file ends now: its ``size`` in bytes and the ``sha256`` of them."""
        return self._mark(self.size)

    def cut_back(self, mark: Mapping[str, Any]) -> None:
        """Removes what was added after a mark was taken.

        Raises:
            CheckpointError: If what was there then is not there any more.
        """
        if self._mark(mark["size"]) != mark:
            raise CheckpointError(f"{self.path} has changed since its checkpoint was saved")
        os.truncate(self.path, mark["size"])

    def clear(self) -> None:
        """Removes the file."""
        self.path.unlink(missing_ok=True)

    def _mark(self, size: int) -> dict[str, Any]:
        rows = self.path.read_bytes()[:size] if self.path.exists() else b""
        return {"size": len(rows), "sha256": hashlib.sha256(rows).hexdigest()}


def format_rows(rows: Iterable[Sequence[Value]]) -> str:
    """Rows as CSV: truth as 0 or 1, numbers of any kind in their shortest exact form."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for row in rows:
        writer.writerow([int(cell) if isinstance(cell, bool) else cell for cell in row])
    return text.getvalue()
