"""Where the language model comes from: MiniFlan, a package, a folder or a hub name."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import HfApi, is_offline_mode
from huggingface_hub.utils import logging as hub_logging
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForSeq2SeqLM,
    AutoTokenizer,
)
from transformers.utils import logging as transformers_logging

from agents.base import AgentError
from agents.language_model.encoder_decoder import scales_outputs
from agents.language_model.library_check import check_reading
from agents.language_model.smollm2 import smollm2_folder
from agents.miniflan.architecture import MINIFLAN_FOLDER, RANDOM_WEIGHTS, random_miniflan

MINIFLAN = "miniflan"
SMOLLM2 = "smollm2"
_NAMES = {MINIFLAN: "MiniFlan", SMOLLM2: "SmolLM2-135M"}
_T5_FAMILY = ("t5", "mt5", "umt5")
_HUB_SECONDS = 10.0


@dataclass(frozen=True)
class Backbone:
    """A language model with its tokenizer and what the records should say of it.

    Attributes:
        model: A T5 for conditional generation or a causal language model, in evaluation mode:
            dropout is never on, in acting or in learning (the public code leaves it on for models
            that are not pretrained).
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
    """Loads or builds a language model: of the T5 family, or causal.

    ``"smollm2"`` is an instruction-tuned model, but reads GLAM's prompt as it stands, without the
    chat template it was tuned with, as Flan-T5 does; so do other causal models.

    Args:
        model: ``"miniflan"``, ``"smollm2"``, a folder, or a hub name such as
            ``google/flan-t5-large``.
        pretrained: Keep the checkpoint's weights; otherwise draw them anew from ``seed``: for
            MiniFlan as its pretraining began.
        pretrained_embeddings: Without pretraining, keep the checkpoint's token embeddings.
        seed: Seed of random weights.

    Returns:
        The backbone, on the CPU.

    Raises:
        AgentError: If the checkpoint cannot be opened, is of neither kind, or is one that
            :func:`check_reading` refuses.
    """
    # Loading and saving are silent; what goes wrong is raised.
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    hub_logging.set_verbosity_error()
    if model.startswith(("/", "./", "../")) and not Path(model).is_dir():
        raise AgentError(f"no folder {model!r} to take a language model from")
    name = _NAMES.get(model, Path(model).name)
    source = model_folder(model)
    parts = pretrained, pretrained_embeddings, seed
    try:
        try:
            tokenizer, network = _open(source, *parts, local_files_only=True)
        except Exception as error:
            if isinstance(error, AgentError) or Path(source).is_dir() or is_offline_mode():
                raise
            # Without a network this fails at once, where transformers tries for a minute.
            HfApi().model_info(model, timeout=_HUB_SECONDS)
            tokenizer, network = _open(source, *parts, local_files_only=False)
    except AgentError:
        raise
    except Exception as error:  # whatever a damaged folder makes of a dozen parsers
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        hint = "a hub name needs a network or a filled cache; 'miniflan' needs neither"
        if Path(source).is_dir():
            hint = "a folder holds what save_pretrained writes: config, tokenizer and safetensors"
        raise AgentError(f"cannot open the language model {model!r}: {reason}; {hint}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token  # masked wherever it stands
    if tokenizer.pad_token_id is None:
        raise AgentError(f"the tokenizer of {model!r} has no pad token")
    network.eval()
    check_reading(network)
    return Backbone(network, tokenizer, name, pretrained, weights_hash(network.state_dict()))


def weight_files(model: str) -> list[Path]:
    """Files that the weights of MiniFlan or of a folder come from; none for other names.

    Args:
        model: As for :func:`load_backbone`.
    """
    folder = MINIFLAN_FOLDER if model == MINIFLAN else Path(model)
    return sorted(folder.glob("*.safetensors")) if folder.is_dir() else []


def weights_hash(tensors: Mapping[str, torch.Tensor]) -> str:
    """SHA-256 over names, shapes and bytes of tensors, in the order of their names."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name}:{tuple(tensor.shape)}:{tensor.dtype};".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _open(
    model: str, pretrained: bool, pretrained_embeddings: bool, seed: int, **source: bool
) -> tuple[Any, Any]:
    """The tokenizer and the network of a folder or a hub name; nothing in it is run."""
    source = {"trust_remote_code": False, **source}
    tokenizer = AutoTokenizer.from_pretrained(model, **source)
    architecture = AutoConfig.from_pretrained(model, **source)
    family = model_family(architecture, model)
    if pretrained:
        return tokenizer, _weights(family, model, source)
    network = random_network(family, architecture, seed)
    if pretrained_embeddings:
        whole = _weights(family, model, source)
        with torch.no_grad():
            network.get_input_embeddings().weight.copy_(whole.get_input_embeddings().weight)
    return tokenizer, network


def _weights(family: Any, model: str, source: Mapping[str, bool]) -> Any:
    network, report = family.from_pretrained(
        model, dtype=torch.float32, use_safetensors=True, output_loading_info=True, **source
    )
    if report["missing_keys"]:  # transformers draws them at random
        raise ValueError(f"its weights lack {min(report['missing_keys'])}")
    return network


def model_family(architecture: Any, model: str) -> Any:
    """The class of transformers that builds an architecture.

    Raises:
        AgentError: If it is neither of the T5 family nor causal.
    """
    if architecture.model_type in _T5_FAMILY:
        return AutoModelForSeq2SeqLM
    if type(architecture) in AutoModelForCausalLM._model_mapping:
        return AutoModelForCausalLM
    raise AgentError(
        f"{model!r} is a {architecture.model_type} model; this agent needs one of the T5 family or "
        f"a causal language model"
    )


def model_folder(model: str) -> str:
    """Where a model is opened from: a folder, or a hub name as it stands."""
    if model == MINIFLAN:
        return str(MINIFLAN_FOLDER)
    return str(smollm2_folder()) if model == SMOLLM2 else model


def random_network(family: Any, architecture: Any, seed: int) -> Any:
    """A network of random weights, tied where the checkpoints of its kind are.

    Args:
        family: What :func:`model_family` gave.
        architecture: The configuration of transformers.
        seed: Seed of the weights.
    """
    if getattr(architecture, "random_weights", None) == RANDOM_WEIGHTS:
        return random_miniflan(architecture, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = family.from_config(architecture)
        if architecture.model_type in _T5_FAMILY and not scales_outputs(architecture):
            # Transformers ties what is built from a configuration, but checkpoints whose outputs
            # are not scaled (T5 1.1, Flan-T5) have an output layer of their own.
            network.lm_head.weight = nn.Parameter(torch.empty_like(network.shared.weight))
            nn.init.normal_(network.lm_head.weight, std=architecture.initializer_factor)
    return network
