"""What large models need: adapters, activation checkpointing, 16-bit numbers, no waiting."""

import gzip
import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file
from small_agents import agent, environments, observations, run, weights
from test_causal import llama  # noqa: F401  # a fixture
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._python_dispatch import TorchDispatchMode

from agents import AgentError
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.precision import choose_precision
from envs import Observation

CPU = torch.device("cpu")


@pytest.fixture(params=["miniflan", "llama"])
def model(request: pytest.FixtureRequest) -> str:
    return "miniflan" if request.param == "miniflan" else request.getfixturevalue("llama")


def gradients(trained: LanguageModelAgent) -> list[torch.Tensor]:
    log_policy, values = trained.evaluate(observations()[:6])
    (log_policy[:, 1].sum() + values.sum()).backward()
    return [p.grad for p in trained.trained]


def test_checkpointed_activations_take_less_memory_and_give_the_same_gradients(model: str) -> None:
    kept: list[int] = []

    def measured(checkpointing: bool) -> tuple[int, list[torch.Tensor]]:
        kept.clear()
        trained = agent(model, activation_checkpointing=checkpointing)
        with saved_tensors_hooks(lambda x: (kept.append(x.numel()), x)[1], lambda x: x):
            log_policy, _ = trained.evaluate(observations()[:6])
        forward = sum(kept)
        log_policy[:, 1].sum().backward()
        return forward, [p.grad for p in trained.trained if p.grad is not None]

    plain, expected = measured(False)
    little, found = measured(True)
    assert little < plain / 2
    for gradient, reference in zip(found, expected, strict=True):
        torch.testing.assert_close(gradient, reference, atol=1e-5, rtol=1e-4)


def test_adapters_alone_are_trained_saved_and_resumed(model: str, tmp_path: Path) -> None:
    whole, envs = agent(model, lora_rank=2), environments()
    frozen = {name: p.clone() for name, p in whole.policy.named_parameters() if not p.requires_grad}
    start = weights(whole)
    run(whole, envs, 1)
    whole.save(tmp_path)
    state = envs.state()
    expected = run(whole, envs, 1), weights(whole)
    resumed, again = agent(model, lora_rank=2), environments()
    assert weights(resumed) == start
    resumed.load(tmp_path)
    again.restore(state)
    assert (run(resumed, again, 1), weights(resumed)) == expected
    for name, parameter in whole.policy.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name]), name
        else:
            assert "lora_" in name or "head" in name
    assert sum(p.numel() for p in whole.trained) < sum(p.numel() for p in frozen.values())
    assert not (tmp_path / "model" / "model.safetensors").exists()
    opened = PeftModel.from_pretrained(agent(model).backbone.model, tmp_path / "model")
    adapters = [p for name, p in opened.named_parameters() if "lora_" in name]
    assert any(p.any() for p in adapters)
    path = tmp_path / "model" / "adapter_model.safetensors"
    tensors = load_file(path)
    lost = next(iter(tensors))
    save_file({name: value for name, value in tensors.items() if name != lost}, path)
    with pytest.raises(AgentError, match=r"does not fit: .*nothing for .*lora_"):
        agent(model, lora_rank=2).load(tmp_path)


def test_options_of_large_models_that_cannot_be_are_one_line() -> None:
    with pytest.raises(AgentError, match="lora_rank must be at least 1"):
        agent(lora_rank=0)


def recorded_prompts() -> list[str]:
    file = Path(__file__).parent / "data" / "prompts.jsonl.gz"
    return [json.loads(line)["prompt"] for line in gzip.open(file, "rt")]


class _Recorded(Observation):
    """An observation of which only the prompt and the actions matter."""

    def prompt(self) -> str:
        return self.goal


@torch.no_grad()
def test_short_numbers_keep_the_best_action() -> None:
    phrases = observations(count=1)[0].action_phrases
    seen = [_Recorded(prompt, (), (), phrases) for prompt in recorded_prompts()]
    exact, short = (agent(precision=p).evaluate(seen)[0] for p in ("float32", "bfloat16"))
    assert not torch.equal(exact, short)
    chosen = exact.gather(1, short.argmax(1, keepdim=True)).squeeze(1)
    # A lead below one step of the short numbers, .8% of the probability, is a tie in them.
    lost = exact.max(1).values - chosen > torch.finfo(torch.bfloat16).eps
    assert lost.float().mean() <= 0.01


def test_precision_is_measured_only_when_asked_to_and_kept(tmp_path: Path) -> None:
    assert choose_precision("float32", CPU) == "float32"
    assert choose_precision("bfloat16", CPU) == "bfloat16"
    short = agent(precision="bfloat16")
    assert short.identity()["model"]["precision"] == "bfloat16"
    short.save(tmp_path)
    other = agent()  # as if the probe had come out otherwise on resuming
    other.load(tmp_path)
    assert other.identity()["model"]["precision"] == "bfloat16"
    assert all(p.dtype == torch.float32 for p in short.policy.parameters())


class _Copies(TorchDispatchMode):
    """Counts numbers read out of tensors, which would wait for a GPU."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func is torch.ops.aten._local_scalar_dense.default
        return func(*args, **(kwargs or {}))


def test_learning_reads_no_number_out_of_a_tensor(model: str) -> None:
    trained, envs = agent(model, max_batch_tokens=300), environments()
    minibatch = (torch.zeros(4, dtype=torch.long), *(torch.zeros(4) for _ in range(4)))
    trained._step(list(envs.observations), minibatch)
    with _Copies() as copies:
        trained._step(list(envs.observations), minibatch)
    assert copies.count == 0
    with _Copies() as copies:
        torch.ones(1).item()
    assert copies.count == 1


@pytest.mark.parametrize(
    ("short", "chosen"), [(0.5, "bfloat16"), (0.9, "float32"), (2.0, "float32")]
)
def test_short_numbers_are_chosen_where_they_are_clearly_faster(monkeypatch, short, chosen) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: short}
    monkeypatch.setattr(
        "agents.language_model.precision.product_seconds", lambda dtype, device: seconds[dtype]
    )
    assert choose_precision("auto", CPU) == chosen
