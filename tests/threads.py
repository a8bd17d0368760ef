"""Whether gradients hang on how many threads add them up."""

from collections.abc import Iterable

import torch
from torch import Tensor


def gradients_on_two_threads(loss, parameters: Iterable[Tensor]) -> set[bytes]:
    """The gradients of ten calls of ``loss``, as bytes: one element if they are always the same."""
    wanted = list(parameters)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        return {
            b"".join(grad.numpy().tobytes() for grad in torch.autograd.grad(loss(), wanted))
            for _ in range(10)
        }
    finally:
        torch.set_num_threads(threads)
