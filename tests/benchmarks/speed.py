"""Timings for `make bench`: each against a plain reference in the same group, never asserted.

pytest-benchmark prints every row's ratio to the fastest of its group.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from minigrid.minigrid_env import MiniGridEnv
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from agents import AgentContext
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.config import LanguageModelConfig
from agents.language_model.policy import LanguageModelPolicy, pad_batch
from agents.language_model.prefix_tree import build_prefix_tree
from agents.miniflan.architecture import MINIFLAN_FOLDER
from envs import TextEnv, VectorEnv
from envs.levels import BabyAITextLevel

ACTIONS = 200


class StockView(BabyAITextLevel):
    """The same level with MiniGrid's own view: what stock MiniGrid costs a step."""

    gen_obs = MiniGridEnv.gen_obs


def play(env, actions: np.ndarray) -> None:
    env.reset(seed=0)
    for action in actions.tolist():
        _, _, ended, cut, _ = env.step(action)
        if ended or cut:
            env.reset()


@pytest.mark.parametrize("kind", ["stock MiniGrid, no text", "short view, no text", "text"])
@pytest.mark.benchmark(group=f"{ACTIONS} environment steps, MixedTrainLocal")
def test_environment(benchmark, kind: str) -> None:
    actions = np.random.default_rng(0).integers(0, 6, ACTIONS)
    env = {
        "stock MiniGrid, no text": StockView,
        "short view, no text": BabyAITextLevel,
        "text": TextEnv,
    }[kind]("MixedTrainLocal")
    benchmark(play, env, actions)


def model(size: str) -> T5ForConditionalGeneration:
    dimensions = {
        "TinyT5": {"d_model": 128, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4},
        "T5-small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    }[size]
    torch.manual_seed(0)
    config = T5Config(vocab_size=2000, decoder_start_token_id=0, **dimensions)
    return T5ForConditionalGeneration(config).eval()


def prompts(count: int) -> list[list[int]]:
    """Tokens of real prompts; their lengths differ as they do in a rollout."""
    tokenizer, rng = (
        PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER),
        np.random.default_rng(0),
    )
    envs = VectorEnv(TextEnv, count, seed=0)
    for _ in range(3):
        envs.step(rng.integers(0, 6, count))
    texts = [observation.prompt() for observation in envs.observations]
    return [ids[:200] for ids in tokenizer(texts, add_special_tokens=False)["input_ids"]]


def candidates(count: int) -> list[list[int]]:
    """Tokens of ``count`` actions of two or three tokens that share their beginnings."""
    return [[10 + i % 6, 20 + i, 30 + i][: 2 + i % 2] for i in range(count)]


def reference_scores(t5, ids, mask, actions) -> torch.Tensor:
    """One padded row for every prompt and action, encoder included: the plain way."""
    longest = max(map(len, actions))
    inputs = torch.zeros(len(actions), longest, dtype=torch.long)
    labels = torch.full((len(actions), longest), -100)
    for row, words in enumerate(actions):
        inputs[row, 1 : len(words)] = torch.tensor(words[:-1])
        labels[row, : len(words)] = torch.tensor(words)
    batch = len(ids)
    logits = t5(
        input_ids=ids.repeat_interleave(len(actions), 0),
        attention_mask=mask.repeat_interleave(len(actions), 0),
        decoder_input_ids=inputs.repeat(batch, 1),
    ).logits.log_softmax(-1)
    picked = logits.gather(2, labels.clamp(min=0).repeat(batch, 1)[..., None]).squeeze(2)
    return (picked * (labels >= 0).repeat(batch, 1)).sum(1).view(batch, -1)


@pytest.mark.parametrize("way", ["prefix tree", "one row per action"])
@pytest.mark.parametrize("n_actions", [6, 24])
@pytest.mark.parametrize("size", ["TinyT5", "T5-small"])
@torch.no_grad()
def test_scoring(benchmark, size: str, n_actions: int, way: str) -> None:
    benchmark.group = f"score {n_actions} actions for 2 prompts, {size} dimensions, fp32"
    t5, actions = model(size), candidates(n_actions)
    ids, mask = pad_batch(prompts(2), 0, torch.device("cpu"))
    policy = LanguageModelPolicy(t5, n_actions=n_actions, value_hidden=64).eval()
    tree = build_prefix_tree(actions, 0)
    ways: dict[str, Callable[[], torch.Tensor]] = {
        "prefix tree": lambda: policy(ids, mask, tree)[0],
        "one row per action": lambda: reference_scores(t5, ids, mask, actions).log_softmax(1),
    }
    torch.testing.assert_close(
        ways["prefix tree"](), ways["one row per action"](), atol=1e-4, rtol=1e-4
    )
    benchmark.pedantic(ways[way], rounds=3)


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.benchmark(group="one PPO round of GFlan (TinyT5), 16 environments × 40 steps")
def test_round(benchmark, history: int) -> None:
    options = {"epochs": 2, "value_hidden": 128, "max_batch_tokens": 2048, "learning_rate": 1e-3}
    agent = LanguageModelAgent(LanguageModelConfig(**options), AgentContext(n_envs=16))
    envs = VectorEnv(lambda: TextEnv(room_size=5, num_distractors=1, history=history), 16, seed=0)
    benchmark.pedantic(agent.update, args=(envs,), rounds=3)
