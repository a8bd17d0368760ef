"""The code of an agent from outside, of which no commit of ours tells."""

from __future__ import annotations

import hashlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from agents.base import is_ours


def agent_code_hash(agent_class: type) -> str:
    """SHA-256 of an agent's file and of what it imports from its own folder.

    Args:
        agent_class: The agent's class.
    """
    folder = Path(inspect.getfile(agent_class)).parent
    files: dict[Path, bytes] = {}
    waiting = [sys.modules[agent_class.__module__]]
    while waiting:
        module = waiting.pop()
        file = Path(getattr(module, "__file__", None) or "/")
        # The benchmark may lie in the folder too, and so may an environment.
        if file in files or not file.is_relative_to(folder) or is_ours(file):
            continue
        if "site-packages" in file.relative_to(folder).parts:
            continue
        files[file] = file.read_bytes()
        waiting += _imported(module)
    return hashlib.sha256(b"".join(files[file] for file in sorted(files))).hexdigest()


def _imported(module: ModuleType) -> Iterator[ModuleType]:
    """The modules that a module has names of, or names from."""
    for value in list(vars(module).values()):
        try:
            name = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", None)
        except Exception:  # a stranger's object may do anything when it is asked
            continue
        if isinstance(name, str) and name in sys.modules:
            yield sys.modules[name]
