"""MiniFlan as a backbone: its tokenizer, the policies it starts from."""

from pathlib import Path

import numpy as np
import pytest
import torch
from small_agents import miniflan_tokenizer
from transformers import T5Config

from agents import AgentContext
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.backbone import load_backbone
from agents.language_model.config import LanguageModelConfig
from agents.miniflan.architecture import MINIFLAN_FOLDER, random_miniflan
from agents.miniflan.tokenizer import train_miniflan_tokenizer
from agents.tokenizer import train_tokenizer
from envs import SPLITS, TextEnv
from envs.lexicon import (
    ADJECTIVE_SYNONYMS,
    INVENTED_ADJECTIVES,
    INVENTED_NOUNS,
    RENAMED_NOUNS,
)


def prompts(split: str = "train") -> list[str]:
    env, rng = TextEnv(SPLITS[split].level, view=SPLITS[split].view), np.random.default_rng(0)
    texts = []
    for seed in range(6):
        env.reset(seed=seed)
        texts += [env.step(int(rng.integers(6)))[0].prompt() for _ in range(3)]
    return texts


@pytest.mark.parametrize("split", ["train", "invented-words", "french-goto"])
def test_no_text_is_lost(split: str) -> None:
    tokenizer = miniflan_tokenizer()
    for text in (*prompts(split), "Déjà vu: 漢字 😀\n"):
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.unk_token_id not in ids
        assert tokenizer.decode(ids) == text


def test_phrases_shorten_a_prompt_and_leave_names_alone() -> None:
    joined, words = miniflan_tokenizer(), train_tokenizer()
    texts = prompts()
    assert sum(len(joined.tokenize(text)) for text in texts) < 0.45 * sum(
        len(words.encode(text).ids) for text in texts
    )
    tokens = joined.tokenize("You see a wall 2 steps left, You see a red ball 1 step forward")
    assert tokens[2:] == [" 2 steps left", ", You see a", " red", " ball", " 1 step forward"]
    tokens = joined.tokenize("You see a red ball 2 steps left and 1 step forward")
    assert tokens == [" You see a", " red", " ball", " 2 steps left", " and 1 step forward"]


def test_a_list_of_actions_has_each_action_as_it_is_alone() -> None:
    tokenizer, actions = miniflan_tokenizer(), SPLITS["train"].view.actions
    listed = tokenizer.tokenize(", ".join(actions))
    alone = [token for action in actions for token in (*tokenizer.tokenize(action), ",")]
    assert listed == alone[:-1]
    assert tokenizer.tokenize("turn left \n Observation 1:")[:1] == tokenizer.tokenize("turn left")


def test_a_replaced_word_changes_its_own_tokens_only() -> None:
    tokenizer = miniflan_tokenizer()
    plain = tokenizer.tokenize("You see a red ball 2 steps left")
    invented = (*INVENTED_NOUNS.values(), *INVENTED_ADJECTIVES.values())
    for new in (*invented, *RENAMED_NOUNS.values(), *ADJECTIVE_SYNONYMS.values()):
        tokens = tokenizer.tokenize(f"You see a red {new} 2 steps left")
        assert tokens[:2] == plain[:2]
        assert tokens[-1] == plain[-1]
        assert "".join(tokens[2:-1]) == f" {new}"
        if new not in invented:  # a word of the mixture is whole
            assert len(tokens) == len(plain)


def test_the_tokenizer_that_ships_is_the_one_that_is_trained() -> None:
    trained, shipped = train_miniflan_tokenizer(), miniflan_tokenizer()
    assert trained.backend_tokenizer.to_str() == shipped.backend_tokenizer.to_str()


@torch.no_grad()
def test_untrained_policies_explore_and_follow_the_seed() -> None:
    env = TextEnv()
    observations = [env.reset(seed=seed)[0] for seed in range(8)]
    policies = []
    for seed in (0, 0, 1):
        config = LanguageModelConfig(pretrained=False)
        agent = LanguageModelAgent(config, AgentContext(seed=seed))
        policies.append(agent.evaluate(observations)[0])
    assert torch.equal(policies[0], policies[1])
    assert not torch.equal(policies[0], policies[2])
    for policy in policies:
        entropy = -(policy.exp() * policy).sum(1)
        assert entropy.min() > 1.5  # of at most log 6 = 1.79


@torch.no_grad()
@pytest.mark.parametrize("options", [{}, {"pretrained": False, "pretrained_embeddings": True}])
def test_no_action_is_preferred_before_learning_where_embeddings_are_pretrained(options) -> None:
    """GFlan and NPE: a preference would be an accident of words never taught."""
    agent = LanguageModelAgent(LanguageModelConfig(**options), AgentContext(seed=0))
    seen = [TextEnv().reset(seed=seed)[0] for seed in range(4)]
    policy = agent.evaluate(seen)[0].exp()
    torch.testing.assert_close(policy, torch.full((4, 6), 1 / 6), rtol=0, atol=1e-6)


def test_pretrained_weights_differ_from_untrained_but_for_kept_embeddings() -> None:
    def model(**options):
        agent = LanguageModelAgent(LanguageModelConfig(**options), AgentContext(seed=0))
        return agent.backbone

    whole, fresh = model(), model(pretrained=False)
    kept = model(pretrained=False, pretrained_embeddings=True)
    assert (whole.pretrained, fresh.pretrained, kept.pretrained) == (True, False, False)
    assert torch.equal(kept.model.shared.weight, whole.model.shared.weight)
    query = "encoder.block.1.layer.0.SelfAttention.q.weight"
    weights = [backbone.model.state_dict()[query] for backbone in (whole, fresh, kept)]
    assert torch.equal(weights[1], weights[2])
    assert not torch.equal(weights[0], weights[1])


def test_a_miniflan_of_ones_own_is_drawn_anew_as_the_shipped_one_is(tmp_path: Path) -> None:
    def drawn(model: str) -> torch.Tensor:
        options = {"pretrained": False, "pretrained_embeddings": False, "seed": 5}
        return load_backbone(model, **options).model.shared.weight

    network = random_miniflan(T5Config.from_pretrained(MINIFLAN_FOLDER), seed=0)
    network.save_pretrained(tmp_path)
    miniflan_tokenizer().save_pretrained(tmp_path)
    assert torch.equal(drawn(str(tmp_path)), drawn("miniflan"))
