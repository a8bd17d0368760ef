"""A learning agent in one file, as a stranger adds it: `--agent tests/tabular_agent.py:Tabular`."""

from __future__ import annotations

import json
import zlib
from dataclasses import dataclass

import numpy as np

from agents import Agent, PolicyOutput, sample_actions


@dataclass(frozen=True)
class TabularConfig:
    """Options: step size, rows of the table, steps per environment and update."""

    learning_rate: float = 0.5
    rows: int = 512
    rollout_length: int = 16


class Tabular(Agent):
    """Softmax over a table row per (goal, newest view), learned by REINFORCE."""

    Config = TabularConfig

    def __init__(self, config, context):
        super().__init__(config, context)
        self.table = np.zeros((config.rows, context.n_actions))
        self.rng = np.random.default_rng(context.seed)

    def act(self, observations):
        return sample_actions(self.policy_output(observations).probabilities, observations)

    def policy_output(self, observations):
        return PolicyOutput(self._policy(self._rows(observations)))

    def update(self, envs):
        taken = []
        for _ in range(self.config.rollout_length):
            rows = self._rows(envs.observations)
            policy = self._policy(rows)
            draws = self.rng.random(envs.n_envs)
            actions = (
                (policy.cumsum(axis=1) < draws[:, None]).sum(axis=1).clip(0, envs.n_actions - 1)
            )
            result = envs.step(actions)
            taken.append((rows, actions, policy, result.rewards, result.done))
        to_go = np.zeros(envs.n_envs)
        for rows, actions, policy, rewards, done in reversed(taken):
            to_go = rewards + 0.9 * np.where(done, 0.0, to_go)
            gradient = np.eye(envs.n_actions)[actions] - policy
            np.add.at(self.table, rows, self.config.learning_rate * to_go[:, None] * gradient)
        return {"table_norm": float(np.linalg.norm(self.table))}

    def save(self, directory):
        np.save(directory / "table.npy", self.table)
        (directory / "rng.json").write_text(json.dumps(self.rng.bit_generator.state))

    def load(self, directory):
        self.table = np.load(directory / "table.npy", allow_pickle=False)
        self.rng.bit_generator.state = json.loads((directory / "rng.json").read_text())

    def identity(self):
        return {"label": "Tabular", "model": {}}

    def _rows(self, observations):
        texts = [f"{o.goal}|{o.descriptions[-1]}" for o in observations]
        return np.array([zlib.crc32(text.encode()) % self.config.rows for text in texts])

    def _policy(self, rows):
        logits = self.table[rows]
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        return weights / weights.sum(axis=1, keepdims=True)
