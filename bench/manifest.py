"""The manifest of a run, read strictly: what it says must be of the kind that was written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

from bench.parsing import RecordError, read_json

MANIFEST_FORMAT = 1
State = Literal["running", "trained", "complete", "failed"]

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
_LABEL = re.compile(r"[^\W_][\w (),.:;+*/=@~%-]{0,79}")


def label_problem(label: object) -> str | None:
    """Says why a text cannot be an agent's label, which stands in Markdown, LaTeX and figures.

    Args:
        label: What the agent or the manifest says.

    Returns:
        One phrase, or None if it can.
    """
    if isinstance(label, str) and _LABEL.fullmatch(label):
        return None
    return (
        f"label is {label!r}, expected at most 80 letters, digits, spaces and ( ) , . : ; + * / "
        "= @ ~ % - _, a letter or digit first"
    )


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
    problem = label_problem(manifest["label"])
    if problem is not None:
        raise RecordError(path, problem)
    for phase in ("train", "evaluate"):
        if type(manifest["wall_seconds"].get(phase)) not in (int, float):
            raise RecordError(path, f"wall_seconds.{phase} is not a number")
    return manifest
