"""The offline model: its tokenizer, its first policy."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from agents import AgentContext
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.config import LanguageModelConfig
from agents.language_model.tiny_t5 import tiny_tokenizer
from agents.tokenizer import train_tokenizer
from envs import SPLITS, TextEnv
from envs.lexicon import ADJECTIVE_SYNONYMS, INVENTED_ADJECTIVES, INVENTED_NOUNS


def prompts(split: str = "train") -> list[str]:
    env, rng = TextEnv(SPLITS[split].level, view=SPLITS[split].view), np.random.default_rng(0)
    texts = []
    for seed in range(6):
        env.reset(seed=seed)
        texts += [env.step(int(rng.integers(6)))[0].prompt() for _ in range(3)]
    return texts


@pytest.mark.parametrize("split", ["train", "invented-words", "french-goto"])
def test_no_text_is_lost(split: str) -> None:
    tokenizer = tiny_tokenizer()
    for text in (*prompts(split), "Déjà vu: 漢字 😀\n"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_phrases_halve_a_prompt_and_leave_names_alone() -> None:
    joined, words = tiny_tokenizer(), train_tokenizer()
    texts = prompts()
    assert sum(len(joined.tokenize(text)) for text in texts) < 0.55 * sum(
        len(words.encode(text).ids) for text in texts
    )
    tokens = joined.tokenize("You see a red ball 2 steps left and 1 step forward")
    assert tokens == [" You see a", " red", " ball", " 2 steps left", " and", " 1 step forward"]


def test_a_replaced_word_changes_its_own_tokens_only() -> None:
    tokenizer = tiny_tokenizer()
    plain = tokenizer.tokenize("You see a red ball 2 steps left")
    for new in (
        *INVENTED_NOUNS.values(),
        *INVENTED_ADJECTIVES.values(),
        *ADJECTIVE_SYNONYMS.values(),
    ):
        tokens = tokenizer.tokenize(f"You see a red {new} 2 steps left")
        assert tokens[:2] == plain[:2]
        assert tokens[-1] == plain[-1]
        assert "".join(tokens[2:-1]) == f" {new}"
        # Made of pieces: no such word was ever seen.
        assert len(tokens) > len(plain)


def test_the_tokenizer_is_the_same_in_every_process() -> None:
    code = (
        "from agents.language_model.tiny_t5 import tiny_tokenizer;"
        "print(tiny_tokenizer().backend_tokenizer.to_str())"
    )
    shown = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    ]
    assert shown[0] == shown[1]


@torch.no_grad()
def test_the_first_policy_explores_and_weights_follow_the_seed() -> None:
    env = TextEnv()
    observations = [env.reset(seed=seed)[0] for seed in range(8)]
    policies = []
    for seed in (0, 0, 1):
        agent = LanguageModelAgent(LanguageModelConfig(), AgentContext(seed=seed))
        policies.append(agent.evaluate(observations)[0])
    assert torch.equal(policies[0], policies[1])
    assert not torch.equal(policies[0], policies[2])
    for policy in policies:
        entropy = -(policy.exp() * policy).sum(1)
        assert entropy.min() > 1.5  # of at most log 6 = 1.79
