"""The kinds of cost that a language-model agent is estimated to have."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Work:
    """What some prompts cost.

    Attributes:
        prompt_tokens: Tokens of the prompts.
        tree_tokens: Tokens of the actions' prefix tree read after or beside them.
        flops: Floating-point operations, padding included.
        launches: Operations handed to the device.
    """

    prompt_tokens: float
    tree_tokens: float
    flops: float
    launches: float


@dataclass(frozen=True)
class Memory:
    """Bytes on a device at the worst moment of an update, in 32-bit weights.

    Attributes:
        weights: All parameters.
        gradients: Of the trained ones.
        optimizer: Adam's two moments of the trained ones.
        activations: What a forward pass keeps, and one layer's worth to work with.
    """

    weights: int
    gradients: int
    optimizer: int
    activations: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.activations


@dataclass(frozen=True)
class Speed:
    """What this machine makes of the model's layers.

    Attributes:
        forward: FLOPs a second of a forward pass.
        learning: FLOPs a second of forward and backward pass.
        peak: FLOPs a second of a product of two matrices of 1024 × 1024 32-bit numbers.
    """

    forward: float
    learning: float
    peak: float
