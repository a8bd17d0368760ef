"""The benchmark's levels, made and seen by MiniGrid's own code."""

from contextlib import AbstractContextManager, nullcontext

from minigrid.envs.babyai.core.roomgrid_level import RoomGridLevel
from minigrid.minigrid_env import MiniGridEnv

from envs.levels import BabyAITextLevel


class StockLevel(BabyAITextLevel):
    """A row of the level table without a shorter route; what it plays is ours."""

    place_obj = MiniGridEnv.place_obj
    check_objs_reachable = RoomGridLevel.check_objs_reachable
    gen_obs = MiniGridEnv.gen_obs

    def drawing_single_integers(self) -> AbstractContextManager[None]:
        """Leaves the draws to numpy."""
        return nullcontext()
