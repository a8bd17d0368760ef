"""LoRA: small trained matrices beside frozen weights (Hu et al. 2021), by the peft library."""

from __future__ import annotations

import importlib.util
import warnings
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from agents.base import AgentError

_FILE = "adapter_model.safetensors"


def add_adapters(model: Any, rank: int) -> Any:
    """Freezes a model and puts adapters beside its query and value projections, in place.

    Args:
        model: A language model of transformers of a type that peft knows.
        rank: Rank of the adapters; their output is scaled by 2, as alpha is twice the rank.

    Returns:
        peft's view of the model, which holds the adapters apart.

    Raises:
        AgentError: If peft is not installed or does not know the model's type.
    """
    if rank < 1:
        raise AgentError(f"lora_rank must be at least 1, or null for the whole model, got {rank}")
    if importlib.util.find_spec("peft") is None:
        raise AgentError("lora_rank needs peft: `pip install --editable '.[lora]'` in the clone")
    from peft import LoraConfig, get_peft_model

    try:
        with warnings.catch_warnings():
            # peft asks transformers by an older name; nobody who reads it could do anything.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return get_peft_model(model, LoraConfig(r=rank, lora_alpha=2 * rank))
    except ValueError as error:
        raise AgentError(f"lora_rank: {str(error).splitlines()[0]}") from error


def save_adapters(adapted: Any, folder: Path) -> None:
    """Writes the adapters alone; ``PeftModel.from_pretrained`` opens them."""
    adapted.save_pretrained(folder, save_embedding_layers=False)  # it would look them up online


def load_adapters(adapted: Any, folder: Path) -> None:
    """Restores what :func:`save_adapters` wrote.

    Raises:
        RuntimeError: If they were saved with another rank or for another model.
    """
    from peft import set_peft_model_state_dict

    found: Any = set_peft_model_state_dict(adapted, load_file(folder / _FILE))
    lost = [name for name in found.missing_keys if "lora_" in name]  # the others are frozen
    if found.unexpected_keys or lost:
        raise RuntimeError(f"no place for {found.unexpected_keys}, nothing for {lost}")
