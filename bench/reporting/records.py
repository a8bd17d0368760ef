"""Reads a directory of runs: manifests, configs and rows, never a checkpoint.

Layout (`<directory>` is e.g. `results/laptop`)::

    <directory>/<agent>/seed-<n>/{config.json, manifest.json, metrics.csv, episodes.csv}
    <directory>/<agent>/seed-<n>/evaluation/<split>.csv
    <directory>/<agent>/seed-<n>/{probes.csv, replays/<split>.csv}, if it tells its probabilities

A failed run and a run that is not there are kept and marked: `Run.state` is "failed" or "missing".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from bench.storage.manifest import read_manifest
from bench.storage.parsing import RecordError, empty_rows, name_problem, read_json, read_rows
from bench.storage.row_file import EPISODE_TYPES, EVALUATION_TYPES, METRIC_TYPES

ENDED = ("trained", "complete")  # training reached its budget
MISSING = "missing"

_PROBE_TYPES: Mapping[str, type] = {"steps": int, "probe": str}
_REPLAY_TYPES: Mapping[str, type] = {"episode_seed": int, "step": int, "action": int}
_CONFIG_TYPES: tuple[tuple[str, str, type], ...] = (
    ("environment", "level", str),
    ("environment", "room_size", int),
    ("environment", "num_distractors", int),
    ("train", "steps", int),
    ("evaluation", "episodes", int),
)

AGENT_ORDER = (
    "gflan-t5",
    "npae-flan-t5",
    "aflan-t5",
    "npa-flan-t5",
    "npe-flan-t5",
    "flan-t5",
    "drrn",
    "symbolic-ppo",
    "random",
    "bot",
)
"""Order of the agents in tables and figures; others follow by name."""


@dataclass(frozen=True, eq=False)
class Run:
    """One training run (agent and seed) with its rows.

    Attributes:
        agent: Name of the agent's directory.
        label: Display name.
        seed: Seed of the run.
        directory: The run's directory.
        state: "running", "trained", "complete", "failed" or "missing".
        learns: Whether the agent is trained at all.
        steps: Environment steps taken.
        manifest: The manifest as written; empty for a missing run.
        config: The resolved config as written; empty for a missing run.
        metrics: One row per update: update, steps and the agent's own floats.
        episodes: One row per finished training episode.
        evaluation: By split, one row per test episode; only splits whose file is there.
        probes: One row per probe and time it was asked, with the probabilities of the actions.
        replays: By split, one row per step of the replayed test episodes.
    """

    agent: str
    label: str
    seed: int
    directory: Path
    state: str
    learns: bool
    steps: int = 0
    manifest: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, Any] = field(default_factory=dict)
    metrics: pd.DataFrame = field(default_factory=lambda: empty_rows(METRIC_TYPES))
    episodes: pd.DataFrame = field(default_factory=lambda: empty_rows(EPISODE_TYPES))
    evaluation: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    probes: pd.DataFrame = field(default_factory=lambda: empty_rows(_PROBE_TYPES))
    replays: Mapping[str, pd.DataFrame] = field(default_factory=dict)

    @property
    def budget(self) -> int:
        """Environment steps the config asks for; 0 if the run is missing."""
        return int(self.config.get("train", {}).get("steps", 0))

    @property
    def test_episodes(self) -> int:
        """Test episodes per split the config asks for; 0 if the run is missing."""
        return int(self.config.get("evaluation", {}).get("episodes", 0))

    def test_rows(self, split: str) -> pd.DataFrame | None:
        """Rows of a split's test episodes, or None unless all of them were played.

        Only a run whose training has ended counts: a checkpoint on the way is not the agent.
        """
        rows = self.evaluation.get(split)
        if self.state not in ENDED or rows is None:
            return None
        return rows if len(rows) == self.test_episodes else None


@dataclass(frozen=True, eq=False)
class Records:
    """All runs of one results directory, in display order and by seed, missing ones included."""

    directory: Path
    runs: tuple[Run, ...]

    @cached_property
    def agents(self) -> tuple[str, ...]:
        """Agents with a run directory, in `AGENT_ORDER`."""
        return tuple(dict.fromkeys(run.agent for run in self.runs))

    def of(self, agent: str) -> tuple[Run, ...]:
        """The runs of an agent by seed, missing ones included."""
        return tuple(run for run in self.runs if run.agent == agent)

    def label(self, agent: str) -> str:
        """Display name of an agent, unique within these records."""
        labels = {name: self.of(name)[0].label for name in self.agents}
        shared = list(labels.values()).count(labels[agent]) > 1
        return f"{labels[agent]} [{agent}]" if shared else labels[agent]


def read_records(directory: Path) -> Records:
    """Read every run of a results directory.

    A seed that another learning agent ran is expected of each learning agent: where it is not
    there, the run is listed as missing.

    Args:
        directory: Directory that holds `<agent>/seed-<n>/`.

    Returns:
        The records.

    Raises:
        RecordError: If there is no run, or a file that a run should have is absent or malformed.
    """
    found = sorted(path for path in directory.glob("*/seed-*") if path.is_dir())
    if not found:
        problem, remedy = "holds no runs (no <agent>/seed-<n> inside)", "run `glam reproduce`"
        below = sorted({str(path.parents[1]) for path in directory.glob("*/*/seed-*")})
        if below:
            remedy = f"there are some in {', '.join(below)}"
        raise RecordError(directory, problem, remedy=remedy)
    read = [_read_run(path) for path in found]
    expected = {run.seed for run in read if run.learns}
    runs: list[Run] = []
    for agent in sorted({run.agent for run in read}, key=_display_rank):
        own = {run.seed: run for run in read if run.agent == agent}
        known = next((run for run in own.values() if run.manifest), None)
        label = known.label if known else agent
        learns = known.learns if known else True
        for seed in sorted(own | dict.fromkeys(expected) if learns else own):
            run = own.get(seed)
            if run is None or not run.manifest:
                place = directory / agent / f"seed-{seed}"
                run = Run(agent, label, seed, place, state=MISSING, learns=learns)
            runs.append(run)
    return Records(directory, tuple(runs))


def _display_rank(agent: str) -> tuple[int, str]:
    known = agent in AGENT_ORDER
    return (AGENT_ORDER.index(agent) if known else len(AGENT_ORDER), agent)


def _read_run(directory: Path) -> Run:
    """Read one run directory; without a manifest it is a missing run that learns nothing."""
    agent = directory.parent.name
    number = directory.name.removeprefix("seed-")
    if not number.isdecimal():
        raise RecordError(directory, "a run's directory is named seed-<n>, n a whole number")
    problem = name_problem(agent)
    if problem is not None:
        raise RecordError(directory.parent, f"an agent's name {problem}")
    path = directory / "manifest.json"
    if not path.exists():
        return Run(agent, agent, int(number), directory, state=MISSING, learns=False)
    manifest = read_manifest(path)
    if manifest["seed"] != int(number):
        raise RecordError(path, f"seed {manifest['seed']} is not that of its directory")
    ended = manifest["state"] in ENDED
    evaluation = {}
    for rows_path in sorted(directory.glob("evaluation/*.csv")):
        rows = _read_episodes(rows_path, EVALUATION_TYPES)
        if not (rows["split"] == rows_path.stem).all():
            raise RecordError(rows_path, f"holds rows of a split other than {rows_path.stem!r}")
        if not rows["episode_seed"].is_unique:
            raise RecordError(rows_path, "holds a test episode twice")
        evaluation[rows_path.stem] = rows
    episodes = _read_episodes(directory / "episodes.csv", EPISODE_TYPES, ended)
    if list(episodes["episode"]) != list(range(len(episodes))):
        raise RecordError(directory / "episodes.csv", "does not hold each training episode once")
    if not episodes["steps"].is_monotonic_increasing:
        raise RecordError(directory / "episodes.csv", "holds training episodes out of order")
    return Run(
        agent,
        manifest["label"],
        int(number),
        directory,
        state=manifest["state"],
        learns=manifest["learns"],
        steps=manifest["steps"],
        manifest=manifest,
        config=_read_config(directory / "config.json"),
        metrics=read_rows(directory / "metrics.csv", METRIC_TYPES, ended and manifest["learns"]),
        episodes=episodes,
        evaluation=evaluation,
        probes=read_rows(directory / "probes.csv", _PROBE_TYPES, required=False),
        replays={
            path.stem: read_rows(path, _REPLAY_TYPES)
            for path in sorted(directory.glob("replays/*.csv"))
        },
    )


def _read_episodes(path: Path, types: Mapping[str, type], required: bool = True) -> pd.DataFrame:
    rows = read_rows(path, types, required)
    for column in (name for name, kind in types.items() if kind is str):
        problem = next(filter(None, map(name_problem, rows[column].unique())), None)
        if problem is not None:
            raise RecordError(path, f"{column} {problem}")
    impossible = (
        (rows["success"] != (rows["return"] > 0))
        | ~rows["return"].between(0, 1)
        | ~(rows["success"] | rows["truncated"])
        | (rows["length"] < 1)
    )
    if impossible.any():
        problem = "an episode that cannot be: solved, reward, length and time-out do not agree"
        raise RecordError(path, problem, row=int(impossible.to_numpy().argmax()) + 2)
    return rows


def _read_config(path: Path) -> dict[str, Any]:
    config = read_json(path)
    for section, key, kind in _CONFIG_TYPES:
        value = config[section].get(key) if isinstance(config.get(section), dict) else None
        if type(value) is not kind:
            raise RecordError(path, f"{section}.{key} is {value!r}, expected {kind.__name__}")
        problem = name_problem(value) if kind is str else None
        if problem is not None:
            raise RecordError(path, f"{section}.{key} {problem}")
    return config
