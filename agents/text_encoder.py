"""A GRU that reads batches of texts of any length and keeps only its last state (Cho et al. 2014).

PyTorch's own GRU is several times slower here: it multiplies the embedding of every token anew
although a batch has a hundred different ones, and its backward pass over packed sequences copies
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

_aten = torch.ops.aten


@dataclass(frozen=True)
class TokenBatch:
    """Texts aligned at their ends, longest first, one time step after the other.

    Attributes:
        vocabulary: (n_different,) int64; the tokens that occur.
        prefix: (n_prefix,) int64; places in the vocabulary of the tokens that all texts begin with,
            which are read only once.
        ids: (n_tokens,) int64; places of what follows: tokens of the first time step, of the
            second, ...
        counts: Number of texts that have gone past the prefix at each time step; never falls.
        ranks: (batch,) int64; where each text stands in the order of length.
    """

    vocabulary: Tensor
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
    rests = [texts[i][shared * width :] for i in order]
    tokens = np.frombuffer(b"".join([texts[0][: shared * width], *rests]), TOKEN_DTYPE)
    occurs = np.bincount(tokens) > 0
    places = (np.cumsum(occurs) - 1)[tokens]
    longest = int(lengths.max(initial=0))
    begun = np.arange(longest) >= longest - lengths[order, None]
    padded = np.zeros(begun.shape, np.int64)
    padded[begun] = places[shared:]
    ranks: NDArray[np.int64] = np.argsort(order, kind="stable")
    return TokenBatch(
        torch.from_numpy(np.flatnonzero(occurs)).to(device),
        torch.from_numpy(places[:shared]).to(device),
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
        # One row of input gates for each token that occurs, looked up instead of multiplied.
        tokens = F.embedding(batch.vocabulary, embeddings)
        table = F.linear(tokens, cell.weight_ih, cell.bias_ih)
        states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]  # PyTorch's
            table, batch, cell.weight_hh, cell.bias_hh
        )
        return states[batch.ranks]


class _Recurrence(torch.autograd.Function):
    """The GRU's recurrence over a TokenBatch, with back-propagation through time.

    r, z = σ(x_r + W_r h + b_r), σ(x_z + W_z h + b_z); n = tanh(x_n + r (W_n h + b_n));
    h ← (1 − z) n + z h, the form and the order of gates of ``torch.nn.GRU``.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, batch: TokenBatch, weight: Tensor, bias: Tensor) -> Tensor:
        """Runs over x = table[tokens], (n_tokens, 3·size), to (batch, size), longest first."""
        size, shared = weight.shape[1], len(batch.prefix)
        ids = torch.cat([batch.prefix, batch.ids])
        candidate = table[:, 2 * size :].index_select(0, ids)
        # All that the product with h is added to, so that a step is five operations.
        added = table + bias
        added[:, 2 * size :] = bias[2 * size :]
        gates = added.index_select(0, ids)
        # Row by row as ids: h before each step; then the last states.
        states = table.new_zeros(len(ids) + len(batch.ranks), size)
        transposed = weight.t().contiguous()
        _read(states[: shared + 1], gates[:shared], candidate[:shared], transposed, (1,) * shared)
        states[shared:] = states[shared].clone()
        _read(states[shared:], gates[shared:], candidate[shared:], transposed, batch.counts)
        ctx.save_for_backward(ids, weight, states[: len(ids)], candidate, gates)
        ctx.counts, ctx.shared, ctx.vocabulary = batch.counts, shared, len(table)
        return states[len(ids) :]

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        """Gradients of the table, the recurrent weight and its bias."""
        ids, weight, before, candidate, gates = ctx.saved_tensors
        size, shared = weight.shape[1], ctx.shared
        r, z, recurrent = gates.split(size, 1)
        # dL/dh times these: the gradients of r and z before the sigmoid, of W_n h + b_n, of x_n.
        found = gates.new_empty(len(ids), 4, size)
        to_r, to_z, to_recurrent, to_candidate = found.unbind(1)
        _aten.tanh_backward(1 - z, candidate, grad_input=to_candidate)
        torch.mul(to_candidate, r, out=to_recurrent)
        _aten.sigmoid_backward(to_candidate * recurrent, r, grad_input=to_r)
        _aten.sigmoid_backward(before - candidate, z, grad_input=to_z)
        z = z.contiguous()
        grad_h = grads[0].clone(memory_format=torch.contiguous_format)
        _go_back(grad_h, found[shared:], z[shared:], weight, ctx.counts)
        _go_back(grad_h.sum(0, keepdim=True), found[:shared], z[:shared], weight, (1,) * shared)
        grad_gates = found.flatten(1)[:, : 3 * size]
        grad_x = torch.cat([found[:, :2], found[:, 3:]], 1).flatten(1)
        grad_table = _aten.embedding_dense_backward(grad_x, ids, ctx.vocabulary, -1, False)
        # What r and z are added up from is the same for the table's rows and for the bias.
        grad_bias = torch.cat([grad_table[:, : 2 * size].sum(0), to_recurrent.sum(0)])
        return grad_table, None, grad_gates.t() @ before, grad_bias


def _read(
    states: Tensor, gates: Tensor, candidate: Tensor, weight: Tensor, counts: tuple[int, ...]
) -> None:
    """The recurrence in place: W's part is added to the gates, and h goes from step to step.

    Args:
        states: (n_tokens + batch, size) h before each step, then the last; each text's first is
            there already.
        gates: (n_tokens, 3·size) what r, z and W_n h are added to.
        candidate: (n_tokens, size) x_n.
        weight: (size, 3·size) recurrent weight.
        counts: Texts in each step.
    """
    size = candidate.shape[1]
    batch = len(states) - len(gates)
    # After the first step's rows, those that a step writes and those of texts that only begin.
    written = [n for now, then in pairwise((*counts, batch)) for n in (now, then - now)]
    for old, following, gate, gate_rz, r, z, recurrent, new in zip(
        states.split_with_sizes((*counts, batch))[:-1],
        states[counts[0] if counts else batch :].split_with_sizes(written)[::2],
        gates.split_with_sizes(counts),
        gates[:, : 2 * size].split_with_sizes(counts),
        gates[:, :size].split_with_sizes(counts),
        gates[:, size : 2 * size].split_with_sizes(counts),
        gates[:, 2 * size :].split_with_sizes(counts),
        candidate.split_with_sizes(counts),
        strict=True,
    ):
        gate.addmm_(old, weight)
        gate_rz.sigmoid_()
        new.addcmul_(r, recurrent).tanh_()
        torch.lerp(new, old, z, out=following)


def _go_back(
    grad_h: Tensor, found: Tensor, z: Tensor, weight: Tensor, counts: tuple[int, ...]
) -> None:
    """The recurrence backwards, in place.

    Args:
        grad_h: (batch, size) dL/dh after the last step; afterwards before the first.
        found: (n_tokens, 4, size) what dL/dh after a step is multiplied with.
        z: (n_tokens, size) share of h that a step keeps.
        weight: (3·size, size) recurrent weight.
        counts: Texts in each step.
    """
    size = z.shape[1]
    for count, step, gate, kept in zip(
        reversed(counts),
        reversed(found.split_with_sizes(counts)),
        reversed(found.flatten(1)[:, : 3 * size].split_with_sizes(counts)),
        reversed(z.split_with_sizes(counts)),
        strict=True,
    ):
        grad = grad_h[:count]
        step.mul_(grad[:, None])
        grad.mul_(kept).addmm_(gate, weight)
