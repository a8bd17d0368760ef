"""What a language-model agent will cost: tokens, FLOPs and memory, before it is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property, lru_cache

import numpy as np
import torch

from agents.language_model.architecture import find_architecture
from agents.language_model.config import LanguageModelConfig
from agents.language_model.precision import Chosen, choose_precision
from agents.language_model.prefix_tree import PrefixTree, build_prefix_tree
from agents.language_model.prompt_batch import length_batches
from agents.language_model.reading import before_continuation, continuations
from agents.language_model.shallow import VOCABULARY, Pass, ShallowPolicy, Size

_LENGTHS = (16, 32, 64)  # FLOPs are a polynomial of the second degree in a prompt's length
_TIMED_TOKENS = 256
_NUMBER = 4  # bytes
_KEPT_MODELS = 4  # one for each size that is compared with the least


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


class LanguageModelCost:
    """Costs of a language-model agent, from a shallow model of the same width."""

    def __init__(self, options: LanguageModelConfig, n_actions: int, *, learns: bool) -> None:
        """Looks the dimensions up.

        Args:
            options: Options of the agent.
            n_actions: Size of the action set.
            learns: False for an agent that is only tested.

        Raises:
            AgentError: If the dimensions are not known here.
        """
        self.options, self.n_actions, self.learns = options, n_actions, learns
        torch.set_num_threads(1)  # what is counted is small
        self.architecture = find_architecture(options.model)
        self._shallow = lru_cache(_KEPT_MODELS)(self._build_shallow)

    @property
    def weights_here(self) -> bool:
        """Whether the agent itself could be built on this machine."""
        return self.architecture.weights_here

    @property
    def sources(self) -> tuple[str, ...]:
        """Where dimensions and token counts come from, for people."""
        model = self.options.model
        counted = self.architecture.tokenizer is not None
        return (
            f"{model}: dimensions from {self.architecture.dimensions_from}",
            f"{model}: tokens "
            + ("by its tokenizer" if counted else "estimated, one a word, number or mark"),
        )

    def lengths(self, prompts: Sequence[str]) -> list[int]:
        """Tokens of each prompt."""
        read = map(before_continuation, prompts) if self._causal else prompts
        return [len(ids) for ids in self.architecture.tokens(list(read))]

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Numbers of all parameters and of the trained ones."""
        every = self._whole(lambda size: float(self._shallow(size).parameters()[0]))
        trained = self._whole(lambda size: float(self._shallow(size).parameters()[1]))
        return round(every), round(trained)

    def work(
        self,
        batches: Sequence[Sequence[int]],
        phrases: Sequence[str],
        device: str,
        *,
        learning: bool,
    ) -> Work:
        """What it costs to read batches of prompts, each grouped as the agent groups it.

        Args:
            batches: Lengths of the prompts of each batch.
            phrases: The candidate actions.
            device: Torch device that they are read on, which need not be here.
            learning: With the backward pass.

        Returns:
            The sum over all batches.
        """
        tree = self._tree(phrases)
        groups = self._groups(batches, device)
        flops, launches = self._passes(tree, learning)
        prompts = sum(map(len, groups))
        return Work(
            prompt_tokens=float(sum(map(sum, groups))),
            # A causal model's first node is the prompt's last token.
            tree_tokens=float(prompts * (self._nodes(tree) - self._causal)),
            flops=sum(len(group) * flops(max(group)) for group in groups),
            launches=launches * len(groups),
        )

    def memory(
        self,
        batches: Sequence[Sequence[int]],
        phrases: Sequence[str],
        device: str,
        precision: Chosen = "float32",
    ) -> Memory:
        """Memory of the largest part of a minibatch that is forwarded at once.

        Args:
            batches: Lengths of the prompts of some minibatches.
            phrases: The candidate actions.
            device: Torch device, which need not be here.
            precision: Numbers the model computes in.

        Returns:
            Bytes; what an allocator wastes and what a driver takes comes on top.
        """
        every, trained = self.parameters
        tree = self._tree(phrases)
        largest = max(self._groups(batches, device), key=lambda group: len(group) * max(group))
        rows, longest = len(largest), max(largest)

        def kept(size: Size) -> float:
            policy = self._shallow(size, precision)
            few = policy.kept_bytes(2, longest, tree)
            return few + (rows - 2) * (policy.kept_bytes(3, longest, tree) - few)

        fixed, growth = self._parts(kept)
        encoder, decoder, _ = self._size
        work_space = max(growth[:2])
        if not self.learns:
            activations, trained = work_space, 0
        elif self.options.activation_checkpointing:
            read = longest if encoder else longest + self._nodes(tree) - 1
            inputs = encoder * read + decoder * (self._nodes(tree) if encoder else read)
            width = self._shallow(self._least).width
            activations = fixed + growth[2] * self._size[2] + work_space
            activations += _NUMBER * rows * width * inputs
            # Autocast holds its 16-bit copies of the weights throughout the forward pass.
            activations += 2 * every if precision == "bfloat16" else 0
        else:
            activations = self._whole(kept) + work_space
        return Memory(_NUMBER * every, _NUMBER * trained, 2 * _NUMBER * trained, int(activations))

    def speed(self, typical: int, phrases: Sequence[str], device: str, threads: int) -> Speed:
        """Times two layers of the model's width on this machine.

        Args:
            typical: Tokens of a typical prompt.
            phrases: The candidate actions.
            device: Torch device.
            threads: CPU threads of PyTorch.
        """
        place = torch.device(device)
        torch.set_num_threads(threads)
        precision = choose_precision(self.options.precision, place)
        encoder, decoder, tokens = self._least
        size = (2 * encoder, 2 * decoder, tokens)
        policy = self._build_shallow(size, precision, device)
        tree = self._tree(phrases).to(place)
        rows = max(1, min(_TIMED_TOKENS, self.options.max_batch_tokens) // typical)
        forward, peak = policy.rates(rows, typical, tree, learning=False)
        learning = policy.rates(rows, typical, tree, learning=True)[0] if self.learns else 0.0
        return Speed(forward, learning, peak)

    def _groups(self, batches: Sequence[Sequence[int]], device: str) -> list[list[int]]:
        """Lengths of the prompts that are forwarded together, as the agent groups a batch."""
        limit, place = self.options.max_batch_tokens, torch.device(device)
        return [
            [lengths[i] for i in group]
            for lengths in batches
            for group in length_batches(lengths, limit, place)
        ]

    def with_options(self, **changes: object) -> LanguageModelCost:
        """The same agent with other options."""
        options = replace(self.options, **changes)  # type: ignore[arg-type]  # by name
        return LanguageModelCost(options, self.n_actions, learns=self.learns)

    def _passes(self, tree: PrefixTree, learning: bool) -> tuple[Callable[[int], float], float]:
        """FLOPs of a prompt by its padded length, and operations of a pass."""

        @cache
        def counted(size: Size, length: int, backward: bool) -> Pass:
            return self._shallow(size).counted(length, tree, backward)

        def total(name: str, length: int) -> float:
            def measured(size: Size, backward: bool = learning) -> float:
                return float(getattr(counted(size, length, backward), name))

            found = self._whole(measured)
            if learning and self.options.activation_checkpointing:
                _, growth = self._parts(lambda size: measured(size, backward=False))
                found += self._size[0] * growth[0] + self._size[1] * growth[1]
            return found

        flops = [total("flops", length) for length in _LENGTHS]
        curve = np.polynomial.Polynomial.fit(_LENGTHS, flops, 2)
        return lambda length: float(curve(length)), total("launches", _LENGTHS[0])

    @cached_property
    def _size(self) -> tuple[int, int, float]:
        """Layers of encoder and decoder, and tokens in the unit of shallow models."""
        return (*self.architecture.depth, self.architecture.config.vocab_size / VOCABULARY)

    @property
    def _causal(self) -> bool:
        return not self.architecture.config.is_encoder_decoder

    @property
    def _least(self) -> Size:
        return (1 if self._size[0] else 0), 1, 1

    def _parts(self, measured: Callable[[Size], float]) -> tuple[float, tuple[float, float, float]]:
        """What depends on no size, and by how much it grows with each of the three."""
        encoder, decoder, tokens = self._least
        least = measured(self._least)
        growth = (
            measured((encoder + 1, decoder, tokens)) - least if encoder else 0.0,
            measured((encoder, decoder + 1, tokens)) - least,
            measured((encoder, decoder, tokens + 1)) - least,
        )
        return least - sum(g * n for g, n in zip(growth, self._least, strict=True)), growth

    def _whole(self, measured: Callable[[Size], float]) -> float:
        """What was measured in small, at the model's own size."""
        fixed, growth = self._parts(measured)
        return fixed + sum(g * n for g, n in zip(growth, self._size, strict=True))

    def _build_shallow(
        self, size: Size, precision: Chosen = "float32", device: str = "cpu"
    ) -> ShallowPolicy:
        place = torch.device(device)
        return ShallowPolicy(
            self.architecture, self.options, self.n_actions, size, place, precision
        )

    def _tree(self, phrases: Sequence[str]) -> PrefixTree:
        """The actions' tree, with its tokens numbered anew so that a small vocabulary has them."""
        tokens = self.architecture.tokens
        actions = continuations(phrases, tokens) if self._causal else tokens(phrases)
        index = {token: 1 + i for i, token in enumerate({t for action in actions for t in action})}
        return build_prefix_tree([[index[t] for t in action] for action in actions], 0)

    def _nodes(self, tree: PrefixTree) -> int:
        return 1 if self.options.policy_head == "action_heads" else len(tree.tokens)
