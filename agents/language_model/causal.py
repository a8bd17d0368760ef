"""A causal language model read at the nodes of a prefix tree."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from agents.language_model.prefix_tree import PrefixTree


def causal_states(
    model: Any, prompts: Tensor, mask: Tensor, tree: PrefixTree, nodes: int
) -> Tensor:
    """Reads the prompt and, after it, every branch of the tree, in one pass.

    A node sees the whole prompt and its ancestors, and stands as many tokens after the prompt as
    it is deep. Node 0 is the prompt's last token. What all prompts of the batch begin with (the
    list of actions, at least) is read once and handed on as keys and values; in a causal model
    that changes nothing but the rounding.

    Args:
        model: A causal language model of transformers (rotary or learned absolute positions).
        prompts: (batch, length) token ids, padded on the right.
        mask: (batch, length) 1 for a token, 0 for padding.
        tree: The candidate actions; its first token is not read.
        nodes: How many of the tree's nodes are wanted, from the first.

    Returns:
        (batch, nodes, width) last hidden states.
    """
    body = model.base_model
    batch, longest = prompts.shape
    lengths = mask.sum(1)
    branches, ancestors = tree.tokens[1:nodes], tree.visible[1:nodes, 1:nodes]
    tokens = torch.cat([prompts, branches.expand(batch, -1)], 1)
    after = lengths[:, None] - 1 + tree.depth[None, 1:nodes]
    positions = torch.cat(
        [torch.arange(longest, device=prompts.device).expand(batch, -1), after], 1
    )

    visible = tokens.new_ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
    visible[longest:, longest:] = ancestors
    columns = torch.cat([mask.bool(), mask.new_ones(batch, nodes - 1).bool()], 1)
    attention = visible & columns[:, None]

    shared = _shared_length(model, prompts, lengths)
    cache = None
    if shared:
        cache = DynamicCache()
        body(input_ids=tokens[:1, :shared], past_key_values=cache, use_cache=True)
        for layer in cache.layers:
            layer.keys = layer.keys.expand(batch, -1, -1, -1)
            layer.values = layer.values.expand(batch, -1, -1, -1)
    hidden = body(
        input_ids=tokens[:, shared:],
        attention_mask=attention[:, None, shared:],
        position_ids=positions[:, shared:],
        past_key_values=cache,
        use_cache=cache is not None,
    ).last_hidden_state
    last = hidden[torch.arange(batch, device=prompts.device), lengths - 1 - shared]
    return torch.cat([last[:, None], hidden[:, longest - shared :]], 1)


def _shared_length(model: Any, prompts: Tensor, lengths: Tensor) -> int:
    """Tokens that all prompts begin with, but for the last one of the shortest prompt."""
    if len(prompts) == 1 or model.is_activation_checkpointing:  # which drops the cache
        return 0
    same = (prompts == prompts[:1]).all(0).cumprod(0).sum()
    return int(torch.minimum(same, lengths.min() - 1))
