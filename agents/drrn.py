"""DRRN: a Q-function over texts of states and actions (He et al. 2016), the paper's baseline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

from agents.base import Agent, AgentContext, AgentError, PolicyOutput, sample_actions
from agents.ranges import Count, Fraction, NonNegative, Positive, Whole
from agents.replay_buffer import ReplayBuffer, TransitionBatch
from agents.schedule import Decay, decayed
from agents.text_encoder import TextEncoder, zeros_for_denormals
from agents.token_tree import TOKEN_DTYPE, TokenTree, build_token_tree
from agents.tokenizer import train_tokenizer
from agents.training_state import load_optimizer, save_optimizer
from envs.observation import Observation
from envs.vector import StepResult, VectorEnv


@dataclass(frozen=True)
class DRRNConfig:
    """Options of DRRN; the defaults are the published ones.

    Attributes:
        vocab_size: Largest number of sub-word tokens; the environment's own sentences, which they
            are learned from, fill some six hundred (published: a unigram vocabulary of 8,000).
        embedding_size: Size of a token's embedding.
        hidden_size: Size of both GRUs' states and of the hidden layer.
        learning_rate: Adam's learning rate.
        learning_rate_decay: ``"none"``, or ``"linear"``: to 0 at the end of training.
        gamma: Discount.
        batch_size: Transitions in a gradient step.
        replay_capacity: Transitions kept; memory is taken as they come.
        learning_starts: Transitions in the replay before the first gradient step.
        rollout_length: Steps in each environment in one round of learning and logging.
        steps_per_update: Environment steps, all environments together, between updates
            (published: 32 environments × 4 steps).
        gradient_steps: Gradient steps in an update.
        max_grad_norm: Largest norm of the gradient.
        temperature: Temperature of the softmax over Q that actions are sampled from.
        reward_scale: Factor on rewards while learning.
        bootstrap_on_timeout: Whether value is expected beyond a time-out; published: it is an
            end like any other.
    """

    vocab_size: Count = 8000
    embedding_size: Count = 128
    hidden_size: Count = 128
    learning_rate: NonNegative = 1e-4
    learning_rate_decay: Decay = "none"
    gamma: Fraction = 0.9
    batch_size: Count = 64
    replay_capacity: Count = 5_000_000
    learning_starts: Whole = 64
    rollout_length: Count = 40
    steps_per_update: Count = 128
    gradient_steps: Count = 1
    max_grad_norm: Positive = 5.0
    temperature: Positive = 1.0
    reward_scale: float = 20.0
    bootstrap_on_timeout: bool = False


class QNetwork(nn.Module):
    """Q(s, a) by an MLP over the states of two GRUs that share the token embeddings."""

    def __init__(self, vocab_size: int, embedding_size: int, hidden_size: int) -> None:
        """Builds the network.

        Args:
            vocab_size: Number of tokens.
            embedding_size: Size of a token's embedding.
            hidden_size: Size of both GRUs' states and of the hidden layer.
        """
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, embedding_size)
        self.state_encoder = TextEncoder(embedding_size, hidden_size)
        self.action_encoder = TextEncoder(embedding_size, hidden_size)
        self.hidden = nn.Linear(2 * hidden_size, hidden_size)
        self.scorer = nn.Linear(hidden_size, 1)

    def forward(self, states: TokenTree, actions: TokenTree) -> Tensor:
        """Values every action in every state.

        Args:
            states: Texts of (batch,) states.
            actions: Phrases of (n_actions,) actions, the same in all of these states.

        Returns:
            (batch, n_actions) values.
        """
        state = self.state_encoder(states, self.embedding.weight)
        action = self.action_encoder(actions, self.embedding.weight)
        # The hidden layer of all pairs (s, a), its product with each s and each a taken once.
        to_state, to_action = self.hidden.weight.chunk(2, 1)
        of_state = F.linear(state, to_state, self.hidden.bias)
        pairs = of_state[:, None] + F.linear(action, to_action)
        values: Tensor = self.scorer(F.relu(pairs)).squeeze(2)
        return values


class DRRNAgent(Agent):
    """Deep reinforcement relevance network with replay and softmax exploration."""

    Config: ClassVar[type] = DRRNConfig
    config: DRRNConfig

    def __init__(self, config: DRRNConfig, context: AgentContext) -> None:
        """Builds the network from the run's seed, and an empty replay.

        Args:
            config: Options.
            context: What the harness tells every agent.
        """
        super().__init__(config, context)
        if config.replay_capacity < config.learning_starts:
            raise AgentError(
                f"drrn: a replay of {config.replay_capacity} transitions never holds the "
                f"{config.learning_starts} of learning_starts"
            )
        tokenizer = train_tokenizer(config.vocab_size)
        vocabulary = tokenizer.get_vocab_size()  # far below what a TOKEN_DTYPE can hold
        self._encode_piece = lru_cache(2**17)(
            lambda piece: np.array(tokenizer.encode(piece).ids, TOKEN_DTYPE).tobytes()
        )
        self._action_tree = lru_cache(16)(
            lambda phrases: build_token_tree([*map(self._encode_piece, phrases)], context.device)
        )
        self._comma = np.array([tokenizer.token_to_id(",")], TOKEN_DTYPE).tobytes()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(context.seed)
            self.network = QNetwork(vocabulary, config.embedding_size, config.hidden_size)
        self.network.to(context.device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )
        self.replay = ReplayBuffer(config.replay_capacity)
        self.rng = np.random.default_rng(context.seed)
        self._steps_since_update = 0

    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Samples from the softmax over Q; returns (batch,) action indices."""
        return sample_actions(self.policy_output(observations).probabilities, observations)

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput:
        """The softmax over Q, and the largest Q as the value."""
        phrases = [observation.action_phrases for observation in observations]
        probabilities = np.zeros((len(phrases), max(map(len, phrases))), np.float32)
        best = np.zeros(len(phrases), np.float32)
        for group in dict.fromkeys(phrases):
            members = [i for i, own in enumerate(phrases) if own == group]
            values = self._values([self.encode(observations[i]) for i in members], group)
            policy = torch.softmax(values / self.config.temperature, 1)
            probabilities[members, : len(group)] = policy.cpu().numpy()
            best[members] = values.max(1).values.cpu().numpy()
        return PolicyOutput(probabilities, best)

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """One round: ``rollout_length`` steps in each environment, learning in between.

        Args:
            envs: The training environments; their action phrases are all the same.

        Returns:
            Means over the round of loss, gradient norm (0 without a gradient step), Q and policy
            entropy in nats; numbers of gradient steps and of transitions in the replay.
        """
        config = self.config
        rate = decayed(config.learning_rate, config.learning_rate_decay, envs.steps, self.context)
        self.optimizer.param_groups[0]["lr"] = rate
        phrases = envs.observations[0].action_phrases
        texts = [self.encode(observation) for observation in envs.observations]
        # Copied from the device when the round is over, not in every step.
        losses, norms, means, entropies = [], [], [], []
        for _ in range(config.rollout_length):
            values = self._values(texts, phrases)
            policy = torch.softmax(values / self.config.temperature, 1)
            actions = sample_actions(policy.cpu().numpy(), envs.observations)
            result = envs.step(actions)
            texts = self._remember(texts, actions, result)
            means.append(values.mean())
            entropies.append(torch.special.entr(policy).sum(1).mean())
            self._steps_since_update += envs.n_envs
            while self._steps_since_update >= self.config.steps_per_update:
                self._steps_since_update -= self.config.steps_per_update
                if len(self.replay) >= max(self.config.learning_starts, 1):
                    for _ in range(self.config.gradient_steps):
                        loss, norm = self._learn(phrases)
                        losses.append(loss)
                        norms.append(norm)
        return {
            "loss": _mean(losses),
            "grad_norm": _mean(norms),
            "q_mean": _mean(means),
            "entropy": _mean(entropies),
            "gradient_steps": float(len(losses)),
            "replay_size": float(len(self.replay)),
        }

    def encode(self, observation: Observation) -> bytes:
        """Token ids of the prompt, as bytes (see ``TOKEN_DTYPE``)."""
        # Prompts are lists of the same few phrases, so each is tokenised once.
        return self._comma.join(map(self._encode_piece, observation.prompt().split(", ")))

    def targets(self, batch: TransitionBatch, next_values: Tensor) -> Tensor:
        """What Q(s, a) is pulled towards: r + γ max_a' Q(s', a'), r alone at an end.

        Args:
            batch: Transitions.
            next_values: (batch, n_actions) Q(s', ·).

        Returns:
            (batch,) targets, without gradient.
        """
        best = next_values.detach().max(1).values
        rewards = torch.from_numpy(batch.rewards).to(best.device)
        going_on = torch.from_numpy(~batch.terminal).to(best.device)
        return rewards + self.config.gamma * best * going_on

    def save(self, directory: Path) -> None:
        """Writes weights, optimiser, replay and generator."""
        save_file(self.network.state_dict(), directory / "network.safetensors")
        save_optimizer(self.optimizer, directory / "optimizer.safetensors")
        self.replay.save(directory / "replay.safetensors")
        state = {
            "generator": self.rng.bit_generator.state,
            "steps_since_update": self._steps_since_update,
        }
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Raises:
            AgentError: If it was saved with other sizes.
        """
        try:
            self.network.load_state_dict(load_file(directory / "network.safetensors"))
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()
            raise AgentError(f"the checkpoint in {directory} does not fit: {reason}") from error
        load_optimizer(self.optimizer, directory / "optimizer.safetensors")
        self.replay.load(directory / "replay.safetensors")
        state = json.loads((directory / "state.json").read_text())
        self.rng.bit_generator.state = state["generator"]
        self._steps_since_update = state["steps_since_update"]

    def identity(self) -> Mapping[str, Any]:
        """The label in tables."""
        return {"label": "DRRN", "model": {}}

    @torch.no_grad()
    def _values(self, texts: Sequence[bytes], phrases: Sequence[str]) -> Tensor:
        return self._forward(texts, phrases)

    def _forward(
        self, texts: Sequence[bytes], phrases: Sequence[str], n_learned: int | None = None
    ) -> Tensor:
        """(texts, phrases) values; the state encoder learns from the first ``n_learned`` alone."""
        states = build_token_tree(texts, self.context.device, n_learned)
        values: Tensor = self.network(states, self._action_tree(tuple(phrases)))
        return values

    def _remember(
        self, texts: list[bytes], actions: NDArray[np.int64], result: StepResult
    ) -> list[bytes]:
        """Stores what happened; returns the texts that the next step starts from."""
        now = [self.encode(observation) for observation in result.observations]
        ends = result.terminated if self.config.bootstrap_on_timeout else result.done
        for i, last_view in enumerate(result.final_observations):
            following = now[i] if last_view is None else self.encode(last_view)
            reward = float(result.rewards[i]) * self.config.reward_scale
            self.replay.add(texts[i], int(actions[i]), reward, following, bool(ends[i]))
        return now

    def _learn(self, phrases: Sequence[str]) -> tuple[Tensor, Tensor]:
        """One gradient step on the Huber loss; returns the loss and the gradient's norm."""
        batch = self.replay.sample(self.config.batch_size, self.rng)
        size = len(batch.states)
        # Half of the next states are states of the batch too: nothing moved, and the view is the
        # same. Read together they are read once.
        values = self._forward([*batch.states, *batch.next_states], phrases, n_learned=size)
        taken = values[range(size), batch.actions]
        loss = F.smooth_l1_loss(taken, self.targets(batch, values[size:]))
        self.optimizer.zero_grad()
        with zeros_for_denormals():
            loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.max_grad_norm)
        self.optimizer.step()
        return loss.detach(), norm


def _mean(scalars: Sequence[Tensor]) -> float:
    """The mean of what was logged in a round; 0 of nothing."""
    return float(np.mean(torch.stack(list(scalars)).tolist())) if scalars else 0.0
