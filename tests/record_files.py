"""Writes a run directory as the harness would, with outcomes that a test chooses."""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from envs import DRAWS_VERSION
from envs.splits import ARTICLE_SPLITS

EPISODE_COLUMNS = [
    "episode",
    "env",
    "steps",
    "seed",
    "task_kind",
    "return",
    "success",
    "length",
    "truncated",
]
TEST_COLUMNS = [
    "split",
    "split_version",
    "level",
    "level_version",
    "episode_seed",
    "task_kind",
    "return",
    "success",
    "length",
    "truncated",
    "prompt_hash",
]
KINDS = ("go to", "pick up", "put next", "sequence", "open")


def write_rows(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def write_run(
    directory: Path,
    agent: str,
    seed: int,
    *,
    state: str = "complete",
    learns: bool = True,
    training: Iterable[tuple[int, int]] = (),
    tests: Mapping[str, Sequence[int]] | None = None,
    episodes: int | None = None,
    steps: int = 1000,
    profile: str = "laptop",
    environment: Mapping[str, Any] | None = None,
    entry: str | None = None,
    **manifest: Any,
) -> Path:
    """Write one run.

    Args:
        directory: The results directory.
        agent: The agent's directory.
        seed: The run's seed.
        state: The manifest's state.
        learns: Whether the agent is trained.
        training: (steps, success) of each training episode.
        tests: Success of each test episode by split.
        episodes: Test episodes asked for; by default as many as the first split has.
        steps: Step budget.
        profile: Name of the profile.
        environment: Level options that differ from the paper's.
        entry: What the agent is; by default what its directory is called.
        **manifest: Further keys of the manifest, or other values.

    Returns:
        The run's directory.
    """
    tests = tests or {}
    run = directory / agent / f"seed-{seed}"
    run.mkdir(parents=True)
    if episodes is None:
        episodes = len(next(iter(tests.values()), [0]))
    level = {
        "level": "MixedTrainLocal",
        "room_size": 8,
        "num_distractors": 8,
        "history": 3,
        "n_actions": 6,
        **(environment or {}),
    }
    config = {
        "profile": profile,
        "entry": entry or agent,
        "environment": level,
        "train": {"steps": steps},
        "evaluation": {"episodes": episodes, "splits": list(tests)},
    }
    values = {
        "format": 1,
        "profile": profile,
        "agent": agent,
        "label": agent,
        "seed": seed,
        "state": state,
        "error": "out of memory" if state == "failed" else None,
        "config_hash": "c0ffee" * 10,
        "git": {"commit": "5eed" * 10, "dirty": False},
        "versions": {},
        "machine": {},
        "model": {},
        "learns": learns,
        "steps": steps if learns else 0,
        "seeds": {"run": seed, "draws_version": DRAWS_VERSION},
        "splits": {},
        "wall_seconds": {"train": 12.5, "evaluate": 1.5},
    }
    (run / "config.json").write_text(json.dumps(config))
    (run / "manifest.json").write_text(json.dumps(values | manifest))
    write_rows(
        run / "metrics.csv", ["update", "steps", "loss"], [(1, steps, 0.5)] if learns else []
    )
    rows = [
        (i, 0, ended, i, KINDS[i % 5], 0.9 * won, won, 10, 1 - won)
        for i, (ended, won) in enumerate(training)
    ]
    write_rows(run / "episodes.csv", EPISODE_COLUMNS, rows)
    for split, outcomes in tests.items():
        tested = [
            (split, 1, "Level", 1, 1000 + i, KINDS[i % 5], 0.9 * won, won, 10, 1 - won, "ab")
            for i, won in enumerate(outcomes)
        ]
        write_rows(run / "evaluation" / f"{split}.csv", TEST_COLUMNS, tested)
    return run


def outcomes(successes: int, episodes: int = 10) -> list[int]:
    """So many successes, then failures."""
    return [1] * successes + [0] * (episodes - successes)


def played(rates: Mapping[str, int]) -> dict[str, list[int]]:
    """Outcomes of ten episodes on each split, two solved where no other number is given."""
    return {split: outcomes(rates.get(split, 2)) for split in ARTICLE_SPLITS}


LEARNED = {
    "train": 9,
    "renamed-nouns": 9,
    "invented-words": 8,
    "english-goto": 10,
    "french-goto": 0,
}


def training(successes: int) -> list[tuple[int, int]]:
    """One episode in each of 20 windows of 50 steps, the last `successes` of them solved."""
    return [(50 * i + 25, int(i >= 20 - successes)) for i in range(20)]


def write_three_agents(directory: Path, gflan: Mapping[str, int] = LEARNED, rival: int = 4) -> None:
    """GFlan-T5 and DRRN with two seeds, and Random; rival: how often DRRN's training succeeds."""
    for seed in (0, 1):
        write_run(directory, "gflan-t5", seed, training=training(12), tests=played(gflan))
        write_run(directory, "drrn", seed, training=training(rival), tests=played({}))
    write_run(directory, "random", 0, learns=False, tests=played({}))
