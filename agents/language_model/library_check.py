"""Whether a model read at the nodes of a prefix tree gives what the library gives."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.base import AgentError
from agents.language_model.causal import causal_states
from agents.language_model.encoder_decoder import encoder_decoder_states, vocabulary_logits
from agents.language_model.prefix_tree import build_prefix_tree
from agents.language_model.prompt_batch import pad_batch

_PROMPTS = ((1, 2, 3, 4, 5), (1, 2, 6))
_ACTIONS = ((1, 2), (1, 3, 4), (5,))
_ROUNDING = 1e-3


@torch.no_grad()
def check_reading(model: Any) -> None:
    """Makes sure that a tree of actions is read as the library reads each action by itself.

    Of the architectures that transformers calls causal some take masks or positions in another way,
    look ahead, are recurrent, or do more to the logits than their output layer; those of the T5
    family are read by a forward pass of our own.

    Args:
        model: A model of transformers, causal or of the T5 family, in float32.

    Raises:
        AgentError: If log-probabilities differ by more than rounding.
    """
    kind = model.config.model_type
    try:
        alike = _alike(model)
    except Exception as error:  # whatever an architecture makes of a mask for each pair of tokens
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise AgentError(f"a {kind} model cannot be read by this agent: {reason}") from error
    if not alike:
        raise AgentError(
            f"a {kind} model cannot be read by this agent: a tree of actions gives other "
            "probabilities than each action by itself"
        )


def _alike(model: Any) -> bool:
    t5 = model.config.is_encoder_decoder
    start = model.config.decoder_start_token_id if t5 else 0
    tree = build_prefix_tree(_ACTIONS, start).to(model.device)
    batch = pad_batch([np.array(prompt) for prompt in _PROMPTS], 0, model.device)
    read = encoder_decoder_states if t5 else causal_states
    ours = vocabulary_logits(model, read(model, [batch], tree, len(tree.tokens))).log_softmax(2)
    return all(
        torch.allclose(
            ours[i, nodes[: len(action)]],
            _by_library(model, prompt, action, start),
            rtol=_ROUNDING,
            atol=_ROUNDING,
        )
        for i, prompt in enumerate(_PROMPTS)
        for nodes, action in zip(tree.node, _ACTIONS, strict=True)
    )


def _by_library(model: Any, prompt: tuple[int, ...], action: tuple[int, ...], start: int) -> Tensor:
    """Log-probabilities (len(action), vocabulary) of each token after those before it."""

    def row(*ids: int) -> Tensor:
        return torch.tensor([ids], device=model.device)

    if model.config.is_encoder_decoder:
        answer = model(input_ids=row(*prompt), decoder_input_ids=row(start, *action[:-1]))
        logits = answer.logits[0]
    else:
        logits = model(input_ids=row(*prompt, *action)).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits, 1)
