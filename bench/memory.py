"""What a process does with memory it has freed, and when it looks for more of it."""

from __future__ import annotations

import atexit
import ctypes
import gc
import sys

_AS_PYTHON_STARTS = gc.get_threshold()[0]
_WHILE_LOADING = 1_000_000
"""New objects after which the collector starts; commands that load little never reach it."""
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # malloc.h


def postpone_collection() -> None:
    """Makes the collector of reference cycles wait until all is loaded.

    Importing torch and transformers makes some 400,000 objects that stay. Looking through them
    again and again, and once more at exit, takes a quarter of a start (docs/performance.md).
    """
    gc.set_threshold(_WHILE_LOADING, *gc.get_threshold()[1:])
    atexit.register(gc.freeze)  # what is there at exit needs no looking through


def resume_collection() -> None:
    """Ends what :func:`postpone_collection` began: what is loaded by now is not looked through."""
    young, *older = gc.get_threshold()
    if young == _WHILE_LOADING:
        gc.freeze()
        gc.set_threshold(_AS_PYTHON_STARTS, *older)


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
        set_option(_M_TRIM_THRESHOLD, -1)  # never
        set_option(_M_MMAP_MAX, 0)
