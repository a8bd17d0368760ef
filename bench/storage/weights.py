"""What a run's pretrained weights are, without opening the model."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any

from agents.base import speaking_for
from agents.registry import find
from bench.config import RunConfig
from bench.validation import validated


def weight_files_hash(config: RunConfig) -> str | None:
    """SHA-256 over names and bytes of the files that a run's pretrained weights come from.

    Args:
        config: The run.

    Returns:
        The hash; None if its agent names no file on this machine.
    """
    agent_class = find(config.entry).load()
    options: Any = validated(agent_class.Config, config.agent_options, f"agents.{config.agent}")
    with speaking_for(f"agent {config.agent!r}, weight_files()"):
        files = tuple(agent_class.weight_files(options))
    if not files:
        return None
    digest = hashlib.sha256()
    for path in files:
        state = path.stat()
        digest.update(f"{path.name}:{_file_hash(path, state.st_mtime_ns, state.st_size)};".encode())
    return digest.hexdigest()


@cache
def _file_hash(path: Path, modified: int, size: int) -> str:
    """Many runs share a file of gigabytes; it is read once, unless it changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
