"""Levels: Gymnasium's checks, seeds, the task mix, the view."""

import subprocess
import sys
from collections import Counter

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from minigrid.envs.babyai.core.verifier import AfterInstr, BeforeInstr, GoToInstr, PickupInstr

from envs import HELD_OUT_PAIRS, LEVELS, TASK_KINDS, TextEnv, evaluation_seeds


@pytest.mark.parametrize("name", LEVELS)
def test_gymnasium_accepts_every_level(name: str) -> None:
    check_env(gym.make(f"BabyAIText/{name}-v0").unwrapped)


@pytest.mark.parametrize("name", LEVELS)
def test_same_seed_same_episode(name: str) -> None:
    rng = np.random.default_rng(0)
    actions = rng.integers(0, 6, 60).tolist()
    played = []
    for _ in range(2):
        env = TextEnv(name)
        env.reset(seed=11)  # an earlier episode must leave no trace
        env.step(2)
        observation, info = env.reset(seed=5)
        trace = [(observation.prompt(), observation.draw, info["task_kind"])]
        for action in actions:
            observation, reward, ended, cut, _ = env.step(action)
            trace.append((observation.prompt(), observation.draw, reward, ended, cut))
            if ended or cut:
                break
        played.append(trace)
    assert played[0] == played[1]


def test_same_seed_same_episode_in_another_process() -> None:
    code = (
        "from envs import TextEnv; env = TextEnv();"
        "print([env.reset(seed=s)[0].prompt() for s in range(20)])"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    env = TextEnv()
    assert other.strip() == str([env.reset(seed=s)[0].prompt() for s in range(20)])


def test_nothing_is_printed_while_levels_are_made(capfd: pytest.CaptureFixture[str]) -> None:
    for name in LEVELS:
        env = TextEnv(name)
        for seed in range(10):
            env.reset(seed=seed)
    assert capfd.readouterr() == ("", "")


def test_the_mix_draws_every_kind_as_often() -> None:
    env = TextEnv("MixedTrainLocal", room_size=6, num_distractors=2)
    kinds = Counter(env.reset(seed=seed)[1]["task_kind"] for seed in range(1000))
    assert set(kinds) == set(TASK_KINDS)
    # Five kinds, 1000 draws: a standard deviation is 12.6.
    assert all(abs(count - 200) < 5 * 12.6 for count in kinds.values())


def test_training_missions_never_name_a_held_out_pair_and_test_missions_name_no_other() -> None:
    for name, held_out in (("MixedTrainLocal", False), ("MixedTestLocal", True)):
        env = TextEnv(name, room_size=6, num_distractors=4)
        for seed in range(25):
            mission = env.reset(seed=seed)[1]["mission"]
            named = sum(mission.count(pair) for pair in HELD_OUT_PAIRS)
            objects = sum(mission.count(noun) for noun in ("key", "ball", "box", "door"))
            assert named == (objects if held_out else 0)


def test_compositions_have_their_orders() -> None:
    wanted = {
        "PickUpSeqPickUpLocal": ({BeforeInstr, AfterInstr}, PickupInstr),
        "PickUpThenGoToLocal": ({BeforeInstr}, GoToInstr),
        "GoToAfterPickUpLocal": ({AfterInstr}, GoToInstr),
    }
    for name, (orders, second) in wanted.items():
        env = TextEnv(name)
        seen = set()
        for seed in range(30):
            env.reset(seed=seed)
            instruction = env.grid_env.instrs
            seen.add(type(instruction))
            before = isinstance(instruction, BeforeInstr)
            first = instruction.instr_a if before else instruction.instr_b
            later = instruction.instr_b if before else instruction.instr_a
            assert isinstance(first, PickupInstr)
            assert isinstance(later, second)
        assert seen == orders


def test_objects_and_time_limits_are_the_published_ones() -> None:
    env = TextEnv("MixedTrainLocal")
    wanted = {
        "go to": (9, 64),
        "pick up": (9, 64),
        "put next": (10, 128),
        "sequence": (10, 128),
        "open": (9, 128),  # eight distractors and the key
    }
    for seed in range(60):
        env.reset(seed=seed)
        objects = sum(
            cell is not None and cell.type in ("key", "ball", "box")
            for cell in env.grid_env.grid.grid
        )
        assert (objects, env.grid_env.max_steps) == wanted[env.task_kind]


def test_the_door_is_locked_and_its_key_is_in_the_agents_room() -> None:
    env = TextEnv("MixedTrainLocal")
    doors = 0
    for seed in range(60):
        env.reset(seed=seed)
        if env.task_kind != "open":
            continue
        grid = env.grid_env
        cells = {(i, j): grid.grid.get(i, j) for i in range(grid.width) for j in range(grid.height)}
        (door,) = [c for c in cells.values() if c is not None and c.type == "door"]
        keys = [
            place
            for place, c in cells.items()
            if c is not None and c.type == "key" and c.color == door.color
        ]
        room = grid.room_from_pos(*grid.agent_pos)
        assert door.is_locked
        assert any(room.pos_inside(*place) for place in keys)
        doors += 1
    assert doors > 3


def test_a_random_policy_succeeds_about_as_often_as_published() -> None:
    env = TextEnv("MixedTrainLocal")
    rng = np.random.default_rng(0)
    won: Counter[str] = Counter()
    played: Counter[str] = Counter()
    for seed in evaluation_seeds(300):
        env.reset(seed=seed)
        ended = cut = False
        while not (ended or cut):
            _, _, ended, cut, _ = env.step(int(rng.integers(6)))
        played[env.task_kind] += 1
        won[env.task_kind] += ended
    published = {"go to": 0.33, "pick up": 0.12, "sequence": 0.12, "put next": 0.03, "open": 0.02}
    for kind, rate in published.items():
        # Both sides are samples: 120 published episodes, about 60 here.
        spread = (rate * (1 - rate) * (1 / 120 + 1 / played[kind])) ** 0.5
        assert abs(won[kind] / played[kind] - rate) < 4 * spread


def test_action_sets_of_the_ablations() -> None:
    env = TextEnv(n_actions=9)
    before = env.reset(seed=1)[0]
    for idle in (6, 7, 8):
        after = env.step(idle)[0]
        assert after.descriptions[-1] == before.descriptions[-1]
    assert TextEnv(n_actions=3).reset(seed=1)[0].action_phrases == (
        "turn left",
        "turn right",
        "go forward",
    )
    with pytest.raises(ValueError, match="between 0 and 8"):
        env.step(9)


def test_a_rung_plays_only_the_kinds_it_names_and_splits_keep_theirs() -> None:
    env = TextEnv("MixedTrainLocal", task_kinds=("sequence", "go to"))
    assert {env.reset(seed=seed)[1]["task_kind"] for seed in range(30)} == {"sequence", "go to"}
    split = TextEnv("GoToLocal", task_kinds=("sequence", "go to"))
    assert {split.reset(seed=seed)[1]["task_kind"] for seed in range(30)} == {"go to"}
    with pytest.raises(ValueError, match="none of which"):
        TextEnv("PickUpSeqPickUpLocal", task_kinds=("go to",))
    with pytest.raises(ValueError, match="unknown task kind 'fly'"):
        TextEnv(task_kinds=("fly",))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"level": "Nowhere"}, "unknown level"),
        ({"room_size": 3}, "room_size"),
        ({"num_distractors": 19}, "half the room"),
        ({"history": 0}, "history"),
        ({"n_actions": 10}, "n_actions"),
    ],
)
def test_bad_options_are_named(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TextEnv(**options)


def test_doors_have_every_colour_of_their_distribution() -> None:
    wanted = {
        "MixedTrainLocal": {"yellow", "green", "blue", "purple"},
        "MixedTestLocal": {"red", "grey"},
    }
    for name, colours in wanted.items():
        env = TextEnv(name, room_size=6, num_distractors=1, task_kinds=["open"])
        seen = set()
        for seed in range(60):
            env.reset(seed=seed)
            seen |= {c.color for c in env.grid_env.grid.grid if c and c.type == "door"}
        assert seen == colours


def test_what_is_picked_up_is_not_the_only_thing_to_go_to() -> None:
    env = TextEnv("PickUpThenGoToLocal", room_size=5, num_distractors=1)
    for seed in range(60):
        env.reset(seed=seed)
        first, later = (i.desc for i in (env.grid_env.instrs.instr_a, env.grid_env.instrs.instr_b))
        alike = [
            c
            for c in env.grid_env.grid.grid
            if c and (c.type, c.color) == (first.type, first.color)
        ]
        assert (first.type, first.color) != (later.type, later.color) or len(alike) > 1


def test_the_level_without_extra_objects_has_the_distractors_alone() -> None:
    env = TextEnv("GoToLocal")
    env.reset(seed=0)
    things = [c for c in env.grid_env.grid.grid if c and c.type in ("key", "ball", "box")]
    assert len(things) == 8


@pytest.mark.parametrize("draw_seed", [0, 1])
def test_draws_are_not_the_numbers_that_made_the_level(draw_seed: int) -> None:
    env = TextEnv("GoToLocal", room_size=6, num_distractors=2)
    for seed in (0, 7, 2**40 + 1):
        observation, _ = env.reset(seed=seed, options={"draw_seed": draw_seed})
        level = np.random.default_rng(seed).random(64)
        assert not set(level) & {observation.draw, env.step(0)[0].draw}
