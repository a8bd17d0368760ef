"""A language model as policy and value function, as in GLAM (Carta et al. 2023)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agents.language_model.causal import causal_states
from agents.language_model.encoder_decoder import encoder_decoder_states, vocabulary_logits
from agents.language_model.precision import Chosen, computing_in
from agents.language_model.prefix_tree import PrefixTree
from agents.language_model.prompt_batch import PromptBatch

PolicyHead = Literal["lm_head", "action_heads"]
Scoring = Literal["log_probabilities", "logits"]


def mlp_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The paper's head: two hidden layers with sigmoids between.

    Args:
        inputs: Width of the language model's hidden states.
        hidden: Width of both hidden layers.
        outputs: 1 for the value, the number of actions for action heads.

    Returns:
        (..., inputs) to (..., outputs).
    """
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.Sigmoid(),
        nn.Linear(hidden, hidden),
        nn.Sigmoid(),
        nn.Linear(hidden, outputs),
    )


class LanguageModelPolicy(nn.Module):
    """Scores actions with the LM head or with action heads, and estimates the value.

    LP(a|p) = Σ_j log P(w_j | p, w_<j) and π(a|p) = softmax over the actions. All
    actions are read in one pass as a prefix tree. Its first node, whose state the value head and
    the action heads read, is a T5's decoder start token or a causal model's last prompt token.

    Args:
        model: A language model of transformers, encoder-decoder (T5 family) or causal.
        n_actions: Size of the action set; only action heads depend on it.
        policy_head: ``"lm_head"`` (GFlan-T5) or ``"action_heads"`` (NPAE and relatives).
        scoring: ``"log_probabilities"`` (the paper), or ``"logits"``: sums raw logits, as the
            public code does, without its bonus for padding.
        value_hidden: Width of the heads' hidden layers.
        precision: Numbers that the model's layers compute in. The few nodes' logits and the heads
            are always 32-bit: rounding there is what would change the best action.
    """

    def __init__(
        self,
        model: Any,
        *,
        n_actions: int,
        policy_head: PolicyHead = "lm_head",
        scoring: Scoring = "log_probabilities",
        value_hidden: int = 1024,
        precision: Chosen = "float32",
    ) -> None:
        super().__init__()
        self.model = model
        self.scoring = scoring
        self.precision = precision
        self._states = encoder_decoder_states if model.config.is_encoder_decoder else causal_states
        width = model.get_input_embeddings().embedding_dim
        self.value_head = mlp_head(width, value_hidden, 1)
        self.action_heads = (
            mlp_head(width, value_hidden, n_actions) if policy_head == "action_heads" else None
        )

    def forward(self, prompts: Sequence[PromptBatch], tree: PrefixTree) -> tuple[Tensor, Tensor]:
        """Log-policy and values of prompts.

        Args:
            prompts: Groups of prompts, (batch,) in all, on the model's device.
            tree: The candidate actions, on the same device.

        Returns:
            Log-probabilities (batch, actions) that sum to 1 over the actions, values (batch,).
        """
        # Action heads read the first node's state only, so the rest of the tree is left out.
        nodes = 1 if self.action_heads is not None else len(tree.tokens)
        with computing_in(self.precision, prompts[0].ids.device):
            hidden = self._states(self.model, prompts, tree, nodes).float()
        start = hidden[:, 0]
        if self.action_heads is not None:
            scores = self.action_heads(start)
        else:
            scores = self._lm_scores(hidden, tree)
        return torch.log_softmax(scores, dim=1), self.value_head(start).squeeze(1)

    def _lm_scores(self, hidden: Tensor, tree: PrefixTree) -> Tensor:
        """Scores (batch, actions): summed log-probabilities or logits of each action's tokens."""
        logits = vocabulary_logits(self.model, hidden)
        if self.scoring == "log_probabilities":
            logits = torch.log_softmax(logits, 2)
        scores: Tensor = (logits[:, tree.node, tree.target] * tree.scored).sum(2)
        return scores
