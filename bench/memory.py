"""What a process does with memory it has freed."""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def keep_freed_memory() -> None:
    """Lets the C library hand freed memory out again instead of giving it back to the system.

    A forward pass allocates and frees the same few megabytes again and again. By default glibc
    returns them, and the system fills them with zeros the next time: up to a third of the time of a
    small model on a CPU (docs/performance.md). Does nothing where the C library is another one.
    """
    if not sys.platform.startswith("linux"):
        return
    set_option = getattr(ctypes.CDLL(None), "mallopt", None)
    if set_option is not None:
        set_option(_M_TRIM_THRESHOLD, 2**31 - 1)
        set_option(_M_MMAP_MAX, 0)
