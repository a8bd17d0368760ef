"""What a person sees of a run: a bar on a terminal, a plain line every ten seconds elsewhere."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterable
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

log = logging.getLogger("glam")

LINE_SECONDS = 10.0
WINDOW = 100
"""Episodes of training behind the success rate that is shown."""


class RunProgress:
    """Progress of one phase of a run, towards a known total."""

    def __init__(
        self, title: str, total: int, unit: str, console: Console, window: int | None = WINDOW
    ) -> None:
        """Shows nothing yet.

        Args:
            title: What is going on, such as ``"drrn seed 0: train"``.
            total: Steps or episodes to do.
            unit: Name of what is counted.
            console: A terminal gets a bar; anything else the log's plain lines.
            window: How many of the last episodes the success rate is of; None for all: of a fixed
                set the longest end last, and those are the failures.
        """
        self._title, self._total, self._unit = title, total, unit
        self._console = console
        self._recent: deque[bool] = deque(maxlen=window)
        self._done = self._first = 0
        self._started = self._last_line = time.monotonic()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TextColumn("{task.fields[detail]}"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._task = self._bar.add_task(title, total=total, detail="")

    def __enter__(self) -> RunProgress:
        """Starts the bar."""
        self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stops the bar and says where the phase ended."""
        self._bar.stop()
        log.info("%s", self.line())

    def resume_at(self, done: int) -> None:
        """Says how much was done in an earlier session."""
        self._done = self._first = done
        self._bar.update(self._task, completed=done)

    def update(self, done: int, successes: Iterable[bool] = ()) -> None:
        """Says how far it is.

        Args:
            done: Steps or episodes done so far.
            successes: Whether the episodes that have ended since were solved.
        """
        self._done = done
        self._recent.extend(successes)
        self._bar.update(self._task, completed=done, detail=self._detail())
        if time.monotonic() - self._last_line >= LINE_SECONDS:
            self._last_line = time.monotonic()
            log.info("%s", self.line())

    @property
    def rate(self) -> float:
        """Units a second in this session."""
        return (self._done - self._first) / max(time.monotonic() - self._started, 1e-9)

    def line(self) -> str:
        """The plain line."""
        left = max(self._total - self._done, 0)
        eta = f", {duration(left / self.rate)} left" if left and self._done > self._first else ""
        return f"{self._title}: {self._done:,}/{self._total:,} {self._unit}, {self._detail()}{eta}"

    def _detail(self) -> str:
        rate = f"{self.rate:,.0f} {self._unit}/s"
        if not self._recent:
            return rate
        return f"success {sum(self._recent) / len(self._recent):.2f}, {rate}"


def duration(seconds: float) -> str:
    """A time span for people, such as ``"1:02:03"``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
