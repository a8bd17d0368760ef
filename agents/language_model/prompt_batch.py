"""Prompts as tensors, grouped by length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


@dataclass(frozen=True)
class PromptBatch:
    """A group of prompts, padded on the right.

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


_TOGETHER, _APART, _LAUNCHED = 10, 64, 128
"""Tokens; measured, docs/performance.md, "Padding"."""


def group_tokens(device: torch.device, *, together: bool) -> int:
    """What one more group of prompts may cost, in tokens.

    On a CPU little if the groups of a pass are read together: so little that MiniFlan's prompts are
    padded by less than 5%, those of a rollout too. Apart each group is a pass, which costs more. An
    accelerator waits for every operation to be handed over: most that still pads a minibatch of the
    paper's prompts by less than 5%.

    Args:
        device: Where they are read.
        together: Whether the groups of a pass go through the model as one, as a T5's do.

    Returns:
        Tokens, for :func:`length_passes`.
    """
    if device.type != "cpu":
        return _LAUNCHED
    return _TOGETHER if together else _APART


def length_passes(lengths: Sequence[int], max_tokens: int, a_group: int) -> list[list[list[int]]]:
    """Divides prompts into passes that fit into memory, and those into groups of similar length.

    Args:
        lengths: Token count of each prompt.
        max_tokens: Largest number of tokens in a pass, padding included; a single longer prompt
            makes a pass of its own.
        a_group: What a further group costs, in tokens (:func:`group_tokens`).

    Returns:
        The groups of each pass as lists of indices, which together hold every prompt once,
        shortest prompts first.
    """
    passes: list[list[list[int]]] = []
    room = 0
    for group in length_groups(lengths, max_tokens, a_group):
        size = len(group) * lengths[group[-1]]
        if not passes or size > room:
            passes.append([])
            room = max_tokens
        passes[-1].append(group)
        room -= size
    return passes


def length_groups(lengths: Sequence[int], max_tokens: int, a_group: int) -> list[list[int]]:
    """Groups prompts of similar length so that little is padded.

    Of all ways to cut the prompts, ordered by length, the one with the fewest tokens, padding
    included, where every group counts as some tokens more.

    Args:
        lengths: Token count of each prompt.
        max_tokens: Largest number of prompts × longest prompt in a group; a single longer prompt
            makes a group of its own.
        a_group: What a further group costs, in tokens.

    Returns:
        Index lists that together hold every prompt once, shortest prompts first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    cost, first = [0], [0]  # of the cheapest way to group the first n; where its last group begins
    for end in range(1, len(order) + 1):
        longest = lengths[order[end - 1]]
        starts = range(max(0, end - max(1, max_tokens // longest)), end)
        best = min(starts, key=lambda start: cost[start] - start * longest)
        cost.append(cost[best] + (end - best) * longest + a_group)
        first.append(best)
    groups: list[list[int]] = []
    end = len(order)
    while end:
        groups.append(order[first[end] : end])
        end = first[end]
    return groups[::-1]
