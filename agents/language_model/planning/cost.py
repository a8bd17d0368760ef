"""What a language-model agent will cost: tokens, FLOPs and memory, before it is built."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, cached_property, lru_cache

import numpy as np
import torch

from agents.language_model.config import LanguageModelConfig
from agents.language_model.planning.architecture import find_architecture
from agents.language_model.planning.expense import Memory, Speed, Work
from agents.language_model.planning.shallow import VOCABULARY, ShallowPolicy, Size
from agents.language_model.precision import Chosen, choose_precision
from agents.language_model.prefix_tree import PrefixTree, build_prefix_tree
from agents.language_model.prompt_batch import group_tokens, length_passes
from agents.language_model.reading import before_continuation, continuations

_LENGTHS = (16, 32, 64)  # FLOPs and bytes of a prompt: polynomials of degree 2 in its length
_TIMED_TOKENS = 256
_NUMBER = 4  # bytes
_KEPT_MODELS = 4  # one for each size that is compared with the least


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
        """(len(prompts),) token counts; a causal model's prompt goes without its last blank."""
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
        passes = self._passes(batches, device)
        groups = [group for one in passes for group in one]
        flops = self._flops(tree, learning)
        prompts = sum(map(len, groups))
        two, three = (self._launches(tree, learning, groups=n) for n in (2, 3))
        return Work(
            prompt_tokens=float(sum(map(sum, groups))),
            # A causal model's first node is the prompt's last token.
            tree_tokens=float(prompts * (self._nodes(tree) - self._causal)),
            flops=sum(len(group) * flops(max(group)) for group in groups),
            launches=two * len(passes) + (three - two) * (len(groups) - 2 * len(passes)),
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
        passes = self._passes(batches, device)
        largest = max(passes, key=lambda groups: sum(len(g) * max(g) for g in groups))
        longest = max(map(max, largest))

        def kept(size: Size) -> float:
            policy = self._shallow(size, precision)

            def few(rows: int, length: int) -> int:
                return policy.kept_bytes(rows, length, tree)

            a_prompt = _curve([few(3, length) - few(2, length) for length in _LENGTHS])
            fixed = few(2, longest) - 2 * a_prompt(longest)
            return float(fixed + sum(len(group) * a_prompt(max(group)) for group in largest))

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
            activations += _NUMBER * sum(map(len, largest)) * width * inputs
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

    def _passes(self, batches: Sequence[Sequence[int]], device: str) -> list[list[list[int]]]:
        """Lengths of the prompts of each group of a pass, as the agent divides a batch."""
        limit = self.options.max_batch_tokens
        a_group = group_tokens(torch.device(device), together=not self._causal)
        return [
            [[lengths[i] for i in group] for group in groups]
            for lengths in batches
            for groups in length_passes(lengths, limit, a_group)
        ]

    def _flops(self, tree: PrefixTree, learning: bool) -> Callable[[int], float]:
        """FLOPs of a prompt by its padded length."""

        @cache
        def counted(size: Size, length: int, backward: bool) -> float:
            return self._shallow(size).counted(length, tree, backward).flops

        def total(length: int) -> float:
            return self._counted(learning, lambda size, backward: counted(size, length, backward))

        return _curve([total(length) for length in _LENGTHS])

    def _launches(self, tree: PrefixTree, learning: bool, *, groups: int) -> float:
        """Operations of a pass over so many groups."""

        @cache
        def counted(size: Size, backward: bool) -> float:
            return self._shallow(size).counted(_LENGTHS[0], tree, backward, groups).launches

        return self._counted(learning, counted)

    def _counted(self, learning: bool, counted: Callable[[Size, bool], float]) -> float:
        """What was counted in small with or without the backward pass, at the model's own size."""
        found = self._whole(lambda size: counted(size, learning))
        if learning and self.options.activation_checkpointing:  # layers are computed twice
            _, growth = self._parts(lambda size: counted(size, False))
            found += self._size[0] * growth[0] + self._size[1] * growth[1]
        return found

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


def _curve(values: Sequence[float]) -> Callable[[int], float]:
    """What was measured at three lengths, at any."""
    curve = np.polynomial.Polynomial.fit(_LENGTHS, values, 2)
    return lambda length: float(curve(length))
