"""Action scoring against a plain reference; checkpoints; weights that transformers can open."""

import copy
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from small_agents import SMALL, agent, environments, miniflan_tokenizer, observations, run, weights
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, T5Config, T5ForConditionalGeneration

from agents import AgentContext, AgentError
from agents.language_model import agent as module
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.backbone import load_backbone
from agents.language_model.cached_policy import distinct
from agents.language_model.config import LanguageModelConfig
from agents.language_model.planning.cost import LanguageModelCost
from agents.language_model.prefix_tree import build_prefix_tree
from agents.language_model.prompt_batch import group_tokens, length_groups, length_passes
from agents.language_model.zero_shot import ZeroShotAgent
from agents.ppo import PPOLoss
from bench.config import RunConfig
from bench.profile import load_profile
from envs import Observation, VectorEnv


def one_at_a_time(trained: LanguageModelAgent, observation) -> torch.Tensor:
    """Scores each action by its own full forward pass through the library's model."""
    tokenizer, model = trained.backbone.tokenizer, trained.backbone.model
    prompt = tokenizer(observation.prompt(), add_special_tokens=False)["input_ids"]
    scores = []
    for phrase in observation.action_phrases:
        words = tokenizer(phrase, add_special_tokens=False)["input_ids"]
        logits = model(
            input_ids=torch.tensor([prompt]), decoder_input_ids=torch.tensor([[0, *words[:-1]]])
        ).logits[0]
        if trained.config.scoring == "log_probabilities":
            logits = torch.log_softmax(logits, -1)
        scores.append(sum(logits[j, word] for j, word in enumerate(words)))
    return torch.log_softmax(torch.stack(scores), 0)


@pytest.fixture(scope="module")
def untied_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like Flan-T5's: gated, two decoder layers, an output layer of its own."""
    folder = tmp_path_factory.mktemp("checkpoint") / "flan-t5-toy"
    tokenizer = miniflan_tokenizer()
    config = T5Config(
        vocab_size=len(tokenizer),
        d_model=32,
        d_kv=8,
        d_ff=48,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        tie_word_embeddings=False,
        decoder_start_token_id=0,
    )
    torch.manual_seed(3)
    model = T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(0.1 * torch.randn_like(model.shared.weight))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("scoring", ["log_probabilities", "logits"])
@pytest.mark.parametrize("split", ["train", "synonym-actions", "invented-words", "french-goto"])
@torch.no_grad()
def test_scores_equal_one_action_at_a_time(scoring: str, split: str) -> None:
    trained = agent(scoring=scoring)
    batch = observations(split)
    log_policy, _ = trained.evaluate(batch)
    for row, observation in zip(log_policy, batch, strict=True):
        torch.testing.assert_close(row, one_at_a_time(trained, observation), atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_scores_of_an_untied_checkpoint_equal_one_action_at_a_time(untied_checkpoint: Path) -> None:
    trained = agent(model=str(untied_checkpoint))
    model = trained.backbone.model
    assert not torch.equal(model.lm_head.weight, model.shared.weight)
    assert not model.config.scale_decoder_outputs
    batch = observations()
    log_policy, _ = trained.evaluate(batch)
    for row, observation in zip(log_policy, batch, strict=True):
        torch.testing.assert_close(row, one_at_a_time(trained, observation), atol=1e-5, rtol=1e-5)


def test_gradients_equal_those_of_one_action_at_a_time() -> None:
    trained, batch = agent(), observations()[:4]
    parameters = list(trained.backbone.model.parameters())
    trained.evaluate(batch)[0][:, 2].sum().backward()
    found = [p.grad.clone() for p in parameters]
    trained.policy.zero_grad()
    sum(one_at_a_time(trained, observation)[2] for observation in batch).backward()
    for gradient, parameter in zip(found, parameters, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_scores_do_not_depend_on_the_batch() -> None:
    trained = agent()
    batch = observations() + observations("synonym-actions") + observations("french-goto")
    together, values = trained.evaluate(batch)
    torch.testing.assert_close(together.exp().sum(1), torch.ones(len(batch)))
    alone = [trained.evaluate([observation]) for observation in batch]
    torch.testing.assert_close(together, torch.cat([p for p, _ in alone]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(values, torch.cat([v for _, v in alone]), atol=1e-5, rtol=1e-5)
    small = agent(max_batch_tokens=200)
    parts, _ = small.evaluate(batch)
    torch.testing.assert_close(together, parts, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_prompts_of_all_lengths_go_through_together() -> None:
    trained, groups = agent(), []
    trained.policy.register_forward_hook(lambda _, given, __: groups.append(len(given[0])))
    trained.evaluate(observations())
    assert len(groups) == 1 < groups[0]


def test_prefix_tree_shares_beginnings_and_leaves_last_tokens_out() -> None:
    tree = build_prefix_tree([[5, 6], [5, 7, 8], [9], [5, 7]], start_token=0)
    assert tree.tokens.tolist() == [0, 5, 7]
    assert tree.depth.tolist() == [0, 1, 2]
    assert tree.visible.tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert tree.node.tolist() == [[0, 1, 0], [0, 1, 2], [0, 0, 0], [0, 1, 0]]
    assert tree.target.tolist() == [[5, 6, 0], [5, 7, 8], [9, 0, 0], [5, 7, 0]]
    assert tree.scored.tolist() == [[1, 1, 0], [1, 1, 1], [1, 0, 0], [1, 1, 0]]
    with pytest.raises(ValueError, match="at least one token"):
        build_prefix_tree([[1], []], 0)


@pytest.mark.parametrize("budget", [5, 120, 250, 10**6])
def test_passes_hold_everything_once_within_the_budget(budget: int) -> None:
    lengths = [7, 90, 12, 50, 3, 88, 41, 60]
    passes = length_passes(lengths, budget, 10)
    groups = [group for one in passes for group in one]
    assert sorted(i for group in groups for i in group) == list(range(8))
    assert groups == length_groups(lengths, budget, 10)
    for one in passes:
        padded = sum(len(group) * max(lengths[i] for i in group) for group in one)
        assert padded <= budget or [len(group) for group in one] == [1]
    if budget > sum(lengths):
        assert len(passes) == 1 < len(groups)


def cut(minibatches: list[list[Observation]], config: RunConfig, device: str) -> list[list[int]]:
    """The lengths of the prompts of each group."""
    options = LanguageModelConfig(**config.agent_options)
    cost = LanguageModelCost(options, config.environment.n_actions, learns=True)
    groups: list[list[int]] = []
    for rows in minibatches:
        lengths = cost.lengths([observation.prompt() for observation in distinct(rows)[0]])
        a_group = group_tokens(torch.device(device), together=True)
        parts = length_groups(lengths, options.max_batch_tokens, a_group)
        groups += [[lengths[i] for i in part] for part in parts]
    return groups


def padding(groups: list[list[int]]) -> float:
    return 1 - sum(map(sum, groups)) / sum(len(group) * max(group) for group in groups)


@pytest.mark.parametrize(
    ("profile", "device", "most_groups"),
    [("laptop", "cpu", 8), ("published-mix", "cpu", 17), ("paper", "cuda", 10)],
)
def test_minibatches_are_padded_by_less_than_a_twentieth(profile, device, most_groups) -> None:
    config = next(iter(load_profile(profile, (), ("gflan-t5",)).runs()))
    rng = np.random.default_rng(0)
    envs = VectorEnv(config.environment.build, 32, seed=0)
    seen = [o for _ in range(40) for o in envs.step(rng.integers(0, 6, 32)).observations]
    minibatches = rng.permutation(len(seen)).reshape(-1, 64)
    groups = cut([[seen[i] for i in rows] for rows in minibatches], config, device)
    assert padding(groups) < 0.05
    assert len(groups) <= most_groups * len(minibatches)


@pytest.mark.parametrize(("profile", "most_groups"), [("laptop", 3), ("published-mix", 8)])
def test_steps_of_a_rollout_are_padded_by_less_than_a_twentieth(profile, most_groups) -> None:
    """Of what was not asked since the weights changed, as the rest is not read again."""
    config = next(iter(load_profile(profile, (), ("gflan-t5",)).runs()))
    rng, n_envs = np.random.default_rng(0), config.train.n_envs
    envs = VectorEnv(config.environment.build, n_envs, seed=0)
    asked: set[str] = set()
    steps = []
    for _ in range(40):
        seen = envs.step(rng.integers(0, 6, n_envs)).observations
        new = {observation.prompt(): observation for observation in seen}
        steps.append([new[prompt] for prompt in new.keys() - asked])
        asked |= new.keys()
    groups = cut([new for new in steps if new], config, "cpu")
    assert padding(groups) < 0.05
    assert len(groups) <= most_groups * len(steps)


def test_micro_batches_give_the_gradient_of_the_whole_batch() -> None:
    moved = []
    for tokens in (10**6, 150):
        trained, envs = agent(max_batch_tokens=tokens), environments()
        trained.update(envs)
        moved.append(torch.cat([p.detach().flatten() for p in trained.policy.parameters()]))
    torch.testing.assert_close(moved[0], moved[1], atol=2e-4, rtol=1e-3)


@pytest.mark.parametrize("policy_head", ["lm_head", "action_heads"])
def test_training_twice_gives_the_same_bytes_and_changes_every_part(policy_head: str) -> None:
    first, second = agent(policy_head=policy_head), agent(policy_head=policy_head)
    start = weights(first)
    assert run(first, environments(), 2) == run(second, environments(), 2)
    assert weights(first) == weights(second)
    assert sum(a != b for a, b in zip(start, weights(first), strict=True)) > len(start) * 0.9


def test_a_restored_agent_goes_on_as_if_never_stopped(tmp_path: Path) -> None:
    whole, envs = agent(), environments()
    run(whole, envs, 1)
    whole.save(tmp_path)
    state = envs.state()
    expected = run(whole, envs, 2), weights(whole)
    resumed, again = agent(), environments()
    resumed.load(tmp_path)
    again.restore(state)
    assert (run(resumed, again, 2), weights(resumed)) == expected


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    agent().save(tmp_path)
    with pytest.raises(AgentError, match="does not fit: its heads are"):
        agent(policy_head="action_heads").load(tmp_path)
    with pytest.raises(AgentError, match="does not fit: size mismatch for value_head"):
        agent(value_hidden=7).load(tmp_path)
    path = tmp_path / "model/model.safetensors"
    kept = {k: v for k, v in load_file(path).items() if "decoder.block.0" not in k}
    save_file(kept, path)
    with pytest.raises(AgentError, match=r"does not fit: Missing key.*decoder.block.0"):
        agent().load(tmp_path)


class NearItsStart(LanguageModelAgent):
    """Pays for every step away from the policy it began with."""

    losses = (*PPOLoss._fields, "kl_to_start")

    def __init__(self, config, context):
        super().__init__(config, context)
        self.start = copy.deepcopy(self.policy).requires_grad_(requires_grad=False)

    def loss(self, observations, log_policy, values, *taken):
        before, _ = self.evaluate(observations, self.start)
        away = (log_policy.exp() * (log_policy - before)).sum(1).mean()
        ppo = super().loss(observations, log_policy, values, *taken)
        return (ppo[0] + 10 * away, *ppo[1:], away)


def test_a_variants_loss_sees_the_observations_and_is_logged() -> None:
    config = LanguageModelConfig(**{**SMALL, "learning_rate": 1e-3})
    plain, near = (
        kind(config, AgentContext(n_envs=4, seed=0)) for kind in (LanguageModelAgent, NearItsStart)
    )
    logs, logs_near = run(plain, environments(), 4), run(near, environments(), 4)
    assert set(logs_near[0]) - set(logs[0]) == {"kl_to_start"}
    assert 0 < logs_near[-1]["kl_to_start"] < 0.1
    seen = observations()
    with torch.no_grad():
        start, _ = near.evaluate(seen, near.start)
        apart = [(a.evaluate(seen)[0] - start).abs().mean() for a in (plain, near)]
    assert apart[1] < apart[0]


def test_tests_forget_what_was_scored_beside_other_prompts() -> None:
    trained, seen = agent(), observations()
    trained.act(seen)
    with patch.object(trained.cached, "_policy", wraps=trained.cached._policy) as asked:
        trained.act(seen)
        assert not asked.called
        trained.begin_test()
        trained.act(seen)
        assert asked.called


def test_saved_weights_open_with_transformers(tmp_path: Path, untied_checkpoint: Path) -> None:
    for model in ("miniflan", str(untied_checkpoint)):
        trained = agent(model=model)
        run(trained, environments(), 1)
        folder = tmp_path / Path(model).name
        folder.mkdir()
        trained.save(folder)
        opened = AutoModelForSeq2SeqLM.from_pretrained(folder / "model").eval()
        for name, tensor in trained.backbone.model.state_dict().items():
            assert torch.equal(opened.state_dict()[name], tensor), name
        tokenizer = AutoTokenizer.from_pretrained(folder / "model")
        ids = torch.tensor([tokenizer("go to the red ball")["input_ids"]])
        start = torch.tensor([[0]])
        with torch.no_grad():
            expected = trained.backbone.model(input_ids=ids, decoder_input_ids=start).logits
            found = opened(input_ids=ids, decoder_input_ids=start).logits
        # Mapped files are aligned otherwise than fresh tensors, which moves the last bit.
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_presets_keep_what_they_say(untied_checkpoint: Path) -> None:
    source = T5ForConditionalGeneration.from_pretrained(untied_checkpoint)
    npae = load_backbone(
        str(untied_checkpoint), pretrained=False, pretrained_embeddings=True, seed=1
    )
    npa = load_backbone(
        str(untied_checkpoint), pretrained=False, pretrained_embeddings=False, seed=1
    )
    assert torch.equal(npae.model.shared.weight, source.shared.weight)
    assert not torch.equal(npa.model.shared.weight, source.shared.weight)
    block = "encoder.block.0.layer.0.SelfAttention.q.weight"
    for made in (npae, npa):
        assert not torch.equal(made.model.state_dict()[block], source.state_dict()[block])
        # Not tied: the output layer of an untied checkpoint stays one of its own.
        assert made.model.lm_head.weight is not made.model.shared.weight
        assert not made.pretrained


def test_act_changes_nothing_and_follows_the_draw() -> None:
    trained = agent()
    before, noise = weights(trained), trained.generator.get_state()
    batch = observations()
    first, second = trained.act(batch), trained.act(list(reversed(batch)))
    assert first.tolist() == second[::-1].tolist()
    assert weights(trained) == before
    assert torch.equal(trained.generator.get_state(), noise)


def test_labels_say_what_is_not_pretrained(untied_checkpoint: Path) -> None:
    shipped = agent().identity()
    assert shipped["label"] == "GFlan (MiniFlan)"
    assert shipped["model"]["pretrained"] is True
    toy = agent(model=str(untied_checkpoint)).identity()
    assert toy["label"] == "GFlan (flan-t5-toy)"
    assert toy["model"]["pretrained"] is True
    assert toy["model"]["weights_sha256"] != shipped["model"]["weights_sha256"]
    config = LanguageModelConfig(model="miniflan", **SMALL)
    zero_shot = ZeroShotAgent(config, AgentContext())
    assert zero_shot.identity()["label"] == "GFlan (MiniFlan), zero-shot"
    assert not ZeroShotAgent.learns


def test_a_model_that_cannot_be_opened_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match="no folder"):
        agent(model=str(tmp_path / "nothing"))
    with pytest.raises(AgentError, match="cannot open the language model") as caught:
        agent(model=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_every_option_of_ppo_reaches_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {
        "gamma": 0.5,
        "gae_lambda": 0.6,
        "reward_scale": 3.0,
        "bootstrap_on_timeout": True,
        "clip": 0.3,
        "clip_value": 0.4,
        "entropy_coefficient": 0.05,
        "value_coefficient": 0.7,
    }
    given: dict[str, object] = {}
    calls: dict[str, list] = {}

    def recorded(name: str):
        function = getattr(module, name)

        def call(*arguments, **named):
            given.update(named)
            result = function(*arguments, **named)
            calls.setdefault(name, []).append((arguments, result))
            return result

        return call

    for name in ("collect_rollout", "generalized_advantages", "ppo_loss"):
        monkeypatch.setattr(module, name, recorded(name))
    trained = agent(epochs=2, max_grad_norm=1e-3, normalize_advantage=True, **options)
    logged = trained.update(environments())
    assert given.items() >= options.items()
    assert len(calls["ppo_loss"]) == 2 * 2  # epochs over 16 transitions in minibatches of 8
    for arguments, _ in calls["ppo_loss"]:
        assert float(arguments[5].mean()) == pytest.approx(0, abs=1e-5)
        assert float(arguments[5].std()) == pytest.approx(1, rel=1e-3)
    norms = torch.stack([p.grad.norm() for p in trained.trained if p.grad is not None])
    assert 0 < float(norms.norm()) <= 1.001e-3
    (((_, values, *_), (_, returns)),) = calls["generalized_advantages"]
    unexplained = float((returns - values).var() / returns.var())
    assert logged["explained_variance"] == pytest.approx(1 - unexplained, rel=1e-4)


def test_a_rollout_asks_again_what_was_asked_before_it() -> None:
    trained, envs = agent(), environments()
    first = envs.observations
    trained.act(first)
    with patch.object(trained.cached, "_policy", wraps=trained.cached._policy) as asked:
        trained.update(envs)
    assert asked.call_args_list[0].args[0] == tuple(distinct(first)[0])
