"""Counts what PyTorch is asked to do, for estimates of cost."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)


class OperationCounter(TorchDispatchMode):
    """While it is entered, counts operations and the FLOPs of products and convolutions.

    Attributes:
        launches: Operations, the backward pass's included.
    """

    def __init__(self) -> None:
        """Counts from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches = 0
        self._flops = flop_counter()

    @property
    def flops(self) -> float:
        """FLOPs so far; a multiplication with an addition is two."""
        return float(self._flops.get_total_flops())

    def __enter__(self) -> OperationCounter:
        self._flops.__enter__()
        super().__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)  # type: ignore[no-untyped-call]
        self._flops.__exit__(*error)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Counts one operation and performs it."""
        self.launches += 1
        return func(*args, **(kwargs or {}))


def flop_counter() -> Any:
    """PyTorch's own counter knows fused attention on GPUs only; this one knows the CPU's too."""
    fused = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
    back = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward
    formulas = {fused: _attention_flops, back: _attention_backward_flops}
    return FlopCounterMode(display=False, custom_mapping=formulas)


def _attention_flops(query: Any, key: Any, value: Any, *_: Any, **__: Any) -> int:
    flops: int = sdpa_flop_count(query, key, value)
    return flops


def _attention_backward_flops(
    grad: Any, query: Any, key: Any, value: Any, *_: Any, **__: Any
) -> int:
    flops: int = sdpa_backward_flop_count(grad, query, key, value)
    return flops
