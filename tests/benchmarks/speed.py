"""Timings for `make bench`: each against a plain reference in the same group, never asserted.

What is compared is timed on the same weights and prompts in the same run; `summary.py` makes
ratios, shares of the measured matrix-product peak and a figure of the JSON that is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
import torch
from minigrid.minigrid_env import MiniGridEnv
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from agents.language_model.policy import LanguageModelPolicy
from agents.language_model.precision import product_seconds
from agents.language_model.prefix_tree import build_prefix_tree
from agents.language_model.prompt_batch import PromptBatch, pad_batch
from agents.miniflan.architecture import MINIFLAN_FOLDER
from bench.lifecycle import build_agent
from bench.profile import load_profile
from envs import TextEnv, VectorEnv
from envs.levels import BabyAITextLevel

CPU = torch.device("cpu")
PROMPTS = 2
PRODUCT = 1024
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
    benchmark.extra_info.update(steps=ACTIONS)
    benchmark.pedantic(play, args=(env, actions), rounds=15, warmup_rounds=2)


@cache
def model(size: str) -> T5ForConditionalGeneration:
    dimensions = {
        "small": {"d_model": 128, "d_kv": 32, "d_ff": 256, "num_layers": 3, "num_heads": 4},
        "T5-small": {"d_model": 512, "d_kv": 64, "d_ff": 1024, "num_layers": 8, "num_heads": 6},
    }[size]
    torch.manual_seed(0)
    config = T5Config(vocab_size=2000, decoder_start_token_id=0, **dimensions)
    return T5ForConditionalGeneration(config).eval()


def prompts(length: int) -> PromptBatch:
    """Real prompts, cut or continued with themselves to one length."""
    envs = VectorEnv(TextEnv, PROMPTS, seed=0)
    texts = [observation.prompt() for observation in envs.observations]
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER)
    tokens = tokenizer(texts, add_special_tokens=False)["input_ids"]
    return pad_batch([np.resize(np.array(ids), length) for ids in tokens], 0, CPU)


def candidates(count: int) -> list[list[int]]:
    """Tokens of ``count`` actions of two or three tokens that share their beginnings."""
    return [[10 + i % 6, 20 + i, 30 + i][: 2 + i % 2] for i in range(count)]


def reference_scores(t5, batch: PromptBatch, actions: list[list[int]]) -> Tensor:
    """One padded row for every prompt and action, encoder included: the plain way."""
    longest = max(map(len, actions))
    inputs = torch.zeros(len(actions), longest, dtype=torch.long)
    labels = torch.full((len(actions), longest), -100)
    for row, words in enumerate(actions):
        inputs[row, 1 : len(words)] = torch.tensor(words[:-1])
        labels[row, : len(words)] = torch.tensor(words)
    rows = len(batch.ids)
    logits = t5(
        input_ids=batch.ids.repeat_interleave(len(actions), 0),
        attention_mask=batch.mask.repeat_interleave(len(actions), 0),
        decoder_input_ids=inputs.repeat(rows, 1),
    ).logits.log_softmax(-1)
    picked = logits.gather(2, labels.clamp(min=0).repeat(rows, 1)[..., None]).squeeze(2)
    scores = (picked * (labels >= 0).repeat(rows, 1)).sum(1).view(rows, -1)
    return scores.log_softmax(1)


# Actions and tokens in a prompt; the plain way only in 32-bit numbers, where it was measured.
GRID = [(6, 100), (6, 200), (6, 400), (12, 200), (24, 200)]
WAYS = [("prefix tree", "float32", cell) for cell in GRID]
WAYS += [("one row per action", "float32", cell) for cell in GRID]
WAYS += [("prefix tree", "bfloat16", (6, 200))]


@pytest.mark.parametrize(("way", "precision", "cell"), WAYS)
@pytest.mark.parametrize("work", ["score", "update"])
@pytest.mark.parametrize("size", ["small", "T5-small"])
def test_language_model(benchmark, size: str, work: str, way: str, precision, cell) -> None:
    n_actions, length = cell
    benchmark.group = f"{work} {PROMPTS} prompts: {size}, {n_actions} actions, {length} tokens"
    t5, actions, batch = model(size), candidates(n_actions), prompts(length)
    policy = LanguageModelPolicy(t5, n_actions=n_actions, value_hidden=64, precision=precision)
    tree = build_prefix_tree(actions, 0)
    scores: dict[str, Callable[[], Tensor]] = {
        "prefix tree": lambda: policy(batch, tree)[0],
        "one row per action": lambda: reference_scores(t5, batch, actions),
    }

    def run() -> Tensor:
        with torch.set_grad_enabled(work == "update"):
            found = scores[way]()
        if work == "update":
            policy.zero_grad()
            found[:, 0].sum().backward()
        return found.detach()

    with FlopCounterMode(display=False) as counted:
        found = run()
    if (way, precision) == ("prefix tree", "float32") and length < 400:
        with torch.no_grad():
            expected = reference_scores(t5, batch, actions)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    benchmark.extra_info.update(
        size=size,
        work=work,
        way=way,
        precision=precision,
        actions=n_actions,
        tokens=length,
        prompts=PROMPTS,
        flop=counted.get_total_flops(),
        # Measured beside what it is compared with: a shared machine's speed changes by the minute.
        peak_flops=2 * PRODUCT**3 / product_seconds(torch.float32, CPU, PRODUCT),
    )
    benchmark.pedantic(run, rounds=1 if way == "one row per action" else 3)


@pytest.mark.parametrize("history", [1, 3])
@pytest.mark.parametrize("agent", ["gflan-t5", "drrn", "symbolic-ppo"])
@pytest.mark.benchmark(group="one round of learning on one core, laptop profile's options")
def test_round(benchmark, agent: str, history: int) -> None:
    profile = load_profile("laptop", [f"environment.history={history}"], (agent,))
    (config,) = profile.runs([0])
    learner = build_agent(config)
    envs = VectorEnv(config.environment.build, config.train.n_envs, seed=0)
    learner.update(envs)
    steps = envs.steps
    benchmark.extra_info.update(agent=agent, history=history, steps=steps)
    benchmark.pedantic(learner.update, args=(envs,), rounds=2)
