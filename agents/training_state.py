"""Weights and optimiser state as safetensors: nothing in a checkpoint can run code."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


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
