"""A causal language model read at the nodes of a prefix tree."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer

from agents.base import AgentError
from agents.language_model.prefix_tree import PrefixTree, additive_mask
from agents.language_model.prompt_batch import PromptBatch


def causal_states(
    model: Any, prompts: Sequence[PromptBatch], tree: PrefixTree, nodes: int
) -> Tensor:
    """Reads each group's prompts and, after them, every branch of the tree, in one pass.

    A node sees the whole prompt and its ancestors, and stands as many tokens after the prompt as
    it is deep. Node 0 is the prompt's last token. What all prompts of a group begin with (the
    list of actions, at least) is read once and handed on as keys and values; in a causal model
    that changes nothing but the rounding.

    Args:
        model: A causal language model of transformers (rotary or learned absolute positions).
        prompts: Groups of prompts, (batch,) in all.
        tree: The candidate actions; its first token is not read.
        nodes: How many of the tree's nodes are wanted, from the first.

    Returns:
        (batch, nodes, width) last hidden states.

    Raises:
        AgentError: If a prompt and an action are longer than the window that the model attends to.
    """
    window = getattr(model.config, "sliding_window", None)
    if "local" in getattr(model.config, "attention_layers", ()):  # GPT-Neo
        window = model.config.window_size
    longest = max(group.ids.shape[1] for group in prompts) + tree.target.shape[1] - 1
    if window is not None and longest > window:
        raise AgentError(
            f"a prompt of {longest} tokens, action included, is longer than the model's attention "
            f"window of {window}"
        )
    return torch.cat([_group_states(model, group, tree, nodes) for group in prompts])


def _group_states(model: Any, prompts: PromptBatch, tree: PrefixTree, nodes: int) -> Tensor:
    body = model.base_model
    device, (batch, longest) = prompts.ids.device, prompts.ids.shape
    lengths = prompts.mask.sum(1)
    branches, ancestors = tree.tokens[1:nodes], tree.visible[1:nodes, 1:nodes]
    tokens = torch.cat([prompts.ids, branches.expand(batch, -1)], 1)
    after = lengths[:, None] - 1 + tree.depth[None, 1:nodes]
    positions = torch.cat([torch.arange(longest, device=device).expand(batch, -1), after], 1)

    visible = tokens.new_ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool).tril()
    visible[longest:, longest:] = ancestors
    columns = torch.cat([prompts.mask, prompts.mask.new_ones(batch, nodes - 1)], 1)
    # Additive: where attention is not fused, a model adds its mask as it is, and True would be 1.
    attention = additive_mask(~(visible & columns[:, None]), model.dtype)

    # Checkpointed layers take no cache.
    shared = 0 if batch == 1 or model.is_activation_checkpointing else prompts.shared
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
    last = hidden[torch.arange(batch, device=device), lengths - 1 - shared]
    return torch.cat([last[:, None], hidden[:, longest - shared :]], 1)


def checkpoint_activations(model: Any) -> None:
    """Makes the layers keep their inputs only; without dropout nothing else changes."""
    model.activation_checkpointing_enable()
    for layer in model.modules():
        if isinstance(layer, GradientCheckpointingLayer):
            # It asks whether it is in training itself; attention and dropout inside stay as are.
            layer.training = True
