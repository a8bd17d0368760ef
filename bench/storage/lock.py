"""One writer at a time: a file that is locked, with the id of the process that has it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import filelock

_POLL_SECONDS = 0.2


@contextmanager
def locked(path: Path, refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Keeps every other process out; a dead process's lock is void.

    Args:
        path: The file that is locked; it stays when the lock is released.
        refusal: What is raised if another process holds it, of ``"in use by process 12"``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(path)
    try:
        lock.acquire(blocking=False)
    except filelock.Timeout as error:
        holder = (path.read_text().split() or ["unknown"])[0]
        raise refusal(f"in use by process {holder}") from error
    try:
        path.write_text(f"{os.getpid()} {_started(os.getpid())}".strip())
        yield
    finally:
        with suppress(OSError):
            path.write_text("")
        lock.release()


def has_holder(path: Path) -> bool:
    """Whether the process that wrote itself into a lock is there, on this machine.

    The lock itself is not tried: that would be in the way of who wants it.

    Args:
        path: The file that is locked.
    """
    try:
        pid, *started = path.read_text().split()
        os.kill(int(pid), 0)
    except PermissionError:
        pass  # somebody else's process
    except (OSError, ValueError):
        return False
    # An id is given again, soonest in a container that was started anew.
    return not started or [_started(int(pid))] == started


def wait_for_holder(path: Path) -> None:
    """Waits for as long as the process that has a lock is there.

    Args:
        path: The file that is locked.
    """
    while has_holder(path):
        time.sleep(_POLL_SECONDS)


def _started(pid: int) -> str:
    """When a process began, as its system counts; empty where it does not tell (macOS)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[19]
    except (OSError, IndexError):
        return ""
