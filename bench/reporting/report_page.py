"""`report.html`: one page that opens from the disk, made from the records alone.

Tables, provenance and figures work without JavaScript; the replays are drawn by a script from the
scenes that `bench.reporting.scenes` plays again.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib.resources import files
from typing import Any

import pandas as pd
from jinja2 import Environment, FunctionLoader, StrictUndefined

from bench.reporting import measures, statistics
from bench.reporting.caveats import caveats
from bench.reporting.claims import DIFFERENT, SAME, Verdict, verdicts
from bench.reporting.comparison import comparisons, count_verdicts
from bench.reporting.figure_style import agent_colours
from bench.reporting.figures import CAPTIONS
from bench.reporting.measures import SeedValues
from bench.reporting.paper import PaperResults
from bench.reporting.records import Records, Run
from bench.reporting.scenes import Scene, example_prompt, scenes
from bench.reporting.setting import departures, describe_setting, profiles
from bench.reporting.table_format import Table, percent, rounded
from bench.reporting.tables import question_of, split_title
from bench.storage.manifest import commits
from envs import SPLITS

_TONE = {SAME: "good", DIFFERENT: "bad"}


def render_page(
    records: Records,
    paper: PaperResults,
    tables: Iterable[Table],
    figures: Mapping[str, Mapping[str, bytes]],
) -> str:
    """Write the page.

    Args:
        records: What was measured.
        paper: What was published.
        tables: Every table of the report.
        figures: File contents by figure name and ending.

    Returns:
        HTML; the same text for the same rows.

    Raises:
        RecordError: If a replay does not fit its run.
    """
    splits = measures.splits(records)
    acted, odd = _all_scenes(records, splits)
    colours = agent_colours(records.agents)
    environment = Environment(
        loader=FunctionLoader(_page_file),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": True, "separators": (",", ":")}
    return environment.get_template("report.html.jinja").render(
        profile=profiles(records),
        setting=describe_setting(records),
        departures=departures(records),
        verdicts=[_card(verdict) for verdict in verdicts(records)],
        splits=[_split_section(records, split, acted, colours) for split in splits],
        headline=[
            _headline_row(records, agent, splits, colours[agent]) for agent in records.agents
        ],
        counts=count_verdicts(comparisons(records, paper)),
        tables={table.name: _plain(table) for table in tables},
        figures={
            name: {"uri": _data_uri(content["svg"]), "caption": CAPTIONS[name]}
            for name, content in figures.items()
        },
        scenes=_script_data(acted, colours, records) if acted else None,
        caveats=(*caveats(records), *odd),
        sources="; ".join((*paper.success_sources, *paper.curve_sources)),
    )


def _page_file(name: str) -> str:
    return files("bench.reporting.page").joinpath(name).read_text(encoding="utf-8")


def _data_uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"


def _plain(table: Table) -> dict[str, Any]:
    return {
        "name": table.name,
        "title": table.title,
        "notes": table.notes,
        "columns": table.columns,
        "rows": [[cell if isinstance(cell, str) else cell.text for cell in r] for r in table.rows],
    }


def _card(verdict: Verdict) -> dict[str, str]:
    title, _, rule = verdict.claim.partition(" (")
    return {
        "title": title,
        "rule": f"Rule: {rule.rstrip(')')}." if rule else "",
        "outcome": verdict.outcome,
        "evidence": f"{verdict.evidence}.",
        "tone": _TONE.get(verdict.outcome, ""),
    }


def _headline_row(
    records: Records, agent: str, splits: Sequence[str], colour: str
) -> dict[str, Any]:
    cells = [_headline_cell(records, agent, split) for split in splits]
    return {"label": records.label(agent), "colour": colour, "cells": cells}


def _headline_cell(records: Records, agent: str, split: str) -> dict[str, Any]:
    measured = measures.success(records, agent, split)
    summary = measured.over_seeds
    half = "n/a" if math.isnan(summary.half_width) else rounded(summary.half_width, 2)
    mean, half = (rounded(summary.mean, 2), f"± {half}") if summary.n else (measured.status, "")
    change = _change(records, agent, split, measured)
    note = f"n={summary.n}; {measured.status}" if summary.n and measured.status else ""
    return {
        "id": f"from-{agent}-{split}",
        "split": split_title(split),
        "mean": mean,
        "half": half,
        "change": change,
        "note": note,
        "text": " ".join(part for part in (mean, half) if part),
        "words": "; ".join(part for part in (change, note) if part),
        "fill": f"{100 * summary.mean:.1f}" if summary.n else "0",
        "runs": [_provenance(records, run, split) for run in records.of(agent)],
        "played": _played(records, agent, split),
    }


def _change(records: Records, agent: str, split: str, measured: SeedValues) -> str:
    reference = measures.comparisons(split)[0]
    if reference is None or not measured.values:
        return ""
    change = measures.relative_change(measured, measures.success(records, agent, reference))
    return "" if math.isnan(change) else percent(change)


def _provenance(records: Records, run: Run, split: str) -> dict[str, str]:
    directory = run.directory.relative_to(records.directory).as_posix()
    model = run.manifest.get("model") or {}
    weights = str(model.get("weights_sha256") or "")[:12]
    found = {
        "seed": str(run.seed),
        "directory": directory,
        "rows": "",
        "solved": run.state,
        "wilson": "",
        "commit": ", ".join(
            commit[:12] + (" (dirty)" if dirty else "") for commit, dirty in commits(run.manifest)
        ),
        "config": str(run.manifest.get("config_hash") or "")[:12],
        "model": " ".join(filter(None, (str(model.get("name") or ""), weights))) or "—",
    }
    tested = run.test_rows(split)
    if tested is not None and not tested.empty:
        won, played = int(tested["success"].sum()), len(tested)
        low, high = statistics.wilson_interval(won, played)
        found["rows"] = f"{directory}/evaluation/{split}.csv"
        found["solved"] = f"{won} of {played}"
        found["wilson"] = f"{low:.2f} to {high:.2f}"
    return found


def _played(records: Records, agent: str, split: str) -> str:
    """Which test episodes the cell is made of."""
    tested = [run.test_rows(split) for run in records.of(agent)]
    rows = [each for each in tested if each is not None and len(each)]
    if not rows:
        return "No complete test on this split."
    played = pd.concat(rows)
    columns = ["split", "split_version", "level", "level_version"]
    versions = played[columns].drop_duplicates().itertuples(index=False, name=None)
    made_of = "; ".join(
        f"split {name} version {version}, level {level} version {level_version}"
        for name, version, level, level_version in versions
    )
    seeds = played["episode_seed"]
    return f"Test episodes: seeds {seeds.min()} to {seeds.max()}; {made_of}."


def _split_section(
    records: Records, split: str, acted: Sequence[Scene], colours: Mapping[str, str]
) -> dict[str, Any]:
    rows = []
    for agent in records.agents:
        summary = measures.success(records, agent, split)
        mean = summary.over_seeds.mean
        links = [
            {
                "agent": agent,
                "outcome": "solved" if scene.solved else "unsolved",
                "word": "succeed" if scene.solved else "fail",
            }
            for scene in acted
            if scene.split == split and scene.run.agent == agent
        ]
        rows.append(
            {
                "label": records.label(agent),
                "colour": colours[agent],
                "text": summary.status if math.isnan(mean) else rounded(mean, 2),
                "fill": "0" if math.isnan(mean) else f"{100 * mean:.1f}",
                "watch": links,
            }
        )
    known = SPLITS.get(split)
    reference = measures.comparisons(split)[0]
    words = f"Level {known.level}." if known else ""
    if reference:
        words += f" Compared with {split_title(reference)}."
    has_world = known is not None and any(run.config for run in records.runs)
    prompt = example_prompt(records, split) if has_world else ""
    return {
        "name": split,
        "title": split_title(split),
        "question": question_of(split),
        "words": f"{words} A prompt that opens one of the test episodes:" if prompt else words,
        "prompt": prompt,
        "rows": rows,
    }


def _all_scenes(records: Records, splits: Iterable[str]) -> tuple[list[Scene], list[str]]:
    acted: list[Scene] = []
    odd: list[str] = []
    for split in splits:
        if split in SPLITS:
            found, sentences = scenes(records, split)
            acted += found
            odd += sentences
    return acted, odd


def _script_data(
    acted: Sequence[Scene], colours: Mapping[str, str], records: Records
) -> dict[str, Any]:
    """The scenes for the script, each sentence written once."""
    sentences: dict[str, int] = {}

    def numbers(state_sentences: Sequence[str]) -> list[int]:
        return [sentences.setdefault(text, len(sentences)) for text in state_sentences]

    drawn = []
    for scene in sorted(acted, key=lambda s: records.agents.index(s.run.agent)):
        things: dict[Any, int] = {}
        drawn.append(
            {
                "agent": scene.run.agent,
                "label": records.label(scene.run.agent),
                "colour": colours[scene.run.agent],
                "split": scene.split,
                "splitTitle": split_title(scene.split),
                "solved": scene.solved,
                "directory": scene.run.directory.relative_to(records.directory).as_posix(),
                "episode": scene.episode_seed,
                "kind": scene.task_kind,
                "reward": round(scene.reward, 3),
                "goal": scene.goal,
                "phrases": scene.phrases,
                "width": scene.width,
                "height": scene.height,
                "walls": scene.walls,
                "states": [
                    [
                        *state.agent,
                        state.carrying,
                        things.setdefault(state.things, len(things)),
                        state.visible,
                        numbers(state.sentences),
                    ]
                    for state in scene.states
                ],
                "steps": [
                    [s.state, s.action, s.value, [round(1000 * p) for p in s.chances]]
                    for s in scene.steps
                ],
                "last": scene.last,
                "things": list(things),
            }
        )
    return {"scenes": drawn, "sentences": list(sentences)}
