"""A T5 read at the nodes of a prefix tree, by a lean forward pass over its own weights.

The library's modules are followed to the letter, without what only generation or training with
dropout needs: position bias and mask are added up once for all layers, not in each, and a small
model is not held up by the modules' own overhead.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.utils.checkpoint import checkpoint
from transformers.activations import NewGELUActivation
from transformers.models.t5.modeling_t5 import T5Attention

from agents.language_model.prefix_tree import PrefixTree
from agents.language_model.prompt_batch import PromptBatch


def encoder_decoder_states(
    model: Any, prompts: PromptBatch, tree: PrefixTree, nodes: int
) -> Tensor:
    """Encodes the prompt once and reads the whole tree in one decoder pass.

    Args:
        model: A T5, mT5 or umT5 for conditional generation.
        prompts: Tokens of (batch,) prompts.
        tree: The candidate actions; its first token is the decoder's start token.
        nodes: How many of the tree's nodes are wanted, from the first.

    Returns:
        (batch, nodes, width) last hidden states of the decoder.
    """
    encoded, hide = encode(model, prompts)
    seen = tree.visible[:nodes, :nodes]
    return decode(model, tree.tokens[:nodes], tree.depth[:nodes], seen, encoded, hide)


def encode(model: Any, prompts: PromptBatch) -> tuple[Tensor, Tensor]:
    """Reads prompts.

    Args:
        model: A T5, mT5 or umT5 for conditional generation.
        prompts: Tokens of (batch,) prompts.

    Returns:
        (batch, longest, width) last hidden states of the encoder and the additive mask, (batch, 1,
        1, longest), that hides padding.
    """
    run, encoder = _runner(model), model.encoder
    hidden = encoder.embed_tokens(prompts.ids)
    hide = _hidden(~prompts.mask[:, None, None], hidden.dtype)

    place = torch.arange(prompts.ids.shape[1], device=prompts.ids.device)
    bias = hide
    for block in encoder.block:
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            bias = _position_bias(attention, place, bidirectional=True) + hide
        hidden = run(_encoder_block, block, hidden, bias)
    return _normed(encoder.final_layer_norm, hidden), hide


def decode(
    model: Any, tokens: Tensor, depth: Tensor, visible: Tensor, encoded: Tensor, hide: Tensor
) -> Tensor:
    """Reads tokens after the decoder's start, in any arrangement.

    Args:
        model: The model that encoded the prompts.
        tokens: (nodes,) token ids for every prompt alike, or (batch, nodes).
        depth: (nodes,) how many tokens come before each.
        visible: (nodes, nodes) bool, whether a token (row) sees another (column).
        encoded: What :func:`encode` returns, as is the next.
        hide: Mask of the prompts.

    Returns:
        (batch, nodes, width) last hidden states of the decoder.
    """
    run, decoder = _runner(model), model.decoder
    hidden = decoder.embed_tokens(tokens).expand(len(encoded), -1, -1)
    # A node further down another branch may have a larger depth; the mask hides it.
    apart = _hidden(~visible, hidden.dtype)
    for block in decoder.block:
        attention = block.layer[0].SelfAttention
        if attention.has_relative_attention_bias:
            bias = _position_bias(attention, depth, bidirectional=False) + apart
        hidden = run(_decoder_block, block, hidden, bias, encoded, hide)
    return _normed(decoder.final_layer_norm, hidden)


def vocabulary_logits(model: Any, hidden: Tensor) -> Tensor:
    """Logits (..., vocabulary) of hidden states (..., width), of a T5 or a causal model."""
    # T5 before 1.1 scales what its tied output layer reads; no causal model does.
    if getattr(model.config, "scale_decoder_outputs", False):
        hidden = hidden * model.config.d_model**-0.5
    logits: Tensor = model.get_output_embeddings()(hidden)
    return logits


def _runner(model: Any) -> Callable[..., Tensor]:
    return _checkpointed if model.is_activation_checkpointing else _plainly


def _encoder_block(block: Any, hidden: Tensor, bias: Tensor) -> Tensor:
    hidden = _attended(block.layer[0], block.layer[0].SelfAttention, hidden, None, bias)
    return _fed_forward(block.layer[1], hidden)


def _decoder_block(
    block: Any, hidden: Tensor, bias: Tensor, encoded: Tensor, hide: Tensor
) -> Tensor:
    hidden = _attended(block.layer[0], block.layer[0].SelfAttention, hidden, None, bias)
    hidden = _attended(block.layer[1], block.layer[1].EncDecAttention, hidden, encoded, hide)
    return _fed_forward(block.layer[2], hidden)


def _attended(
    layer: Any, attention: Any, hidden: Tensor, encoded: Tensor | None, bias: Tensor
) -> Tensor:
    """Attention to the sequence itself or to ``encoded``, with the residual path around it."""
    width = attention.key_value_proj_dim
    read = _normed(layer.layer_norm, hidden)
    source = read if encoded is None else encoded
    query, key, value = (
        projection(x).unflatten(2, (-1, width)).transpose(1, 2)
        for projection, x in ((attention.q, read), (attention.k, source), (attention.v, source))
    )
    weights = torch.softmax(query @ key.transpose(2, 3) + bias, 3)
    mixed = (weights.to(value.dtype) @ value).transpose(1, 2).flatten(2)
    attended: Tensor = hidden + attention.o(mixed)
    return attended


def _fed_forward(layer: Any, hidden: Tensor) -> Tensor:
    dense, read = layer.DenseReluDense, _normed(layer.layer_norm, hidden)
    if hasattr(dense, "wi_0"):  # gated, as Flan-T5's
        inner = _activated(dense.act, dense.wi_0(read)) * dense.wi_1(read)
    else:
        inner = _activated(dense.act, dense.wi(read))
    fed: Tensor = hidden + dense.wo(inner)
    return fed


def _activated(function: Callable[[Tensor], Tensor], inner: Tensor) -> Tensor:
    if isinstance(function, NewGELUActivation):  # the library's takes eight passes over memory
        return functional.gelu(inner, approximate="tanh")
    return function(inner)


def _normed(norm: Any, hidden: Tensor) -> Tensor:
    """T5's layer norm: neither mean nor offset (Zhang and Sennrich 2019)."""
    normed: Tensor = _RootMeanSquareNorm.apply(  # type: ignore[no-untyped-call]  # PyTorch's
        hidden, norm.weight, norm.variance_epsilon
    )
    return normed


class _RootMeanSquareNorm(torch.autograd.Function):
    """w x / sqrt(mean(x²) + ε) in half the passes over memory that PyTorch takes on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, epsilon: float) -> Tensor:
        scale = torch.linalg.vecdot(x, x).div_(x.shape[-1]).add_(epsilon).rsqrt_()[..., None]
        unit = x * scale
        ctx.save_for_backward(unit, scale, weight)
        normed: Tensor = unit * weight
        return normed

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        unit, scale, weight = ctx.saved_tensors
        inner = grad * weight
        along = torch.linalg.vecdot(inner, unit).div_(unit.shape[-1])[..., None]
        grad_weight = (grad * unit).flatten(0, -2).sum(0)
        return torch.addcmul(inner, along, unit, value=-1).mul_(scale), grad_weight, None


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


def _hidden(where: Tensor, dtype: torch.dtype) -> Tensor:
    """An additive mask: the lowest number where something must not be seen."""
    return torch.zeros_like(where, dtype=dtype).masked_fill(where, torch.finfo(dtype).min)


def _plainly(block: Callable[..., Tensor], *inputs: Any) -> Tensor:
    return block(*inputs)


def _checkpointed(block: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """Keeps the block's inputs only and computes it again in the backward pass."""
    result: Tensor = checkpoint(block, *inputs, use_reentrant=False)
    return result
