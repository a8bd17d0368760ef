"""The GRU over a prefix tree against PyTorch's own, text by text."""

import numpy as np
import pytest
import torch
from threads import gradients_on_two_threads
from torch import Tensor, nn

from agents.text_encoder import TextEncoder
from agents.token_tree import TOKEN_DTYPE, build_token_tree

BATCHES = {
    "one text": ((4,), 0),
    "different lengths": ((5, 3, 9, 3), 0),
    "a shared prefix": ((5, 3, 9, 3), 7),
    "an empty text": ((0, 2), 0),
    "the prefix itself": ((0, 2, 5), 4),
    "the same text twice": ((0, 0), 6),
}


def texts(lengths: tuple[int, ...], prefix: int) -> list[bytes]:
    rng = np.random.default_rng(0)
    start = rng.integers(0, 50, prefix)
    return [
        np.concatenate([start, rng.integers(0, 50, n)]).astype(TOKEN_DTYPE).tobytes()
        for n in lengths
    ]


def pytorch_s(encoder: TextEncoder) -> nn.GRU:
    """PyTorch's GRU with the encoder's weights."""
    cell = encoder.cell
    reference = nn.GRU(cell.input_size, cell.hidden_size).to(cell.weight_hh.dtype)
    reference.load_state_dict({f"{k}_l0": v for k, v in cell.state_dict().items()})
    return reference


def read_one_by_one(reference: nn.GRU, embeddings: Tensor, batch: list[bytes]) -> Tensor:
    states = []
    for text in batch:
        ids = torch.tensor(np.frombuffer(text, TOKEN_DTYPE).astype(np.int64))
        empty = torch.zeros(8, dtype=torch.float64)
        states.append(reference(embeddings[ids])[0][-1] if len(ids) else empty)
    return torch.stack(states)


@pytest.mark.parametrize(("lengths", "prefix"), BATCHES.values(), ids=BATCHES.keys())
def test_states_and_gradients_equal_pytorch_s_gru(lengths: tuple[int, ...], prefix: int) -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(6, 8).double()
    reference = pytorch_s(encoder)
    embeddings = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    batch = texts(lengths, prefix)
    ours = encoder(build_token_tree(batch), embeddings)
    theirs = read_one_by_one(reference, embeddings, batch)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(encoder(build_token_tree(batch), embeddings), theirs)

    weights = torch.randn(ours.shape, dtype=torch.float64)
    our_parameters = [embeddings, *encoder.cell.parameters()]
    their_parameters = [embeddings, *reference.parameters()]
    our_gradients = torch.autograd.grad((ours * weights).sum(), our_parameters)
    their_gradients = torch.autograd.grad((theirs * weights).sum(), their_parameters)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_long_texts_in_32_bits_equal_pytorch_s_gru() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(16, 32)
    for parameter in encoder.cell.parameters():
        parameter.data *= 3  # as learning makes them
    reference = pytorch_s(encoder)
    embeddings = torch.randn(50, 16)
    batch = texts((120,) * 16, 30)
    ours = encoder(build_token_tree(batch), embeddings)
    theirs = read_one_by_one(reference, embeddings, batch)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    weights = torch.randn(ours.shape)
    our_gradients = torch.autograd.grad((ours * weights).sum(), list(encoder.cell.parameters()))
    their_gradients = torch.autograd.grad((theirs * weights).sum(), list(reference.parameters()))
    for own, their in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(own, their, atol=1e-4, rtol=1e-4)


def test_texts_without_any_token_are_zeros_and_teach_nothing() -> None:
    encoder = TextEncoder(6, 8)
    embeddings = torch.randn(50, 6, requires_grad=True)
    states = encoder(build_token_tree([b"", b""]), embeddings)
    assert torch.equal(states, torch.zeros(2, 8))
    for gradient in torch.autograd.grad(states.sum(), [embeddings, *encoder.parameters()]):
        assert not gradient.any()


def test_gradients_go_through_the_first_texts_alone() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(6, 8).double()
    embeddings = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    parameters = [embeddings, *encoder.parameters()]
    batch = texts((5, 3, 9, 3), 7)
    weights = torch.randn(4, 8, dtype=torch.float64)
    states = encoder(build_token_tree(batch, n_learned=2), embeddings)
    torch.testing.assert_close(states, encoder(build_token_tree(batch), embeddings))
    ours = torch.autograd.grad((states * weights).sum(), parameters)
    alone = encoder(build_token_tree(batch[:2]), embeddings)
    theirs = torch.autograd.grad((alone * weights[:2]).sum(), parameters)
    for own, their in zip(ours, theirs, strict=True):
        torch.testing.assert_close(own, their)


def test_gradients_are_the_same_bytes_on_two_threads() -> None:
    torch.manual_seed(0)
    encoder = TextEncoder(128, 128)
    embeddings = torch.randn(50, 128, requires_grad=True)
    rng = np.random.default_rng(0)
    batch = rng.integers(0, 4, (64, 90)).astype(TOKEN_DTYPE)
    tree = build_token_tree([text.tobytes() for text in batch])
    slopes = torch.randn(64, 128)
    found = gradients_on_two_threads(
        lambda: (encoder(tree, embeddings) * slopes).sum(), [embeddings, *encoder.parameters()]
    )
    assert len(found) == 1
