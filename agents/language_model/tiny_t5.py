"""TinyT5: a small T5 that needs no download, with random weights and its own tokenizer.

It stands in where no checkpoint can be reached. It is not pretrained, and every table says so.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import lru_cache
from itertools import pairwise

import torch
from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

from agents.tokenizer import END, PAD, UNKNOWN, corpus, train_tokenizer
from envs.lexicon import FRENCH_COLOUR_WORDS, FRENCH_NOUN_WORDS

_VOCABULARY = 1280
_PHRASES = 600
_EMBEDDING_SCALE = 0.3
_ALONE = ("key", "ball", "box", "door", "red", "green", "blue", "purple", "yellow", "grey")
_AND = ("and", "et")


def tiny_config(vocabulary: int) -> T5Config:
    """The architecture: 128 wide, two encoder layers, one decoder layer, four heads of 16."""
    return T5Config(
        vocab_size=vocabulary,
        d_model=128,
        d_kv=16,
        d_ff=128,
        num_layers=2,
        num_decoder_layers=1,
        num_heads=4,
        dropout_rate=0.0,
        feed_forward_proj="relu",
        tie_word_embeddings=True,
        decoder_start_token_id=0,
        pad_token_id=0,
        eos_token_id=1,
    )


def tiny_model(vocabulary: int) -> T5ForConditionalGeneration:
    """The model with random weights, drawn from torch's global generator.

    Token embeddings have a standard deviation of .3 instead of T5's 1: read out by a tied LM head,
    T5's make a random policy so peaked that it hardly explores.
    """
    model = T5ForConditionalGeneration(tiny_config(vocabulary))
    with torch.no_grad():
        model.shared.weight.mul_(_EMBEDDING_SCALE)
    # Short prompts are trained faster on a CPU by plain attention than by the fused one.
    model.set_attn_implementation("eager")
    return model


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """The sub-word tokenizer with phrases joined, wrapped for transformers."""
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_with_phrases()),
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
    )


@lru_cache(maxsize=1)
def _with_phrases() -> str:
    """Adds merges of whole words, as SuperBPE does (Liu et al. 2025), in JSON.

    "You see a" and " 2 steps right" become one token each, which halves a prompt's length. Colours,
    nouns, "and" and punctuation are never joined with anything, so that a renamed or invented word
    changes its own tokens only and a place is made of its two distances.
    """
    alone = sorted({*_ALONE, *_AND, *FRENCH_NOUN_WORDS, *FRENCH_COLOUR_WORDS})
    alone.sort(key=len, reverse=True)
    # \b would not see "é" as a letter in every engine; say "no letter follows" instead.
    name = rf" (?:{'|'.join(alone)})(?![^\W\d_])"
    runs: Counter[tuple[str, ...]] = Counter()
    for text in corpus():
        for run in re.split(rf"{name}|[^\w ]+", f" {text}"):
            runs[tuple(re.findall(r" \w+", run))] += 1
    tokenizer = train_tokenizer(_VOCABULARY - _PHRASES)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(rf"{name}| ?[^\w ]+"), "isolated")
    model = json.loads(tokenizer.to_str())
    vocabulary, merges = model["model"]["vocab"], model["model"]["merges"]
    for _ in range(_PHRASES):
        pairs: Counter[tuple[str, str]] = Counter()
        for run, count in runs.items():
            for left, right in pairwise(run):
                if left in vocabulary and right in vocabulary:
                    pairs[left, right] += count
        if not pairs:
            break
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(list(best))
        vocabulary.setdefault("".join(best), len(vocabulary))
        runs = _joined(runs, best)
    return json.dumps(model)


def _joined(runs: Counter[tuple[str, ...]], pair: tuple[str, str]) -> Counter[tuple[str, ...]]:
    joined: Counter[tuple[str, ...]] = Counter()
    for run, count in runs.items():
        words: list[str] = []
        for word in run:
            if words and (words[-1], word) == pair:
                words[-1] += word
            else:
                words.append(word)
        joined[tuple(words)] += count
    return joined
