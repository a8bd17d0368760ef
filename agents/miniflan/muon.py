"""Muon: steps of orthogonal matrices (Jordan et al. 2024).

PyTorch has one that works in bfloat16, which is slow on most processors; this one works in the
parameter's own type. In single trials with two things in view it answered 70% of the look-ups
after 24,000 scenes, Adam 15% after 40,000.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
_ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made orthogonal by Newton and Schulz's iteration, for weight matrices."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float = 0.95) -> None:
        """Takes matrices only.

        Args:
            parameters: Matrices to learn.
            lr: Step size; a step has about this spectral norm.
            momentum: Decay of the running mean of gradients (Nesterov's variant).
        """
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Takes one step along the gradients."""
        for group in self.param_groups:
            for parameter in group["params"]:
                gradient = parameter.grad
                if gradient is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["mean"] = torch.zeros_like(parameter)
                state["mean"].lerp_(gradient, 1 - group["momentum"])
                direction = _orthogonal(gradient.lerp(state["mean"], group["momentum"]))
                rows, columns = parameter.shape
                parameter.add_(direction, alpha=-group["lr"] * max(1.0, rows / columns) ** 0.5)


def _orthogonal(matrix: Tensor) -> Tensor:
    """Brings all singular values near 1."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    x = x / (x.norm() + 1e-7)
    for _ in range(_ITERATIONS):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    orthogonal: Tensor = x.T if tall else x
    return orthogonal
