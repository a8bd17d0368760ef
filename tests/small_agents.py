"""Small language-model agents, their environments and observations, for several test files."""

import numpy as np
import torch
from transformers import PreTrainedTokenizerFast

from agents import AgentContext
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.config import LanguageModelConfig
from agents.miniflan.architecture import MINIFLAN_FOLDER
from envs import SPLITS, TextEnv, VectorEnv
from envs.language_view import ENGLISH

SMALL = {"epochs": 1, "rollout_length": 4, "batch_size": 8, "value_hidden": 16}


def agent(model: str = "miniflan", **options) -> LanguageModelAgent:
    """A small agent that prefers some actions, where MiniFlan itself prefers none at first."""
    config = LanguageModelConfig(**{"model": model, "learning_rate": 1e-3, **SMALL, **options})
    built = LanguageModelAgent(config, AgentContext(n_envs=4, seed=0))
    words = [w for ids in built.backbone.tokenizer(list(ENGLISH.actions)).input_ids for w in ids]
    with torch.no_grad():
        embeddings = built.policy.model.get_input_embeddings().weight
        generator = torch.Generator().manual_seed(0)
        noise = torch.randn(len(words), embeddings.shape[1], generator=generator)
        embeddings[words] += 0.3 * noise
    return built


def miniflan_tokenizer() -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER)


def environments(seed: int = 0) -> VectorEnv:
    return VectorEnv(lambda: TextEnv("MixedTrainLocal", room_size=5, num_distractors=2), 4, seed)


def observations(split: str = "train", count: int = 12) -> list:
    """Observations with one to three views, of very different lengths."""
    rng = np.random.default_rng(0)
    env = TextEnv(SPLITS[split].level, view=SPLITS[split].view)
    seen = []
    while len(seen) < count:
        seen.append(env.reset(seed=len(seen))[0])
        seen.extend(env.step(int(rng.integers(6)))[0] for _ in range(3))
    return seen[:count]


def run(trained: LanguageModelAgent, envs: VectorEnv, rounds: int) -> list[dict]:
    logs = []
    for _ in range(rounds):
        logs.append(dict(trained.update(envs)))
        envs.pop_episodes()
    return logs


def weights(trained: LanguageModelAgent) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in trained.policy.parameters()]
