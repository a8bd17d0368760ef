"""All candidate actions in one decoder pass.

Actions share their first tokens ("turn left", "turn right"), so the decoder reads the tree of their
prefixes once: every node attends to its ancestors only, and is as far from them as it is deeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PrefixTree:
    """The prefixes of a set of token sequences, laid out for one decoder pass.

    Attributes:
        tokens: (nodes,) decoder inputs; node 0 is the start token. An action's last token is read
            off as a prediction only and is no node unless another action goes on from it.
        depth: (nodes,) distance from the start.
        visible: (nodes, nodes) bool; row q marks q and its ancestors.
        node: (actions, longest) node at which each token of an action is predicted.
        target: (actions, longest) the token predicted there.
        scored: (actions, longest) float, 0 where a shorter action has ended.
    """

    tokens: Tensor
    depth: Tensor
    visible: Tensor
    node: Tensor
    target: Tensor
    scored: Tensor

    def to(self, device: torch.device) -> PrefixTree:
        """The same tree on a device."""
        return PrefixTree(
            self.tokens.to(device),
            self.depth.to(device),
            self.visible.to(device),
            self.node.to(device),
            self.target.to(device),
            self.scored.to(device),
        )


def build_prefix_tree(actions: Sequence[Sequence[int]], start_token: int) -> PrefixTree:
    """Builds the tree of all proper prefixes.

    Args:
        actions: Token ids of each action, none empty.
        start_token: The decoder's first input.

    Returns:
        The tree, on the CPU.

    Raises:
        ValueError: If there is no action or one has no tokens.
    """
    if not actions or any(len(action) == 0 for action in actions):
        raise ValueError("every action needs at least one token")
    index: dict[tuple[int, ...], int] = {(): 0}
    for action in actions:
        for end in range(1, len(action)):
            index.setdefault(tuple(action[:end]), len(index))
    visible = torch.zeros(len(index), len(index), dtype=torch.bool)
    for prefix, row in index.items():
        for end in range(len(prefix) + 1):
            visible[row, index[prefix[:end]]] = True
    longest = max(len(action) for action in actions)
    node = torch.zeros(len(actions), longest, dtype=torch.long)
    target = torch.zeros(len(actions), longest, dtype=torch.long)
    scored = torch.zeros(len(actions), longest)
    for a, action in enumerate(actions):
        for j, token in enumerate(action):
            node[a, j] = index[tuple(action[:j])]
            target[a, j] = token
            scored[a, j] = 1.0
    return PrefixTree(
        tokens=torch.tensor([prefix[-1] if prefix else start_token for prefix in index]),
        depth=torch.tensor([len(prefix) for prefix in index]),
        visible=visible,
        node=node,
        target=target,
        scored=scored,
    )


def additive_mask(hidden: Tensor, dtype: torch.dtype) -> Tensor:
    """What is added to scores: 0, and the lowest number where something must not be seen."""
    return torch.zeros_like(hidden, dtype=dtype).masked_fill(hidden, torch.finfo(dtype).min)
