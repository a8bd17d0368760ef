"""The packed GRU against PyTorch's own, text by text."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from agents.text_encoder import TOKEN_DTYPE, TextEncoder, pack

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
    encoder, reference = TextEncoder(6, 8).double(), nn.GRU(6, 8).double()
    reference.load_state_dict({f"{k}_l0": v for k, v in encoder.cell.state_dict().items()})
    embeddings = torch.randn(50, 6, dtype=torch.float64, requires_grad=True)
    batch = texts(lengths, prefix)
    ours = encoder(pack(batch), embeddings)
    theirs = read_one_by_one(reference, embeddings, batch)
    torch.testing.assert_close(ours, theirs)
    with torch.no_grad():
        torch.testing.assert_close(encoder(pack(batch), embeddings), theirs)

    weights = torch.randn(ours.shape, dtype=torch.float64)
    our_parameters = [embeddings, *encoder.cell.parameters()]
    their_parameters = [embeddings, *reference.parameters()]
    our_gradients = torch.autograd.grad((ours * weights).sum(), our_parameters)
    their_gradients = torch.autograd.grad((theirs * weights).sum(), their_parameters)
    for ours, theirs in zip(our_gradients, their_gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_batch_holds_every_token_once_and_the_prefix_once_for_all() -> None:
    batch = pack(texts((5, 3, 9, 3), 7))
    prefix = np.random.default_rng(0).integers(0, 50, 7).tolist()
    assert batch.vocabulary[batch.prefix].tolist() == prefix
    assert batch.ids.numel() == sum(batch.counts) == 5 + 3 + 9 + 3
    assert batch.counts == (1, 1, 1, 1, 2, 2, 4, 4, 4)
    assert batch.ranks.tolist() == [1, 2, 0, 3]
