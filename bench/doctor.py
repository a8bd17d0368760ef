"""Looks whether this machine and this installation can run the benchmark."""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, packages_distributions, version
from pathlib import Path
from typing import Literal

from bench.storage import provenance

ROLLOUT_SECONDS = 2.0
MIN_DISK_GB = 2.0

_OWN_DISTRIBUTION = "glam-bench"
_OWN_PACKAGES = ("envs", "agents", "bench")
_PIN = re.compile(r"\s*([A-Za-z0-9._-]+)\s*==\s*([^\s;#]+)")


@dataclass(frozen=True)
class Finding:
    """The answer to one question.

    Attributes:
        topic: What was looked at.
        grade: ``"ok"``, ``"note"`` where results may differ, ``"problem"`` where runs will fail.
        detail: What was found, and what to do about it.
    """

    topic: str
    grade: Literal["ok", "note", "problem"]
    detail: str


def findings(out: Path) -> Iterator[Finding]:
    """Looks at everything, one thing after another.

    Args:
        out: Where runs are to be kept.

    Yields:
        What was found.
    """
    yield _python()
    yield from _pins(provenance.ROOT / "constraints.txt")
    yield from _namesakes()
    yield paper()
    yield _device()
    yield _threads()
    yield _disk(out)
    yield _rollout()


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()}, {sys.executable}")


def _pins(path: Path) -> Iterator[Finding]:
    if not path.is_file():
        yield Finding("versions", "note", f"no {path.name} to compare with")
        return
    pins = [match.groups() for match in map(_PIN.match, path.read_text().splitlines()) if match]
    differing = installed = 0
    for name, wanted in pins:
        try:
            found = version(name)
        except PackageNotFoundError:
            continue  # of an extra that is not used
        installed += 1
        # A local build tag such as +cpu is the same release.
        if found.partition("+")[0] != wanted.partition("+")[0]:
            differing += 1
            yield Finding("versions", "note", f"{name} is {found}, pinned {wanted}")
    if not differing:
        yield Finding("versions", "ok", f"{installed} packages as pinned in {path.name}")


def _namesakes() -> Iterator[Finding]:
    owners = packages_distributions()
    clean = True
    for package in _OWN_PACKAGES:
        strangers = {name for name in owners.get(package, ()) if name != _OWN_DISTRIBUTION}
        for stranger in sorted(strangers):
            clean = False
            detail = f"{stranger} also installs a package named {package!r}; uninstall it"
            yield Finding("packages", "problem", detail)
        place = Path(str(importlib.import_module(package).__file__)).resolve()
        if provenance.ROOT not in place.parents:
            clean = False
            yield Finding("packages", "problem", f"{package!r} is taken from {place.parent}")
    if clean:
        yield Finding("packages", "ok", f"{', '.join(_OWN_PACKAGES)} are this checkout's")


def paper() -> Finding:
    """Whether the paper's numbers are there, which every report needs."""
    place = provenance.ROOT / "results" / "paper"
    if not place.is_dir():
        install = "install from a clone, with `make install` or `pip install --editable`"
        detail = f"{place} is not there, and no report without it; {install}"
        return Finding("paper", "problem", detail)
    return Finding("paper", "ok", f"its numbers are in {place}")


def _device() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding("device", "problem", f"torch cannot be imported: {error}")
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("device", "ok", f"cuda: {', '.join(names)}")
    if torch.backends.mps.is_available():
        return Finding("device", "ok", "mps")
    return Finding("device", "ok", "cpu only; enough for all but the language models of `paper`")


def _threads() -> Finding:
    machine = provenance.machine(1)
    detail = f"{machine['cores']} cores, {machine['memory_gb']} GB, {machine['processor']}"
    return Finding("machine", "ok", detail)


def _disk(out: Path) -> Finding:
    place = next(path for path in (out.absolute(), *out.absolute().parents) if path.exists())
    free = shutil.disk_usage(place).free / 2**30
    if not os.access(place, os.W_OK):
        return Finding("disk", "problem", f"{place} cannot be written; choose another --out")
    if free < MIN_DISK_GB:
        return Finding("disk", "problem", f"{free:.1f} GB free at {place}; choose another --out")
    return Finding("disk", "ok", f"{free:.1f} GB free at {place}")


def _rollout() -> Finding:
    from agents.base import AgentContext
    from agents.registry import find
    from envs import TextEnv, VectorEnv

    envs = VectorEnv(TextEnv, n_envs=8, seed=0)
    entry = find("random")
    random = entry.load()(None, AgentContext(n_envs=envs.n_envs))
    started = time.monotonic()
    while (seconds := time.monotonic() - started) < ROLLOUT_SECONDS:
        envs.step(random.act(envs.observations))
    envs.close()
    return Finding("rollout", "ok", f"{envs.steps / seconds:,.0f} environment steps a second")
