"""Success by where the first target stands."""

import json
import re
from pathlib import Path

import pytest
from record_files import TEST_COLUMNS, write_rows, write_run

from bench.config import EnvironmentConfig, EvaluationConfig, RunConfig
from bench.reporting.difficulty import difficulty_table
from bench.reporting.records import read_records
from envs import TextEnv, evaluation_seeds


def first_name(mission: str) -> tuple[str, str]:
    """Colour and noun of what is to be done first, read off the mission."""
    first = mission.split(" after you ")[-1].split(", then")[0]
    return re.search(r"(?:the|a) (\w+) (\w+)", first).groups()


@pytest.mark.parametrize("level", ["MixedTrainLocal", "GoToAfterPickUpLocal"])
def test_first_target_is_the_nearest_thing_so_named(level: str) -> None:
    env = TextEnv(level, task_kinds=["go to", "pick up", "put next", "sequence"])
    kinds, seen = set(), set()
    for seed in range(60):
        observation, info = env.reset(seed=seed)
        colour, noun = first_name(info["mission"])
        grid = env.grid_env
        x, y = grid.agent_pos
        distances = [
            abs(i - x) + abs(j - y)
            for i in range(grid.width)
            for j in range(grid.height)
            if (thing := grid.grid.get(i, j)) and (thing.color, thing.type) == (colour, noun)
        ]
        distance, in_view = grid.first_target()
        assert distance == min(distances)
        told = f"{colour} {noun}" in " ".join(observation.descriptions[-1])
        assert told or not in_view
        if len(distances) == 1:
            assert told == in_view
        kinds.add(info["task_kind"])
        seen.add(in_view)
    assert seen == {True, False}
    assert "sequence" in kinds


def write_tested(directory: Path, seed: int, won: list[int], **changes: object) -> None:
    """A run of the real level whose test episodes end as a test wants."""
    config = RunConfig(
        profile="laptop",
        agent="random",
        entry="random",
        seed=seed,
        environment=EnvironmentConfig(room_size=6, num_distractors=3),
        evaluation=EvaluationConfig(episodes=len(won)),
    )
    run = write_run(directory, "random", seed, learns=False)
    (run / "config.json").write_text(json.dumps(config.to_json()))
    row = {"split": "train", "split_version": 1, "level": "MixedTrainLocal", "level_version": 1}
    row |= {"task_kind": "go to", "length": 5, "prompt_hash": "ab"}
    rows = [
        {
            **row,
            "episode_seed": episode,
            "success": success,
            "return": success / 2,
            "truncated": 1 - success,
            **changes,
        }
        for episode, success in zip(evaluation_seeds(len(won)), won, strict=True)
    ]
    ordered = [[values[column] for column in TEST_COLUMNS] for values in rows]
    write_rows(run / "evaluation" / "train.csv", TEST_COLUMNS, ordered)


def test_rates_add_up_to_the_success_rate(tmp_path: Path) -> None:
    won = [[i % 3 == seed for i in range(40)] for seed in range(2)]
    for seed in range(2):
        write_tested(tmp_path, seed, [int(w) for w in won[seed]])
    table = difficulty_table(read_records(tmp_path))
    episodes = [int(row[2]) for row in table.rows]
    rates = [float(row[3].fields["mean"]) for row in table.rows]
    assert sum(episodes) == 40
    assert {row[0] for row in table.rows} == {"in view", "out of view"}
    mean = sum(map(sum, won)) / 80
    assert sum(n * rate for n, rate in zip(episodes, rates, strict=True)) / 40 == pytest.approx(
        mean, abs=1e-4
    )


def test_episodes_of_another_level_version_are_left_out(tmp_path: Path) -> None:
    write_tested(tmp_path, 0, [1, 0, 1], level_version=99)
    assert difficulty_table(read_records(tmp_path)).rows == ()
