"""Search for options: the same number of trials, of the same length, for every agent.

A trial is a short training run from a seed that no profile uses. What counts is its success in the
last quarter of training; test episodes are never played. All trials stay in the record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import atomic
from bench.config import ConfigError
from bench.executors import PlannedRun
from bench.lifecycle import check_device
from bench.profile import load_profile, read_yaml
from bench.records import ENDED, read_records
from bench.reproduce import reproduce, train_command
from bench.row_file import Cell, format_rows
from bench.sweep import last_quarter

TRIAL_COLUMNS = ("agent", "trial", "options", "state", "steps", "success", "chosen")


@dataclass(frozen=True)
class Search:
    """What is tried.

    Attributes:
        profile: The profile whose options are searched for.
        steps: Environment steps of a trial.
        seed: Seed of all trials.
        trials: Options to try, over the profile's, by agent; as many for each.
    """

    profile: str
    steps: int
    seed: int
    trials: Mapping[str, Sequence[Mapping[str, Any]]]


def load_search(path: Path) -> Search:
    """Reads a search.

    Args:
        path: A YAML file.

    Returns:
        The search.

    Raises:
        ConfigError: If the file does not hold one, or gives an agent more trials than another.
    """
    try:
        search = Search(**read_yaml(path))
        counts = {agent: len(trials) for agent, trials in search.trials.items()}
    except (TypeError, AttributeError) as error:
        raise ConfigError(f"{path} is no search: {error}") from error
    if len(set(counts.values())) != 1:
        raise ConfigError(f"{path} gives some agents more trials than others: {counts}")
    return search


def tune(search: Search, out: Path, console: Console, *, jobs: int) -> Path:
    """Runs all trials, or those that are left, and says which did best.

    Args:
        search: What is tried.
        out: Where the trials' runs are kept.
        console: Shows how far it is.
        jobs: Trials side by side.

    Returns:
        The table of all trials, ``trials.csv``.

    Raises:
        ConfigError: If an option is not valid.
    """
    directories: list[Path] = []
    planned: list[PlannedRun] = []
    for number in range(len(next(iter(search.trials.values())))):
        pairs = [f"train.steps={search.steps}", "evaluation.splits=[]"]
        for agent, trials in search.trials.items():
            pairs += [f"agents.{agent}.{key}={json.dumps(v)}" for key, v in trials[number].items()]
        profile = load_profile(search.profile, pairs, tuple(search.trials))
        check_device(profile.device)
        point = f"trial-{number}"
        command = train_command(search.profile, pairs, out / point)
        runs = profile.runs([search.seed])
        planned += [PlannedRun(config, out / point, command(config), point) for config in runs]
        directories.append(out / point / profile.name)
    reproduce(planned, console, jobs=jobs)
    rows: dict[str, list[list[Cell]]] = {}
    for number, directory in enumerate(directories):
        records = read_records(directory)
        for agent, trials in search.trials.items():
            (run,) = records.of(agent)
            options = json.dumps(trials[number], sort_keys=True)
            success = last_quarter(run) if run.state in ENDED else math.nan
            shown: Cell = "" if math.isnan(success) else success
            rows.setdefault(agent, []).append(
                [agent, number, options, run.state, search.steps, shown]
            )
    table: list[Sequence[Cell]] = [TRIAL_COLUMNS]
    for trials_of_agent in rows.values():
        best = max(trials_of_agent, key=lambda row: float(row[5] or -1.0))
        table += [[*row, row is best] for row in trials_of_agent]
    atomic.write_text(out / "trials.csv", format_rows(table))
    return out / "trials.csv"
