"""A T5's own operations against PyTorch's: values, gradients, and what they are counted as."""

import torch
from small_agents import agent, observations
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from agents.language_model.kernels import tanh_gelu
from agents.language_model.planning.operations import flop_counter


def test_the_gelu_is_pytorchs_and_so_are_its_gradients() -> None:
    x = torch.linspace(-30, 30, 4001, requires_grad=True)
    ours, theirs = tanh_gelu(x), functional.gelu(x, approximate="tanh")
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    weights = torch.arange(len(x)) / len(x)
    gradients = [torch.autograd.grad((y * weights).sum(), x)[0] for y in (ours, theirs)]
    torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
    short = x.detach().bfloat16()
    assert torch.equal(tanh_gelu(short), functional.gelu(short, approximate="tanh"))


class _Fused(TorchDispatchMode):
    """Counts calls of fused attention."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
        return func(*args, **(kwargs or {}))


def test_learning_and_acting_read_alike_and_cost_alike() -> None:
    trained, batch = agent(), observations() + observations("french-goto")
    found, flops, fused = [], [], []
    for learning in (True, False):
        with torch.set_grad_enabled(learning), flop_counter() as counted, _Fused() as calls:
            found.append(trained.evaluate(batch))
        flops.append(counted.get_total_flops())
        fused.append(calls.count > 0)
    assert fused == [False, True]  # attention is one kernel without gradients
    for learned, acted in zip(*found, strict=True):
        torch.testing.assert_close(learned.detach(), acted, atol=1e-5, rtol=1e-5)
    assert flops[0] == flops[1]


def test_in_16_bits_acting_and_learning_round_alike() -> None:
    trained, batch = agent(precision="bfloat16"), observations()
    learned = trained.evaluate(batch)[0].detach()
    with torch.no_grad():
        assert torch.equal(trained.evaluate(batch)[0], learned)


def test_fused_attention_counts_its_products_there_and_back() -> None:
    query, key, value = (torch.randn(1, 2, 16, 8, requires_grad=True) for _ in range(3))
    with flop_counter() as counted:
        functional.scaled_dot_product_attention(query, key, value).sum().backward()
    # Two, and five back, of which one makes the scores again.
    assert counted.get_total_flops() == (2 + 5) * 2 * (2 * 16 * 16 * 8)
