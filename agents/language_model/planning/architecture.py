"""A language model's dimensions and tokenizer without its weights: from disk, or as published."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from transformers import AutoConfig, AutoTokenizer, T5Config

from agents.base import AgentError
from agents.language_model.backbone import model_family, model_folder, random_network

_PUBLISHED = Path(__file__).parent / "published.json"
# T5's vocabulary has the prompts' everyday words, digits and marks as single pieces.
_PIECE = re.compile(r"\w+|[^\w\s]")


@dataclass(frozen=True)
class Architecture:
    """What is known of a language model that need not be here.

    Attributes:
        model: The option ``agent.model``.
        config: Its configuration as transformers reads it.
        dimensions_from: Where the configuration was found.
        weights_here: Whether the weights are on this machine.
        tokenizer: Its tokenizer; None if it is not on this machine.
    """

    model: str
    config: Any
    dimensions_from: str
    weights_here: bool
    tokenizer: Any | None

    @property
    def depth(self) -> tuple[int, int]:
        """Layers of the encoder and of the decoder; of a causal model 0 and all of them."""
        if not self.config.is_encoder_decoder:
            return 0, int(self.config.num_hidden_layers)
        encoder = int(self.config.num_layers)
        return encoder, int(self.config.num_decoder_layers or encoder)

    def network(self, encoder: int, decoder: int, vocabulary: int) -> Any:
        """The architecture with other numbers of layers and tokens, and random weights."""
        config = copy.deepcopy(self.config)
        config.vocab_size, config.pad_token_id = vocabulary, 0
        if config.is_encoder_decoder:
            config.num_layers, config.num_decoder_layers = encoder, decoder
        else:
            config.num_hidden_layers = decoder
            if getattr(config, "layer_types", None):
                config.layer_types = config.layer_types[:decoder]
        family = model_family(config, self.model)
        return random_network(family, config, 0).eval()

    def tokens(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of texts; an estimate where the tokenizer is not here.

        The estimate counts one token for every word, number and mark.
        """
        if self.tokenizer is not None:
            ids: list[list[int]] = self.tokenizer(list(texts), add_special_tokens=False)[
                "input_ids"
            ]
            return ids
        pieces = [_PIECE.findall(text) for text in texts]
        index = {piece: i for i, piece in enumerate(dict.fromkeys(p for t in pieces for p in t))}
        return [[2 + index[piece] for piece in text] for text in pieces]


def find_architecture(model: str) -> Architecture:
    """Looks a model's dimensions up: in its folder, in the hub's cache, in our table.

    Args:
        model: The option ``agent.model``.

    Returns:
        What was found; nothing is downloaded.

    Raises:
        AgentError: If it is in none of these places.
    """
    folder = model_folder(model)
    there = {"local_files_only": True, "trust_remote_code": False}
    try:
        config = AutoConfig.from_pretrained(folder, **there)
    except (OSError, ValueError, KeyError) as error:
        return _published(model, error)
    model_family(config, model)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, **there)
    except Exception:  # the tokenizers library raises nothing more special
        tokenizer = None
    on_disk = Path(folder).is_dir()
    weights = on_disk or any(
        isinstance(try_to_load_from_cache(model, name), str)
        for name in ("model.safetensors", "model.safetensors.index.json")
    )
    source = "its configuration" if on_disk else "its configuration in the hub's cache"
    return Architecture(model, config, source, weights and tokenizer is not None, tokenizer)


def _published(model: str, reason: Exception) -> Architecture:
    table = json.loads(_PUBLISHED.read_text(encoding="utf-8"))
    if model not in table["models"]:
        raise AgentError(
            f"the dimensions of {model!r} are not known here ({type(reason).__name__}); give a "
            f"folder with its config.json, or one of {', '.join(table['models'])}"
        ) from reason
    config = T5Config(**table["shared"], **table["models"][model])
    return Architecture(model, config, "published dimensions", False, None)
