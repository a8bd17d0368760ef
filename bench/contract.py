"""The agent contract as rules that run: every registered agent keeps them, a plug-in can be asked.

Each rule guards a promise of the records: that a run does not depend on what is played beside it,
that looking on changes nothing, that a killed run loses nothing.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agents.base import Agent, AgentError, sample_actions, speaking_for
from bench.config import EnvironmentConfig
from bench.evaluate import choose_actions
from bench.learning_round import learning_round
from bench.lifecycle import as_json
from bench.replays import checked_output
from bench.storage.parsing import name_problem
from envs import SPLITS, Observation, TextEnv, VectorEnv, evaluation_seeds

_SPLITS = ("train", "invented-words", "synonym-actions", "french-goto")
_SIDE_BY_SIDE = 9
_STEPS = 4
_DRAWS = (0.01, 0.45, 0.99)  # no bound between equal chances, where a last bit would decide
LEARNING_STEPS = 1000
"""Random has been rewarded by then."""


class Breach(Exception):
    """A rule is broken; the message says how."""


@dataclass(frozen=True)
class Subject:
    """What a rule is tried on.

    Attributes:
        build: Builds the agent, untrained and the same each time.
        world: The world it was built for.
        n_envs: Number of training environments.
        learning_steps: Environment steps of learning before and after the save.
        scratch: Makes an empty folder.
    """

    build: Callable[[], Agent]
    world: EnvironmentConfig
    n_envs: int
    learning_steps: int
    scratch: Callable[[], Path]

    def environments(self) -> VectorEnv:
        """Training environments, the same each time."""
        return VectorEnv(self.world.build, self.n_envs, 0)

    def episodes(self, split: str, count: int) -> tuple[list[TextEnv], list[Observation]]:
        """Test episodes of a split and their first observations."""
        level, view = SPLITS[split].level, SPLITS[split].view
        envs = [self.world.build(level, view) for _ in range(count)]
        seeds = evaluation_seeds(count)
        return envs, [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]


@dataclass(frozen=True)
class RuleResult:
    """A rule and whether it is kept.

    Attributes:
        rule: The rule in words.
        breach: How it is broken, or None.
    """

    rule: str
    breach: str | None


def check_rules(
    build: Callable[[], Agent],
    world: EnvironmentConfig,
    n_envs: int,
    learning_steps: int = LEARNING_STEPS,
) -> Iterator[RuleResult]:
    """Tries every rule that is about such an agent.

    Args:
        build: Builds the agent, untrained, from the same seed each time.
        world: The world that the agent is built for.
        n_envs: Number of training environments that it is built for.
        learning_steps: Environment steps of learning before and after the save.

    Yields:
        One result for each rule, as soon as it is known.
    """
    learns = build().learns
    for rule, holds in (LEARNERS_RULES if learns else FIXED_RULES).items():
        with tempfile.TemporaryDirectory() as folder:
            subject = Subject(build, world, n_envs, learning_steps, _folders(Path(folder)))
            try:
                with speaking_for("the agent"):
                    holds(subject)
            except AgentError as error:
                broken = isinstance(error.__cause__, Breach)
                yield RuleResult(rule, str(error.__cause__ if broken else error))
            else:
                yield RuleResult(rule, None)


def says_what_it_is(subject: Subject) -> None:
    """Options that cannot change, a label, and the model if there is one."""
    agent = subject.build()
    options = agent.Config
    _demand(dataclasses.is_dataclass(options), "Config is not a dataclass")
    frozen = options.__dataclass_params__.frozen  # type: ignore[attr-defined]  # not in its stubs
    _demand(frozen, "Config is not frozen: say @dataclass(frozen=True)")
    try:
        identity = as_json(agent.identity())
    except AgentError as error:
        raise Breach(f"identity() {error}") from error
    _demand(bool(identity.get("label")), "identity() has no label")
    problem = name_problem(identity["label"])
    _demand(problem is None, f"identity()['label'] {problem}")
    model = identity.get("model")
    missing = {"name", "pretrained", "weights_sha256"} - (model or {}).keys()
    lacks = f"identity()['model'] lacks {', '.join(sorted(missing))} (None if unknown)"
    _demand(not model or not missing, lacks)


def acts_on_every_split(subject: Subject) -> None:
    """An action index for each observation, the same ones again."""
    agent = subject.build()
    for split in _SPLITS:
        first, again = _played(agent, subject, split), _played(agent, subject, split)
        _demand(
            first == again,
            f"the same episodes of {split} were played otherwise the second time: chance belongs "
            "in observation.draw (agents.sample_actions)",
        )


def acts_alone_as_beside_others(subject: Subject) -> None:
    """What it does in one episode does not hang on which others are asked about with it."""
    agent = subject.build()
    envs, seen = subject.episodes("train", _SIDE_BY_SIDE)
    chosen = []
    for size in (_SIDE_BY_SIDE, 1, 4):
        actions: list[int] = []
        for start in range(0, _SIDE_BY_SIDE, size):
            chunk = slice(start, start + size)
            actions += choose_actions(agent, envs[chunk], seen[chunk]).tolist()
        chosen.append(actions)
    _demand(
        chosen[0] == chosen[1] == chosen[2],
        f"asked about {_SIDE_BY_SIDE}, one or four observations at a time it acts otherwise",
    )


def tells_its_probabilities(subject: Subject) -> None:
    """If it has policy_output(), act() samples from the probabilities there, learned ones too."""
    agent = subject.build()
    if agent.learns:
        _learn(agent, subject.environments(), subject)
    (env,), (seen,) = subject.episodes("train", 1)
    if agent.privileged:
        agent.attach([env, env])
    told = agent.policy_output([seen, seen])
    if told is None:
        return
    checked_output(told, 2, len(seen.action_phrases), "policy_output()")
    chances = np.asarray(told.probabilities)
    taught = agent.learns or told.values is None
    _demand(taught, "policy_output() gives values, but nothing has taught it any")
    for draw in _DRAWS:
        drawn = [dataclasses.replace(seen, draw=draw)]
        same = choose_actions(agent, [env], drawn) == sample_actions(chances[:1], drawn)
        _demand(bool(same.all()), f"with draw {draw} act() takes what policy_output() does not say")


def looking_on_changes_nothing(subject: Subject) -> None:
    """What is saved after a round of learning is the same after acting and telling its policy."""
    agent = subject.build()
    agent.update(subject.environments())
    before = _saved(agent, subject)
    _played(agent, subject, "train")
    agent.policy_output(subject.episodes("train", 1)[1])
    after = _saved(agent, subject)
    _demand(
        before == after,
        f"after act() and policy_output() save() writes something else: {_apart(before, after)}",
    )


def learns_and_goes_on(subject: Subject) -> None:
    """Learning steps the environments and logs numbers; from save() on it is the same again."""
    whole, envs = subject.build(), subject.environments()
    columns = _learn(whole, envs, subject)[0].keys()
    folder, state, middle = subject.scratch(), envs.state(), _saved(whole, subject)
    whole.save(folder)
    logged = _learn(whole, envs, subject, columns)
    end = _saved(whole, subject)
    _demand(
        end != middle,
        f"nothing that save() writes changed in {subject.learning_steps} steps: does update() "
        "learn, and does save() write what it learned?",
    )
    resumed, envs = subject.build(), subject.environments()
    resumed.load(folder)
    envs.restore(state)
    logged_again = _learn(resumed, envs, subject)
    end_again = _saved(resumed, subject)
    _demand(
        end == end_again,
        "a run that goes on from save() does not end like one that was never stopped: "
        f"{_apart(end, end_again)} differs; is everything saved and loaded, generators too?",
    )
    _demand(
        repr(logged) == repr(logged_again),  # a NaN is like itself
        "a run that goes on from save() does not log what one that was never stopped does; is what "
        "update() counts saved too?",
    )


def says_that_it_does_not_learn(subject: Subject) -> None:
    """update() of an agent that does not learn is an AgentError, not a silence."""
    try:
        subject.build().update(subject.environments())
    except AgentError:
        return
    raise Breach("learns is False, but update() does not refuse")


_BOTH = {
    "says what it is": says_what_it_is,
    "acts on every kind of split, the same twice": acts_on_every_split,
    "acts alone as beside others": acts_alone_as_beside_others,
    "acts by the probabilities it tells": tells_its_probabilities,
}
LEARNERS_RULES: dict[str, Callable[[Subject], None]] = {
    **_BOTH,
    "looking on changes nothing": looking_on_changes_nothing,
    "learns, and goes on from what it saved to the same bytes": learns_and_goes_on,
}
"""Rules of an agent that learns, by what they say."""
FIXED_RULES: dict[str, Callable[[Subject], None]] = {
    **_BOTH,
    "says that it does not learn": says_that_it_does_not_learn,
}
"""Rules of an agent that is only evaluated."""


def _demand(kept: bool, breach: str) -> None:
    if not kept:
        raise Breach(breach)


def _played(agent: Agent, subject: Subject, split: str) -> list[list[int]]:
    """Actions of some steps in a few test episodes of a split."""
    envs, seen = subject.episodes(split, 3)
    taken = []
    for _ in range(_STEPS):
        actions = choose_actions(agent, envs, seen)
        taken.append(actions.tolist())
        seen = [env.step(int(a))[0] for env, a in zip(envs, actions, strict=True)]
    return taken


def _learn(
    agent: Agent, envs: VectorEnv, subject: Subject, columns: Set[str] | None = None
) -> list[Mapping[str, float]]:
    """Rounds of learning for some steps; returns what each of them logged."""
    start = envs.steps
    logged: list[Mapping[str, float]] = []
    while envs.steps < start + subject.learning_steps:
        logged.append(learning_round(agent, envs, columns))
        columns = logged[0].keys()
        envs.pop_episodes()  # as the harness does after every round
    return logged


def _folders(parent: Path) -> Callable[[], Path]:
    def scratch() -> Path:
        return Path(tempfile.mkdtemp(dir=parent))

    return scratch


def _saved(agent: Agent, subject: Subject) -> dict[str, bytes]:
    """What save() writes, by file."""
    folder = subject.scratch()
    agent.save(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def _apart(one: dict[str, bytes], other: dict[str, bytes]) -> str:
    names = sorted({*one, *other})
    return ", ".join(name for name in names if one.get(name) != other.get(name))
