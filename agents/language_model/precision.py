"""In which numbers a language model computes: 32-bit, or 16-bit where the device is fast at it."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from typing import Literal

import torch

Precision = Literal["auto", "float32", "bfloat16"]
Chosen = Literal["float32", "bfloat16"]

_SIZE = 512
_ROUNDS = 3
_WORTH_IT = 1.3


def choose_precision(asked: Precision, device: torch.device) -> Chosen:
    """Settles ``"auto"`` by a measured matrix product.

    Args:
        asked: What the options say.
        device: Where the model computes.

    Returns:
        ``"bfloat16"`` if asked for, or if a product is at least 1.3 times as fast in it.
    """
    if asked != "auto":
        return asked
    slow = product_seconds(torch.float32, device)
    return "bfloat16" if slow > _WORTH_IT * product_seconds(torch.bfloat16, device) else "float32"


def product_seconds(dtype: torch.dtype, device: torch.device, size: int = _SIZE) -> float:
    """Shortest time of a few products of two (size, size) matrices, in seconds."""
    matrix = torch.ones(size, size, dtype=dtype, device=device)
    seconds = []
    for _ in range(_ROUNDS + 1):  # the first one warms up
        started = time.perf_counter()
        # Reading one number waits for a GPU.
        (matrix @ matrix)[0, 0].item()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])


def computing_in(precision: Chosen, device: torch.device) -> AbstractContextManager[object]:
    """The forward pass runs in this precision; weights and optimiser stay 32-bit."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
