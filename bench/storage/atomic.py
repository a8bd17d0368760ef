"""Writes that either happen whole or not at all, on a kill, a power cut or a full disk."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

_SUFFIX = ".writing"


def write_text(path: Path, text: str) -> None:
    """Puts a UTF-8 file in place; see :func:`write_bytes`."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> None:
    """Puts a file in place: a temporary file beside it, fsync, rename.

    Args:
        path: File to write; what was there stays until the new one is whole.
        content: All of it.

    Raises:
        OSError: If it cannot be written; the old file is untouched.
    """
    handle, temporary = tempfile.mkstemp(_SUFFIX, f".{path.name}.", path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), 0o644)  # mkstemp's files are private
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    sync(path.parent)


def remove_leftovers(directory: Path) -> None:
    """Removes what killed processes were writing; no other process may be writing there.

    Args:
        directory: A directory, with all that is in it; it need not exist.
    """
    for path in directory.rglob(f".*{_SUFFIX}"):
        if path.is_file():
            path.unlink()


def write_json(path: Path, value: Any) -> None:
    """Puts a JSON file in place; keys keep their order.

    Args:
        path: File to write.
        value: JSON values; NaN and infinity are refused.

    Raises:
        OSError: If it cannot be written.
        ValueError: If a number is not finite.
    """
    text = json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def append_text(path: Path, text: str) -> None:
    """Adds whole rows to a file with one write; a part of them is never left behind.

    Args:
        path: File to extend, created if it is not there.
        text: Rows, each ending in a newline.

    Raises:
        OSError: If they cannot be written; the file is as it was.
    """
    data = text.encode()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        before = os.fstat(descriptor).st_size
        try:
            written = os.write(descriptor, data)
            while written < len(data):  # a short write: the rest tells why
                written += os.write(descriptor, data[written:])
        except OSError:
            os.ftruncate(descriptor, before)
            raise
    finally:
        os.close(descriptor)


def sync(path: Path) -> None:
    """Waits until a file, or the entries of a directory, are on the disk.

    Args:
        path: An existing file or directory.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
