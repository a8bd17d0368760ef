"""Strict reading of CSV rows and JSON objects; an error names the file and the row."""

from __future__ import annotations

import csv
import io
import json
import math
import re
import reprlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_REMEDY = "restore the file, or delete its run directory and run it again with `glam reproduce`"
_PLAY_AGAIN = "restore the file, or play it again: `glam evaluate` with its run's directory"


_NAME = re.compile(r"[^\W_][\w (),.:;+*/=@~%-]{0,79}")


class RecordError(ValueError):
    """A record that cannot be read; the message names the file, the row and what to do."""

    def __init__(
        self, path: Path, problem: str, row: int | None = None, remedy: str | None = None
    ) -> None:
        """Compose the one-line message; `row` is the line of the file, the header being line 1."""
        place = f"{path}, row {row}" if row is not None else f"{path}"
        usual = _PLAY_AGAIN if path.parent.name == "evaluation" else _REMEDY
        super().__init__(f"{place}: {problem}; {remedy or usual}")


def name_problem(name: object) -> str | None:
    """Says why a text cannot be a name, which stands in Markdown, HTML, LaTeX and figures.

    Args:
        name: The label of an agent, the name of a profile, of a split, of a task kind.

    Returns:
        One phrase, or None if it can.
    """
    if isinstance(name, str) and _NAME.fullmatch(name):
        return None
    return (
        f"is {name!r}, expected at most 80 letters, digits, spaces and ( ) , . : ; + * / = @ ~ % "
        "- _, a letter or digit first"
    )


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        RecordError: If the file is absent, malformed or holds anything but an object.
    """
    try:
        text = path.read_text(encoding="utf-8")
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
    except (OSError, ValueError, RecursionError) as error:
        raise RecordError(path, f"cannot be read as JSON ({error})") from error
    if not isinstance(value, dict):
        raise RecordError(path, f"holds a {type(value).__name__}, expected an object")
    return value


def _finite(text: str) -> float:
    """A number of JSON, which knows neither NaN nor Infinity; Python reads them, unless told."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON")
    return number


def read_rows(path: Path, types: Mapping[str, type], required: bool = True) -> pd.DataFrame:
    """Read a CSV strictly: every cell must parse, every row must have every column.

    Args:
        path: The file.
        types: Type of each column that must be there; bool is written 0 or 1. Columns beyond these
            are floats, where an empty cell is NaN.
        required: Whether the file is finished. If not, another process may be writing it: it
            may be absent, and a last line without its end is left out.

    Returns:
        One row per row of the file, columns in the file's order.

    Raises:
        RecordError: If the file is absent though required, or malformed.
    """
    import pandas as pd  # a run reads JSON here and should not wait for it

    if not required and not path.exists():
        return empty_rows(types)
    try:
        text = path.read_bytes().decode()
        if not required:
            text = text[: text.rfind("\n") + 1]
            if not text:
                return empty_rows(types)
        header, *rows = list(csv.reader(io.StringIO(text, newline=""), strict=True)) or [[]]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RecordError(path, f"cannot be read as CSV ({error})") from error
    absent = [name for name in types if name not in header]
    if absent:
        raise RecordError(path, f"lacks the column {', '.join(absent)}", row=1)
    if len(set(header)) < len(header):
        raise RecordError(path, "names a column twice", row=1)
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise RecordError(path, f"has {len(row)} cells under {len(header)} columns", row=number)
    frame = empty_rows(dict.fromkeys(header, float) | dict(types))
    columns = {}
    for index, name in enumerate(header):
        kind = types.get(name)
        columns[name] = [
            _value(path, number, name, row[index], kind) for number, row in enumerate(rows, start=2)
        ]
    return pd.DataFrame(columns, columns=frame.columns).astype(frame.dtypes.to_dict())


def empty_rows(types: Mapping[str, type]) -> pd.DataFrame:
    """No rows, under typed columns."""
    import pandas as pd

    return pd.DataFrame({name: pd.Series([], dtype=kind) for name, kind in types.items()})


def _value(path: Path, row: int, column: str, text: str, kind: type | None) -> Any:
    """Parse one cell; `kind` None is a metric: any float, NaN where it is empty."""
    try:
        if kind is None:
            return float(text or "nan")
        if kind is bool:
            return {"0": False, "1": True}[text]
        value = kind(text)
        if kind is float and not math.isfinite(value):
            raise ValueError(text)
        if kind is int and not -(2**63) <= value < 2**63:
            raise ValueError(text)
    except (KeyError, ValueError) as error:
        expected = {bool: "0 or 1", int: "a whole number", float: "a finite number"}
        problem = (
            f"{column} is {reprlib.repr(text)}, expected {expected.get(kind or object, 'a number')}"
        )
        raise RecordError(path, problem, row=row) from error
    return value
