"""Where a run's messages go: all to its ``train.log``, some to the person who started it."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console


@contextmanager
def logging_to(path: Path, console: Console) -> Iterator[None]:
    """Sends the log and Python's warnings to a file, and plain lines to the console.

    A terminal shows a bar instead of the lines, hence only warnings there.

    Args:
        path: The run's log; it is extended.
        console: The person's.
    """
    to_file = _QuietFileHandler(path, encoding="utf-8")
    to_file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    to_console = _ConsoleHandler(console)
    to_console.setLevel(logging.WARNING if console.is_terminal else logging.INFO)
    glam, warnings = logging.getLogger("glam"), logging.getLogger("py.warnings")
    level, propagate = glam.level, glam.propagate
    glam.setLevel(logging.INFO)
    glam.propagate = False
    for handler in (to_file, to_console):
        glam.addHandler(handler)
    warnings.addHandler(to_file)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        warnings.removeHandler(to_file)
        for handler in (to_file, to_console):
            glam.removeHandler(handler)
            handler.close()
        glam.setLevel(level)
        glam.propagate = propagate


class _QuietFileHandler(logging.FileHandler):
    def handleError(self, record: logging.LogRecord) -> None:
        """A full disk must not bury the one line that says so."""


class _ConsoleHandler(logging.Handler):
    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console
        # The traceback of a failure is for the file; its one line comes from the command itself.
        self.addFilter(lambda record: record.exc_info is None)

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(record.getMessage(), markup=False, highlight=False, soft_wrap=True)
