"""The manifest of a run, read strictly: what it says must be of the kind that was written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from bench.storage.parsing import RecordError, name_problem, read_json

MANIFEST_FORMAT = 1
State = Literal["running", "trained", "complete", "failed"]

_ORIGIN = ("git", "versions", "machine")
_TYPES: Mapping[str, tuple[type, ...]] = {
    "format": (int,),
    "profile": (str,),
    "label": (str,),
    "seed": (int,),
    "state": (str,),
    "error": (str, type(None)),
    "learns": (bool,),
    "steps": (int,),
    "model": (dict,),
    "splits": (dict,),
    "seeds": (dict,),
    "wall_seconds": (dict,),
}


def origins(manifest: Mapping[str, Any]) -> list[dict[str, Any]]:
    """``git``, ``versions`` and ``machine`` of all that worked on a run, in order.

    Args:
        manifest: A run's manifest, as :func:`read_manifest` gives it.
    """
    first = {key: manifest.get(key) or {} for key in _ORIGIN}
    return [first, *manifest.get("later_origins", ())]


def commits(manifest: Mapping[str, Any]) -> list[tuple[str, bool | None]]:
    """The commits that worked on a run, in order, and whether each had uncommitted changes."""
    if not manifest:
        return []
    git = [origin["git"] for origin in origins(manifest)]
    found = [(str(state.get("commit") or ""), state.get("dirty")) for state in git]
    return list(dict.fromkeys(found))


def draws_version(manifest: Mapping[str, Any]) -> int:
    """The `DRAWS_VERSION` that a run was begun with; manifests that do not say are of the first."""
    version: int = manifest["seeds"].get("draws_version", 1)
    return version


def read_manifest(path: Path) -> dict[str, Any]:
    """Reads ``manifest.json``.

    Raises:
        RecordError: If it is absent, malformed or of another format.
    """
    manifest = read_json(path)
    for key, kinds in _TYPES.items():
        value = manifest.get(key)
        if type(value) not in kinds:  # not isinstance(): True is an int
            raise RecordError(path, f"{key!r} is {value!r}, expected {kinds[0].__name__}")
    if manifest["format"] != MANIFEST_FORMAT:
        raise RecordError(path, f"format {manifest['format']} is not {MANIFEST_FORMAT}")
    if manifest["state"] not in get_args(State):
        known = ", ".join(get_args(State))
        raise RecordError(path, f"state {manifest['state']!r} is none of {known}")
    for key in ("label", "profile"):
        problem = name_problem(manifest[key])
        if problem is not None:
            raise RecordError(path, f"{key!r} {problem}")
    later = manifest.get("later_origins", [])
    if type(later) is not list or not all(type(origin) is dict for origin in later):
        raise RecordError(path, f"'later_origins' is {later!r}, expected a list of mappings")
    for origin in origins(manifest):
        for key in _ORIGIN:
            if type(origin.get(key)) is not dict:
                raise RecordError(path, f"{key!r} is {origin.get(key)!r}, expected a mapping")
    for phase in ("train", "evaluate"):
        if type(manifest["wall_seconds"].get(phase)) not in (int, float):
            raise RecordError(path, f"wall_seconds.{phase} is not a number")
    return manifest
