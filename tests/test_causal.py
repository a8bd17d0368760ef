"""Causal language models as backbones: scored like one action at a time, trained, resumed."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_agents import agent, environments, miniflan_tokenizer, observations, run, weights
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    BertLMHeadModel,
    CodeGenConfig,
    CodeGenForCausalLM,
    CohereConfig,
    CohereForCausalLM,
    GPTNeoConfig,
    GPTNeoForCausalLM,
    LlamaConfig,
    LlamaForCausalLM,
    MambaConfig,
    MambaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    XGLMConfig,
    XGLMForCausalLM,
)

from agents import AgentError
from agents.language_model import smollm2
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.causal import causal_states
from agents.language_model.config import LanguageModelConfig
from agents.language_model.planning.cost import LanguageModelCost
from agents.language_model.prefix_tree import build_prefix_tree
from agents.language_model.prompt_batch import pad_batch


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a small random Llama: grouped queries, tied output layer, as SmolLM2's."""
    folder = tmp_path_factory.mktemp("checkpoint") / "llama-toy"
    tokenizer = miniflan_tokenizer()
    torch.manual_seed(3)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        tie_word_embeddings=True,
        initializer_range=0.3,  # the default makes all actions as good as equal
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def one_at_a_time(trained: LanguageModelAgent, observation) -> torch.Tensor:
    """Scores each action by a forward pass over the text that ends with it, by the library."""
    tokenizer, model = trained.backbone.tokenizer, trained.backbone.model
    text = observation.prompt().rstrip()
    prompt = tokenizer(text, add_special_tokens=False)["input_ids"]
    scores = []
    for phrase in observation.action_phrases:
        whole = tokenizer(f"{text} {phrase}", add_special_tokens=False)["input_ids"]
        words = whole[len(prompt) :]
        assert whole[: len(prompt)] == prompt
        logits = model(input_ids=torch.tensor([whole])).logits[0].log_softmax(-1)
        scores.append(sum(logits[len(prompt) - 1 + j, word] for j, word in enumerate(words)))
    return torch.log_softmax(torch.stack(scores), 0)


def assert_scored_like_one_at_a_time(trained: LanguageModelAgent, batch: list) -> None:
    log_policy, _ = trained.evaluate(batch)
    expected = torch.stack([one_at_a_time(trained, observation) for observation in batch])
    assert expected.exp().max() > 0.3  # not all the same
    torch.testing.assert_close(log_policy, expected, atol=1e-4, rtol=1e-4)


def test_the_plan_counts_the_tokens_that_are_read(llama: str) -> None:
    reader, seen = agent(llama).reader, observations()
    phrases = seen[0].action_phrases
    cost = LanguageModelCost(LanguageModelConfig(model=llama), len(phrases), learns=False)
    lengths = cost.lengths([observation.prompt() for observation in seen])
    assert lengths == [len(tokens) for tokens in reader.prompts(seen)]
    work = cost.work([lengths], phrases, "cpu", learning=False)
    assert work.prompt_tokens == sum(lengths)
    # The tree's first node is the prompt's last token.
    assert work.tree_tokens == len(seen) * (len(reader.tree(phrases).tokens) - 1)


@pytest.mark.parametrize("split", ["train", "synonym-actions", "french-goto"])
@torch.no_grad()
def test_scores_equal_one_action_at_a_time(llama: str, split: str) -> None:
    assert_scored_like_one_at_a_time(agent(llama), observations(split))


SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}


def saved(folder: Path, kind: type, config: object) -> str:
    """A random causal model of a kind, with MiniFlan's tokenizer."""
    torch.manual_seed(3)
    model = kind(config)
    with torch.no_grad():  # the default makes all actions as good as equal
        for parameter in model.parameters():
            parameter.mul_(4 if parameter.dim() > 1 else 1)
    model.save_pretrained(folder)
    miniflan_tokenizer().save_pretrained(folder)
    return str(folder)


@torch.no_grad()
def test_attention_that_is_not_fused_is_masked_too(tmp_path: Path) -> None:
    sizes = {"n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}
    config = CodeGenConfig(vocab_size=len(miniflan_tokenizer()), **sizes)
    trained = agent(saved(tmp_path, CodeGenForCausalLM, config))
    assert trained.backbone.model.config._attn_implementation == "eager"
    assert_scored_like_one_at_a_time(trained, observations())


@torch.no_grad()
def test_a_causal_model_with_a_start_token_in_its_config_has_no_decoder(tmp_path: Path) -> None:
    sizes = {"d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4}
    config = XGLMConfig(vocab_size=len(miniflan_tokenizer()), **sizes)
    assert config.decoder_start_token_id is not None
    assert_scored_like_one_at_a_time(
        agent(saved(tmp_path, XGLMForCausalLM, config)), observations()
    )


@pytest.mark.parametrize(
    ("kind", "config"),
    [
        (BertLMHeadModel, BertConfig),  # looks ahead
        (CohereForCausalLM, CohereConfig),  # scales its logits
        (MambaForCausalLM, MambaConfig),  # recurrent
    ],
)
def test_a_model_that_would_be_misread_is_refused(tmp_path: Path, kind: type, config: type) -> None:
    folder = saved(tmp_path, kind, config(vocab_size=len(miniflan_tokenizer()), **SMALL))
    with pytest.raises(AgentError, match="cannot be read by this agent"):
        agent(folder)


@pytest.mark.parametrize(
    ("kind", "config", "sizes"),
    [
        (
            MistralForCausalLM,
            MistralConfig,
            {**SMALL, "sliding_window": 16, "num_key_value_heads": 2},
        ),
        (
            GPTNeoForCausalLM,
            GPTNeoConfig,
            {
                "hidden_size": 32,
                "num_layers": 2,
                "num_heads": 4,
                "attention_types": [[["global", "local"], 1]],
                "window_size": 16,
            },
        ),
    ],
)
def test_a_prompt_longer_than_the_attention_window_is_refused(
    tmp_path: Path, kind: type, config: type, sizes: dict
) -> None:
    vocabulary = len(miniflan_tokenizer())
    trained = agent(saved(tmp_path, kind, config(vocab_size=vocabulary, **sizes)))
    with pytest.raises(AgentError, match="attention window of 16"):
        trained.act(observations())


@torch.no_grad()
def test_scores_and_values_do_not_depend_on_the_batch(llama: str) -> None:
    trained, batch = agent(llama), observations()
    together, values = trained.evaluate(batch)
    alone = [trained.evaluate([observation]) for observation in batch]
    torch.testing.assert_close(together, torch.cat([p for p, _ in alone]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values, torch.cat([v for _, v in alone]), atol=1e-5, rtol=1e-5)
    trained_on_heads = agent(llama, policy_head="action_heads")
    together, values = trained_on_heads.evaluate(batch)
    hidden = [_last_prompt_state(trained_on_heads, observation) for observation in batch]
    expected = trained_on_heads.policy.action_heads(torch.stack(hidden)).log_softmax(1)
    torch.testing.assert_close(together, expected, atol=1e-5, rtol=1e-5)


def _last_prompt_state(trained: LanguageModelAgent, observation) -> torch.Tensor:
    text = observation.prompt().rstrip()
    ids = trained.backbone.tokenizer(text, return_tensors="pt")["input_ids"]
    return trained.backbone.model.model(ids).last_hidden_state[0, -1]


def test_gradients_equal_those_of_one_action_at_a_time(llama: str) -> None:
    """The beginning that a batch shares is read once, and learned from by every prompt."""
    trained, batch = agent(llama), observations()[:4]
    parameters = list(trained.backbone.model.parameters())
    trained.evaluate(batch)[0][:, 2].sum().backward()
    found = [p.grad.clone() for p in parameters]
    trained.policy.zero_grad()
    sum(one_at_a_time(trained, observation)[2] for observation in batch).backward()
    for gradient, parameter in zip(found, parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-4, rtol=1e-3)


def test_a_restored_agent_goes_on_as_if_never_stopped(llama: str, tmp_path: Path) -> None:
    whole, envs = agent(llama), environments()
    run(whole, envs, 1)
    whole.save(tmp_path)
    state = envs.state()
    expected = run(whole, envs, 1), weights(whole)
    resumed, again = agent(llama), environments()
    resumed.load(tmp_path)
    again.restore(state)
    assert (run(resumed, again, 1), weights(resumed)) == expected
    opened = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert type(opened) is LlamaForCausalLM


def test_without_its_packages_smollm2_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(smollm2, "_PACKAGE", "a_package_that_is_not_there")
    with pytest.raises(AgentError, match="pip install gguf") as caught:
        agent("smollm2")
    assert "\n" not in str(caught.value)


@pytest.mark.slow
@torch.no_grad()
def test_smollm2_is_scored_like_one_action_at_a_time() -> None:
    pytest.importorskip("gguf")
    trained = agent("smollm2")
    assert trained.identity()["label"] == "GLAM (SmolLM2-135M)"
    assert trained.identity()["model"]["pretrained"]
    assert_scored_like_one_at_a_time(trained, observations(count=3))


@torch.no_grad()
def test_a_prompt_that_fits_the_window_without_its_action_is_refused() -> None:
    config = MistralConfig(vocab_size=9, num_key_value_heads=2, sliding_window=4, **SMALL)
    model = MistralForCausalLM(config).eval()
    batch = [pad_batch([np.arange(4)], 0, torch.device("cpu"))]
    assert causal_states(model, batch, build_prefix_tree([[1], [2]], 0), 1).shape == (1, 1, 32)
    with pytest.raises(AgentError, match="prompt of 5 tokens, action included"):
        causal_states(model, batch, build_prefix_tree([[1, 2], [3]], 0), 2)
