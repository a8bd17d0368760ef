"""MiniFlan's sub-word tokenizer."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from random import Random

from tokenizers import Regex, Tokenizer, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from agents.miniflan.mixture import MAX_BLANKS, blank, draw_batch
from agents.miniflan.vocabulary import COLOURS, NOUNS, OPPOSITES, SYNONYMS, VERBS_IN_FRENCH
from agents.tokenizer import END, PAD, UNKNOWN, corpus, learn_vocabulary

_VOCABULARY = 4096
_PHRASES = 500
_SAMPLES = 100
_SENTENCE_WEIGHT = 3
_PROMPT_WEIGHT = 100
"""The corpus has two whole prompts; their words must not fall apart."""


_NAMES = {word for noun in NOUNS for word in (noun.english, noun.french)} | {
    word for c in COLOURS for word in (c.english, c.masculine, c.feminine)
}
_LONGEST_FIRST = sorted(_NAMES, key=lambda name: (-len(name), name))
# \b would not see "é" as a letter in every engine; say "no letter follows" instead.
_NAME = rf" (?:{'|'.join(_LONGEST_FIRST)})(?![^\W\d_])"


def train_miniflan_tokenizer() -> PreTrainedTokenizerFast:
    """Learns words and pieces from the mixture, and phrases from the environment's language.

    Returns:
        The tokenizer, with byte fallback and T5's sentinels; the same for every call.
    """
    return PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(_with_phrases()),
        pad_token=PAD,
        eos_token=END,
        unk_token=UNKNOWN,
        additional_special_tokens=[blank(i) for i in range(MAX_BLANKS)],
    )


def _texts() -> Iterator[str]:
    for text in corpus():
        yield from [text] * (_PROMPT_WEIGHT if "\n" in text else _SENTENCE_WEIGHT)
    rng = Random(0)
    for noun in NOUNS:
        yield f"{noun.english} {noun.french} {noun.category} " * 20
    for colour in COLOURS:
        yield f"{colour.english} {colour.masculine} {colour.feminine} " * 20
    for words in (*SYNONYMS, *VERBS_IN_FRENCH, *OPPOSITES):
        yield f"{' '.join(words)} " * 20
    for _ in range(_SAMPLES):
        for example in draw_batch(rng, 2048):
            yield re.sub(r"<extra_id_\d>", " ", f"{example.prompt} {example.answer}")


@lru_cache(maxsize=1)
def _with_phrases() -> str:
    """Adds merges of whole words, as SuperBPE does (Liu et al. 2025), in JSON.

    ", You see a", " 2 steps right" and " and 3 steps forward" become one token each, which makes
    a prompt less than half as long. Colours and nouns are never joined with anything, so that a
    renamed or invented word changes its own tokens only and a place is made of its two distances.
    """
    # Every sentence stands at the start of the text and after another one.
    runs = Counter(run for text in corpus() for run in _runs(f"{text}, {text}"))
    tokenizer = Tokenizer.from_str(learn_vocabulary(_texts(), _VOCABULARY - _PHRASES))
    # Words are put together before phrases, and no phrase holds a name: only sentences are split.
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(","), "merged_with_next")
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


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    """Words and marks that may become a phrase: no names, and never beyond a clause."""
    for stretch in re.split(_NAME, f" {text}"):
        run: list[str] = []
        words = re.findall(r" \w+| ?[^\w ]", stretch)
        for word, following in pairwise([*words, ""]):
            if word in (",", " and", " et", " \n"):
                yield tuple(run)
                run = []
            # A comma belongs to the sentence after it, not to a clause or a list's next entry.
            if word != "," or following in (" You", " Tu"):
                run.append(word)
            if word == ":":
                yield tuple(run)
                run = []
        yield tuple(run)


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
