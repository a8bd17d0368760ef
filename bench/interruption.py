"""Stopping a run where nothing is lost."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

PARENT_VARIABLE = "GLAM_PARENT"
"""Process id of a ``glam reproduce`` whose end, however it comes, should end its runs too."""


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

    def __init__(self) -> None:
        """No signal yet."""
        self.number: int | None = None
        self._parent = int(os.environ.get(PARENT_VARIABLE, "0"))

    @contextmanager
    def listening(self) -> Iterator[None]:
        """Handles the two signals while the block runs; a second one ends the process at once.

        Not where another process asked for the work: it and a queue may both hand a signal on.
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

        Raises:
            Interrupted: If so.
        """
        if self._parent and os.getppid() != self._parent:
            raise Interrupted(signal.SIGTERM)
        if self.number is not None:
            raise Interrupted(self.number)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.number = number
        if not self._parent:
            signal.signal(number, signal.SIG_DFL)
