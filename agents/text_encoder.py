"""A GRU that reads batches of texts of any length and keeps only its last state (Cho et al. 2014).

PyTorch's own GRU is several times slower here: it multiplies the embedding of every token anew
although there are a few hundred different ones, and its backward pass over packed sequences copies
the whole sequence at every step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

TOKEN_DTYPE = np.dtype("<u2")
"""A text is kept as the bytes of its token ids in this type."""


@dataclass(frozen=True)
class TokenBatch:
    """Texts aligned at their ends, longest first, one time step after the other.

    Attributes:
        prefix: (n_prefix,) int64; the tokens that all texts begin with, which are read only once.
        ids: (n_tokens,) int64; what follows: tokens of the first time step, of the second, ...
        counts: Number of texts that have gone past the prefix at each time step; never falls.
        ranks: (batch,) int64; where each text stands in the order of length.
    """

    prefix: Tensor
    ids: Tensor
    counts: tuple[int, ...]
    ranks: Tensor


def pack(texts: Sequence[bytes], device: str | torch.device = "cpu") -> TokenBatch:
    """Arranges texts for the encoder.

    Args:
        texts: Token ids of each text, as the bytes of a ``TOKEN_DTYPE`` array; at least one text.
        device: Where the encoder is.

    Returns:
        The batch; a text without tokens is encoded as zeros.
    """
    width, shared = TOKEN_DTYPE.itemsize, _shared_prefix(min(texts), max(texts))
    lengths = np.array([len(text) // width - shared for text in texts], np.int64)
    order = np.argsort(-lengths, kind="stable")
    tokens = np.frombuffer(b"".join([texts[i][shared * width :] for i in order]), TOKEN_DTYPE)
    longest = int(lengths.max(initial=0))
    begun = np.arange(longest) >= longest - lengths[order, None]
    padded = np.zeros(begun.shape, np.int64)
    padded[begun] = tokens
    ranks: NDArray[np.int64] = np.argsort(order, kind="stable")
    return TokenBatch(
        torch.from_numpy(np.frombuffer(texts[0], TOKEN_DTYPE)[:shared].astype(np.int64)).to(device),
        torch.from_numpy(padded.T[begun.T]).to(device),
        tuple(begun.sum(0).tolist()),
        torch.from_numpy(ranks).to(device),
    )


def _shared_prefix(first: bytes, last: bytes) -> int:
    """Tokens shared by the first and the last of sorted texts, hence by all between."""
    compared = min(len(first), len(last))
    a, b = (np.frombuffer(text[:compared], TOKEN_DTYPE) for text in (first, last))
    differing = np.flatnonzero(a != b)
    return int(differing[0]) if differing.size else len(a)


@contextmanager
def zeros_for_denormals() -> Iterator[None]:
    """Has the processor take zeros for numbers below 1e-38, for the time of a backward pass.

    Gradients that fade over the steps of a long text end there, and a processor multiplies such
    numbers up to a hundred times slower. PyTorch cannot tell what was set before: afterwards it is
    as it starts.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class TextEncoder(nn.Module):
    """A one-layer GRU over embedded tokens, equal to ``torch.nn.GRU``'s last state."""

    def __init__(self, embedding_size: int, hidden_size: int) -> None:
        """Builds the weights, initialised as PyTorch's GRU.

        Args:
            embedding_size: Size of a token's embedding.
            hidden_size: Size of the state.
        """
        super().__init__()
        self.cell = nn.GRUCell(embedding_size, hidden_size)

    def forward(self, batch: TokenBatch, embeddings: Tensor) -> Tensor:
        """Encodes texts.

        Args:
            batch: What :func:`pack` made of them.
            embeddings: (vocab_size, embedding_size) token embeddings.

        Returns:
            (batch, hidden_size) states after the last token, in the order given to ``pack``.
        """
        cell = self.cell
        # One row of input gates for each token of the vocabulary, looked up instead of multiplied.
        table = F.linear(embeddings, cell.weight_ih, cell.bias_ih)
        state = table.new_zeros(1, cell.hidden_size)
        for ids, counts, texts in (
            (batch.prefix, (1,) * batch.prefix.numel(), 1),
            (batch.ids, batch.counts, batch.ranks.numel()),
        ):
            gates = F.embedding(ids, table)
            state = _Recurrence.apply(  # type: ignore[no-untyped-call]  # PyTorch leaves it untyped
                gates, state, cell.weight_hh, cell.bias_hh, counts, texts
            )
        return state[batch.ranks]


class _Recurrence(torch.autograd.Function):
    """The GRU's recurrence over a TokenBatch, with back-propagation through time.

    r, z = σ(x_r + W_r h + b_r), σ(x_z + W_z h + b_z); n = tanh(x_n + r (W_n h + b_n));
    h ← (1 − z) n + z h, the form and the order of gates of ``torch.nn.GRU``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        first: Tensor,
        weight: Tensor,
        bias: Tensor,
        counts: tuple[int, ...],
        batch: int,
    ) -> Tensor:
        """Runs from (1, size) over x, (n_tokens, 3·size) input gates, to (batch, size)."""
        size, rows = weight.shape[1], x.shape[0]
        # Row by row as x: h before each step; then the last states.
        states = first.repeat(rows + batch, 1)
        candidate = x[:, 2 * size :].contiguous()
        # All that the product with h is added to, so that a step is five operations.
        gates = x + bias
        gates[:, 2 * size :] = bias[2 * size :]
        transposed = weight.t().contiguous()
        for count, (old, following), gate, gate_rz, r, z, recurrent, new in zip(
            counts,
            pairwise(states.split_with_sizes((*counts, batch))),
            gates.split_with_sizes(counts),
            gates[:, : 2 * size].split_with_sizes(counts),
            gates[:, :size].split_with_sizes(counts),
            gates[:, size : 2 * size].split_with_sizes(counts),
            gates[:, 2 * size :].split_with_sizes(counts),
            candidate.split_with_sizes(counts),
            strict=True,
        ):
            gate.addmm_(old, transposed)
            gate_rz.sigmoid_()
            new.addcmul_(r, recurrent).tanh_()
            torch.lerp(new, old, z, out=following[:count])
        ctx.save_for_backward(weight, states[:rows], candidate, gates)
        ctx.counts = counts
        return states[rows:]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, None, None]:
        """Gradients of the input gates, the first state, the recurrent weight and its bias."""
        weight, before, candidate, gates = ctx.saved_tensors
        size = weight.shape[1]
        r, z, recurrent = gates.split(size, 1)
        # dL/dh times these: the gradients of r and z before the sigmoid, of W_n h + b_n, of x_n.
        to_candidate = (1 - z) * (1 - candidate * candidate)
        to_recurrent = to_candidate * r
        parts = (to_recurrent * recurrent * (1 - r), (before - candidate) * z * (1 - z))
        found = torch.stack([*parts, to_recurrent, to_candidate], 1)
        z = z.contiguous()
        grad_h = grads[0].clone(memory_format=torch.contiguous_format)
        for count, step, gate, kept in zip(
            reversed(ctx.counts),
            reversed(found.split_with_sizes(ctx.counts)),
            reversed(found.flatten(1)[:, : 3 * size].split_with_sizes(ctx.counts)),
            reversed(z.split_with_sizes(ctx.counts)),
            strict=True,
        ):
            grad = grad_h[:count]
            step.mul_(grad[:, None])
            grad.mul_(kept).addmm_(gate, weight)
        grad_x = torch.cat([found[:, :2], found[:, 3:]], 1).flatten(1)
        grad_gates = found[:, :3].flatten(1)
        grad_first = grad_h.sum(0, keepdim=True)
        return grad_x, grad_first, grad_gates.t() @ before, grad_gates.sum(0), None, None
