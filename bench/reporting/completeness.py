"""Whether a run's training rows are all there, by what they say of each other."""

from __future__ import annotations

from bench.reporting.records import ENDED, Run
from envs.levels import LEVELS, TASK_KINDS


def training_gap(run: Run) -> str | None:
    """Says where rows of a training that has ended do not add up.

    All environments step together, so the step at which an episode ended is the sum of the lengths
    of its environment's episodes so far: a row that was taken out shows in the next. A last row
    shows if the steps after the rows that are there are more than an episode can have.

    Args:
        run: The run.

    Returns:
        A clause; None if all rows are there, or if training has not ended.
    """
    n_envs = run.config.get("train", {}).get("n_envs")
    if run.state not in ENDED or not run.learns or type(n_envs) is not int:
        return None
    if not 1 <= n_envs <= run.steps:
        return f"{n_envs} environments cannot have taken {run.steps} steps"
    rows, updates = run.episodes, run.metrics
    own_steps = rows.groupby("env")["length"].cumsum()
    off = rows[rows["steps"] != (own_steps - 1) * n_envs + rows["env"] + 1]
    if len(off):
        return f"episode {off['episode'].iloc[0]} does not follow from those before it"
    ended = rows.groupby("env")["length"].sum().reindex(range(n_envs), fill_value=0)
    unfinished = run.steps / n_envs - ended
    out_of_time = rows[rows["truncated"]]
    # Only where every kind of task has run out of time is it known how long an episode can be: the
    # last ones may be the first of their kind.
    known = _kinds(run) <= set(out_of_time["task_kind"])
    limit = out_of_time["length"].max() if known else run.steps + 1
    if not unfinished.between(0, limit, inclusive="left").all():
        return "the last episodes are not there"
    if list(updates["update"]) != list(range(1, len(updates) + 1)):
        return "an update is not there"
    if updates["steps"].tail(1).tolist() != [run.steps]:
        return "the last updates are not there"
    return None


def _kinds(run: Run) -> set[str]:
    """The task kinds that a run plays in training; all, where its config does not tell."""
    world = run.config["environment"]
    played = LEVELS[world["level"]].kinds if world.get("level") in LEVELS else TASK_KINDS
    return set(played) & set(world.get("task_kinds", TASK_KINDS))
