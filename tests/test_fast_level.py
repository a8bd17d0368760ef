"""Levels built by shorter routes are MiniGrid's."""

from collections import Counter

import numpy as np
import pytest
from minigrid.core.world_object import Ball
from minigrid.envs.babyai.core.roomgrid_level import RejectSampling, RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv
from stock_level import StockLevel

from envs import LEVELS
from envs.levels import BabyAITextLevel


@pytest.mark.parametrize("name", LEVELS)
@pytest.mark.parametrize(("room_size", "num_distractors"), [(8, 8), (6, 3)])
def test_levels_are_minigrids(name, room_size, num_distractors) -> None:
    ours, stock = (
        level(name, room_size=room_size, num_distractors=num_distractors)
        for level in (BabyAITextLevel, StockLevel)
    )
    for episode in range(60):
        for env in (ours, stock):
            env.reset(seed=0 if episode == 0 else None)
        np.testing.assert_array_equal(ours.grid.encode(), stock.grid.encode())
        assert ours.hash() == stock.hash()  # of the agent's place and direction too
        assert (ours.mission, ours.max_steps) == (stock.mission, stock.max_steps)
        assert ours.np_random.bit_generator.state == stock.np_random.bit_generator.state
        mine, theirs = ([o for o in e.grid.grid if o is not None] for e in (ours, stock))
        assert [(o.init_pos, o.cur_pos) for o in mine] == [(o.init_pos, o.cur_pos) for o in theirs]


@pytest.mark.parametrize(("top", "size"), [((-2, -2), (99, 99)), ((2, 1), (2, 4)), (None, None)])
def test_an_object_goes_to_the_only_free_cell_that_is_not_the_agents(top, size) -> None:
    for seed in range(20):
        found = []
        for env in (BabyAITextLevel("GoToLocal"), StockLevel("GoToLocal")):
            env.reset(seed=seed)
            env.agent_pos = (3, 2)
            env.grid.grid = [Ball("red")] * len(env.grid.grid)
            for free in ((3, 2), (2, 3)):
                env.grid.set(*free, None)
            place = env.place_obj(None, top and np.array(top), size)
            found.append((place, env.np_random.bit_generator.state))
        assert found[0] == found[1]
        assert found[0][0] == (2, 3)


def test_a_full_room_is_given_up_after_as_many_draws() -> None:
    ours, stock = BabyAITextLevel("GoToLocal"), StockLevel("GoToLocal")
    for env in (ours, stock):
        env.reset(seed=0)
        env.grid.grid = [Ball("red")] * len(env.grid.grid)
        with pytest.raises(RecursionError, match="rejection sampling failed"):
            env.place_obj(Ball("blue"), (2, 2), (3, 9), max_tries=7)
    assert ours.np_random.bit_generator.state == stock.np_random.bit_generator.state


@pytest.mark.parametrize("name", LEVELS)
def test_what_is_out_of_reach_is_what_minigrid_says(name: str) -> None:
    env = BabyAITextLevel(name, room_size=5, num_distractors=1)
    rng = np.random.default_rng(0)
    found = Counter[bool]()
    for seed in range(60):
        env.reset(seed=seed)
        for _ in range(6):  # ever more things in the way
            expected = RoomGridLevel.check_objs_reachable(env, raise_exc=False)
            assert env.check_objs_reachable(raise_exc=False) == expected
            found[expected] += 1
            if not expected:
                with pytest.raises(RejectSampling, match="unreachable object"):
                    env.check_objs_reachable()
            x, y = rng.integers(1, [env.width - 1, env.height - 1])
            if env.grid.get(x, y) is None and (x, y) != tuple(env.agent_pos):
                env.grid.set(x, y, Ball(str(env._rand_color())))
    assert min(found[True], found[False]) > 20


def test_the_view_equals_minigrids() -> None:
    rng = np.random.default_rng(0)
    for name in LEVELS:
        env = BabyAITextLevel(name)
        for seed in range(6):
            env.reset(seed=seed)
            for _ in range(40):
                seen, _, ended, _, _ = env.step(int(rng.integers(6)))
                np.testing.assert_array_equal(seen["image"], MiniGridEnv.gen_obs(env)["image"])
                if ended:
                    break
