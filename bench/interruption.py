"""Stopping a run where nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from bench.processes import ALONE, Processes

PARENT_VARIABLE = "GLAM_PARENT"
"""Process id of a ``glam reproduce`` whose end, however it comes, should end its runs too."""
LAUNCHER = "launcher"
"""In its place where a launcher such as ``accelerate launch`` starts the run, as its parent."""


class Interrupted(Exception):
    """A run that was asked to stop and did, with everything saved.

    Attributes:
        exit_code: 128 + the number of the signal that asked, as shells have it.
    """

    def __init__(self, number: int) -> None:
        """Names the signal."""
        super().__init__(f"stopped by {signal.Signals(number).name}; run it again to go on")
        self.exit_code = 128 + number


class StopSignal:
    """Notes SIGINT and SIGTERM while work that must not be cut in two goes on."""

    def __init__(self, processes: Processes = ALONE) -> None:
        """No signal yet.

        Args:
            processes: Those of the run; whichever is asked to stop, all do.
        """
        self.number: int | None = None
        self._processes = processes
        parent = os.environ.get(PARENT_VARIABLE, "0")
        launched = processes.count > 1 or parent == LAUNCHER
        self._parent = os.getppid() if launched else int(parent)

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the two signals while the block runs; a second one ends the process at once.

        Not where another process asked for the work, or several do it together: the queue and a
        launcher may both hand a signal on, so there a second one means no more than the first.
        """
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self._note) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def check(self) -> None:
        """Looks whether a signal has come, or the process that asked for the work is gone.

        All processes of the run must call it at the same point.

        Raises:
            Interrupted: If so in any of them; then it is raised in all.
        """
        number = max(self._processes.gather(self._asked()))
        if number:
            raise Interrupted(number)

    def check_alone(self) -> None:
        """The same for this process only, at any point.

        Raises:
            Interrupted: If so.
        """
        number = self._asked()
        if number:
            raise Interrupted(number)

    def _asked(self) -> int:
        if self._parent and os.getppid() != self._parent:
            return signal.SIGTERM  # whoever started it is gone: nobody would wait for it or stop it
        return self.number or 0

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if not self._parent:
            signal.signal(number, signal.SIG_DFL)
