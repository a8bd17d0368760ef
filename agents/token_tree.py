"""Texts as a prefix tree of tokens: what some of them begin with alike is there, and read, once.

For a recurrent net, which reads it depth by depth. The language models' prefix tree is of actions,
and becomes an attention mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TOKEN_DTYPE = np.dtype("<u2")
"""A text is kept as the bytes of its token ids in this type."""


@dataclass(frozen=True)
class Branching:
    """How the nodes of a prefix tree hang together.

    Nodes stand by depth: those of all texts' first tokens, of their second tokens, ... Rows count
    from the root, which is before the first token: 0 is the root, 1 the first node.

    Attributes:
        parents: (n_nodes,) int64; the row that each node goes on from.
        counts: Nodes at each depth.
        straight: For each depth whether its nodes' parents are all the nodes one depth up, each
            once and in their order.
        ends: (batch,) int64; the row of each text's last token.
    """

    parents: Tensor
    counts: tuple[int, ...]
    straight: tuple[bool, ...]
    ends: Tensor


@dataclass(frozen=True)
class TokenTree:
    """Texts as a prefix tree.

    Attributes:
        vocabulary: (n_different,) int64; the tokens that occur.
        ids: (n_nodes,) int64; each node's place in the vocabulary.
        nodes: The nodes of all texts.
        learned: The nodes of those texts that gradients go through, a tree of their own.
        places: (n_learned_nodes,) int64; where each of them is among all nodes. None: all are.
    """

    vocabulary: Tensor
    ids: Tensor
    nodes: Branching
    learned: Branching
    places: Tensor | None = None


def build_token_tree(
    texts: Sequence[bytes], device: str | torch.device = "cpu", n_learned: int | None = None
) -> TokenTree:
    """Arranges texts for the encoder.

    Args:
        texts: Token ids of each text, as the bytes of a ``TOKEN_DTYPE`` array; at least one text.
        device: Where the encoder is.
        n_learned: Gradients go through so many of the texts, the first; None: through all.

    Returns:
        The tree; a text without tokens ends at the root.
    """
    # Sorted, texts that begin alike are neighbours, so a node is new where neighbours differ.
    order = np.array(sorted(range(len(texts)), key=texts.__getitem__))
    tokens = np.frombuffer(b"".join([texts[i] for i in order]), TOKEN_DTYPE)
    lengths = np.array([len(texts[i]) for i in order]) // TOKEN_DTYPE.itemsize
    occurs = np.bincount(tokens) > 0
    ids = np.full((len(texts), lengths.max()), -1)
    ids[np.arange(ids.shape[1]) < lengths[:, None]] = (np.cumsum(occurs) - 1)[tokens]
    new, rows = _grow(ids)
    nodes = _branching(new, rows, lengths, order, device)
    vocabulary = torch.from_numpy(np.flatnonzero(occurs)).to(device)
    node_ids = torch.from_numpy(ids.T[new]).to(device)
    if n_learned is None:
        return TokenTree(vocabulary, node_ids, nodes, learned=nodes)
    own = np.flatnonzero(order < n_learned)
    longest = lengths[own].max(initial=0)
    own_new, own_rows = _grow(ids[own, :longest])
    learned = _branching(own_new, own_rows, lengths[own], order[own], device)
    places = torch.from_numpy(rows[1 : longest + 1, own][own_new] - 1).to(device)
    return TokenTree(vocabulary, node_ids, nodes, learned, places)


def _grow(ids: NDArray[np.int64]) -> tuple[NDArray[np.bool_], NDArray[np.int64]]:
    """Where sorted texts branch off.

    Args:
        ids: (batch, longest) tokens, then -1.

    Returns:
        (longest, batch) whether a text's token is a new node, (1 + longest, batch) the row that a
        text has come to after so many tokens. Of the texts [5, 7] and [5, 8]: new is [[1, 0],
        [1, 1]], as the second shares the first's 5; rows are [[0, 0], [1, 1], [2, 3]].
    """
    begins = ids >= 0
    begins[1:] &= ~np.logical_and.accumulate(ids[1:] == ids[:-1], axis=1)
    new = begins.T
    counts = new.sum(1)
    rows = np.zeros((len(new) + 1, new.shape[1]), np.int64)
    rows[1:] = new.cumsum(1) + (counts.cumsum() - counts)[:, None]
    return new, rows


def _branching(
    new: NDArray[np.bool_],
    rows: NDArray[np.int64],
    lengths: NDArray[np.int64],
    order: NDArray[np.int64],
    device: str | torch.device,
) -> Branching:
    """What :func:`_grow` found, for sorted texts of these lengths from these places."""
    counts = new.sum(1)
    earlier = np.concatenate([[1], counts])[:-1]
    one_by_one = (rows[1:] - rows[:-1] == earlier[:, None]) | ~new
    ends = np.empty_like(order)
    ends[order] = rows[lengths, np.arange(len(order))]
    return Branching(
        torch.from_numpy(rows[:-1][new]).to(device),
        tuple(counts.tolist()),
        tuple((one_by_one.all(1) & (counts == earlier)).tolist()),
        torch.from_numpy(ends).to(device),
    )
