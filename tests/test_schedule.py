"""A step size that falls over a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_agents import SMALL, environments

from agents.base import AgentContext, AgentError
from agents.drrn import DRRNAgent, DRRNConfig
from agents.language_model.agent import LanguageModelAgent
from agents.language_model.config import LanguageModelConfig
from agents.schedule import decayed
from agents.symbolic_ppo import SymbolicPPOAgent, SymbolicPPOConfig

N_ENVS, ROLLOUT, RATE = 4, 4, 1e-3
LEARNERS = {
    LanguageModelAgent: LanguageModelConfig(learning_rate=RATE, **SMALL),
    DRRNAgent: DRRNConfig(
        learning_rate=RATE, rollout_length=ROLLOUT, learning_starts=1, steps_per_update=2
    ),
    SymbolicPPOAgent: SymbolicPPOConfig(
        learning_rate=RATE, channels=8, mission_size=8, rollout_length=ROLLOUT
    ),
}


def after_updates(agent_class, decay: str, count: int):
    context = AgentContext(n_envs=N_ENVS, training_steps=4 * N_ENVS * ROLLOUT)
    learner = agent_class(replace(LEARNERS[agent_class], learning_rate_decay=decay), context)
    envs = environments()
    for _ in range(count):
        learner.update(envs)
    return learner


def optimizer_of(learner) -> torch.optim.Optimizer:
    return learner.ppo.policy.optimizer if hasattr(learner, "ppo") else learner.optimizer


@pytest.mark.parametrize("agent_class", LEARNERS)
@pytest.mark.parametrize(("decay", "expected"), [("none", RATE), ("linear", RATE / 2)])
def test_every_learner_takes_the_step_size_of_its_place_in_the_run(agent_class, decay, expected):
    # The third of four updates begins with half of the run behind it.
    (group,) = optimizer_of(after_updates(agent_class, decay, 3)).param_groups
    assert group["lr"] == pytest.approx(expected)


@pytest.mark.parametrize("agent_class", LEARNERS)
def test_decay_changes_what_is_learned(agent_class):
    constant, falling = (
        [
            p.detach()
            for p in optimizer_of(after_updates(agent_class, decay, 2)).param_groups[0]["params"]
        ]
        for decay in ("none", "linear")
    )
    assert not all(map(torch.equal, constant, falling))


def test_step_size_never_reaches_zero_before_the_end_and_needs_an_end():
    context = AgentContext(training_steps=100)
    assert decayed(RATE, "linear", 0, context) == RATE
    assert 0 < decayed(RATE, "linear", 99, context) < RATE / 50
    assert decayed(RATE, "linear", 200, context) == 0.0
    with pytest.raises(AgentError, match="known length"):
        decayed(RATE, "linear", 0, AgentContext())
