"""Replayed episodes as drawable scenes: the environment plays the recorded actions again."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from bench.config import EnvironmentConfig
from bench.grid_state import State, held, state_of
from bench.replays import probability_columns, retraced
from bench.reporting.records import Records, Run
from bench.storage.parsing import RecordError
from bench.storage.row_file import PROMPT_HASH_DIGITS
from bench.validation import ConfigError, validated
from envs import SPLITS, TextEnv, evaluation_seeds


@dataclass(frozen=True)
class Step:
    """A decision: state, action, and what the agent made of it, where it tells.

    Attributes:
        state: Index into the scene's states.
        action: Index of the action taken.
        value: Return expected; None if not told.
        chances: Probability of each action; empty if not told.
    """

    state: int
    action: int
    value: float | None
    chances: tuple[float, ...]


@dataclass(frozen=True)
class Scene:
    """One replayed test episode.

    Attributes:
        run: The run that played it.
        split: Name of the split.
        episode_seed: Seed of the episode.
        solved: Whether the task was solved.
        task_kind: Kind of the task.
        reward: Reward of the last step; all others give 0.
        goal: The mission as the agent read it.
        phrases: The actions as the agent read them.
        width: Columns of the grid.
        height: Rows of the grid.
        walls: Indices of the cells that are walls.
        states: Every state that occurs, once.
        steps: The decisions in order.
        last: Index of the state after the last step.
    """

    run: Run
    split: str
    episode_seed: int
    solved: bool
    task_kind: str
    reward: float
    goal: str
    phrases: tuple[str, ...]
    width: int
    height: int
    walls: tuple[int, ...]
    states: tuple[State, ...]
    steps: tuple[Step, ...]
    last: int


def scenes(records: Records, split: str) -> tuple[list[Scene], list[str]]:
    """A success and a failure of each agent on a split, of the lowest seed that has one.

    Args:
        records: The records.
        split: Name of a split that `envs.splits` knows.

    Returns:
        The scenes in the agents' order, successes first, and a sentence for each recorded episode
        that today's environment does not play as it was.

    Raises:
        RecordError: If a replay does not fit its run.
    """
    found, odd = [], []
    for agent in records.agents:
        for wanted in (True, False):
            chosen = next(
                (
                    (run, seed)
                    for run in records.of(agent)
                    for seed in _replayed(run, split)
                    if _tested(run, split, seed)["success"] == wanted
                ),
                None,
            )
            if chosen is None:
                continue
            scene = _scene(chosen[0], split, chosen[1])
            if scene is None:
                odd.append(
                    f"{agent}, {split}, episode {chosen[1]}: not shown, for this version of the "
                    "environments gives other prompts than the run had."
                )
            else:
                found.append(scene)
    return found, odd


def example_prompt(records: Records, split: str) -> str:
    """A prompt as every agent saw it: of the first ten test episodes, the longest first one.

    Empty for a split of tasks that this world leaves out or has no room for.
    """
    run = next(run for run in records.runs if run.config)
    try:
        env = _build(run, split)
    except RecordError:
        raise
    except ValueError:  # none of its kinds is played
        return ""
    try:
        return max((env.reset(seed=s)[0].prompt() for s in evaluation_seeds(10)), key=len)
    except RuntimeError:  # they do not fit into the room
        return ""
    finally:
        env.close()


def _replayed(run: Run, split: str) -> list[int]:
    rows = run.replays.get(split)
    if rows is None or run.test_rows(split) is None:
        return []
    return [int(seed) for seed in dict.fromkeys(rows["episode_seed"])]


def _tested(run: Run, split: str, seed: int) -> Mapping[str, Any]:
    rows = run.evaluation[split]
    tested = rows[rows["episode_seed"] == seed]
    if len(tested) != 1:
        path = run.directory / "replays" / f"{split}.csv"
        raise RecordError(path, f"episode {seed} is none of the test episodes")
    return dict(tested.iloc[0])


def _build(run: Run, split: str) -> TextEnv:
    try:
        config = validated(EnvironmentConfig, run.config["environment"], "environment")
    except ConfigError as error:
        raise RecordError(run.directory / "config.json", str(error)) from error
    return config.build(SPLITS[split].level, SPLITS[split].view)


def _scene(run: Run, split: str, seed: int) -> Scene | None:
    """The scene, or None if the prompts are not those of the record."""
    rows = run.replays[split]
    rows = rows[rows["episode_seed"] == seed]
    env = _build(run, split)
    try:
        return _played(run, split, seed, rows, env)
    except ValueError as error:  # an action that is none
        path = run.directory / "replays" / f"{split}.csv"
        raise RecordError(path, f"episode {seed} cannot be played again ({error})") from error
    finally:
        env.close()


def _played(run: Run, split: str, seed: int, rows: pd.DataFrame, env: TextEnv) -> Scene | None:
    tested = _tested(run, split, seed)
    states: dict[State, int] = {}
    told = _thoughts(rows, env.n_actions)
    steps, digest = [], hashlib.sha256()
    actions = [int(action) for action in rows["action"]]
    for observation, action, (value, chances) in zip(
        retraced(env, seed, run.seed, actions), actions, told, strict=True
    ):
        digest.update(observation.prompt().encode() + b"\0")
        state = state_of(env, observation.descriptions[-1])
        steps.append(Step(states.setdefault(state, len(states)), action, value, chances))
    if digest.hexdigest()[:PROMPT_HASH_DIGITS] != tested["prompt_hash"]:
        return None
    # retraced performed the last action too: the grid shows how it ended
    grid = env.grid_env
    last = state_of(env, env.view.sentences(grid.gen_obs()["image"], held(env)))
    return Scene(
        run=run,
        split=split,
        episode_seed=seed,
        solved=bool(tested["success"]),
        task_kind=str(tested["task_kind"]),
        reward=float(tested["return"]),
        goal=env.view.goal(grid.mission),
        phrases=env.view.action_phrases(env.n_actions),
        width=grid.grid.width,
        height=grid.grid.height,
        walls=tuple(
            i for i, cell in enumerate(grid.grid.grid) if cell is not None and cell.type == "wall"
        ),
        states=tuple([*states, last]) if last not in states else tuple(states),
        steps=tuple(steps),
        last=states.get(last, len(states)),
    )


def _thoughts(rows: pd.DataFrame, n_actions: int) -> list[tuple[float | None, tuple[float, ...]]]:
    columns = [name for name in probability_columns(n_actions) if name in rows]
    values = rows["value"] if "value" in rows else [math.nan] * len(rows)
    return [
        (
            None if math.isnan(value) else float(value),
            () if any(map(math.isnan, chances)) else tuple(map(float, chances)),
        )
        for value, chances in zip(values, rows[columns].itertuples(index=False), strict=True)
    ]
