"""A T5-family language model as policy and value function (section 3 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from agents.language_model.prefix_tree import PrefixTree

PolicyHead = Literal["lm_head", "action_heads"]
Scoring = Literal["log_probabilities", "logits"]


def mlp_head(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    """The paper's head: two hidden layers with sigmoids between (appendix E)."""
    return nn.Sequential(
        nn.Linear(inputs, hidden),
        nn.Sigmoid(),
        nn.Linear(hidden, hidden),
        nn.Sigmoid(),
        nn.Linear(hidden, outputs),
    )


class LanguageModelPolicy(nn.Module):
    """Scores actions with a T5's LM head or with action heads, and estimates the value.

    LP(a|p) = Σ_j log P(w_j | p, w_<j) and π(a|p) = softmax over the actions (equation 2).

    Args:
        model: A ``T5ForConditionalGeneration``.
        n_actions: Size of the action set; only action heads depend on it.
        policy_head: ``"lm_head"`` (GFlan-T5) or ``"action_heads"`` (NPAE and relatives).
        scoring: ``"log_probabilities"`` (the paper), or ``"logits"``: sums raw logits, as the
            public code does, without its bonus for padding.
        value_hidden: Width of the heads' hidden layers.
    """

    def __init__(
        self,
        model: Any,
        *,
        n_actions: int,
        policy_head: PolicyHead = "lm_head",
        scoring: Scoring = "log_probabilities",
        value_hidden: int = 1024,
    ) -> None:
        super().__init__()
        self.model = model
        self.scoring = scoring
        width = model.config.d_model
        self.value_head = mlp_head(width, value_hidden, 1)
        self.action_heads = (
            mlp_head(width, value_hidden, n_actions) if policy_head == "action_heads" else None
        )

    def forward(self, prompts: Tensor, mask: Tensor, tree: PrefixTree) -> tuple[Tensor, Tensor]:
        """Log-policy and values of a batch of prompts.

        Args:
            prompts: (batch, length) token ids, padded anywhere.
            mask: (batch, length) 1 for a token, 0 for padding.
            tree: The candidate actions, on the same device.

        Returns:
            Log-probabilities (batch, actions) that sum to 1 over the actions, values (batch,).
        """
        encoded = self.model.encoder(input_ids=prompts, attention_mask=mask).last_hidden_state
        # Action heads read the start token's state only, so the rest of the tree is left out.
        nodes = 1 if self.action_heads is not None else len(tree.tokens)
        hidden = self._decode(encoded, mask, tree, nodes)
        start = hidden[:, 0].float()
        values = self.value_head(start).squeeze(1)
        if self.action_heads is not None:
            scores = self.action_heads(start)
        else:
            scores = self._lm_scores(hidden, tree)
        return torch.log_softmax(scores, dim=1), values

    def _decode(self, encoded: Tensor, mask: Tensor, tree: PrefixTree, nodes: int) -> Tensor:
        """Last hidden states (batch, nodes, width) of the tree's first ``nodes`` nodes."""
        decoder = self.model.decoder
        hidden = decoder.embed_tokens(tree.tokens[:nodes]).expand(len(encoded), -1, -1)
        lowest = torch.finfo(hidden.dtype).min
        attention = decoder.block[0].layer[0].SelfAttention
        distance = tree.depth[None, :nodes] - tree.depth[:nodes, None]
        bucket = attention._relative_position_bucket(
            distance,
            bidirectional=False,
            num_buckets=attention.relative_attention_num_buckets,
            max_distance=attention.relative_attention_max_distance,
        )
        # A node further down another branch may have a larger depth; the mask hides it.
        bias = attention.relative_attention_bias(bucket).permute(2, 0, 1)[None]
        hidden_nodes = ~tree.visible[:nodes, :nodes]
        bias = bias.masked_fill(hidden_nodes, lowest)
        cross_mask = (1.0 - mask[:, None, None, :].to(hidden.dtype)) * lowest
        for block in decoder.block:
            hidden = block(
                hidden,
                None,
                bias,
                encoded,
                cross_mask,
                None,
            )[0]
        last: Tensor = decoder.final_layer_norm(hidden)
        return last

    def _lm_scores(self, hidden: Tensor, tree: PrefixTree) -> Tensor:
        """Scores (batch, actions): summed log-probabilities or logits of each action's tokens."""
        if self.model.config.scale_decoder_outputs:
            hidden = hidden * self.model.config.d_model**-0.5
        logits = self.model.lm_head(hidden).float()
        token_scores = logits[:, tree.node, tree.target]
        if self.scoring == "log_probabilities":
            token_scores = token_scores - torch.logsumexp(logits, dim=2)[:, tree.node]
        scores: Tensor = (token_scores * tree.scored).sum(2)
        return scores


def pad_batch(
    prompts: Sequence[Sequence[int]], pad_token: int, device: torch.device
) -> tuple[Tensor, Tensor]:
    """Right-pads prompts to the longest.

    Args:
        prompts: Token ids of each prompt.
        pad_token: Id to fill with.
        device: Where the tensors go.

    Returns:
        Token ids and mask, both (batch, longest) int64.
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), longest), pad_token, dtype=torch.long)
    mask = torch.zeros(len(prompts), longest, dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
        mask[row, : len(prompt)] = 1
    return ids.to(device), mask.to(device)


def length_batches(lengths: Sequence[int], max_tokens: int) -> list[list[int]]:
    """Groups prompts of similar length so that little is padded and memory is bounded.

    Args:
        lengths: Token count of each prompt.
        max_tokens: Largest number of prompts × longest prompt in a group; a single longer prompt
            makes a group of its own.

    Returns:
        Index lists that together hold every prompt once, shortest prompts first.
    """
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    groups: list[list[int]] = []
    for i in order:
        if groups and (len(groups[-1]) + 1) * lengths[i] <= max_tokens:
            groups[-1].append(i)
        else:
            groups.append([i])
    return groups
