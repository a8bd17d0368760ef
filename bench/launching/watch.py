"""Trainings as they go on, looked at from outside: their files are read and nothing is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.live import Live

from bench.launching.run_status import RunStatus, running_status, status_table, steps_taken
from bench.launching.submission import is_queued, is_submitted
from bench.storage.lock import has_holder
from bench.storage.run import RunDirectory, RunError

POLL_SECONDS = 1.0
LINE_SECONDS = 10.0
_GOING_ON = ("training", "evaluating", "starting", "queued")


def watch_runs(path: Path, console: Console, sleep: Callable[[float], None] = time.sleep) -> None:
    """Shows runs until none of them goes on: a live table on a terminal, plain lines elsewhere.

    Args:
        path: A run's directory, or one that holds ``<agent>/seed-<n>/``.
        console: Where they are shown.
        sleep: Waits between two looks.

    Raises:
        RunError: If there is no run.
    """
    watched = [_Watched(run, path) for run in find_runs(path)]
    statuses = [run.status() for run in watched]
    if not console.is_terminal:
        _print(console, statuses)
        waited = 0.0
        while any(status.phase in _GOING_ON for status in statuses):
            sleep(POLL_SECONDS)
            waited += POLL_SECONDS
            before, statuses = statuses, [run.status() for run in watched]
            ended = [
                new
                for old, new in zip(before, statuses, strict=True)
                if old.phase in _GOING_ON and new.phase not in _GOING_ON
            ]
            _print(console, ended)
            if waited >= LINE_SECONDS:
                waited = 0.0
                _print(console, [status for status in statuses if status.phase in _GOING_ON])
        return
    with Live(status_table(statuses), console=console, auto_refresh=False) as live:
        while any(status.phase in _GOING_ON for status in statuses):
            sleep(POLL_SECONDS)
            statuses = [run.status() for run in watched]
            live.update(status_table(statuses), refresh=True)


def find_runs(path: Path) -> list[RunDirectory]:
    """The runs in a directory, by agent and seed.

    Args:
        path: A run's directory, an agent's, one that holds ``<agent>/seed-<n>/``, or one above
            it, such as that of a sweep.

    Raises:
        RunError: If there is none.
    """
    if (path / "config.json").is_file():
        return [RunDirectory(path)]
    levels = ("seed-*", "*/seed-*", "*/*/seed-*", "*/*/*/seed-*")
    found = [place.parent for level in levels for place in path.glob(f"{level}/config.json")]
    if not found:
        raise RunError(f"{path} holds no runs; `glam reproduce` or `glam train` begins some")
    numbered = sorted(found, key=lambda run: (run.parent, len(run.name), run.name))
    return [RunDirectory(run) for run in numbered]


class _Watched:
    """A run with what is needed to tell its pace."""

    def __init__(self, run: RunDirectory, above: Path) -> None:
        self._run, self._config = run, run.config()
        # profile and point of a grid, where the directory looked at holds several
        self._point = "/".join(run.path.relative_to(above).parts[:-2])
        self._began, self._began_at = time.monotonic(), steps_taken(run)

    def status(self) -> RunStatus:
        seconds = time.monotonic() - self._began
        status = running_status(self._run, self._config, seconds, self._began_at)
        status = replace(status, point=self._point)
        if self._run.state() == "failed":
            return replace(status, phase="failed")
        if status.phase in _GOING_ON and not has_holder(self._run.lock_path):
            if is_submitted(self._run):  # it may work on another machine
                return replace(status, phase="queued") if is_queued(self._run) else status
            trained = status.phase == "evaluating"
            return replace(status, phase="trained" if trained else "stopped")
        return status


def _print(console: Console, statuses: Sequence[RunStatus]) -> None:
    for status in statuses:
        console.print(status.line(), markup=False, highlight=False, soft_wrap=True)
