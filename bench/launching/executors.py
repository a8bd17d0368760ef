"""Where the process of a run is started; here: on this machine."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bench.config import RunConfig
from bench.interruption import LAUNCHER, PARENT_VARIABLE
from bench.storage import provenance
from bench.storage.lock import wait_for_holder
from bench.storage.run import RunDirectory

# -P: a directory called bench where the user stands must not be taken for this one
TRAIN = (sys.executable, "-P", "-m", "bench", "train")
"""How a run's process is started, unless by a launcher."""


@dataclass(frozen=True)
class PlannedRun:
    """A run and how its process is started.

    Attributes:
        config: The run.
        out: Where all profiles' runs are kept.
        command: Arguments of its process.
        point: Its point of a grid, such as ``train.n_envs=8``; empty if there is no grid.
    """

    config: RunConfig
    out: Path
    command: tuple[str, ...]
    point: str = ""

    @property
    def run(self) -> RunDirectory:
        """The run's directory."""
        return RunDirectory.of(self.out, self.config)

    def environment(self) -> dict[str, str]:
        """What its process needs beside the variables that are there."""
        threads = str(self.config.threads)
        roots = [str(provenance.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        return {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(roots),
            # a directory called bench where the user stands must not be taken for this one
            "PYTHONSAFEPATH": "1",
        }


@dataclass(frozen=True)
class Ending:
    """How a process ended.

    Attributes:
        code: Its exit code, or minus the signal that ended it; None if nobody saw.
        printed: What it wrote to stderr.
        fate: The ending in a few words.
    """

    code: int | None
    printed: str
    fate: str


class Job(Protocol):
    """A process that was started.

    Attributes:
        title: What a person would look for, such as ``process 123``.
        stays: Whether it goes on when we are gone.
    """

    title: str
    stays: bool

    def begun(self) -> bool:
        """Whether it works, and does not wait in a queue, for the first time or again."""

    def ending(self) -> Ending | None:
        """How it ended; None while it goes on."""

    def stop(self, number: int) -> None:
        """Hands a signal on; a job that lives on without us is left alone."""

    def wait(self) -> None:
        """Waits until a process that was told to stop has saved its state."""


class Executor(Protocol):
    """Starts processes."""

    def attached(self, planned: PlannedRun) -> Job | None:
        """The run's job of an earlier command, if it still waits or works in a queue.

        Raises:
            RunError: If that cannot be found out.
        """

    def start(self, planned: Sequence[PlannedRun], folder: Path) -> list[Job]:
        """Starts runs.

        Args:
            planned: The runs.
            folder: For files that may go when ``glam reproduce`` ends.
        """


class LocalExecutor:
    """Processes of this machine; they end when we do."""

    def attached(self, planned: PlannedRun) -> Job | None:
        """None: the process of an earlier command has the run's lock, and says so."""
        return None

    def start(self, planned: Sequence[PlannedRun], folder: Path) -> list[Job]:
        """Starts a process for each."""
        return [_Process(each, folder) for each in planned]


class _Process:
    stays = False

    def __init__(self, planned: PlannedRun, folder: Path) -> None:
        self._printed = folder / f"{planned.point}-{planned.config.agent}-{planned.config.seed}"
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                planned.command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=printed,
                env={**os.environ, **planned.environment(), **parent_variable(planned.command)},
                start_new_session=True,  # Ctrl-C reaches it through us, once
            )
        self._planned = planned
        self.title = f"process {self._process.pid}"

    def begun(self) -> bool:
        return True

    def ending(self) -> Ending | None:
        code = self._process.poll()
        return None if code is None else ending_of(code, self._printed)

    def stop(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self) -> None:
        self._process.wait()
        wait_for_launched(self._planned.command, self._planned.run.lock_path)


def parent_variable(command: Sequence[str]) -> dict[str, str]:
    """Names the process whose end should end the run's: us, or a launcher between."""
    return {PARENT_VARIABLE: LAUNCHER if is_launched(command) else str(os.getpid())}


def is_launched(command: Sequence[str]) -> bool:
    """Whether a launcher, and not we, starts the run."""
    return tuple(command[: len(TRAIN)]) != TRAIN


def wait_for_launched(command: Sequence[str], lock_path: Path) -> None:
    """Waits for what a launcher started, as the launcher may end before that has saved.

    Args:
        command: How the run was started.
        lock_path: The run's lock.
    """
    if is_launched(command):
        wait_for_holder(lock_path)


def ending_of(code: int, printed: Path) -> Ending:
    """Describes how a process ended.

    Args:
        code: Its exit code, or minus the signal that ended it.
        printed: The file that took its stderr.
    """
    fate = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    return Ending(code, read_printed(printed), fate)


def read_printed(printed: Path) -> str:
    """What is in the file of a process's stderr, if there is one."""
    try:
        return printed.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
