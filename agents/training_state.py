"""Weights and optimiser state as safetensors: nothing in a checkpoint can run code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn


def save_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Writes what an optimiser keeps for each parameter (Adam: moments and step counts).

    Args:
        optimizer: The optimiser.
        path: File to write.
    """
    tensors = {
        f"{index}.{name}": value.detach().cpu().contiguous()
        for index, state in optimizer.state_dict()["state"].items()
        for name, value in state.items()
    }
    save_file(tensors, path)


def load_optimizer(optimizer: torch.optim.Optimizer, path: Path) -> None:
    """Restores what :func:`save_optimizer` wrote.

    Args:
        optimizer: An optimiser over the same parameters.
        path: File to read.
    """
    whole = optimizer.state_dict()
    whole["state"] = {}
    for key, value in load_file(path).items():
        index, name = key.split(".", 1)
        whole["state"].setdefault(int(index), {})[name] = value
    optimizer.load_state_dict(whole)


def load_model(model: nn.Module, path: Path) -> None:
    """Restores a model that transformers or safetensors wrote: all of its tensors or an error.

    Args:
        model: A model; of tensors that it ties together the file may hold only one.
        path: File to read.

    Raises:
        RuntimeError: If the file belongs to another architecture.
    """
    weights = load_file(path)
    missing, unexpected = model.load_state_dict(weights, strict=False)
    state = model.state_dict()
    loaded = {state[name].data_ptr() for name in weights if name in state}
    lost = [name for name in missing if state[name].data_ptr() not in loaded]
    if lost or unexpected:
        raise RuntimeError(f"no place for {unexpected}, nothing for {lost}")
