"""A T5 read at the nodes of a prefix tree, by a lean forward pass over its own weights.

The library's modules are followed step by step, equal to rounding, without what only generation or
training with dropout needs: position bias and mask are added up once for all layers, not in each,
and a small model is not held up by the modules' own overhead. Groups of prompts, each padded to its
own length, go through as one row of tokens, and only attention looks at a group by itself: little
is padded, and yet all else is done at once, above all the decoder and the vocabulary's gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5Attention

from agents.language_model.kernels import attend, root_mean_square_norm, tanh_gelu
from agents.language_model.prefix_tree import PrefixTree, additive_mask
from agents.language_model.prompt_batch import PromptBatch

Shape = tuple[int, int]
"""Sequences of a group, and tokens of each, padding included."""


@dataclass(frozen=True)
class Encoded:
    """What the encoder made of prompts.

    Attributes:
        states: (tokens, width) last hidden states, group after group, prompt after prompt.
        shapes: Prompts and padded length of each group.
        padding_masks: Of each group the additive mask, (prompts, 1, 1, length), that hides padding.
    """

    states: Tensor
    shapes: tuple[Shape, ...]
    padding_masks: tuple[Tensor, ...]


def encoder_decoder_states(
    model: Any, prompts: Sequence[PromptBatch], tree: PrefixTree, nodes: int
) -> Tensor:
    """Encodes the prompts once and reads the whole tree in one decoder pass.

    Args:
        model: A T5, mT5 or umT5 for conditional generation.
        prompts: Groups of prompts, (batch,) in all.
        tree: The candidate actions; its first token is the decoder's start token.
        nodes: How many of the tree's nodes are wanted, from the first.

    Returns:
        (batch, nodes, width) last hidden states of the decoder.
    """
    encoded = encode(model, prompts)
    seen = tree.visible[:nodes, :nodes]
    return decode(model, tree.tokens[:nodes], tree.depth[:nodes], seen, encoded)


def encode(model: Any, prompts: Sequence[PromptBatch]) -> Encoded:
    """Reads prompts.

    Args:
        model: A T5, mT5 or umT5 for conditional generation.
        prompts: Groups of prompts.

    Returns:
        The last hidden states of all their tokens.
    """
    run, encoder = _runner(model), model.encoder
    shapes = tuple((len(group.ids), group.ids.shape[1]) for group in prompts)
    hidden = encoder.embed_tokens(torch.cat([group.ids.flatten() for group in prompts]))
    masks = tuple(additive_mask(~group.mask[:, None, None], hidden.dtype) for group in prompts)

    longest = max(length for _, length in shapes)
    place = torch.arange(longest, device=hidden.device)
    biases: tuple[Tensor, ...] = masks
    for block in encoder.block:
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            bias = _position_bias(attention, place, bidirectional=True)
            biases = tuple(
                bias[:, :, :length, :length] + own
                for (_, length), own in zip(shapes, masks, strict=True)
            )
        hidden = run(_encoder_block, block, hidden, shapes, biases)
    return Encoded(_normed(encoder.final_layer_norm, hidden), shapes, masks)


def decode(model: Any, tokens: Tensor, depth: Tensor, visible: Tensor, encoded: Encoded) -> Tensor:
    """Reads tokens after the decoder's start, in any arrangement.

    Args:
        model: The model that encoded the prompts.
        tokens: (nodes,) token ids for every prompt alike, or (batch, nodes).
        depth: (nodes,) how many tokens come before each.
        visible: (nodes, nodes) bool, whether a token (row) sees another (column).
        encoded: What :func:`encode` made of (batch,) prompts.

    Returns:
        (batch, nodes, width) last hidden states of the decoder.
    """
    run, decoder = _runner(model), model.decoder
    batch, nodes = sum(rows for rows, _ in encoded.shapes), len(depth)
    hidden = decoder.embed_tokens(tokens).expand(batch, -1, -1).flatten(0, 1)
    # A node further down another branch may have a larger depth; the mask hides it.
    tree_mask = additive_mask(~visible, hidden.dtype)
    for block in decoder.block:
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            bias = _position_bias(attention, depth, bidirectional=False) + tree_mask
        hidden = run(_decoder_block, block, hidden, (batch, nodes), bias, encoded)
    states: Tensor = _normed(decoder.final_layer_norm, hidden).unflatten(0, (batch, nodes))
    return states


def vocabulary_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (..., vocabulary) of hidden states (..., width), of a T5 or a causal model."""
    if scales_outputs(model.config):
        hidden = hidden * model.config.d_model**-0.5
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits


def scales_outputs(architecture: Any) -> bool:
    """Whether a T5 scales what its output layer reads, which is then the embeddings once more.

    T5 before 1.1 does, and umT5 as transformers builds it; T5 1.1, Flan-T5 and mT5 have an output
    layer of their own. Never a causal model.
    """
    if architecture.model_type == "umt5":
        return bool(architecture.tie_word_embeddings)
    return bool(getattr(architecture, "scale_decoder_outputs", False))


def _runner(model: Any) -> Callable[..., Tensor]:
    return _checkpointed if model.is_activation_checkpointing else _plainly


def _encoder_block(
    block: Any, hidden: Tensor, shapes: tuple[Shape, ...], biases: tuple[Tensor, ...]
) -> Tensor:
    layer = block.layer[0]
    attended = _attended(layer, layer.SelfAttention, hidden, None, shapes, shapes, biases)
    return _feed_forward(block.layer[1], attended)


def _decoder_block(
    block: Any, hidden: Tensor, shape: Shape, bias: Tensor, encoded: Encoded
) -> Tensor:
    layer, cross, last = block.layer
    hidden = _attended(layer, layer.SelfAttention, hidden, None, (shape,), (shape,), (bias,))
    query_shapes = tuple((rows, shape[1]) for rows, _ in encoded.shapes)
    attention = cross.EncDecAttention
    hidden = _attended(
        cross,
        attention,
        hidden,
        encoded.states,
        query_shapes,
        encoded.shapes,
        encoded.padding_masks,
    )
    return _feed_forward(last, hidden)


def _attended(
    layer: Any,
    attention: Any,
    hidden: Tensor,
    encoded: Tensor | None,
    query_shapes: tuple[Shape, ...],
    key_shapes: tuple[Shape, ...],
    biases: tuple[Tensor, ...],
) -> Tensor:
    """Attention to the sequence itself or to ``encoded``, with the residual path around it.

    Args:
        layer: The library's, with norm and attention.
        attention: The latter.
        hidden: (tokens, width) of all groups.
        encoded: (tokens, width) of what they look at, if not at themselves.
        query_shapes: Sequences and tokens of each group of ``hidden``.
        key_shapes: The same of what it looks at.
        biases: What is added to each group's scores, as :func:`attend` takes it.

    Returns:
        (tokens, width).
    """
    width = attention.key_value_proj_dim
    read = _normed(layer.layer_norm, hidden)
    source = read if encoded is None else encoded
    query = _heads(attention.q(read), width, query_shapes)
    key, value = (_heads(p(source), width, key_shapes) for p in (attention.k, attention.v))
    mixed = [
        attend(*group).transpose(1, 2).reshape(-1, attention.inner_dim)
        for group in zip(query, key, value, biases, strict=True)
    ]
    attended: Tensor = hidden + attention.o(mixed[0] if len(mixed) == 1 else torch.cat(mixed))
    return attended


def _heads(projected: Tensor, width: int, shapes: tuple[Shape, ...]) -> list[Tensor]:
    """(sequences, heads, tokens, width) of each group, of (tokens, heads · width)."""
    parts = [projected]
    if len(shapes) > 1:
        parts = projected.split([rows * length for rows, length in shapes])
    return [
        part.view(rows, length, -1, width).transpose(1, 2)
        for part, (rows, length) in zip(parts, shapes, strict=True)
    ]


def _feed_forward(layer: Any, hidden: Tensor) -> Tensor:
    dense, read = layer.DenseReluDense, _normed(layer.layer_norm, hidden)
    if hasattr(dense, "wi_0"):  # gated, as Flan-T5's
        inner = _activated(dense.act, dense.wi_0(read)) * dense.wi_1(read)
    else:
        inner = _activated(dense.act, dense.wi(read))
    fed: Tensor = hidden + dense.wo(inner)
    return fed


def _activated(function: Callable[[Tensor], Tensor], inner: Tensor) -> Tensor:
    if isinstance(function, NewGELUActivation):  # the library's takes eight passes over memory
        return tanh_gelu(inner)
    return function(inner)


def _normed(norm: Any, hidden: Tensor) -> Tensor:
    return root_mean_square_norm(hidden, norm.weight, norm.variance_epsilon)


def _position_bias(attention: Any, place: Tensor, *, bidirectional: bool) -> Tensor:
    """(1, heads, places, places) learned bias of the distance between two places."""
    bucket = T5Attention._relative_position_bucket(
        place[None] - place[:, None],
        bidirectional=bidirectional,
        num_buckets=attention.relative_attention_num_buckets,
        max_distance=attention.relative_attention_max_distance,
    )
    bias: Tensor = attention.relative_attention_bias(bucket).permute(2, 0, 1)[None]
    return bias.contiguous()  # every layer adds it to its scores, row by row


def _plainly(block: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return block(*inputs)


def _checkpointed(block: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Keeps the block's inputs only and computes it again in the backward pass."""
    result: Tensor = checkpoint(block, *inputs, use_reentrant=False)
    return result
