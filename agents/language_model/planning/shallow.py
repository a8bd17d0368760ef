"""What a pass of the policy costs, measured on the same model with one or two layers.

FLOPs, kept bytes and parameters grow by the same amount with every layer and every token of the
vocabulary, so that two sizes give those of any other: a model of full width with little else tells
of one that is too large to build.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor
from torch.autograd.graph import saved_tensors_hooks

from agents.language_model.adapters import add_adapters
from agents.language_model.config import LanguageModelConfig
from agents.language_model.planning.architecture import Architecture
from agents.language_model.planning.operations import OperationCounter
from agents.language_model.policy import LanguageModelPolicy
from agents.language_model.precision import Chosen, product_seconds
from agents.language_model.prefix_tree import PrefixTree
from agents.language_model.prompt_batch import PromptBatch

VOCABULARY = 256
"""Tokens by which the vocabulary of a shallow model grows."""

Size = tuple[int, int, int]
"""Layers of encoder and decoder, and hundreds (256) of tokens."""

_REPEATS = 3
_PRODUCT = 1024


@dataclass(frozen=True)
class Pass:
    """One pass of a policy over a batch of prompts.

    Attributes:
        flops: Floating-point operations of its matrix products.
        launches: Operations handed to the device.
    """

    flops: float
    launches: float


class ShallowPolicy:
    """The policy of a language model with few layers and random weights."""

    def __init__(
        self,
        architecture: Architecture,
        options: LanguageModelConfig,
        n_actions: int,
        size: Size,
        device: torch.device,
        precision: Chosen = "float32",
    ) -> None:
        """Builds it.

        Args:
            architecture: Dimensions of the model.
            options: Options of the agent.
            n_actions: Size of the action set.
            size: How much of the model.
            device: Where it computes.
            precision: Numbers it computes in.
        """
        encoder, decoder, tokens = size
        network = architecture.network(encoder, decoder, tokens * VOCABULARY)
        self.vocabulary = int(network.config.vocab_size)
        self.width = int(network.get_input_embeddings().embedding_dim)
        if options.lora_rank is not None:
            add_adapters(network, options.lora_rank)
        self.policy = LanguageModelPolicy(
            network,
            n_actions=n_actions,
            policy_head=options.policy_head,
            scoring=options.scoring,
            value_hidden=options.value_hidden,
            precision=precision,
        ).to(device)
        self.device = device

    def parameters(self) -> tuple[int, int]:
        """Numbers of all parameters and of those that are trained."""
        every = list(self.policy.parameters())
        return sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad)

    def counted(self, length: int, tree: PrefixTree, learning: bool, groups: int = 1) -> Pass:
        """FLOPs and operations of groups of one prompt, forward or forward and backward."""
        # With gradients, whose attention is not fused: so it is in bfloat16, and when activation
        # checkpointing computes layers again.
        with OperationCounter() as counter, torch.enable_grad():
            self._run([self._batch(1, length)] * groups, tree, learning)
        return Pass(counter.flops, float(counter.launches))

    def kept_bytes(self, rows: int, length: int, tree: PrefixTree) -> int:
        """Bytes that a forward pass keeps for the backward pass, parameters left out."""
        own = {p.untyped_storage().data_ptr() for p in self.policy.parameters()}
        kept: dict[int, int] = {}

        def keep(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            if storage.data_ptr() not in own:
                kept[storage.data_ptr()] = storage.nbytes()
            # Held by the graph, so that no address is used twice; the tensor itself would hold the
            # graph in turn, and neither would ever be freed.
            return tensor.detach()

        with saved_tensors_hooks(keep, lambda tensor: tensor):
            log_policy, values = self.policy([self._batch(rows, length)], tree)
        del log_policy, values
        return sum(kept.values())

    def rates(
        self, rows: int, length: int, tree: PrefixTree, learning: bool
    ) -> tuple[float, float]:
        """Times passes over a batch in turn with products of two 1024 × 1024 matrices.

        Returns:
            FLOPs a second of a pass and of a product; medians of three.
        """
        batch = [self._batch(rows, length)]
        passes, products = [], []
        with torch.set_grad_enabled(learning):
            with OperationCounter() as counter:
                self._run(batch, tree, learning)
            for _ in range(_REPEATS):
                started = time.perf_counter()
                self._run(batch, tree, learning)
                passes.append(counter.flops / (time.perf_counter() - started))
                seconds = product_seconds(torch.float32, self.device, _PRODUCT)
                products.append(2 * _PRODUCT**3 / seconds)
        return float(median(passes)), float(median(products))

    def _run(self, prompts: Sequence[PromptBatch], tree: PrefixTree, learning: bool) -> None:
        log_policy, values = self.policy(prompts, tree)
        total = log_policy.sum() + values.sum()
        if learning:
            total.backward()
            self.policy.zero_grad(set_to_none=True)
        total.item()  # waits for a GPU

    def _batch(self, rows: int, length: int) -> PromptBatch:
        ids = (torch.arange(rows * length) % (self.vocabulary - 2) + 2).view(rows, length)
        mask = torch.ones(rows, length, dtype=torch.bool)
        return PromptBatch(ids.to(self.device), mask.to(self.device), 0)
