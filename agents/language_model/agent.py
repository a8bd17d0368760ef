"""GFlan-T5, NPAE-Flan-T5 and their relatives: one agent, fine-tuned whole with PPO."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor

from agents.base import Agent, AgentContext, AgentError, sample_actions
from agents.language_model.backbone import TINY, load_backbone
from agents.language_model.config import LanguageModelConfig
from agents.language_model.policy import LanguageModelPolicy, length_batches, pad_batch
from agents.language_model.prefix_tree import PrefixTree, build_prefix_tree
from agents.ppo import Rollout, collect_rollout, generalized_advantages, ppo_loss
from agents.training_state import load_adam, save_adam
from envs.observation import Observation
from envs.vector import VectorEnv


class LanguageModelAgent(Agent):
    """A language model that acts by scoring the actions' words and learns online with PPO."""

    Config: ClassVar[type] = LanguageModelConfig
    config: LanguageModelConfig

    def __init__(self, config: LanguageModelConfig, context: AgentContext) -> None:
        """Loads the model and builds optimiser and heads.

        Args:
            config: Options.
            context: What the harness tells every agent.

        Raises:
            AgentError: If the model cannot be opened or an option is out of range.
        """
        super().__init__(config, context)
        self.device = torch.device(context.device)
        self.backbone = load_backbone(
            config.model,
            pretrained=config.pretrained,
            pretrained_embeddings=config.pretrained_embeddings,
            seed=context.seed,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            policy = LanguageModelPolicy(
                self.backbone.model,
                n_actions=context.n_actions,
                policy_head=config.policy_head,
                scoring=config.scoring,
                value_hidden=config.value_hidden,
            )
        self.policy = policy.to(self.device).eval()
        self.optimizer = torch.optim.Adam(
            self.policy.parameters(),
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_eps,
        )
        self.generator = torch.Generator().manual_seed(context.seed)
        self._prompt_tokens: dict[str, list[int]] = {}
        self._trees: dict[tuple[str, ...], PrefixTree] = {}

    @torch.no_grad()
    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Samples from the policy with each observation's own draw; returns (batch,) indices."""
        log_policy, _ = self.evaluate(observations)
        return sample_actions(log_policy.exp().cpu().numpy(), observations)

    def evaluate(self, observations: Sequence[Observation]) -> tuple[Tensor, Tensor]:
        """Log-policy and values, in any order of lengths and any mix of action sets.

        Args:
            observations: (batch,) observations with the same number of actions.

        Returns:
            Log-probabilities (batch, n_actions) and values (batch,), on the agent's device.
        """
        prompts = self._tokenize(observations)
        log_policies: list[Tensor] = []
        values: list[Tensor] = []
        order: list[int] = []
        for phrases, members in _by_phrases(observations).items():
            tree = self._tree(phrases)
            lengths = [len(prompts[i]) for i in members]
            for group in length_batches(lengths, self.config.max_batch_tokens):
                rows = [members[i] for i in group]
                ids, mask = pad_batch(
                    [prompts[i] for i in rows],
                    self.backbone.tokenizer.pad_token_id,
                    self.device,
                )
                log_policy, value = self.policy(ids, mask, tree)
                log_policies.append(log_policy)
                values.append(value)
                order.extend(rows)
        back = torch.tensor(np.argsort(order), device=self.device)
        return torch.cat(log_policies)[back], torch.cat(values)[back]

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """One PPO round: a rollout, then ``epochs`` passes over it.

        Args:
            envs: The training environments.

        Returns:
            Losses, entropy, approximate KL, clipped fraction, gradient norm, explained variance.
        """
        config = self.config
        self._prompt_tokens.clear()
        rollout = collect_rollout(
            envs,
            self.evaluate,
            config.rollout_length,
            generator=self.generator,
            gamma=config.gamma,
            reward_scale=config.reward_scale,
            bootstrap_on_timeout=config.bootstrap_on_timeout,
        )
        advantages, returns = generalized_advantages(
            rollout.rewards,
            rollout.values,
            rollout.done,
            rollout.last_values,
            gamma=config.gamma,
            gae_lambda=config.gae_lambda,
        )
        metrics = self._learn(rollout, advantages.flatten(), returns.flatten())
        residual = (returns - rollout.values).var() / returns.var().clamp_min(1e-8)
        return {**metrics, "explained_variance": float(1.0 - residual)}

    def _learn(self, rollout: Rollout, advantages: Tensor, returns: Tensor) -> dict[str, float]:
        observations = rollout.flat_observations()
        actions, log_probs = rollout.actions.flatten(), rollout.log_probs.flatten()
        values = rollout.values.flatten()
        logged: list[Tensor] = []
        for _ in range(self.config.epochs):
            shuffled = torch.randperm(len(observations), generator=self.generator)
            for chosen in shuffled.split(self.config.batch_size):
                picked = advantages[chosen]
                if self.config.normalize_advantage and len(chosen) > 1:
                    picked = (picked - picked.mean()) / (picked.std() + 1e-8)
                logged.append(
                    self._step(
                        [observations[i] for i in chosen.tolist()],
                        actions[chosen],
                        log_probs[chosen],
                        values[chosen],
                        picked,
                        returns[chosen],
                    )
                )
        means = torch.stack(logged).mean(0).tolist()
        return dict(zip(_LOGGED, means, strict=True))

    def _step(
        self,
        observations: list[Observation],
        actions: Tensor,
        log_probs: Tensor,
        values: Tensor,
        advantages: Tensor,
        returns: Tensor,
    ) -> Tensor:
        """One optimiser step on a minibatch, forwarded in parts that fit into memory."""
        prompts = self._tokenize(observations)
        parts = length_batches([len(prompt) for prompt in prompts], self.config.max_batch_tokens)
        totals = torch.zeros(len(_LOGGED))
        self.optimizer.zero_grad(set_to_none=True)
        for part in parts:
            index = torch.tensor(part)
            log_policy, new_values = self.evaluate([observations[i] for i in part])
            loss = ppo_loss(
                log_policy,
                new_values,
                actions[index].to(self.device),
                log_probs[index].to(self.device),
                values[index].to(self.device),
                advantages[index].to(self.device),
                returns[index].to(self.device),
                clip=self.config.clip,
                clip_value=self.config.clip_value,
                entropy_coefficient=self.config.entropy_coefficient,
                value_coefficient=self.config.value_coefficient,
            )
            weight = len(part) / len(observations)
            (loss.total * weight).backward()
            totals[:-1] += torch.stack(loss).detach().cpu() * weight
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        totals[-1] = norm.cpu()
        return totals

    def save(self, directory: Path) -> None:
        """Writes the model (opens with ``from_pretrained``), heads, optimiser and generator."""
        self.backbone.model.save_pretrained(directory / "model")
        self.backbone.tokenizer.save_pretrained(directory / "model")
        save_file(self._head_tensors(), directory / "heads.safetensors")
        save_adam(self.optimizer, directory / "optimizer.safetensors")
        state = {"generator": self.generator.get_state().numpy().tobytes().hex()}
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Raises:
            AgentError: If the weights belong to another architecture.
        """
        try:
            weights = load_file(directory / "model" / "model.safetensors")
            self.backbone.model.load_state_dict(weights, strict=False)
            heads = load_file(directory / "heads.safetensors")
            self.policy.load_state_dict(heads, strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[0]
            raise AgentError(f"the checkpoint in {directory} does not fit: {reason}") from error
        load_adam(self.optimizer, directory / "optimizer.safetensors")
        state = json.loads((directory / "state.json").read_text())
        noise = np.frombuffer(bytes.fromhex(state["generator"]), np.uint8).copy()
        self.generator.set_state(torch.from_numpy(noise))

    def identity(self) -> Mapping[str, Any]:
        """Label and model for the records; says plainly when nothing is pretrained."""
        backbone, config = self.backbone, self.config
        base = _LABELS[config.policy_head, config.pretrained, config.pretrained_embeddings]
        if not backbone.model.config.is_encoder_decoder:
            base = base.replace("GFlan", "GLAM").replace("AFlan", "GLAM, action heads")
        note = ", not pretrained" if config.model == TINY else ""
        return {
            "label": f"{base} ({backbone.name}{note})",
            "model": {
                "name": backbone.name,
                "source": self.config.model,
                "pretrained": backbone.pretrained,
                "parameters": sum(p.numel() for p in backbone.model.parameters()),
                "weights_sha256": backbone.weights_sha256,
            },
        }

    def _head_tensors(self) -> dict[str, Tensor]:
        state = self.policy.state_dict()
        return {k: v.contiguous() for k, v in state.items() if not k.startswith("model.")}

    def _tokenize(self, observations: Sequence[Observation]) -> list[list[int]]:
        if len(self._prompt_tokens) > _CACHED_PROMPTS:
            self._prompt_tokens.clear()
        texts = [observation.prompt() for observation in observations]
        missing = [text for text in dict.fromkeys(texts) if text not in self._prompt_tokens]
        if missing:
            encoded = self.backbone.tokenizer(missing, add_special_tokens=False)["input_ids"]
            self._prompt_tokens.update(zip(missing, encoded, strict=True))
        return [self._prompt_tokens[text] for text in texts]

    def _tree(self, phrases: tuple[str, ...]) -> PrefixTree:
        if phrases not in self._trees:
            tokenizer = self.backbone.tokenizer
            encoded = tokenizer(list(phrases), add_special_tokens=False)["input_ids"]
            # Of a causal model's tree the first token is never read.
            start = getattr(self.backbone.model.config, "decoder_start_token_id", None)
            tree = build_prefix_tree(encoded, tokenizer.pad_token_id if start is None else start)
            self._trees[phrases] = tree.to(self.device)
        return self._trees[phrases]


class ZeroShotAgent(LanguageModelAgent):
    """GFlan-T5 before any update."""

    learns: ClassVar[bool] = False

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """Refused: the point of this agent is that it never learns.

        Raises:
            AgentError: Always.
        """
        return Agent.update(self, envs)

    def identity(self) -> Mapping[str, Any]:
        """The same model under a label of its own."""
        found = super().identity()
        return {**found, "label": f"{found['label']}, zero-shot"}


_CACHED_PROMPTS = 100_000  # about 100 MB

_LOGGED = (
    "loss",
    "policy_loss",
    "value_loss",
    "entropy",
    "approximate_kl",
    "clipped_fraction",
    "gradient_norm",
)

# (policy head, pretrained, pretrained embeddings) -> the paper's name
_LABELS = {
    ("lm_head", True, False): "GFlan",
    ("lm_head", True, True): "GFlan",
    ("lm_head", False, True): "NPE",
    ("lm_head", False, False): "NP",
    ("action_heads", True, False): "AFlan",
    ("action_heads", True, True): "AFlan",
    ("action_heads", False, True): "NPAE",
    ("action_heads", False, False): "NPA",
}


def _by_phrases(
    observations: Sequence[Observation],
) -> dict[tuple[str, ...], list[int]]:
    groups: dict[tuple[str, ...], list[int]] = {}
    for i, observation in enumerate(observations):
        groups.setdefault(observation.action_phrases, []).append(i)
    return groups
