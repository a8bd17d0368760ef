"""Success by where the first thing of the task stands when the episode begins."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import pandas as pd

from bench.config import EnvironmentConfig, RunConfig
from bench.reporting.measures import per_seed
from bench.reporting.records import Records, Run
from bench.reporting.table_format import Table, rate_cell
from bench.reporting.tables import INTERVAL_NOTE, Row, setting_sentences
from bench.validation import ConfigError
from envs.levels import LEVELS
from envs.splits import SPLITS

_DISTANCES = ((1, 2), (3, 4), (5, None))
_SPLIT = "train"
Start = tuple[bool, str]
"""Whether the first target is in view, and its distance in words."""


def difficulty_table(records: Records) -> Table:
    """Success on the train tasks by distance and view of the first target."""
    by_run = {run: rates for run in records.runs if (rates := _rates(run)) is not None}
    starts = sorted({start for rates in by_run.values() for start in rates}, key=_order)
    rows: list[Row] = []
    for start in starts:
        measured = [per_seed(records, agent, _Share(by_run, start)) for agent in records.agents]
        counts = {rates[start][1] for rates in by_run.values() if start in rates}
        in_view, distance = start
        seen = "in view" if in_view else "out of view"
        rows.append((seen, distance, str(max(counts)), *map(rate_cell, measured)))
    return Table(
        name="difficulty",
        title="Success on the train tasks by where the first thing to reach stands at the start.",
        setting=setting_sentences(records),
        notes=(
            "Distance: steps along both axes to the nearest thing that serves the first step of "
            "the task. Told by the level from each episode's seed. Episodes: of the kind in a run; "
            "all agents play the same ones.",
            INTERVAL_NOTE,
        ),
        columns=(
            "first target",
            "distance",
            "episodes",
            *(records.label(agent) for agent in records.agents),
        ),
        rows=tuple(rows),
    )


@dataclass(frozen=True)
class _Share:
    """Success rate of a run on the episodes of one start."""

    by_run: Mapping[Run, Mapping[Start, tuple[float, int]]]
    start: Start

    def __call__(self, run: Run) -> float | None:
        found = self.by_run.get(run, {}).get(self.start)
        return None if found is None else found[0]


def _rates(run: Run) -> Mapping[Start, tuple[float, int]] | None:
    """Success rate and number of test episodes by start; None if they cannot be told."""
    tested = run.test_rows(_SPLIT)
    level = SPLITS[_SPLIT].level
    if tested is None or tested.empty:
        return None
    if not ((tested["level"] == level) & (tested["level_version"] == str(_version()))).all():
        return None
    try:
        environment = RunConfig.from_json(dict(run.config)).environment
    except ConfigError:
        return None
    starts = [_start(environment, seed) for seed in tested["episode_seed"]]
    grouped = tested["success"].groupby(pd.Series(starts, index=tested.index))
    return {start: (float(won.mean()), len(won)) for start, won in grouped}


@lru_cache(maxsize=100_000)
def _start(environment: EnvironmentConfig, seed: int) -> Start:
    env = environment.build(SPLITS[_SPLIT].level, SPLITS[_SPLIT].view)
    env.reset(seed=seed)
    distance, in_view = env.grid_env.first_target()
    for low, high in _DISTANCES:
        if high is None or distance <= high:
            return in_view, f"{low} or more" if high is None else f"{low} or {high}"
    raise AssertionError("the last range has no end")


def _order(start: Start) -> tuple[bool, str]:
    return not start[0], start[1]


def _version() -> int:
    return LEVELS[SPLITS[_SPLIT].level].version
