"""Symbolic-PPO: stable-baselines3's PPO on the symbolic view and the mission."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from stable_baselines3 import PPO
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import ActorCriticPolicy

from agents.base import Agent, AgentContext, AgentError, PolicyOutput, sample_actions
from agents.ranges import Count, Fraction, NonNegative, Positive
from agents.schedule import Decay, decayed
from agents.symbolic_env import SymbolicVecEnv, encode
from agents.symbolic_network import FiLMExtractor, Pooling
from agents.training_state import load_optimizer, save_optimizer
from envs.observation import Observation
from envs.vector import VectorEnv


@dataclass(frozen=True)
class SymbolicPPOConfig:
    """Options of Symbolic-PPO; the defaults are the published ones (BabyAI 1.1's).

    Attributes:
        channels: Feature maps of every convolution.
        mission_size: Size of word embeddings and of the mission's GRU.
        pooling: ``"end"``: one maximum over all cells at the end (BabyAI 1.1); ``"early"``: the
            view is halved twice before the mission comes in (BabyAI 1.0); ``"none"``: no pooling.
        head_size: Width of the hidden layer of actor and critic.
        learning_rate: Adam's learning rate.
        learning_rate_decay: ``"none"``, or ``"linear"``: to 0 at the end of training.
        adam_eps: Adam's ε.
        rollout_length: Steps in each environment between updates.
        epochs: Passes over a rollout.
        batch_size: Transitions in a minibatch; at most a whole rollout.
        gamma: Discount.
        gae_lambda: λ of generalised advantage estimation.
        clip: Clipping range of the policy ratio.
        clip_value: Clipping range of the value, in units of the scaled reward; None: no clipping.
            stable-baselines3 learns from the clipped value alone, BabyAI 1.1 from the worse of the
            clipped and the unclipped one.
        entropy_coefficient: Weight of the entropy bonus.
        value_coefficient: Weight of the value loss.
        max_grad_norm: Largest norm of the gradient.
        reward_scale: Factor on rewards while learning.
        normalize_advantage: Whether a minibatch's advantages are standardised; BabyAI does not.
        bootstrap_on_timeout: Whether a time-out is bootstrapped; published: it ends the episode.
    """

    channels: Count = 128
    mission_size: Count = 128
    pooling: Pooling = "end"
    head_size: Count = 64
    learning_rate: NonNegative = 1e-4
    learning_rate_decay: Decay = "none"
    adam_eps: Positive = 1e-5
    rollout_length: Count = 40
    epochs: Count = 4
    batch_size: Count = 1280
    gamma: Fraction = 0.99
    gae_lambda: Fraction = 0.99
    clip: Positive = 0.2
    clip_value: Positive | None = 0.2
    entropy_coefficient: NonNegative = 0.01
    value_coefficient: NonNegative = 0.5
    max_grad_norm: Positive = 0.5
    reward_scale: float = 20.0
    normalize_advantage: bool = False
    bootstrap_on_timeout: bool = False


class SymbolicPPOAgent(Agent):
    """PPO that reads MiniGrid's codes instead of sentences."""

    Config: ClassVar[type] = SymbolicPPOConfig
    config: SymbolicPPOConfig

    def __init__(self, config: SymbolicPPOConfig, context: AgentContext) -> None:
        """Builds network and optimiser from the run's seed.

        Args:
            config: Options.
            context: What the harness tells every agent.
        """
        super().__init__(config, context)
        self._env = SymbolicVecEnv(
            context.n_envs,
            context.n_actions,
            context.history,
            reward_scale=config.reward_scale,
            bootstrap_on_timeout=config.bootstrap_on_timeout,
        )
        self._updates = 0
        with self._own_randomness():
            self.ppo = PPO(
                ActorCriticPolicy,
                self._env,
                learning_rate=config.learning_rate,
                n_steps=config.rollout_length,
                batch_size=min(config.batch_size, config.rollout_length * context.n_envs),
                n_epochs=config.epochs,
                gamma=config.gamma,
                gae_lambda=config.gae_lambda,
                clip_range=config.clip,
                clip_range_vf=config.clip_value,
                normalize_advantage=config.normalize_advantage,
                ent_coef=config.entropy_coefficient,
                vf_coef=config.value_coefficient,
                max_grad_norm=config.max_grad_norm,
                policy_kwargs={
                    "net_arch": {"pi": [config.head_size], "vf": [config.head_size]},
                    "features_extractor_class": FiLMExtractor,
                    "features_extractor_kwargs": {
                        "channels": config.channels,
                        "mission_size": config.mission_size,
                        "pooling": config.pooling,
                    },
                    "optimizer_kwargs": {"eps": config.adam_eps, "fused": True},
                },
                device=context.device,
            )
        self.ppo.set_logger(Logger(folder=None, output_formats=[]))

    @property
    def policy(self) -> ActorCriticPolicy:
        """Actor and critic."""
        return self.ppo.policy

    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Samples from the policy; returns (batch,) action indices."""
        return sample_actions(self._probabilities(self._tensors_of(observations)), observations)

    def policy_output(self, observations: Sequence[Observation]) -> PolicyOutput:
        """The actor's policy and the critic's estimates."""
        tensors = self._tensors_of(observations)
        with torch.no_grad():
            values = self.policy.predict_values(tensors).squeeze(1)
        return PolicyOutput(self._probabilities(tensors), values.cpu().numpy())

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """One rollout and the epochs over it.

        Args:
            envs: The training environments, which go on from where they are.

        Returns:
            What stable-baselines3 logs under ``train/``; an undefined explained variance (all
            returns the same) is 0.

        Raises:
            AgentError: If there are not as many environments as the context says.
        """
        if envs.n_envs != self.context.n_envs:
            raise AgentError(
                f"symbolic-ppo was built for {self.context.n_envs} environments, got {envs.n_envs}"
            )
        self._env.envs = envs
        # With these set, learn() neither resets the environments nor needs them in a checkpoint.
        self.ppo._last_obs = self._env.reset()
        self.ppo._last_episode_starts = np.zeros(envs.n_envs, np.bool_)
        config = self.config
        rate = decayed(config.learning_rate, config.learning_rate_decay, envs.steps, self.context)
        self.ppo.lr_schedule = lambda _: rate  # SB3 sees one round at a time, not the run
        with self._own_randomness(self._updates):
            self.ppo.learn(
                config.rollout_length * envs.n_envs,
                log_interval=None,  # type: ignore[arg-type]  # SB3: no dump, values stay readable
                reset_num_timesteps=False,
            )
        self._updates += 1
        logged = self.ppo.logger.name_to_value
        metrics = {name.removeprefix("train/"): float(value) for name, value in logged.items()}
        if math.isnan(metrics["explained_variance"]):
            metrics["explained_variance"] = 0.0
        return metrics

    def save(self, directory: Path) -> None:
        """Writes weights, optimiser and counters; random draws follow from the counters."""
        save_file(self._tensors(), directory / "policy.safetensors")
        save_optimizer(self._adam(), directory / "optimizer.safetensors")
        state = {
            "updates": self._updates,
            "timesteps": self.ppo.num_timesteps,
            "epochs": self.ppo._n_updates,
        }
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Raises:
            AgentError: If it was saved with other sizes.
        """
        saved, own = load_file(directory / "policy.safetensors"), self._tensors()
        misfits = sorted(saved.keys() ^ own.keys()) or [
            name for name in own if own[name].shape != saved[name].shape
        ]
        if misfits:
            raise AgentError(f"the checkpoint in {directory} does not fit: {misfits[0]} differs")
        for name, tensor in own.items():
            tensor.copy_(saved[name])
        load_optimizer(self._adam(), directory / "optimizer.safetensors")
        state = json.loads((directory / "state.json").read_text())
        self._updates = state["updates"]
        self.ppo.num_timesteps = state["timesteps"]
        self.ppo._n_updates = state["epochs"]

    def identity(self) -> Mapping[str, Any]:
        """The label in tables."""
        return {"label": "Symbolic-PPO", "model": {}}

    def _tensors_of(self, observations: Sequence[Observation]) -> dict[str, torch.Tensor]:
        arrays = encode(observations, self.context.history)
        return {k: torch.from_numpy(v).to(self.ppo.device) for k, v in arrays.items()}

    def _probabilities(self, tensors: dict[str, torch.Tensor]) -> NDArray[np.floating]:
        with torch.no_grad():
            distribution = self.policy.get_distribution(tensors).distribution
        assert isinstance(distribution, torch.distributions.Categorical)
        probabilities: NDArray[np.floating] = distribution.probs.cpu().numpy()
        return probabilities

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Weights by name; a module that stands under several names comes once."""
        return {name: value.detach() for name, value in self.policy.named_parameters()}

    def _adam(self) -> torch.optim.Adam:
        assert isinstance(self.policy.optimizer, torch.optim.Adam)
        return self.policy.optimizer

    @contextmanager
    def _own_randomness(self, *update: int) -> Iterator[None]:
        """Seeds the global generators SB3 draws from, and gives them back after.

        Args:
            *update: The update that is seeded; none: building the agent.
        """
        seeds = np.random.SeedSequence(self.context.seed, spawn_key=update).generate_state(2)
        before = np.random.get_state()  # noqa: NPY002  # SB3 shuffles with it
        device = torch.device(self.context.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(int(seeds[0]))
            np.random.seed(int(seeds[1]))  # noqa: NPY002
            try:
                yield
            finally:
                np.random.set_state(before)  # noqa: NPY002
