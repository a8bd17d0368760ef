"""Where a result comes from: code, packages and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]

PACKAGES = (
    "glam-bench",
    "torch",
    "transformers",
    "minigrid",
    "gymnasium",
    "stable-baselines3",
    "numpy",
)
CODE = ("envs", "agents", "bench", "pyproject.toml", "constraints.txt")
"""What decides the results, relative to the checkout."""


@cache  # what was imported is what was there then; asking git takes as long as a small import
def origin(threads: int, device: str) -> dict[str, Any]:
    """What a run's numbers come from: ``git``, ``versions`` and ``machine``.

    Args:
        threads: CPU threads the run uses.
        device: Torch device the run uses.
    """
    return {"git": git_state(), "versions": versions(), "machine": machine(threads, device)}


def git_state(root: Path = ROOT) -> dict[str, Any]:
    """The commit of the code.

    Args:
        root: A directory of the checkout.

    Returns:
        ``commit`` (None outside a repository, or if it does not hold the code) and ``dirty``:
        whether what decides the results differs from it, untracked files included. Records that
        are being written do not count.
    """
    if _git(root, "ls-files", "--error-unmatch", "--", *CODE) is None:
        # Installed within somebody else's repository, whose commit says nothing of us.
        return {"commit": None, "dirty": None}
    commit = _git(root, "rev-parse", "HEAD")
    status = _git(root, "status", "--porcelain", "--", *CODE)
    return {"commit": commit, "dirty": None if status is None else bool(status)}


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages that results depend on; None if not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = None
    return found


def machine(threads: int, device: str = "cpu") -> dict[str, Any]:
    """The machine.

    Args:
        threads: CPU threads the run uses.
        device: Torch device the run uses.

    Returns:
        ``platform``, ``processor``, ``cores`` this process may use, ``memory_gb``, ``threads``;
        on a GPU also ``gpu``, its name and the version of CUDA.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": available_cores(),
        "memory_gb": round(memory / 2**30, 1),
        "threads": threads,
        **_gpu(device),
    }


def _gpu(device: str) -> dict[str, str]:
    if not device.startswith("cuda"):
        return {}
    import torch

    if not torch.cuda.is_available():  # a job's failure may be recorded where there is none
        return {}
    return {"gpu": f"{torch.cuda.get_device_name(device)}, CUDA {torch.version.cuda}"}


def available_cores() -> int:
    """CPU cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _git(root: Path, *arguments: str) -> str | None:
    try:
        answer = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
