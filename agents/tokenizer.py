"""A sub-word tokenizer trained on the environment's own language.

DRRN reads through it, and so does a language model
that has no tokenizer of its own. Byte-pair encoding with byte fallback (Sennrich et al. 2016; Kudo
and Richardson 2018): known words are one token each, any other text falls apart into pieces of
words, letters and at last bytes, and no text is lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Literal

from minigrid.core.constants import COLOR_NAMES, COLOR_TO_IDX, OBJECT_TO_IDX
from tokenizers import (
    Regex,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    trainers,
)

from envs.describe import describe
from envs.language_view import ENGLISH, FRENCH, LanguageView
from envs.lexicon import ENGLISH_DOOR_STATES
from envs.observation import Observation
from envs.text_env import TextEnv

PAD, END, UNKNOWN = "<pad>", "</s>", "<unk>"
PAD_ID, END_ID, UNKNOWN_ID = 0, 1, 2

_BYTES = tuple(f"<0x{byte:02X}>" for byte in range(256))
_LETTERS = tuple(" abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
# A word, a number or a mark, each with the space before it; whatever is left stands alone.
_WORDS = r" ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+| ?\s"
_VIEW_SIZE = 7
_MISSIONS = 200
_NOUNS = ("key", "ball", "box", "door")


def train_tokenizer(vocab_size: int = 8000) -> Tokenizer:
    """Trains on :func:`corpus`; the same bytes in every process, trained once in each.

    A token that starts a word starts with the space before it, the first word of a text included,
    so "turn left" has the same tokens alone and inside a prompt.

    Args:
        vocab_size: Largest number of tokens; the environment's language fills some six hundred,
            the rest stays unused.

    Returns:
        A tokenizer of its own for each call, with 0 = ``<pad>``, 1 = ``</s>`` and 2 = ``<unk>``,
        none of which any text is ever encoded to; ``decode`` gives back every text exactly.

    Raises:
        ValueError: If the vocabulary cannot hold all bytes and letters.
    """
    return Tokenizer.from_str(_trained(vocab_size))


def corpus() -> Iterator[str]:
    """Enumerates what the environment can say in English and French.

    Every sentence of one object or wall, the missions of seeded episodes, the prompt's own words
    and all action phrases; of the words that splits put in place of others, none.

    Yields:
        Sentences, goals and prompts, always in the same order.
    """
    env = TextEnv("MixedTrainLocal")
    # One long stretch of missions: kinds and articles are the episode's own draws.
    missions = [env.reset(seed=seed)[1]["mission"] for seed in range(_MISSIONS)]
    languages: tuple[tuple[LanguageView, Literal["english", "french"]], ...] = (
        (ENGLISH, "english"),
        (FRENCH, "french"),
    )
    for view, language in languages:
        phrases = view.action_phrases(view.max_actions)
        prompt = Observation("", ((),) * 10, phrases, phrases, language).prompt()
        yield prompt
        yield from (view.goal(mission) for mission in missions)
        yield from _sentences(language)


def _sentences(language: Literal["english", "french"]) -> Iterator[str]:
    """Every carried object, then every object and wall in every cell of an empty view."""
    for noun in _NOUNS[:3]:
        for colour in COLOR_NAMES:
            yield from describe(_empty_view(), (colour, noun), language)
    codes = [(OBJECT_TO_IDX["wall"], COLOR_TO_IDX["grey"], 0)]
    for noun in _NOUNS:
        states = len(ENGLISH_DOOR_STATES) if noun == "door" else 1
        for colour in COLOR_NAMES:
            codes += [(OBJECT_TO_IDX[noun], COLOR_TO_IDX[colour], s) for s in range(states)]
    for column in range(_VIEW_SIZE):
        for row in range(_VIEW_SIZE):
            for code in codes:
                view = _empty_view()
                view[column][row] = code
                yield from describe(view, None, language)


def _empty_view() -> list[list[tuple[int, int, int]]]:
    empty = (OBJECT_TO_IDX["empty"], 0, 0)
    return [[empty] * _VIEW_SIZE for _ in range(_VIEW_SIZE)]


@lru_cache(maxsize=8)
def _trained(vocab_size: int) -> str:
    """The trained tokenizer as JSON, so that no caller can change another's."""
    return learn_vocabulary(corpus(), vocab_size)


def learn_vocabulary(texts: Iterable[str], vocab_size: int) -> str:
    """Learns byte-pair encoding with byte fallback.

    Args:
        texts: What to learn from.
        vocab_size: Largest number of tokens.

    Returns:
        The tokenizer as JSON.

    Raises:
        ValueError: If the vocabulary cannot hold all bytes and letters.
    """
    reserved = (PAD, END, UNKNOWN, *_BYTES)
    if vocab_size < len(reserved):
        raise ValueError(f"vocab_size must be at least {len(reserved)}, got {vocab_size}")
    learner = Tokenizer(models.BPE())
    _split_words(learner)
    learner.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=vocab_size - len(reserved),
            initial_alphabet=list(_LETTERS),
            show_progress=False,
        ),
    )
    learned = json.loads(learner.to_str())["model"]
    tokens = (*reserved, *sorted(learned["vocab"], key=learned["vocab"].__getitem__))
    if len(tokens) > vocab_size:
        raise ValueError(f"vocab_size must be at least {len(tokens)}, got {vocab_size}")
    # The reserved tokens stay out of the "added" ones, which would be looked for in the text.
    tokenizer = Tokenizer(
        models.BPE(
            vocab={token: i for i, token in enumerate(tokens)},
            merges=[tuple(pair) for pair in learned["merges"]],
            unk_token=UNKNOWN,
            byte_fallback=True,
        )
    )
    _split_words(tokenizer)
    tokenizer.decoder = decoders.Sequence(
        [decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return str(tokenizer.to_str())


def _split_words(tokenizer: Tokenizer) -> None:
    tokenizer.normalizer = normalizers.Prepend(" ")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(_WORDS), "isolated")
