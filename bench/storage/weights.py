"""Whether a run was made from the weights that are there now, without opening the model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from agents.base import speaking_for
from agents.registry import find
from bench.config import RunConfig, validated


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


def weights_obstacle(path: Path, manifest: Mapping[str, Any], config: RunConfig) -> str | None:
    """Says that a complete run was made from other weights than are there now.

    Args:
        path: The run's directory.
        manifest: Its manifest; one of before this was recorded tells nothing.
        config: The run asked for.

    Returns:
        One line naming the field; None if the weights are the same or cannot be compared.
    """
    then = manifest.get("weight_files_sha256")
    now = None if then is None else weight_files_hash(config)
    if then is None or now is None or then == now:
        return None
    return f"{path} was made with another weight_files_sha256 (was {then!r}, now {now!r})"


@cache
def _file_hash(path: Path, modified: int, size: int) -> str:
    """Many runs share a file of gigabytes; it is read once, unless it changes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
