"""Examples as tensors, batched by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.language_model.prompt_batch import PromptBatch, pad_batch
from agents.miniflan.mixture import Example, draw_batch
from agents.tokenizer import END_ID, PAD_ID

POOL = 16
"""Batches that are drawn at once and share their examples out by length."""


@dataclass(frozen=True)
class Batch:
    """Prompts with their answers.

    Attributes:
        prompts: The prompts' tokens.
        decoder_inputs: (batch, longest) what the decoder reads: its start token, then the answer.
        labels: (batch, longest) what it is to say after each: the answer, then the end; 0 where
            padded.
    """

    prompts: PromptBatch
    decoder_inputs: Tensor
    labels: Tensor


def encode_batch(tokenizer: Any, examples: Sequence[Example]) -> Batch:
    """Tokenises examples as one batch.

    Args:
        tokenizer: MiniFlan's.
        examples: At least one.

    Returns:
        The batch, in the same order.
    """
    return _batch(_tokens(tokenizer, examples))


def draw_pool(tokenizer: Any, rng: Random, tokens: int, *, easy: bool) -> list[Batch]:
    """Draws batches of prompts that are about equally long, so that little is padded.

    Args:
        tokenizer: MiniFlan's.
        rng: Source of randomness.
        tokens: Rough number of prompt tokens in a batch.
        easy: Draws from the mixture's easy part.

    Returns:
        ``POOL`` batches of about equally many tokens, in any order.
    """
    examples = [e for _ in range(POOL) for e in draw_batch(rng, tokens, easy=easy)]
    rows = sorted(_tokens(tokenizer, examples), key=lambda row: len(row[0]))
    before = list(accumulate((len(prompt) for prompt, _ in rows), initial=0))
    shares: list[list[tuple[list[int], list[int]]]] = [[] for _ in range(POOL)]
    for row, start in zip(rows, before, strict=False):
        shares[start * POOL // before[-1]].append(row)
    batches = [_batch(share) for share in shares if share]
    rng.shuffle(batches)
    return batches


def _tokens(tokenizer: Any, examples: Sequence[Example]) -> list[tuple[list[int], list[int]]]:
    prompts = tokenizer([example.prompt for example in examples]).input_ids
    answers = tokenizer([example.answer for example in examples]).input_ids
    return list(zip(prompts, answers, strict=True))


def _batch(rows: Sequence[tuple[list[int], list[int]]]) -> Batch:
    prompts = _padded([prompt for prompt, _ in rows])
    labels = _padded([[*answer, END_ID] for _, answer in rows]).ids
    decoder_inputs = torch.nn.functional.pad(labels[:, :-1], (1, 0), value=PAD_ID)
    return Batch(prompts, decoder_inputs, labels)


def _padded(rows: Sequence[Sequence[int]]) -> PromptBatch:
    return pad_batch([np.array(row) for row in rows], PAD_ID, torch.device("cpu"))
