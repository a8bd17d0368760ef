"""A GRU over a prefix tree of texts, of which each text's last state is wanted (Cho et al. 2014).

PyTorch's own GRU is several times slower here: it multiplies the embedding of every token anew
although a batch has a hundred different ones, and its backward pass over packed sequences copies
the whole sequence at every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from agents.token_tree import Branching, TokenTree

_aten = torch.ops.aten


@contextmanager
def zeros_for_denormals() -> Iterator[None]:
    """Flushes denormal numbers (below 1e-38) to zero in this thread, during a backward pass.

    Gradients that fade over the steps of a long text end there, and a CPU multiplies such numbers
    up to a hundred times slower. PyTorch cannot tell what was set before, so that its default is
    set afterwards.
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

    def forward(self, tree: TokenTree, embeddings: Tensor) -> Tensor:
        """Encodes texts.

        Args:
            tree: The texts.
            embeddings: (vocab_size, embedding_size) token embeddings.

        Returns:
            (batch, hidden_size) states after each text's last token; zeros if it has none.
        """
        cell, size = self.cell, self.cell.hidden_size
        # One row of input gates for each token that occurs, looked up instead of multiplied.
        tokens = F.embedding(tree.vocabulary, embeddings)
        table = F.linear(tokens, cell.weight_ih, cell.bias_ih)
        # tanh x = 2 σ(2x) − 1, and a sigmoid takes a third of a tanh's time on a CPU. So it is the
        # recurrence of g = (h + 1) / 2: all that n is made of is doubled, and W h + b is
        # 2 W g + b − W 1.
        doubled = table.new_ones(3 * size)
        doubled[2 * size :] = 2
        states: Tensor = _Recurrence.apply(  # type: ignore[no-untyped-call]  # PyTorch's
            table * doubled,
            tree,
            cell.weight_hh * (2 * doubled)[:, None],
            (cell.bias_hh - cell.weight_hh.sum(1)) * doubled,
        )
        return 2 * states - 1


class _Recurrence(torch.autograd.Function):
    """The GRU's recurrence over a TokenTree, with back-propagation through time.

    r, z = σ(x_r + W_r h + b_r), σ(x_z + W_z h + b_z); n = σ(x_n + r (W_n h + b_n));
    h ← (1 − z) n + z h, with the gates in the order of ``torch.nn.GRU``. With σ in place of tanh
    h is between 0 and 1, and begins at 1/2.
    """

    @staticmethod
    def forward(ctx: Any, table: Tensor, tree: TokenTree, weight: Tensor, bias: Tensor) -> Tensor:
        """Runs over x = table[ids], (n_nodes, 3·size), to (batch, size) states at the ends."""
        size = weight.shape[1]
        candidate = table[:, 2 * size :].index_select(0, tree.ids)
        # All that the product with h is added to, so that a step is five operations.
        added = table + bias
        added[:, 2 * size :] = bias[2 * size :]
        gates = added.index_select(0, tree.ids)
        states = table.new_empty(1 + len(tree.ids), size)
        states[0] = 0.5
        with torch.inference_mode():  # no operation of a step goes by way of autograd
            _read(states, gates, candidate, weight.t().contiguous(), tree.nodes)
        ctx.save_for_backward(weight, states, candidate, gates)
        ctx.tree, ctx.n_different = tree, len(table)
        return states.index_select(0, tree.nodes.ends)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, Tensor, Tensor]:
        """Gradients of the table, the recurrent weight and its bias."""
        weight, states, candidate, gates = ctx.saved_tensors
        size, tree = weight.shape[1], ctx.tree
        ids, parents, nodes = tree.ids, tree.nodes.parents, tree.learned
        if tree.places is not None:
            ids, parents, candidate, gates = (
                all_nodes.index_select(0, tree.places)
                for all_nodes in (ids, parents, candidate, gates)
            )
        before = states.index_select(0, parents)
        r, z, recurrent = gates.split(size, 1)
        # dL/dh times these: the gradients of W_n h + b_n, of r and z before the sigmoid, of x_n.
        found = gates.new_empty(len(gates), 4, size)
        to_recurrent, to_r, to_z, to_candidate = found.unbind(1)
        _aten.sigmoid_backward(1 - z, candidate, grad_input=to_candidate)
        torch.mul(to_candidate, r, out=to_recurrent)
        _aten.sigmoid_backward(to_candidate * recurrent, r, grad_input=to_r)
        _aten.sigmoid_backward(before - candidate, z, grad_input=to_z)
        grad_h = before.new_zeros(1 + len(before), size)
        grad_h.index_add_(0, nodes.ends, grads[0][: len(nodes.ends)])
        with torch.inference_mode():
            _go_back(grad_h, found, z.contiguous(), weight.roll(size, 0), nodes)
        # Added up by token, W_n's part too, of which only the bias has use: cutting it out copies.
        by_token = _aten.embedding_dense_backward(found.flatten(1), ids, ctx.n_different, -1, False)
        grad_bias = by_token[:, : 3 * size].sum(0).roll(-size)
        grad_weight = (found.flatten(1)[:, : 3 * size].t() @ before).roll(-size, 0)
        return by_token[:, size:], None, grad_weight, grad_bias


def _read(
    states: Tensor, gates: Tensor, candidate: Tensor, weight: Tensor, nodes: Branching
) -> None:
    """The recurrence in place: W's part is added to the gates, and h goes from depth to depth.

    Args:
        states: (1 + n_nodes, size) h at the root, which is there already, and after each node.
        gates: (n_nodes, 3·size) what r, z and W_n h are added to.
        candidate: (n_nodes, size) x_n.
        weight: (size, 3·size) recurrent weight.
        nodes: How they hang together.
    """
    size, counts = candidate.shape[1], nodes.counts
    root_and_depths = states.split_with_sizes((1, *counts))
    for old, straight, parents, gate, gate_rz, r, z, recurrent, new, following in zip(
        root_and_depths[:-1],
        nodes.straight,
        nodes.parents.split_with_sizes(counts),
        gates.split_with_sizes(counts),
        gates[:, : 2 * size].split_with_sizes(counts),
        gates[:, :size].split_with_sizes(counts),
        gates[:, size : 2 * size].split_with_sizes(counts),
        gates[:, 2 * size :].split_with_sizes(counts),
        candidate.split_with_sizes(counts),
        root_and_depths[1:],
        strict=True,
    ):
        h = old if straight else states.index_select(0, parents)
        gate.addmm_(h, weight)
        gate_rz.sigmoid_()
        new.addcmul_(r, recurrent).sigmoid_()
        torch.lerp(new, h, z, out=following)


def _go_back(grad_h: Tensor, found: Tensor, z: Tensor, weight: Tensor, nodes: Branching) -> None:
    """The recurrence backwards, in place.

    Args:
        grad_h: (1 + n_nodes, size) dL/dh at the root and after each node, as far as texts end
            there; afterwards all of it.
        found: (n_nodes, 4, size) what dL/dh after a node is multiplied with.
        z: (n_nodes, size) share of h that a node keeps.
        weight: (3·size, size) recurrent weight, in the order of ``found``: W_n, W_r, W_z.
        nodes: How they hang together.
    """
    size, counts = z.shape[1], nodes.counts
    root_and_depths = grad_h.split_with_sizes((1, *counts))
    for grad, earlier, straight, parents, step, gate, kept in zip(
        reversed(root_and_depths[1:]),
        reversed(root_and_depths[:-1]),
        reversed(nodes.straight),
        reversed(nodes.parents.split_with_sizes(counts)),
        reversed(found.split_with_sizes(counts)),
        reversed(found.flatten(1)[:, : 3 * size].split_with_sizes(counts)),
        reversed(z.split_with_sizes(counts)),
        strict=True,
    ):
        step.mul_(grad[:, None])
        if straight:
            earlier.addcmul_(grad, kept).addmm_(gate, weight)
        else:
            grad_h.index_add_(0, parents, (grad * kept).addmm_(gate, weight))
