"""Where the language model comes from: a hub name, a local folder, or the offline TinyT5."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from agents.base import AgentError
from agents.language_model.tiny_t5 import tiny_model, tiny_tokenizer

TINY = "tiny"
_TINY_NAME = "TinyT5"


@dataclass(frozen=True)
class Backbone:
    """A language model with its tokenizer and what the records should say of it.

    Attributes:
        model: A ``T5ForConditionalGeneration`` in evaluation mode: dropout is never on, in acting
            or in learning (the public code leaves it on for models that are not pretrained).
        tokenizer: A Hugging Face tokenizer with a pad token.
        name: Short name for labels.
        pretrained: Whether the weights come from pretraining.
        weights_sha256: Hash of the weights before any training.
    """

    model: Any
    tokenizer: Any
    name: str
    pretrained: bool
    weights_sha256: str


def load_backbone(
    model: str, *, pretrained: bool, pretrained_embeddings: bool, seed: int
) -> Backbone:
    """Loads or builds a T5-family model.

    Args:
        model: ``"tiny"``, a folder, or a hub name such as ``google/flan-t5-large``.
        pretrained: Keep the checkpoint's weights; otherwise draw them anew from ``seed``.
            ``"tiny"`` has no pretrained weights to keep.
        pretrained_embeddings: Without pretraining, keep the checkpoint's token embeddings.
        seed: Seed of random weights.

    Returns:
        The backbone, on the CPU.

    Raises:
        AgentError: If the checkpoint cannot be opened or is not a T5.
    """
    # Loading and saving are silent; what goes wrong is raised.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    if model == TINY:
        tokenizer = tiny_tokenizer()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = tiny_model(len(tokenizer))
        return _backbone(network, tokenizer, _TINY_NAME, pretrained=False)
    if model.startswith(("/", "./", "../")) and not Path(model).is_dir():
        raise AgentError(f"no folder {model!r} to take a language model from")
    try:
        tokenizer = AutoTokenizer.from_pretrained(model)
        if pretrained:
            network = AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32)
        else:
            network = _random_model(AutoConfig.from_pretrained(model), seed)
            if pretrained_embeddings:
                source = AutoModelForSeq2SeqLM.from_pretrained(model, dtype=torch.float32)
                with torch.no_grad():
                    network.shared.weight.copy_(source.shared.weight)
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise AgentError(
            f"cannot open the language model {model!r}: {reason} "
            f"(a hub name needs a network or a filled cache; 'tiny' needs neither)"
        ) from error
    if network.config.model_type not in ("t5", "mt5", "umt5"):
        raise AgentError(
            f"{model!r} is a {network.config.model_type} model; this agent needs the T5 family"
        )
    if tokenizer.pad_token_id is None:
        raise AgentError(f"the tokenizer of {model!r} has no pad token")
    name = Path(model).name
    return _backbone(network, tokenizer, name, pretrained=pretrained)


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype};".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _backbone(network: Any, tokenizer: Any, name: str, *, pretrained: bool) -> Backbone:
    digest = weights_hash(network.state_dict())
    return Backbone(network.eval(), tokenizer, name, pretrained, digest)


def _random_model(config: Any, seed: int) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AutoModelForSeq2SeqLM.from_config(config)
        if not config.scale_decoder_outputs:
            # Transformers ties what is built from a configuration, but checkpoints whose outputs
            # are not scaled (T5 1.1, Flan-T5) have an output layer of their own.
            network.lm_head.weight = nn.Parameter(torch.empty_like(network.shared.weight))
            nn.init.normal_(network.lm_head.weight, std=config.initializer_factor)
    return network
