"""GFlan-T5, NPAE-Flan-T5 and their relatives: one agent, fine-tuned whole with PPO."""

from __future__ import annotations

import inspect
import json
from collections.abc import Hashable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, load_model, save_file
from torch import Tensor

from agents.base import Agent, AgentContext, AgentError, PolicyOutput, is_ours, sample_actions
from agents.language_model.adapters import add_adapters, load_adapters, save_adapters
from agents.language_model.backbone import load_backbone, weight_files
from agents.language_model.cached_policy import CachedPolicy, distinct, prompt_and_phrases
from agents.language_model.causal import checkpoint_activations
from agents.language_model.config import LanguageModelConfig
from agents.language_model.naming import describe
from agents.language_model.parallel import Shard
from agents.language_model.policy import LanguageModelPolicy
from agents.language_model.precision import choose_precision
from agents.language_model.prompt_batch import PromptBatch, group_tokens, length_passes, pad_batch
from agents.language_model.reading import Reader, by_phrases
from agents.ppo import (
    PPOLoss,
    Rollout,
    collect_rollout,
    explained_variance,
    generalized_advantages,
    ppo_loss,
)
from agents.schedule import decayed
from agents.training_state import load_optimizer, save_optimizer
from envs.observation import Observation
from envs.vector import VectorEnv


class LanguageModelAgent(Agent):
    """A language model that acts by scoring the actions' words and learns online with PPO."""

    Config: ClassVar[type] = LanguageModelConfig
    losses: ClassVar[tuple[str, ...]] = PPOLoss._fields
    """Names of what :meth:`loss` returns, as they are logged."""
    data_parallel: ClassVar[bool] = True
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
        self.shard = Shard.of(context)
        weights_seed, heads_seed, rollout_seed = context.seeds(3)
        self.backbone = load_backbone(
            config.model,
            pretrained=config.pretrained,
            pretrained_embeddings=config.pretrained_embeddings,
            seed=weights_seed,
        )
        model = self.backbone.model
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(heads_seed)
            rank = config.lora_rank
            self.adapted = None if rank is None else add_adapters(model, rank)
            policy = LanguageModelPolicy(
                model,
                n_actions=context.n_actions,
                policy_head=config.policy_head,
                scoring=config.scoring,
                value_hidden=config.value_hidden,
                precision=self.shard.agreed(choose_precision(config.precision, self.device)),
            )
        self.policy = policy.to(self.device).eval()
        if config.activation_checkpointing:
            checkpoint_activations(model)
        self.trained = [p for p in self.policy.parameters() if p.requires_grad]
        self.optimizer = torch.optim.Adam(
            self.trained,
            lr=config.learning_rate,
            betas=(config.adam_beta1, config.adam_beta2),
            eps=config.adam_eps,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(rollout_seed)
        start = model.config.decoder_start_token_id if model.config.is_encoder_decoder else None
        self.reader = Reader(self.backbone.tokenizer, start, self.device)
        self.cached = CachedPolicy(self.evaluate, self.cache_key)

    def cache_key(self, observation: Observation) -> Hashable:
        """What decides the answer: observations with the same key are scored once.

        A subclass whose policy reads more than prompt and phrases adds it here.
        """
        return prompt_and_phrases(observation)

    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Samples from the policy with each observation's own draw; returns (batch,) indices."""
        log_policy, _ = self.cached(observations)
        return sample_actions(log_policy.exp().cpu().numpy(), observations)

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput:
        """The policy and the value head's estimates."""
        log_policy, values = self.cached(observations)
        return PolicyOutput(log_policy.exp().cpu().numpy(), values.float().cpu().numpy())

    def evaluate(
        self, observations: Sequence[Observation], policy: LanguageModelPolicy | None = None
    ) -> tuple[Tensor, Tensor]:
        """Log-policy and values, in any order of lengths and any mix of action sets.

        Args:
            observations: (batch,) observations with the same number of actions.
            policy: Whose, if not the agent's: such as a frozen copy of it.

        Returns:
            Log-probabilities (batch, n_actions) and values (batch,), on the agent's device.
        """
        policy = policy or self.policy
        prompts = self.reader.prompts(observations)
        log_policies: list[Tensor] = []
        values: list[Tensor] = []
        order: list[int] = []
        for phrases, members in by_phrases(observations).items():
            tree = self.reader.tree(phrases)
            lengths = [len(prompts[i]) for i in members]
            for groups in self._passes(lengths):
                rows = [[members[i] for i in group] for group in groups]
                read = [self._padded([prompts[i] for i in group]) for group in rows]
                log_policy, value = policy(read, tree)
                log_policies.append(log_policy)
                values.append(value)
                order.extend(chain.from_iterable(rows))
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
        rate = decayed(config.learning_rate, config.learning_rate_decay, envs.steps, self.context)
        self.optimizer.param_groups[0]["lr"] = rate
        self.reader.forget_prompts()
        self.cached.clear()  # what tests were played in between must not show in a last digit
        rollout = collect_rollout(
            envs,
            self.shard.scoring(self.cached),
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
        metrics = self._learn(rollout, advantages, returns)
        self.cached.clear()
        return {**metrics, "explained_variance": explained_variance(rollout.values, returns)}

    def begin_test(self) -> None:
        """Forgets its answers: beside other prompts they could differ in the last digit."""
        self.cached.clear()

    def _learn(self, rollout: Rollout, advantages: Tensor, returns: Tensor) -> dict[str, float]:
        observations = rollout.flat_observations()
        # On the device once; from there on nothing is copied back before the last step.
        transitions = [
            tensor.flatten().to(self.device)
            for tensor in (rollout.actions, rollout.log_probs, rollout.values, advantages, returns)
        ]
        logged: list[Tensor] = []
        for _ in range(self.config.epochs):
            shuffled = torch.randperm(len(observations), generator=self.generator)
            for chosen in shuffled.split(self.config.batch_size):
                at = chosen.to(self.device, non_blocking=True)
                actions, log_probs, values, advantage, targets = (t[at] for t in transitions)
                if self.config.normalize_advantage and len(chosen) > 1:
                    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
                seen = [observations[i] for i in chosen.tolist()]
                logged.append(self._step(seen, (actions, log_probs, values, advantage, targets)))
        means = torch.stack(logged).mean(0).tolist()
        return dict(zip((*self.losses, "gradient_norm"), means, strict=True))

    def loss(
        self,
        observations: Sequence[Observation],
        log_policy: Tensor,
        values: Tensor,
        *taken: Tensor,
    ) -> Sequence[Tensor]:
        """PPO's loss on transitions; a variant of it goes here.

        Args:
            observations: (batch,) what was seen.
            log_policy: (batch, n_actions) log-probabilities now.
            values: (batch,) value estimates now.
            taken: (batch,) each: the actions, their log-probabilities and values then, advantages
                and returns.

        Returns:
            The loss, a mean over the batch, and what else is logged: scalars, one for each of
            ``losses``.
        """
        return ppo_loss(
            log_policy,
            values,
            *taken,
            clip=self.config.clip,
            clip_value=self.config.clip_value,
            entropy_coefficient=self.config.entropy_coefficient,
            value_coefficient=self.config.value_coefficient,
        )

    def _step(self, observations: list[Observation], minibatch: tuple[Tensor, ...]) -> Tensor:
        """One optimiser step on a minibatch: dealt out, in parts that fit into memory.

        Args:
            observations: (batch,) observations.
            minibatch: Actions, their log-probabilities when taken, value estimates then,
                advantages and returns, each (batch,), on the device.

        Returns:
            The losses and the gradient's norm, on the device.
        """
        asked, members = distinct(observations, self.cache_key)
        lengths = [len(prompt) for prompt in self.reader.prompts(asked)]
        totals = torch.zeros(len(self.losses) + 1, device=self.device)
        self.optimizer.zero_grad(set_to_none=True)
        mine = self.shard.rows(lengths)
        for groups in self._passes([lengths[i] for i in mine]):
            read = list(chain.from_iterable(groups))
            part = [members[mine[i]] for i in read]
            rows = [row for alike in part for row in alike]
            source = [i for i, alike in enumerate(part) for _ in alike]
            at, back = torch.tensor([rows, source]).to(self.device, non_blocking=True)
            log_policy, values = self.evaluate([asked[mine[i]] for i in read])
            seen = [observations[row] for row in rows]
            taken = (tensor[at] for tensor in minibatch)
            loss = self.loss(seen, log_policy[back], values[back], *taken)
            weight = len(rows) / len(observations)
            (loss[0] * weight).backward()
            totals[:-1] += torch.stack(tuple(loss)).detach() * weight
        self.shard.sum_gradients(self.trained)
        totals = self.shard.sum(totals)
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.config.max_grad_norm)
        self.optimizer.step()
        totals[-1] = norm
        return totals

    def _padded(self, prompts: Sequence[NDArray[np.int64]]) -> PromptBatch:
        return pad_batch(prompts, self.reader.pad_token, self.device)

    def _passes(self, lengths: Sequence[int]) -> list[list[list[int]]]:
        """Prompts that are forwarded together, by length."""
        together = bool(self.backbone.model.config.is_encoder_decoder)
        a_group = group_tokens(self.device, together=together)
        return length_passes(lengths, self.config.max_batch_tokens, a_group)

    def save(self, directory: Path) -> None:
        """Writes the model (opens with ``from_pretrained``), heads, optimiser and generator.

        Of a model with adapters, the adapters alone.
        """
        if self.adapted is None:
            # In one file, which is what `load` opens.
            self.backbone.model.save_pretrained(directory / "model", max_shard_size="10TB")
        else:
            save_adapters(self.adapted, directory / "model")
        self.backbone.tokenizer.save_pretrained(directory / "model")
        save_file(self._head_tensors(), directory / "heads.safetensors")
        save_optimizer(self.optimizer, directory / "optimizer.safetensors")
        state = {
            "generator": self.generator.get_state().numpy().tobytes().hex(),
            "precision": self.policy.precision,
        }
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Raises:
            AgentError: If the weights belong to another architecture.
        """
        try:
            if self.adapted is None:
                load_model(self.backbone.model, directory / "model" / "model.safetensors")
            else:
                load_adapters(self.adapted, directory / "model")
            heads = load_file(directory / "heads.safetensors")
            if heads.keys() != self._head_tensors().keys():
                raise RuntimeError(f"its heads are {sorted(heads)}")
            self.policy.load_state_dict(heads, strict=False)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # the first says that there is one
            raise AgentError(f"the checkpoint in {directory} does not fit: {reason}") from error
        load_optimizer(self.optimizer, directory / "optimizer.safetensors")
        state = json.loads((directory / "state.json").read_text())
        noise = np.frombuffer(bytes.fromhex(state["generator"]), np.uint8).copy()
        self.generator.set_state(torch.from_numpy(noise))
        self.policy.precision = state["precision"]  # a run keeps what it began with
        self.cached.clear()

    @classmethod
    def weight_files(cls, config: LanguageModelConfig) -> Sequence[Path]:
        """MiniFlan's file or a folder's, where any of its weights are used."""
        used = config.pretrained or config.pretrained_embeddings
        return weight_files(config.model) if used else ()

    @classmethod
    def cost(cls, config: LanguageModelConfig, n_actions: int) -> Any:
        """Counts work and memory from the model's dimensions alone."""
        from agents.language_model.planning.cost import LanguageModelCost

        return LanguageModelCost(config, n_actions, learns=cls.learns)

    def identity(self) -> Mapping[str, Any]:
        """Label and model for the records."""
        own = None if is_ours(Path(inspect.getfile(type(self)))) else type(self).__name__
        return describe(self.config, self.backbone, self.policy.precision, own)

    def _head_tensors(self) -> dict[str, Tensor]:
        state = self.policy.state_dict()
        return {k: v.contiguous() for k, v in state.items() if not k.startswith("model.")}
