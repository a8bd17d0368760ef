"""MiniFlan's size, and the weights it starts from."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from transformers import T5Config, T5ForConditionalGeneration

MINIFLAN_FOLDER = Path(__file__).parent / "weights"
"""The pretrained weights, with configuration and tokenizer."""
_EMBEDDING_SCALE = 0.3
_POSITIONAL_HEADS = (-1, 1)
_POSITIONAL_BIAS = 6.0
_MATCHING_LOGIT = 8.0


def miniflan_config(vocabulary: int) -> T5Config:
    """The architecture: 128 wide, three encoder layers, one decoder layer, four heads of 16."""
    return T5Config(
        vocab_size=vocabulary,
        d_model=128,
        d_kv=16,
        d_ff=128,
        num_layers=3,
        num_decoder_layers=1,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )


def random_miniflan(config: T5Config, seed: int) -> T5ForConditionalGeneration:
    """Draws the weights that pretraining starts from; an untrained MiniFlan has the same.

    Small transformers learn to look things up late and suddenly. The start brings it forward. The
    encoder's first two heads look at the token before and after: a head that sees its neighbour is
    the first half of an induction head (Olsson et al. 2022). Queries of the others equal keys, so
    that they look at tokens like their own (mimetic initialisation, Trockman and Kolter 2023), and
    what any head reads it writes in the same few dimensions, so that it is still legible after
    several layers. All of it is learned like any other weight from there on. Token embeddings have
    a standard deviation of .3 instead of T5's 1: read out by a tied LM head, T5's make a random
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
        first = model.encoder.block[0].layer[0].SelfAttention
        first.relative_attention_bias.weight.zero_()
        buckets = first._relative_position_bucket(
            torch.tensor(_POSITIONAL_HEADS),
            bidirectional=True,
            num_buckets=config.relative_attention_num_buckets,
            max_distance=config.relative_attention_max_distance,
        )
        for head, bucket in enumerate(buckets):
            first.relative_attention_bias.weight[bucket, head] = _POSITIONAL_BIAS
        # Normalised inputs have squared length d_model: a token meets its like with this logit.
        scale = (_MATCHING_LOGIT / (config.d_kv * config.d_model)) ** 0.5
        basis = nn.init.orthogonal_(torch.empty(config.d_kv, config.d_model))
        for block in (*model.encoder.block, *model.decoder.block):
            for layer in block.layer[:-1]:
                name = "SelfAttention" if hasattr(layer, "SelfAttention") else "EncDecAttention"
                attention = getattr(layer, name)
                attention.q.weight.normal_(std=scale)
                if block in model.encoder.block:
                    attention.q.weight[: len(_POSITIONAL_HEADS) * config.d_kv] *= 0.1
                attention.k.weight.copy_(attention.q.weight)
                attention.v.weight.copy_(basis.repeat(config.num_heads, 1))
                attention.o.weight.copy_(attention.v.weight.T)
    # Short prompts are trained faster on a CPU by plain attention than by the fused one.
    model.set_attn_implementation("eager")
    return model
