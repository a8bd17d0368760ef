"""Timings of language models for `make bench`: ours beside the plain way, never asserted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
    T5Config,
    T5ForConditionalGeneration,
)
from turns import compare, seconds

from agents.language_model.planning.operations import flop_counter
from agents.language_model.policy import LanguageModelPolicy
from agents.language_model.precision import product_seconds
from agents.language_model.prefix_tree import build_prefix_tree
from agents.language_model.prompt_batch import PromptBatch, group_tokens, length_passes, pad_batch
from agents.miniflan.architecture import MINIFLAN_FOLDER
from bench.memory import keep_freed_memory
from envs import TextEnv, VectorEnv

CPU = torch.device("cpu")
keep_freed_memory()  # as every run does
# Random weights make chances below 1e-38, which slow the plain way's gradients down by five times.
torch.set_flush_denormal(True)
PRODUCT = 1024


TOO_SLOW = 5.0
"""A 16-bit product of so many times a 32-bit one's time is emulated: a cell would take an hour."""


@cache
def bfloat16_slowness() -> float:
    """A product's time in 16-bit numbers, in that of 32-bit ones."""
    return product_seconds(torch.bfloat16, CPU) / product_seconds(torch.float32, CPU)


@cache
def model(size: str) -> T5ForConditionalGeneration:
    if size == "MiniFlan":
        opened = T5ForConditionalGeneration.from_pretrained(MINIFLAN_FOLDER, dtype=torch.float32)
        return opened.eval()
    torch.manual_seed(0)
    config = T5Config(
        vocab_size=32128,
        d_model=512,
        d_kv=64,
        d_ff=1024,
        num_layers=8,
        num_heads=6,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    return T5ForConditionalGeneration(config).eval()


def prompts(count: int, length: int) -> PromptBatch:
    """Real prompts, cut or continued with themselves to one length."""
    envs = VectorEnv(TextEnv, count, seed=0)
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


SIZES = ("MiniFlan", "T5-small")
PROMPTS = 8
"""Prompts in a pass; fewer would spend an update on the gradients of T5-small's vocabulary."""
PLAIN = {"score": 1, "update": 2}
"""Prompts in a pass of the plain way."""
MINIBATCH, PLAYED, PASS_TOKENS = 64, 20, 2048
"""Prompts of different lengths, steps of random play before them, the laptop profile's budget."""
FEWEST, MOST = 6, 24
ACTIONS, LENGTHS = (FEWEST, 12, MOST), (100, 200, 400)
"""Actions, and tokens in a prompt."""


@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("n_actions", ACTIONS)
@pytest.mark.parametrize("work", ["score", "update"])
@pytest.mark.parametrize("size", SIZES)
def test_language_model(benchmark, size: str, work: str, n_actions: int, length: int) -> None:
    t5, actions, batch = model(size), candidates(n_actions), prompts(PROMPTS, length)
    tree = build_prefix_tree(actions, 0)
    # The plain way costs the same for each prompt but for the gradients of the vocabulary: an
    # update of one takes 1.09 times half of one of two, and those of two and of four the same.
    plain = PromptBatch(batch.ids[: PLAIN[work]], batch.mask[: PLAIN[work]], length)
    exact, short = (
        LanguageModelPolicy(t5, n_actions=n_actions, value_hidden=64, precision=precision)
        for precision in ("float32", "bfloat16")
    )

    def run(scores: Callable[[], Tensor]) -> Tensor:
        with torch.set_grad_enabled(work == "update"):
            found = scores()
        if work == "update":
            t5.zero_grad()
            found[:, 0].sum().backward()
        return found.detach()

    def per_prompt(scores: Callable[[], Tensor], count: int) -> float:
        return seconds(lambda: run(scores)) / count

    tree_scores, plain_scores = (
        lambda: exact([batch], tree)[0],
        lambda: reference_scores(t5, plain, actions),
    )
    with flop_counter() as counted:
        found = run(tree_scores)
    if work == "score":
        torch.testing.assert_close(found[: len(plain.ids)], run(plain_scores), atol=1e-4, rtol=1e-4)
    square = torch.ones(PRODUCT, PRODUCT)
    ways = {
        "prefix tree": partial(per_prompt, tree_scores, len(batch.ids)),
        "one row per action": partial(per_prompt, plain_scores, len(plain.ids)),
        "matrix product": lambda: min(seconds(lambda: square @ square) for _ in range(4)),
    }
    if bfloat16_slowness() < TOO_SLOW:
        ways["prefix tree, bfloat16"] = partial(
            per_prompt, lambda: short([batch], tree)[0], len(batch.ids)
        )
    if n_actions == MOST:
        few = build_prefix_tree(candidates(FEWEST), 0)
        ways["prefix tree, 6 actions"] = partial(
            per_prompt, lambda: exact([batch], few)[0], len(batch.ids)
        )
    compare(
        benchmark,
        ways,
        cell="language model",
        size=size,
        work=work,
        actions=n_actions,
        tokens=length,
        flop=counted.get_total_flops() / len(batch.ids),
        product_flop=2 * PRODUCT**3,
        bfloat16_slowness=bfloat16_slowness(),
    )


@pytest.mark.parametrize("work", ["score", "update"])
def test_groups(benchmark, work: str) -> None:
    """A minibatch of MiniFlan's, whose groups go through together or in a pass each."""
    rng, envs = np.random.default_rng(0), VectorEnv(TextEnv, MINIBATCH, seed=0)
    for _ in range(PLAYED):
        seen = envs.step(rng.integers(0, 6, MINIBATCH)).observations
    tokenizer = PreTrainedTokenizerFast.from_pretrained(MINIFLAN_FOLDER)
    tokens = tokenizer([o.prompt() for o in seen], add_special_tokens=False)["input_ids"]
    rows = [np.array(ids) for ids in tokens]
    read = [
        [pad_batch([rows[i] for i in group], 0, CPU) for group in groups]
        for groups in length_passes(
            [len(row) for row in rows], PASS_TOKENS, group_tokens(CPU, together=True)
        )
    ]
    each = [[group] for groups in read for group in groups]
    policy = LanguageModelPolicy(model("MiniFlan"), n_actions=6, value_hidden=64)
    tree = build_prefix_tree(candidates(6), 0)

    def run(passes: Sequence[Sequence[PromptBatch]]) -> None:
        for one in passes:
            with torch.set_grad_enabled(work == "update"):
                scores = policy(one, tree)[0]
            if work == "update":
                scores[:, 0].sum().backward()
        policy.zero_grad()

    ways = {
        "together": lambda: seconds(lambda: run(read)),
        "a pass each": lambda: seconds(lambda: run(each)),
    }
    compare(benchmark, ways, cell="groups", work=work, prompts=MINIBATCH, groups=len(each))


@pytest.mark.parametrize("work", ["score", "update"])
def test_shared_beginning(benchmark, work: str) -> None:
    """A causal model that reads what all prompts begin with once, or in every prompt."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=4096,
        hidden_size=256,
        intermediate_size=768,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
    )
    policy = LanguageModelPolicy(LlamaForCausalLM(config).eval(), n_actions=6, value_hidden=64)
    tree, batch = build_prefix_tree(candidates(6), 0), prompts(4, 200)

    def run(read: PromptBatch) -> None:
        with torch.set_grad_enabled(work == "update"):
            scores = policy([read], tree)[0]
        if work == "update":
            policy.zero_grad()
            scores[:, 0].sum().backward()

    ways = {
        "read once": lambda: seconds(lambda: run(batch)),
        "read in every prompt": lambda: seconds(lambda: run(replace(batch, shared=0))),
    }
    compare(benchmark, ways, cell="shared beginning", work=work, shared=batch.shared, tokens=200)
