"""Small runs of the tabular agent, in this process or in one that can be killed."""

import os
import subprocess
import sys
from dataclasses import replace
from io import StringIO
from pathlib import Path

from rich.console import Console

from bench.config import EnvironmentConfig, EvaluationConfig, RunConfig, TrainConfig
from bench.lifecycle import perform

HERE = Path(__file__).parent
ROOT = HERE.parent
TABULAR = f"{HERE / 'tabular_agent.py'}:Tabular"

PROFILE = f"""
description: a small room, one object
environment: {{level: GoToLocal, room_size: 5, num_distractors: 1}}
train: {{steps: 256, n_envs: 4, checkpoint_every: 128}}
evaluation: {{splits: [train, french-goto], episodes: 5, n_envs: 3}}
seeds: [0]
agents:
  tabular: {{agent: {TABULAR}}}
  random:
"""


def quiet():
    return Console(file=StringIO())


def small_config(entry=TABULAR, **changes) -> RunConfig:
    options = {"learning_rate": 0.5, "rows": 512, "rollout_length": 16} if entry == TABULAR else {}
    config = RunConfig(
        profile="small",
        agent="agent",
        entry=entry,
        seed=3,
        environment=EnvironmentConfig(level="GoToLocal", room_size=5, num_distractors=1),
        train=TrainConfig(steps=256, n_envs=4, checkpoint_every=128),
        evaluation=EvaluationConfig(splits=("english-goto",), episodes=5, n_envs=3),
        agent_options=options,
    )
    return replace(config, **changes)


def run_in_process(config: RunConfig, out: Path, **options):
    return perform(config, out, quiet(), **options)


def result_bytes(run_path: Path) -> dict[str, bytes]:
    """Everything of a run that must be the same every time: rows, and what the agent saved."""
    found = [run_path / "metrics.csv", run_path / "episodes.csv", run_path / "config.json"]
    found += [run_path / "probes.csv", *run_path.glob("replays/*.csv")]
    found += [*run_path.glob("evaluation/*.csv"), *run_path.glob("checkpoint/*/**/*")]
    return {str(p.relative_to(run_path)): p.read_bytes() for p in sorted(found) if p.is_file()}


def glam(*arguments: object, cwd: Path | None = None) -> subprocess.Popen[str]:
    """Starts `glam` in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bench", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "100"},
        cwd=cwd,
    )
