"""Prompts as tensors, batched by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PromptBatch:
    """Prompts of a batch, padded on the right.

    Attributes:
        ids: (batch, longest) int64 token ids.
        mask: (batch, longest) bool, False where padded.
        shared: Number of tokens that all prompts begin with; a shorter prompt's last is left out.
    """

    ids: Tensor
    mask: Tensor
    shared: int


def pad_batch(
    prompts: Sequence[NDArray[np.int64]], pad_token: int, device: torch.device
) -> PromptBatch:
    """Pads prompts to the longest.

    Args:
        prompts: Token ids of each prompt.
        pad_token: Id to fill with.
        device: Where the tensors go.

    Returns:
        The batch.
    """
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_token, np.int64)
    ids[mask] = np.concatenate(prompts)
    differs = np.flatnonzero((ids != ids[0]).any(0))
    shared = int(min(differs[0] if len(differs) else len(ids[0]), lengths.min() - 1))
    return PromptBatch(torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device), shared)


_PASS_TOKENS = 24
"""What one more forward pass on a CPU may cost, in tokens; pads MiniFlan's prompts by under 5%."""
_PASS_TOKENS_LAUNCHED = 128
"""The same on an accelerator, which waits for every operation to be handed over: most that still
pads a minibatch of the paper's prompts by less than 5%."""


def length_batches(
    lengths: Sequence[int], max_tokens: int, device: torch.device
) -> list[list[int]]:
    """Groups prompts of similar length so that little is padded and memory is bounded.

    Of all ways to cut the prompts, ordered by length, the one with the fewest tokens, padding
    included, where every group counts as some tokens more.

    Args:
        lengths: Token count of each prompt.
        max_tokens: Largest number of prompts × longest prompt in a group; a single longer prompt
            makes a group of its own.
        device: Where they are read: what a further pass costs depends on it.

    Returns:
        Index lists that together hold every prompt once, shortest prompts first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    a_pass = _PASS_TOKENS if device.type == "cpu" else _PASS_TOKENS_LAUNCHED
    cost, first = [0], [0]  # of the cheapest way to group the first n; where its last group begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        starts = range(max(0, end - max(1, max_tokens // longest)), end)
        best = min(starts, key=lambda start: cost[start] - start * longest)
        cost.append(cost[best] + (end - best) * longest + a_pass)
        first.append(best)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[first[end] : end])
        end = first[end]
    return groups[::-1]
