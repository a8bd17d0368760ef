"""Observations and actions as tokens, each text tokenised once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from agents.base import AgentError
from agents.language_model.prefix_tree import PrefixTree, build_prefix_tree
from envs.observation import Observation

_KEPT_PROMPTS = 100_000  # about 100 MB
_LAST_SIGN = ":"
"""What every prompt ends with, but for the space after it."""


class Reader:
    """A tokenizer that remembers what it has read."""

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, start_token: int | None, device: torch.device
    ) -> None:
        """Begins with nothing read.

        Args:
            tokenizer: The model's.
            start_token: What its decoder starts with; None for a model without a decoder.
            device: Where trees are kept.
        """
        self._tokenizer = tokenizer
        self._start_token = start_token
        self._device = device
        self._prompts: dict[str, NDArray[np.int64]] = {}
        self._trees: dict[tuple[str, ...], PrefixTree] = {}

    @property
    def pad_token(self) -> int:
        """What fills a shorter prompt up."""
        pad: int = self._tokenizer.pad_token_id
        return pad

    def prompts(self, observations: Sequence[Observation]) -> list[NDArray[np.int64]]:
        """Tokens of each observation's prompt, (length,) each."""
        if len(self._prompts) > _KEPT_PROMPTS:
            self._prompts.clear()
        texts = [observation.prompt() for observation in observations]
        if self._start_token is None:
            texts = [before_continuation(text) for text in texts]
        missing = [text for text in dict.fromkeys(texts) if text not in self._prompts]
        if missing:
            arrays = (np.array(ids, np.int64) for ids in self._encoded(missing))
            self._prompts.update(zip(missing, arrays, strict=True))
        return [self._prompts[text] for text in texts]

    def tree(self, phrases: tuple[str, ...]) -> PrefixTree:
        """The actions' tokens as a prefix tree, on the device."""
        if phrases not in self._trees:
            start = self._start_token
            if start is None:
                # Of a causal model's tree the first token is never read.
                tree = build_prefix_tree(continuations(phrases, self._encoded), self.pad_token)
            else:
                tree = build_prefix_tree(self._encoded(phrases), start)
            self._trees[phrases] = tree.to(self._device)
        return self._trees[phrases]

    def forget_prompts(self) -> None:
        """Lets go of prompts that will hardly be seen again."""
        self._prompts.clear()

    def _encoded(self, texts: Sequence[str]) -> list[list[int]]:
        encoded: list[list[int]] = self._tokenizer(list(texts), add_special_tokens=False)[
            "input_ids"
        ]
        return encoded


def before_continuation(prompt: str) -> str:
    """A prompt as a causal model reads it: its last space is the action's first word's."""
    return prompt.rstrip()


def continuations(
    phrases: Sequence[str], tokens: Callable[[Sequence[str]], list[list[int]]]
) -> list[list[int]]:
    """Tokens of phrases as a causal model's text goes on with them after a prompt.

    Most tokenizers write the space into the word after it; a space and a word without one are
    something that a model has hardly ever read.

    Args:
        phrases: The candidate actions.
        tokens: The tokenizer, without special tokens.

    Raises:
        AgentError: If the tokenizer joins a phrase to what is before it.
    """
    (before,) = tokens([_LAST_SIGN])
    whole = tokens([f"{_LAST_SIGN} {phrase}" for phrase in phrases])
    for phrase, ids in zip(phrases, whole, strict=True):
        if ids[: len(before)] != before or len(ids) == len(before):
            raise AgentError(f"the tokenizer has no tokens of {phrase!r} alone after a prompt")
    return [ids[len(before) :] for ids in whole]


def by_phrases(observations: Sequence[Observation]) -> dict[tuple[str, ...], list[int]]:
    """Numbers of the observations that offer the same actions, by these."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, observation in enumerate(observations):
        groups.setdefault(observation.action_phrases, []).append(i)
    return groups
