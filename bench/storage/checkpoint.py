"""Checkpoints: complete or not there, checked when they are read, the previous one kept."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.storage import atomic

_CHECKSUMS = "checksums.json"
_STATE = "state.json"
_log = logging.getLogger("glam")


class CheckpointError(ValueError):
    """A saved state that cannot be resumed."""


@dataclass(frozen=True)
class Checkpoint:
    """One whole checkpoint.

    Attributes:
        directory: Where it is.
        steps: Environment steps taken when it was saved.
        state: The harness's own state, as it was given to :meth:`CheckpointStore.save`.
    """

    directory: Path
    steps: int
    state: Mapping[str, Any]

    @property
    def agent_directory(self) -> Path:
        """What the agent itself saved."""
        return self.directory / "agent"


class CheckpointStore:
    """The checkpoints of one run, each in ``steps-<n>/`` with a checksum of every file.

    A checkpoint is filled under another name and renamed when it is on the disk, so that a
    directory of that name is a whole one.
    """

    def __init__(self, directory: Path) -> None:
        """Looks at a directory, which need not exist yet.

        Args:
            directory: The run's ``checkpoint/``.
        """
        self.directory = directory
        self._newest_whole: Path | None = None

    def save(self, steps: int, state: Mapping[str, Any], save: Callable[[Path], None]) -> None:
        """Writes a checkpoint, then removes all but it and the whole one before.

        Args:
            steps: Environment steps taken.
            state: JSON values.
            save: Called with an empty directory, which it fills.

        Raises:
            OSError: If it cannot be written; the earlier ones are untouched.
        """
        self.directory.mkdir(exist_ok=True)
        fresh = self.directory / ".writing"
        if fresh.exists():  # left by a killed process
            shutil.rmtree(fresh)
        try:
            (fresh / "agent").mkdir(parents=True)
            save(fresh / "agent")
            atomic.write_json(fresh / _STATE, state)
            files = _files(fresh)
            for file in files:
                atomic.sync(file)
            checksums = {str(file.relative_to(fresh)): _sha256(file) for file in files}
            atomic.write_json(fresh / _CHECKSUMS, {"steps": steps, "files": checksums})
            for folder in {file.parent for file in files}:
                atomic.sync(folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        final = self.directory / f"steps-{steps}"
        if final.exists():  # a damaged one that was passed over
            shutil.rmtree(final)
        os.rename(fresh, final)
        atomic.sync(self.directory)
        self._remove_all_but(final, self._newest_whole)
        self._newest_whole = final

    def latest(self) -> Checkpoint | None:
        """Reads the newest whole checkpoint, with a warning for every damaged one passed over.

        Returns:
            The checkpoint, or None if none was ever saved.

        Raises:
            CheckpointError: If all of them are damaged.
        """
        newest_first = self._saved()
        for directory in newest_first:
            try:
                checkpoint = _checked(directory)
                self._newest_whole = directory
                return checkpoint
            except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
                damage = f"checkpoint {directory} is damaged ({error})"
                _log.warning("%s; falling back to the one before", damage)
        if newest_first:
            raise CheckpointError(f"no whole checkpoint is left: {damage}")
        return None

    def keep_newest(self) -> None:
        """Removes all but the newest whole one."""
        self._remove_all_but(self._newest_whole)

    def _remove_all_but(self, *kept: Path | None) -> None:
        for directory in self._saved():
            if directory not in kept:
                shutil.rmtree(directory)

    def _saved(self) -> list[Path]:
        found = [path for path in self.directory.glob("steps-*") if path.name[6:].isdecimal()]
        return sorted(found, key=lambda path: int(path.name[6:]), reverse=True)


def _checked(directory: Path) -> Checkpoint:
    recorded = json.loads((directory / _CHECKSUMS).read_text())
    found = {str(file.relative_to(directory)): file for file in _files(directory)}
    del found[_CHECKSUMS]
    for name in sorted(recorded["files"].keys() | found.keys()):
        if name not in found:
            raise ValueError(f"{name} is missing")
        if recorded["files"].get(name) != _sha256(found[name]):
            raise ValueError(f"{name} is not what was saved")
    if directory.name != f"steps-{recorded['steps']}":
        raise ValueError(f"it was saved after {recorded['steps']} steps")
    return Checkpoint(directory, recorded["steps"], json.loads((directory / _STATE).read_text()))


def _files(directory: Path) -> list[Path]:
    return sorted(path for path in directory.rglob("*") if path.is_file())


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
