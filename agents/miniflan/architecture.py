"""MiniFlan's size, and the weights it starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

MINIFLAN_FOLDER = Path(__file__).parent / "weights"
"""The pretrained weights, with configuration and tokenizer."""
RANDOM_WEIGHTS = "miniflan"
"""What a configuration says under ``random_weights`` if :func:`random_miniflan` draws them."""
_EMBEDDING_SCALE = 0.3
_DISTANCES = {0: -1, 1: 1}
_FAR_DISTANCES = {4: -2, 5: 2}
"""Heads of the encoder that look at the token so many after their own; the far ones come later."""
_POSITIONAL_BIAS = 6.0
_MATCHING_LOGIT = 8.0
_UNREAD = 0.1
"""How much of a head's look goes by the tokens themselves where it goes by their distance."""
_FAR_OUTPUT = 0.3


def miniflan_config(vocabulary: int, heads: int = 6) -> T5Config:
    """The architecture: 128 wide, three encoder layers, one decoder layer, heads of 16."""
    return T5Config(
        vocab_size=vocabulary,
        d_model=128,
        d_kv=16,
        d_ff=128,
        num_layers=3,
        num_decoder_layers=1,
        num_heads=heads,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
        random_weights=RANDOM_WEIGHTS,
    )


def random_miniflan(config: T5Config, seed: int) -> T5ForConditionalGeneration:
    """Draws the weights that pretraining starts from; an untrained MiniFlan has the same.

    Small transformers learn to look things up late and suddenly. The start brings it forward. The
    encoder's first two heads look at the token before and after: a head that sees its neighbour is
    the first half of an induction head (Olsson et al. 2022). Queries of the others equal keys, so
    that they look at tokens like their own (mimetic initialisation, Trockman and Kolter 2023), and
    what any head reads it writes in the same few dimensions, so that it is still legible after
    several layers. Heads beyond the fourth look two tokens before and after, and say little at
    first. All of it is learned like any other weight from there on. Token embeddings have a
    standard deviation of .3 instead of T5's 1: read out by a tied LM head, T5's make a random
    policy so peaked that it hardly explores.

    Args:
        config: Architecture.
        seed: Seed of the weights.

    Returns:
        The model, in training mode.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(config)
        model.shared.weight.mul_(_EMBEDDING_SCALE)
        positional = _look_at_distances(model)
        # Normalised inputs have squared length d_model: a token meets its like with this logit.
        scale = (_MATCHING_LOGIT / (config.d_kv * config.d_model)) ** 0.5
        basis = nn.init.orthogonal_(torch.empty(config.d_kv, config.d_model))
        for block in (*model.encoder.block, *model.decoder.block):
            for layer in block.layer[:-1]:
                name = "SelfAttention" if hasattr(layer, "SelfAttention") else "EncDecAttention"
                attention = getattr(layer, name)
                attention.q.weight.normal_(std=scale)
                if block in model.encoder.block:
                    for head in positional:
                        attention.q.weight[head * config.d_kv : (head + 1) * config.d_kv] *= _UNREAD
                attention.k.weight.copy_(attention.q.weight)
                attention.v.weight.copy_(basis.repeat(config.num_heads, 1))
                attention.o.weight.copy_(attention.v.weight.T)
                attention.o.weight[:, min(_FAR_DISTANCES) * config.d_kv :] *= _FAR_OUTPUT
    return model


def grown(model: T5ForConditionalGeneration, seed: int) -> T5ForConditionalGeneration:
    """Adds two heads to every attention; the encoder's look at the tokens two before and after.

    In "a red ball 2 steps left and 3 steps forward" the two parts of the place are one token each.
    Heads that see their neighbours bring together noun and first part, but not noun and second
    part, nor colour and place: things that share the first part, or the noun, were mixed up.

    Args:
        model: A MiniFlan of four heads.
        seed: Seed of the new heads.

    Returns:
        Another model that says nearly the same, in training mode.
    """
    heads = max(_FAR_DISTANCES) + 1
    larger = random_miniflan(miniflan_config(model.config.vocab_size, heads), seed)
    states = larger.state_dict()
    with torch.no_grad():
        for name, state in states.items():
            if name.startswith("decoder") and name.endswith("relative_attention_bias.weight"):
                state.zero_()
        for name, weight in model.state_dict().items():
            states[name][tuple(map(slice, weight.shape))] = weight
    return larger


def _look_at_distances(model: T5ForConditionalGeneration) -> dict[int, int]:
    """Sets the encoder's biases of relative positions; returns which heads look how far."""
    attention = model.encoder.block[0].layer[0].SelfAttention
    biases = attention.relative_attention_bias.weight
    biases.zero_()
    distances = {h: d for h, d in (_DISTANCES | _FAR_DISTANCES).items() if h < biases.shape[1]}
    buckets = attention._relative_position_bucket(
        torch.tensor(list(distances.values())),
        bidirectional=True,
        num_buckets=model.config.relative_attention_num_buckets,
        max_distance=model.config.relative_attention_max_distance,
    )
    biases[buckets, list(distances)] = _POSITIONAL_BIAS
    return distances
