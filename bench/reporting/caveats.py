"""What a reader must know before trusting the numbers of a report."""

from __future__ import annotations

from typing import Any

from bench.config import differences
from bench.reporting import measures
from bench.reporting.completeness import training_gap
from bench.reporting.measures import CURVE_WINDOWS, FEWEST
from bench.reporting.records import ENDED, MISSING, Records, Run
from bench.reporting.setting import STANDING_DEPARTURES, departures
from bench.storage.manifest import commits, draws_version, origins

_MOST_OF_BUDGET = 1.1
"""A round of learning may end a little after the last step."""


def caveats(records: Records) -> tuple[str, ...]:
    """Sentences on the setting, the runs that are not whole, and what cannot be compared."""
    apart = departures(records)
    return (
        *(apart or (f"The paper's setting, but for this: {'; '.join(STANDING_DEPARTURES)}.",)),
        *_seeds(records),
        *(sentence for run in records.runs for sentence in _incomplete(run)),
        *_training_gaps(records),
        *_over_budget(records),
        *_few_episodes(records),
        *_different_options(records),
        *_different_code(records),
        *_different_origin(records),
        *_different_episodes(records),
        *_shared_draws(records),
        *_untraceable(records),
    )


def _seeds(records: Records) -> list[str]:
    single = [a for a in records.agents if sum(run.state in ENDED for run in records.of(a)) == 1]
    if not single:
        return []
    return [
        f"One seed of {', '.join(single)}: no interval can be given, and a difference to another "
        "agent may be luck."
    ]


def _incomplete(run: Run) -> list[str]:
    name = f"{run.agent}, seed {run.seed}"
    if run.state == "failed":
        error = " ".join(str(run.manifest.get("error") or "no error recorded").split())
        return [f"{name} failed ({error})."]
    if run.state == MISSING:
        return [f"{name} is missing."]
    if run.state == "running":
        return [f"{name} has not finished its training: its cells are missing."]
    asked = dict.fromkeys(run.config.get("evaluation", {}).get("splits", ()), 0)
    played = asked | {split: len(rows) for split, rows in run.evaluation.items()}
    return [
        f"{name} has {count} of {run.test_episodes} test episodes on {split}: missing there "
        "(`glam evaluate` plays them)."
        for split, count in played.items()
        if count != run.test_episodes
    ]


def _training_gaps(records: Records) -> list[str]:
    return [
        f"{run.agent}, seed {run.seed}: its training rows do not add up ({gap}), so neither does "
        "what is drawn or averaged from them."
        for run in records.runs
        if (gap := training_gap(run)) is not None
    ]


def _over_budget(records: Records) -> list[str]:
    trained = [run for run in records.runs if run.learns and run.state in ENDED]
    least = min((run.steps for run in trained), default=0)
    return [
        f"{run.agent}, seed {run.seed} took {run.steps:,} steps of {run.budget:,}: more "
        "than others had to learn from."
        for run in trained
        if run.steps > _MOST_OF_BUDGET * max(run.budget, least)
    ]


def _few_episodes(records: Records) -> list[str]:
    """Short runs, whose learning curve rests on few episodes."""
    few = []
    for agent in records.agents:
        counts = [
            len(run.episodes)
            for run in records.of(agent)
            if run.learns and run.state in ENDED and run.budget
        ]
        if sum(counts) < FEWEST * CURVE_WINDOWS * len(counts):
            few.append(agent)
    if not few:
        return []
    return [
        f"{', '.join(few)}: fewer than {FEWEST} training episodes in a window of the learning "
        "curve on average, so that its SE and its end rest on few episodes; those that end first "
        "are the short, solved ones."
    ]


def _different_options(records: Records) -> list[str]:
    """Runs that are averaged as seeds of one agent although they are not."""
    sentences = []
    for agent in records.agents:
        configs = [run.config for run in records.of(agent) if run.config]
        changes = {
            f"{change.name} ({change.before!r}, {change.after!r})"
            for config in configs[1:]
            for section in ("environment", "train", "agent_options")
            for change in differences(configs[0].get(section, {}), config.get(section, {}))
            if change.name != "checkpoint_every"
        }
        if changes:
            sentences.append(
                f"{agent}: its seeds were run with different options, "
                f"{', '.join(sorted(changes))}; their mean is of no one agent."
            )
    return sentences


def _different_code(records: Records) -> list[str]:
    sentences = []
    for agent in records.agents:
        versions = {d for run in records.of(agent) for d in run.manifest.get("code_sha256", ())}
        if len(versions) > 1:
            sentences.append(
                f"{agent}: its file was changed between or during its runs ({len(versions)} "
                "versions, see code_sha256 in the manifests)."
            )
    return sentences


def _different_origin(records: Records) -> list[str]:
    """Seeds of one agent that began from other weights, or which may round differently."""
    sentences = []
    for agent in records.agents:
        manifests = [run.manifest for run in records.of(agent) if run.manifest]
        weights = {manifest.get("weight_files_sha256") for manifest in manifests}
        if len(weights) > 1:
            sentences.append(
                f"{agent}: its seeds began from {len(weights)} different weights (see "
                "weight_files_sha256 in the manifests); their mean is of no one agent."
            )
        found = {
            (
                origin["machine"].get("processor"),
                origin["machine"].get("threads"),
                origin["machine"].get("gpu"),
                (manifest.get("model") or {}).get("precision"),
                origin["versions"].get("torch"),
            )
            for manifest in manifests
            for origin in origins(manifest)
        }
        if len(found) > 1:
            sentences.append(
                f"{agent}: its seeds come from {len(found)} different machines, numbers of "
                "threads, precisions or versions of torch, which round differently."
            )
    return sentences


def _different_episodes(records: Records) -> list[str]:
    sentences = []
    for split in measures.splits(records):
        played: dict[tuple[Any, ...], str] = {}
        for run in records.runs:
            rows = run.test_rows(split)
            if rows is not None:
                columns = rows[["split_version", "level_version", "episode_seed"]]
                played.setdefault(tuple(columns.itertuples(index=False, name=None)), run.agent)
        if len(played) > 1:
            sentences.append(
                f"{split}: {', '.join(sorted(set(played.values())))} did not play the same test "
                "episodes, or not in the same version."
            )
    return sentences


def _shared_draws(records: Records) -> list[str]:
    """Names runs whose draws were not independent: of version 1 (see `envs.DRAWS_VERSION`)."""
    old = [run.agent for run in records.runs if run.manifest and draws_version(run.manifest) == 1]
    sampling = [agent for agent in dict.fromkeys(old) if agent != "bot"]
    if not sampling:
        return []
    return [
        f"{', '.join(sampling)}: of earlier code, in which the numbers that sampled actions had "
        "built the level too: in the tests of seed 0, and in the training of agents that sample "
        "by `observation.draw`, as DRRN does. They are independent now."
    ]


def _untraceable(records: Records) -> list[str]:
    found = [each for run in records.runs for each in commits(run.manifest)]
    names = {commit for commit, _ in found}
    sentences = []
    if len(names) > 1:
        sentences.append(f"The runs come from {len(names)} commits (see the table of runs).")
    if any(dirty for _, dirty in found):
        sentences.append("Some runs come from a tree with uncommitted changes.")
    return sentences
