"""Counts what PyTorch is asked to do, for estimates of cost."""

from __future__ import annotations

from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode


class OperationCounter(TorchDispatchMode):
    """While it is entered, counts operations and the FLOPs of matrix products and convolutions.

    Attributes:
        launches: Operations, the backward pass's included.
    """

    def __init__(self) -> None:
        """Counts from nothing."""
        super().__init__()  # type: ignore[no-untyped-call]
        self.launches = 0
        self._flops: Any = FlopCounterMode(display=False)

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
