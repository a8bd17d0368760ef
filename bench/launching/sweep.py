"""Grids of settings: the runs they make, where those are kept, and one table of all of them."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.config import RunConfig
from bench.profile import agent_of, load_profile
from bench.settings_yaml import parse_yaml
from bench.storage import atomic
from bench.storage.row_file import Value, format_rows
from bench.validation import ConfigError, nearest

if TYPE_CHECKING:
    from bench.reporting.records import Run

_UNSAFE = re.compile(r"[^\w.,=+-]+")
_LONGEST_NAME = 120  # of a directory; file systems allow 255 bytes


@dataclass(frozen=True)
class Grid:
    """Values to try for one setting.

    Attributes:
        key: The setting, as in ``--set``.
        values: Its values, as JSON.
    """

    key: str
    values: tuple[str, ...]

    @property
    def agent(self) -> str | None:
        """The one agent it concerns; None if it concerns all."""
        return agent_of(self.key)


@dataclass(frozen=True)
class Point:
    """One value for each setting of a grid that concerns an agent.

    Attributes:
        name: What it is called, in a directory's name too; empty if no grid concerns the agent.
        pairs: Its settings, as in ``--set``.
        runs: Its runs, all validated.
    """

    name: str
    pairs: tuple[str, ...]
    runs: tuple[RunConfig, ...]


def parse_grid(text: str) -> Grid:
    """Reads a grid.

    Args:
        text: ``key=value,value``, values in YAML; one that is a list stands in brackets.

    Returns:
        The grid.

    Raises:
        ConfigError: If it is none, or names a value twice.
    """
    key, equals, values = text.partition("=")
    form = "must be key=value,value, such as train.n_envs=8,16"
    if not key or not equals:
        raise ConfigError(f"--grid {text}: {form}")
    parsed: Any = parse_yaml(f"[{values}]", f"--grid {text}")
    if not isinstance(parsed, list) or not parsed:
        raise ConfigError(f"--grid {text}: {form}")
    written = tuple(json.dumps(value, default=str) for value in parsed)
    if len(set(written)) < len(written):
        raise ConfigError(f"--grid {text}: names a value twice")
    return Grid(key, written)


def points(
    profile: str,
    overrides: Sequence[str],
    agents: Sequence[str],
    seeds: Sequence[int] | None,
    grids: Sequence[Grid],
) -> list[Point]:
    """The runs of a profile at every point of the product of grids.

    A grid over ``agents.NAME.OPTION`` concerns that agent alone: the others are not trained again
    for each of its values.

    Args:
        profile: The profile as the user named it.
        overrides: The user's ``key=value`` pairs.
        agents: Agents to take instead of the profile's.
        seeds: Seeds to take instead of the profile's.
        grids: The grids.

    Returns:
        Agent by agent, point by point.

    Raises:
        ConfigError: If a setting cannot be used.
        AgentError: If an agent cannot be found.
    """
    keys = [grid.key for grid in grids]
    twice = next((key for key in keys if keys.count(key) > 1), None)
    if twice is not None:
        raise ConfigError(f"--grid {twice}: stands twice; give all of its values at once")
    names = list(load_profile(profile, overrides, agents).agents)
    for grid in grids:
        if grid.agent is not None and grid.agent not in names:
            hint = nearest(grid.agent, names)
            raise ConfigError(f"--grid {grid.key}: no agent {grid.agent!r} is run{hint}")
    found = []
    for name in names:
        concerned = [grid for grid in grids if grid.agent in (None, name)]
        for values in itertools.product(*(grid.values for grid in concerned)):
            assigned = list(zip((grid.key for grid in concerned), values, strict=True))
            pairs = tuple(f"{key}={value}" for key, value in assigned)
            loaded = load_profile(profile, (*overrides, *pairs), agents)
            own = replace(loaded, agents={name: loaded.agents[name]})
            found.append(Point(_name(assigned), pairs, tuple(own.runs(seeds))))
    return found


def write_summary(path: Path, directories: Mapping[str, Path]) -> None:
    """Writes one row per run of a sweep, whatever its state.

    Args:
        path: A CSV file. ``late_success`` is that of training's last quarter; a column named
            after a split holds the success on its test episodes.
        directories: Where the profile's runs are kept, by the name of the point.
    """
    from bench.reporting.records import read_records  # pandas, which no run should wait for

    found = [
        (point, run)
        for point, directory in directories.items()
        if directory.is_dir()
        for run in read_records(directory).runs
    ]
    splits = list(dict.fromkeys(name for _, run in found for name in run.evaluation))
    columns = ("point", "agent", "seed", "state", "steps", "late_success", *splits)
    rows: list[Sequence[Value]] = [columns]
    for point, run in found:
        late = last_quarter(run)
        tests = [run.test_rows(split) for split in splits]
        rates = [math.nan if rows is None else float(rows["success"].mean()) for rows in tests]
        shown = ["" if math.isnan(rate) else rate for rate in (late, *rates)]
        rows.append((point, run.agent, run.seed, run.state, run.steps, *shown))
    atomic.write_text(path, format_rows(rows))


def last_quarter(run: Run) -> float:
    """Success rate of training episodes that ended in the last quarter of the steps.

    NaN if there is none, or training did not end.
    """
    from bench.reporting.records import ENDED

    if run.state not in ENDED:
        return math.nan
    late = run.episodes["steps"] > 0.75 * run.budget
    return float(run.episodes["success"][late].mean())


def _name(assigned: Sequence[tuple[str, str]]) -> str:
    """What a point is called; as a directory's name it must be short and hold no slash."""
    plain = ",".join(f"{key}={value.strip(chr(34))}" for key, value in assigned)
    name = _UNSAFE.sub("_", plain)
    if name != plain or len(name) > _LONGEST_NAME:  # two points must not share a directory
        digest = hashlib.sha256(plain.encode()).hexdigest()[:8]
        name = f"{name[:_LONGEST_NAME]}+{digest}"
    return name
