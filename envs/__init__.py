"""BabyAI-Text on stock MiniGrid: levels, language, splits, environments."""

from gymnasium.envs.registration import register, registry

from envs.language_view import ENGLISH, FRENCH, LanguageView
from envs.levels import HELD_OUT_PAIRS, LEVELS, TASK_KINDS, Level
from envs.observation import Observation
from envs.splits import ARTICLE_SPLITS, SPLITS, Split, evaluation_seeds
from envs.text_env import DRAWS_VERSION, TextEnv
from envs.vector import Episode, StepResult, VectorEnv

for _name in LEVELS:
    if f"BabyAIText/{_name}-v0" not in registry:
        register(
            f"BabyAIText/{_name}-v0", entry_point="envs.text_env:TextEnv", kwargs={"level": _name}
        )

__all__ = [
    "ARTICLE_SPLITS",
    "DRAWS_VERSION",
    "ENGLISH",
    "FRENCH",
    "HELD_OUT_PAIRS",
    "LEVELS",
    "SPLITS",
    "TASK_KINDS",
    "Episode",
    "LanguageView",
    "Level",
    "Observation",
    "Split",
    "StepResult",
    "TextEnv",
    "VectorEnv",
    "evaluation_seeds",
]
