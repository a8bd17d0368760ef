"""Search for options: the same number of trials, of the same length, for every agent.

A trial is one choice of options, trained from each of a few seeds that no profile uses. What counts
is its success in the last quarter of training, averaged over these seeds; test episodes are never
played. All runs stay in the record.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.config import Count, Seed
from bench.launching.executors import PlannedRun
from bench.launching.reproduce import Outcome, reproduce, train_command
from bench.launching.sweep import last_quarter
from bench.lifecycle import check_device
from bench.profile import HARNESS_KEYS, load_profile, names_of
from bench.reporting.records import Run, read_records
from bench.settings_yaml import read_yaml
from bench.storage import atomic
from bench.storage.parsing import RecordError
from bench.storage.row_file import Value, format_rows
from bench.validation import ConfigError, validated

TRIAL_COLUMNS = ("agent", "trial", "options", "seed", "state", "steps", "success", "chosen")


@dataclass(frozen=True)
class Search:
    """What is tried.

    Attributes:
        profile: The profile whose options are searched for.
        steps: Environment steps of a run.
        seeds: Seeds of every trial.
        trials: Options to try, over the profile's, by agent; as many for each.
    """

    profile: str
    steps: Count
    seeds: tuple[Seed, ...]
    trials: Mapping[str, tuple[Mapping[str, Any], ...]]

    @property
    def numbers(self) -> range:
        """Numbers of the trials, the same for each agent."""
        return range(len(next(iter(self.trials.values()))))


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
        search = validated(Search, read_yaml(path))
    except ConfigError as error:
        raise ConfigError(f"{path} is no search: {error}") from error
    counts = {agent: len(trials) for agent, trials in search.trials.items()}
    if not any(counts.values()):
        raise ConfigError(f"{path} tries nothing")
    if len(set(counts.values())) != 1:
        raise ConfigError(f"{path} gives some agents more trials than others: {counts}")
    tried = {key for trials in search.trials.values() for trial in trials for key in trial}
    if not tried.isdisjoint(HARNESS_KEYS):
        taken = ", ".join(sorted(tried & HARNESS_KEYS))
        raise ConfigError(f"{path} tries {taken}, which is no option of an agent")
    if not search.seeds or len(set(search.seeds)) < len(search.seeds):
        raise ConfigError(f"{path} needs seeds, each of them once, not {search.seeds}")
    return search


def tune(
    search: Search, out: Path, console: Console, *, jobs: int, force_new: bool = False
) -> list[Outcome]:
    """Runs all trials, or those that are left, and says which did best: :func:`tabulate`.

    Args:
        search: What is tried.
        out: Where the trials' runs are kept.
        console: Shows how far it is.
        jobs: Runs side by side.
        force_new: Whether a run of another search is moved aside.

    Returns:
        How each of the runs ended.

    Raises:
        AgentError: If an agent cannot be found.
        ConfigError: If an option is not valid.
        RunError: If a directory holds the run of another search.
    """
    names = names_of(search.profile, (), tuple(search.trials))
    planned: list[PlannedRun] = []
    for number in search.numbers:
        pairs = [f"train.steps={search.steps}", "evaluation.splits=[]"]
        for agent, trials in search.trials.items():
            given = trials[number].items()
            pairs += [f"agents.{names[agent]}.{key}={json.dumps(value)}" for key, value in given]
        profile = load_profile(search.profile, pairs, tuple(search.trials))
        check_device(profile.device)
        point = _point(number)
        command = train_command(search.profile, pairs, out / point, force_new=force_new)
        planned += [
            PlannedRun(config, out / point, command(config), point)
            for config in profile.runs(search.seeds)
        ]
    outcomes = reproduce(planned, console, jobs=jobs, force_new=force_new)
    tabulate(search, out, console)
    return outcomes


def tabulate(search: Search, out: Path, console: Console) -> None:
    """Writes ``trials.csv`` from the runs that are there, and says which trials did best.

    An agent of which no trial got through from every seed has none that is chosen.

    Args:
        search: What was tried.
        out: Where the trials' runs are kept.
        console: Shows the best trials.

    Raises:
        AgentError: If an agent cannot be found.
        RecordError: If a trial has no run, or one cannot be read or is another search's.
    """
    names = names_of(search.profile, (), tuple(search.trials))
    folder = load_profile(search.profile, (), tuple(search.trials)).name
    found = [read_records(out / _point(number) / folder) for number in search.numbers]
    table: list[Sequence[Value]] = [TRIAL_COLUMNS]
    for chosen_as, trials in search.trials.items():
        agent = names[chosen_as]
        runs = [[r for r in records.of(agent) if r.seed in search.seeds] for records in found]
        scores = [[last_quarter(run) for run in trial] for trial in runs]
        means = [  # a run that left nothing behind is none that got through
            sum(each) / len(each) if len(each) == len(search.seeds) else math.nan for each in scores
        ]
        through = [number for number, mean in enumerate(means) if not math.isnan(mean)]
        best = max(through, key=means.__getitem__, default=None)
        for number, options in enumerate(trials):
            told = (agent, number, json.dumps(options, sort_keys=True))
            for run, score in zip(runs[number], scores[number], strict=True):
                _check_tried(run, options, search.steps)
                shown: Value = "" if math.isnan(score) else score
                table.append((*told, run.seed, run.state, run.steps, shown, number == best))
        said = "no trial got through from every seed"
        if best is not None:
            said = f"best trial {best}, success {means[best]:.3f}: {json.dumps(trials[best])}"
        console.print(f"{agent}: {said}", markup=False, highlight=False, soft_wrap=True)
    atomic.write_text(out / "trials.csv", format_rows(table))


def _check_tried(run: Run, options: Mapping[str, Any], steps: int) -> None:
    """Refuses a run that is there but is another search's."""
    given = run.config.get("agent_options", {})
    same = run.budget == steps and given.items() >= json.loads(json.dumps(dict(options))).items()
    if run.config and not same:
        remedy = "`glam tune --force-new` moves it aside and tries that"
        raise RecordError(run.directory, "was not made with what the search tries", remedy=remedy)


def _point(number: int) -> str:
    return f"trial-{number}"
