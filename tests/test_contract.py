"""`glam check`: every rule of the contract finds the agent that breaks it, and says how."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from agents import Agent, AgentContext, PolicyOutput, sample_actions
from bench.cli import cli
from bench.config import EnvironmentConfig
from bench.contract import FIXED_RULES, LEARNERS_RULES, check_rules

WORLD = EnvironmentConfig(room_size=5, num_distractors=1, history=1, n_actions=6)


class Drifter(Agent):
    """Keeps every rule: its preferences take a random walk."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.preferences = np.zeros(context.n_actions)
        self.rng = np.random.default_rng(context.seed)

    def chances(self, observations):
        odds = np.exp(self.preferences)
        return np.tile(odds / odds.sum(), (len(observations), 1))

    def act(self, observations):
        return sample_actions(self.chances(observations), observations)

    def policy_output(self, observations):
        return PolicyOutput(self.chances(observations))

    def update(self, envs):
        envs.step(self.act(envs.observations))
        self.preferences += self.rng.normal(size=self.preferences.shape)
        return {"largest": float(self.preferences.max())}

    def save(self, directory):
        state = {"preferences": self.preferences.tolist(), "rng": self.rng.bit_generator.state}
        (directory / "state.json").write_text(json.dumps(state))

    def load(self, directory):
        state = json.loads((directory / "state.json").read_text())
        self.preferences = np.array(state["preferences"])
        self.rng.bit_generator.state = state["rng"]


@dataclass
class Changeable:
    rate: float = 1.0


class Unsealed(Drifter):
    Config = Changeable


class Nameless(Drifter):
    def identity(self):
        return {"label": "", "model": {}}


class Unwritable(Drifter):
    def identity(self):
        return {"label": "Unwritable", "model": {}, "at": object()}


class Dice(Drifter):
    def act(self, observations):
        return np.random.default_rng().integers(0, 6, len(observations))


class Wide(Drifter):
    def act(self, observations):
        return super().act(observations) + 6


class Column(Drifter):
    def act(self, observations):
        return super().act(observations)[:, None]


class Crowd(Drifter):
    def act(self, observations):
        return np.full(len(observations), len(observations) % 6)

    def policy_output(self, observations):
        return None


class Boaster(Drifter):
    def policy_output(self, observations):
        return PolicyOutput(np.eye(6)[[5] * len(observations)])


class Restless(Drifter):
    def act(self, observations):
        self.preferences[0] += 1e-9
        return super().act(observations)


class Forgetful(Drifter):
    def save(self, directory):
        (directory / "state.json").write_text(json.dumps(self.preferences.tolist()))

    def load(self, directory):
        self.preferences = np.array(json.loads((directory / "state.json").read_text()))


class Idle(Drifter):
    def update(self, envs):
        return {}


class Unteachable(Drifter):
    def update(self, envs):
        envs.step(self.act(envs.observations))
        return {}


class Endless(Drifter):
    def update(self, envs):
        return {**super().update(envs), "loss": float("nan")}


class Warming(Drifter):
    """Logs a loss from its third round on."""

    rounds = 0

    def update(self, envs):
        self.rounds += 1
        logged = super().update(envs)
        return {**logged, "loss": 0.0} if self.rounds > 2 else logged


class Usurper(Drifter):
    def update(self, envs):
        return {**super().update(envs), "steps": 1.0}


class Inverter(Drifter):
    """Finds the action that a draw stands for in its own way, and keeps every rule."""

    def act(self, observations):
        bounds = np.cumsum(self.chances(observations), axis=1)
        return np.array(
            [(o.draw >= row[:-1]).sum() for o, row in zip(observations, bounds, strict=True)]
        )


class Framed(Drifter):
    """Has room for as many views as the world shows, and keeps every rule."""

    def __init__(self, config, context):
        super().__init__(config, context)
        self.seen = np.zeros((context.history, 7, 7, 3))

    def act(self, observations):
        for observation in observations:
            for place, image in enumerate(observation.images):
                self.seen[place] = image
        return super().act(observations)


class Crashing(Drifter):
    def load(self, directory):
        raise KeyError("lost")


class Uncounted(Drifter):
    count = 0

    def update(self, envs):
        self.count += 1
        return {**super().update(envs), "count": float(self.count)}


class Silent(Drifter):
    learns = False


IDENTITY, ACTING, ALONE, CHANCES, LOOKING, GOING_ON = LEARNERS_RULES
BROKEN = [
    (Unsealed, IDENTITY, "not frozen"),
    (Nameless, IDENTITY, "no label"),
    (Unwritable, IDENTITY, "cannot be written as JSON"),
    (Dice, ACTING, "observation.draw"),
    (Wide, ACTING, "act returned action .*, outside 0 to 5"),
    (Column, ACTING, r"shape \(3, 1\), expected \(3,\)"),
    (Crowd, ALONE, "at a time"),
    (Boaster, CHANCES, "does not say"),
    (Restless, LOOKING, "state.json"),
    (Forgetful, GOING_ON, "state.json differs"),
    (Idle, GOING_ON, "no environment step"),
    (Unteachable, GOING_ON, "nothing that save"),
    (Endless, GOING_ON, "loss as (nan|-?inf), no finite number"),
    (Warming, GOING_ON, "loss in some updates only"),
    (Usurper, GOING_ON, "'steps', which is the harness's"),
    (Uncounted, GOING_ON, "does not log what"),
    (Crashing, GOING_ON, r"KeyError: 'lost' \(test_contract.py, line \d+\)"),
    (Silent, list(FIXED_RULES)[-1], "does not refuse"),
]


def broken_rules(agent_class: type[Agent]) -> dict[str, str]:
    def build() -> Agent:
        return agent_class(agent_class.Config(), context)

    context = AgentContext(n_envs=4, n_actions=WORLD.n_actions, history=WORLD.history)
    found = check_rules(build, WORLD, context.n_envs, learning_steps=16)
    return {result.rule: result.breach for result in found if result.breach}


@pytest.mark.parametrize("agent_class", [Drifter, Inverter, Framed])
def test_a_good_agent_breaks_no_rule(agent_class: type[Agent]) -> None:
    assert broken_rules(agent_class) == {}


@pytest.mark.parametrize(
    ("agent_class", "rule", "says"), BROKEN, ids=lambda each: getattr(each, "__name__", "")
)
def test_every_rule_finds_who_breaks_it(agent_class: type[Agent], rule: str, says: str) -> None:
    breaches = broken_rules(agent_class)
    assert rule in breaches
    assert re.search(says, breaches[rule]), breaches


@pytest.mark.parametrize(("name", "code"), [("Drifter", 0), ("Forgetful", 1)])
def test_the_command_names_every_rule_and_fails_for_a_broken_one(name: str, code: int) -> None:
    outcome = CliRunner().invoke(cli, ["check", f"{Path(__file__)}:{name}"])
    assert outcome.exit_code == code, outcome.output
    lines = outcome.output.splitlines()
    assert [line[8:].split(":")[0] for line in lines] == list(LEARNERS_RULES)
    assert sum(line.startswith("BROKEN") for line in lines) == code


class Party(Drifter):
    """Acts otherwise in company of more than four."""

    def act(self, observations):
        return np.full(len(observations), int(len(observations) > 4))

    def policy_output(self, observations):
        return None


def test_an_agent_that_acts_otherwise_in_large_company_only_is_found() -> None:
    assert "at a time" in broken_rules(Party)[ALONE]
