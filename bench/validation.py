"""What a user set, made into a dataclass of the declared types, or refused in one line."""

from __future__ import annotations

import dataclasses
import difflib
import json
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar, get_type_hints

from pydantic import TypeAdapter, ValidationError

_Dataclass = TypeVar("_Dataclass")


class ConfigError(ValueError):
    """A setting that cannot be used; the message is one line naming it and the nearest valid."""

    def __init__(self, message: str) -> None:
        """Keeps the message on one line, whatever the user's text holds."""
        super().__init__(" ".join(message.split()))


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for the end of an error message.

    Args:
        name: What the user wrote.
        known: What would have been valid.

    Returns:
        ``"; did you mean 'x'?"``, or the whole list where nothing comes near.
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(names) or 'none'}"


def validated(cls: type[_Dataclass], values: object, path: str = "") -> _Dataclass:
    """Builds a dataclass from JSON values: no unknown field, no type but the declared one.

    Args:
        cls: A dataclass.
        values: Its fields; those left out keep their defaults.
        path: Name of the section, used in messages.

    Returns:
        The instance.

    Raises:
        ConfigError: Naming the first field that is wrong.
    """
    _refuse_unknown(cls, values, path)
    _refuse_other_than_json(values, path)
    try:
        return TypeAdapter(cls).validate_json(json.dumps(values), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join([*([path] if path else []), *map(str, first["loc"])]) or "the config"
        message = first["msg"].removeprefix("Value error, ")
        message = message.replace("Input should", "must").replace("Value should", "must")
        given = "" if first["type"] in ("missing", "value_error") else f", got {first['input']!r}"
        raise ConfigError(f"{name}: {message}{given}") from error


def _refuse_unknown(cls: type, values: object, path: str) -> None:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{path or 'the config'}: must be a mapping of options, got {values!r}")
    hints = get_type_hints(cls)
    known = [f.name for f in dataclasses.fields(cls) if f.init]
    for key, value in values.items():
        name = f"{path}.{key}" if path else str(key)
        if key not in known:
            siblings = [f"{path}.{k}" if path else k for k in known]
            raise ConfigError(f"unknown option {name!r}{nearest(name, siblings)}")
        if isinstance(hints[key], type) and dataclasses.is_dataclass(hints[key]):
            _refuse_unknown(hints[key], value, name)


def _refuse_other_than_json(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise ConfigError(f"{path or 'the config'}: an option's name is text, got {key!r}")
            _refuse_other_than_json(inner, f"{path}.{key}" if path else str(key))
    elif isinstance(value, list | tuple):
        for inner in value:
            _refuse_other_than_json(inner, path)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ConfigError(f"{path}: must be a finite number, got {value!r}")
    elif not isinstance(value, str | bool | int | float | None):
        raise ConfigError(f"{path}: must be text, a number, a list or a mapping, got {value!r}")
