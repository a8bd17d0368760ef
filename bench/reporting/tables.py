"""The tables of a report, built from records and the paper's published numbers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from bench.reporting import measures, statistics
from bench.reporting.measures import CURVE_WINDOWS, THRESHOLD
from bench.reporting.paper import OWN_NAME, PaperResults
from bench.reporting.records import MISSING, Records, Run
from bench.reporting.setting import departures, describe_setting
from bench.reporting.table_format import (
    UNPUBLISHED,
    Cell,
    Table,
    abbreviated_cell,
    published_rate_cell,
    published_steps_cell,
    rate_cell,
    steps_cell,
)
from bench.storage.manifest import commits
from envs.splits import SPLITS

Row = tuple[Cell | str, ...]

_NOT_LEARNING = "does not learn"
INTERVAL_NOTE = (
    "Measured: mean over seeds ± half of the 95% t interval (seeds - 1 degrees of freedom); "
    "n/a at one seed. The test episodes are a fixed list: the interval is over runs (training and "
    "draws of actions), not over the draw of episodes."
)


def q1_table(records: Records, paper: PaperResults) -> Table:
    """Q1: success at the end of training, SE and steps to the threshold, agent by agent."""
    rows: list[Row] = []
    for agent in records.agents:
        runs = records.of(agent)
        tested = rate_cell(measures.success(records, agent, "train"))
        cells: Row = (_NOT_LEARNING, tested, _NOT_LEARNING, _NOT_LEARNING)
        if any(run.learns for run in runs):
            cells = (
                rate_cell(measures.success_at_end(records, agent)),
                tested,
                rate_cell(measures.sample_efficiency(records, agent)),
                steps_cell(measures.steps_to_threshold(records, agent)),
            )
        name = OWN_NAME.get(agent, UNPUBLISHED)
        published: Row = (
            name,
            published_rate_cell(paper.success_rate.get(("train", name), math.nan)),
            published_steps_cell(paper.steps_to(name, THRESHOLD)),
        )
        rows.append((records.label(agent), str(len(runs)), *cells, *published))
    share = f"{100 / CURVE_WINDOWS:g}%"
    return Table(
        name="q1",
        title="Q1, sample efficiency.",
        setting=setting_sentences(records),
        notes=(
            f"End of training: training episodes that ended in the last {share} of the steps. "
            "Test episodes: the train tasks, after training. SE: mean over training of the success "
            f"rate, in windows of {share} of the steps, those left out in which no episode ended; "
            f"times the steps it is the area under the learning curve. Steps to {THRESHOLD}: end "
            f"of the first window of at least {measures.FEWEST} episodes whose success rate "
            "reaches it; never: in no such window of the training.",
            INTERVAL_NOTE,
            published_note(*paper.success_sources, *paper.curve_sources),
        ),
        columns=(
            "agent",
            "seeds",
            "success, end of training",
            "success, test episodes",
            "sample efficiency SE",
            f"steps to {THRESHOLD}",
            "paper: agent",
            "paper: success, test episodes",
            f"paper: steps to {THRESHOLD}",
        ),
        rows=tuple(rows),
    )


def generalisation_table(records: Records, paper: PaperResults) -> Table:
    """Q2 and Q3: success by split with its relative change against the reference."""
    rows: list[Row] = []
    for split in measures.splits(records):
        for reference in measures.comparisons(split):
            row: list[Cell | str] = [question_of(split), split_title(split)]
            row.append(split_title(reference) if reference else UNPUBLISHED)
            for agent in records.agents:
                measured = measures.success(records, agent, split)
                change = None
                if reference:
                    base = measures.success(records, agent, reference)
                    change = measures.relative_change(measured, base)
                row.append(rate_cell(measured, change))
            for name in paper.agents:
                rate = paper.success_rate.get((split, name), math.nan)
                row.append(published_rate_cell(rate, paper.change(name, split, reference)))
            rows.append(tuple(row))
    return Table(
        name="q2_q3",
        title="Q2 and Q3, generalisation: success rate on the test episodes of each split.",
        setting=setting_sentences(records),
        notes=(
            "In parentheses: change of the mean success rate relative to the reference split, over "
            "the seeds that have both. French is played on go to tasks, so its reference is "
            "English go to; it is set against the train tasks too, as the other splits are.",
            INTERVAL_NOTE,
            published_note(*paper.success_sources),
        ),
        columns=(
            "question",
            "split",
            "reference",
            *(f"{records.label(a)}, {_seeds(len(records.of(a)))}" for a in records.agents),
            *(f"paper: {name}" for name in paper.agents),
        ),
        rows=tuple(rows),
    )


def task_kind_table(records: Records) -> Table:
    """Success by split and task kind."""
    rows: list[Row] = []
    for split in measures.splits(records):
        for kind, episodes in measures.kind_counts(records, split).items():
            measured = [measures.success_by_kind(records, a, split, kind) for a in records.agents]
            head = (question_of(split), split_title(split), kind, str(episodes))
            rows.append((*head, *map(rate_cell, measured)))
    return Table(
        name="task_kinds",
        title="Success rate on the test episodes by task kind.",
        setting=setting_sentences(records),
        notes=(
            "Episodes: test episodes of the kind in a run; all agents play the same ones.",
            INTERVAL_NOTE,
            "The paper publishes no numbers by task kind.",
        ),
        columns=("question", "split", "task kind", "episodes", *map(records.label, records.agents)),
        rows=tuple(rows),
    )


def seed_table(records: Records) -> Table:
    """Every run on every split, with the Wilson interval of that one checkpoint."""
    rows: list[Row] = []
    for run in records.runs:
        for split in measures.splits(records):
            tested = run.test_rows(split)
            if tested is None or tested.empty:
                measured = ["failed" if run.state == "failed" else MISSING] * 4
            else:
                won, played = int(tested["success"].sum()), len(tested)
                bounds = statistics.wilson_interval(won, played)
                measured = [f"{won}/{played}", *(f"{x:.3f}" for x in (won / played, *bounds))]
            rows.append((records.label(run.agent), str(run.seed), split, *measured))
    return Table(
        name="seeds",
        title="Every run on every split.",
        setting=setting_sentences(records),
        notes=(
            "The Wilson interval (95%) covers the draw of the test episodes of that one checkpoint "
            "and nothing else: to compare agents, compare seeds.",
        ),
        columns=(
            "agent",
            "seed",
            "split",
            "successes",
            "success rate",
            "Wilson low",
            "Wilson high",
        ),
        rows=tuple(rows),
    )


def runs_table(records: Records) -> Table:
    """Provenance: what each run is and where it lies, and its part of Q1's numbers."""
    learned = {
        agent: (
            measures.success_at_end(records, agent).values,
            measures.sample_efficiency(records, agent).values,
        )
        for agent in records.agents
    }
    return Table(
        name="runs",
        title="The runs behind every measured number.",
        setting=setting_sentences(records),
        notes=(
            f"Their training and tests took {_hours(records):.1f} hours, added up over the runs.",
        ),
        columns=(
            "agent",
            "label",
            "seed",
            "state",
            "error",
            "profile",
            "config hash",
            "commit",
            "dirty",
            "agent file",
            "its sha256",
            "model",
            "pretrained",
            "weights sha256",
            "steps",
            "success, end of training",
            "SE",
            "train seconds",
            "evaluate seconds",
            "run directory",
        ),
        rows=tuple(
            _provenance(records, run, [by_seed.get(run.seed) for by_seed in learned[run.agent]])
            for run in records.runs
        ),
    )


def _hours(records: Records) -> float:
    seconds = [run.manifest["wall_seconds"] for run in records.runs if run.manifest]
    return float(sum(each["train"] + each["evaluate"] for each in seconds)) / 3600


def _provenance(records: Records, run: Run, learned: Sequence[float | None]) -> Row:
    manifest = run.manifest
    model = manifest.get("model") or {}
    seconds, code = manifest.get("wall_seconds") or {}, manifest.get("code_sha256") or []
    return (
        run.agent,
        run.label,
        str(run.seed),
        run.state,
        _text(manifest.get("error")),
        _text(manifest.get("profile")),
        abbreviated_cell(_text(manifest.get("config_hash"))),
        *_commit_cells(manifest),
        run.config.get("entry", "") if code else "",  # no commit of ours has it
        abbreviated_cell(" ".join(code)),
        _text(model.get("name")),
        _text(model.get("pretrained")),
        abbreviated_cell(_text(model.get("weights_sha256"))),
        str(run.steps) if manifest else "",
        *("" if rate is None else f"{rate:.3f}" for rate in learned),
        _text(seconds.get("train")),
        _text(seconds.get("evaluate")),
        run.directory.relative_to(records.directory).as_posix(),
    )


def _commit_cells(manifest: Mapping[str, Any]) -> tuple[Cell, str]:
    found = commits(manifest)
    names = list(dict.fromkeys(commit for commit, _ in found if commit))
    known = [dirty for _, dirty in found if dirty is not None]
    whole = Cell(" ".join(name[:12] for name in names), {"": " ".join(names)})
    return whole, _text(any(known) if known else None)


def split_title(split: str) -> str:
    """Title of a split; its name if `envs.splits` does not know it."""
    return SPLITS[split].title if split in SPLITS else split


def question_of(split: str) -> str:
    """Question that a split answers; "variant" if `envs.splits` does not know it."""
    return SPLITS[split].question if split in SPLITS else "variant"


def _text(value: object) -> str:
    """A manifest's value as its JSON reads, strings bare; empty where there is none."""
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


def _seeds(count: int) -> str:
    return f"{count} seed{'' if count == 1 else 's'}"


def setting_sentences(records: Records) -> tuple[str, ...]:
    """The setting of every table, and where it departs from the paper's."""
    return (describe_setting(records), *departures(records))


def published_note(*sources: str) -> str:
    """Says which columns are published numbers, and from where."""
    return (
        f"Columns headed 'paper' are published numbers, not measured here: {'; '.join(sources)}. "
        "The paper's test counts in another way than ours: see 'first to finish' in the comparison."
    )
