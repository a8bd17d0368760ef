"""A profile: the runs that belong together, from dataclass defaults < YAML < ``--set``."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from agents.base import AgentError
from agents.registry import absolute, find, registered
from bench.config import (
    Device,
    EnvironmentConfig,
    EvaluationConfig,
    Few,
    RunConfig,
    Seed,
    TrainConfig,
)
from bench.settings_yaml import parse_yaml, read_yaml
from bench.storage.parsing import name_problem
from bench.validation import ConfigError, nearest, validated

PROFILES = Path(__file__).parent / "profiles"

_AGENT_NAME = re.compile(r"[\w-]+")


@dataclass(frozen=True)
class Profile:
    """Agents × seeds under one setting.

    Attributes:
        name: Name of the YAML file; the runs are kept under it.
        description: What the profile is for, in a sentence.
        environment: The world.
        train: The budget of training.
        evaluation: What is played after training.
        seeds: One run of every agent for each.
        agents: Options of each agent, by its name in tables and paths. Three belong to the
            harness: ``agent`` (a registered name or ``path/to/file.py:Class``, if the key is only
            a label), ``n_envs`` and ``device`` (override the profile's).
        device: Torch device.
        threads: CPU threads of one run.
    """

    name: str
    description: str = ""
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    agents: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    device: Device = "cpu"
    threads: Few = 1

    def runs(self, seeds: Iterable[int] | None = None) -> Iterator[RunConfig]:
        """The product of agents and seeds, agent by agent.

        Args:
            seeds: Seeds to run instead of the profile's.

        Yields:
            One validated run after another; an agent is imported when its turn comes.

        Raises:
            ConfigError: If a setting of the world or of an agent cannot be used.
            AgentError: If an agent cannot be found.
        """
        self.environment.check(self.evaluation.splits)
        seeds = tuple(dict.fromkeys(self.seeds if seeds is None else seeds))
        for name, given in self.agents.items():
            entry, own, options = _resolved(name, given)
            train = self.train
            if own.n_envs is not None:
                train = dataclasses.replace(train, n_envs=own.n_envs)
            for seed in seeds:
                yield RunConfig(
                    profile=self.name,
                    agent=name,
                    entry=entry,
                    seed=seed,
                    environment=self.environment,
                    train=train,
                    evaluation=self.evaluation,
                    agent_options=options,
                    device=own.device or self.device,
                    threads=self.threads,
                )


@dataclass(frozen=True)
class _Own:
    """What an agent may have in place of the profile's."""

    n_envs: Few | None = None
    device: Device | None = None


HARNESS_KEYS = frozenset(("agent", *(each.name for each in dataclasses.fields(_Own))))
"""What stands among an agent's options and belongs to the harness."""


def profile_names() -> list[str]:
    """Names of the profiles that come with the benchmark."""
    return sorted(path.stem for path in PROFILES.glob("*.yaml"))


def load_profile(
    reference: str, overrides: Sequence[str] = (), agents: Sequence[str] = ()
) -> Profile:
    """Reads a profile.

    Args:
        reference: Name of a profile, or path to a YAML file.
        overrides: ``key=value`` each, dotted keys, values in YAML. ``agent.<option>`` is an option
            of every chosen agent.
        agents: Agents to take instead of the profile's: its own names, the registry's, or
            ``path/to/file.py:Class``.

    Returns:
        The profile; its agents' options are validated by :meth:`Profile.runs`.

    Raises:
        ConfigError: If the file, a key or a value cannot be used.
        AgentError: If an agent cannot be found.
    """
    path = _find(reference)
    values = read_yaml(path)
    written = values.get("agents")
    in_file: set[Any] = set()
    if isinstance(written, dict):
        in_file = set(written)
        # What is one mapping in YAML, by *alias, is set for one agent alone.
        values["agents"] = {name: deepcopy(options) for name, options in written.items()}
    assignments = [_assignment(text) for text in overrides]
    for key, value in assignments:
        if not key.startswith("agent."):
            _assign(values, key, value)
    known = values.setdefault("agents", {})
    if not isinstance(known, dict):
        raise ConfigError(f"agents: must be a mapping of agents, got {known!r}")
    chosen = [_choose(name, known) for name in agents] or list(known)
    real = {*in_file, *chosen, *registered()}
    for name in in_file - {*chosen, *registered()}:
        if not isinstance(known[name], dict) or "agent" not in known[name]:
            raise ConfigError(f"agents: unknown agent {name!r}{nearest(name, real - {name})}")
    for key, _ in assignments:
        name = agent_of(key)
        if name is not None and name not in real:
            hint = nearest(name, real)
            raise ConfigError(f"--set agents.{name}: no agent of that name is run{hint}")
    for key, value in assignments:
        if key.startswith("agent."):
            for name in chosen:
                _assign(values, f"agents.{name}.{key.removeprefix('agent.')}", value)
    # An agent without options may be written as a bare key.
    values["agents"] = {n: {} if known[n] is None else known[n] for n in chosen}
    if not chosen:
        raise ConfigError(f"agents: {path.name} names none; add some, or --agent NAME")
    if "name" in values:
        raise ConfigError(f"name: a profile is named after its file, {path.name}")
    problem = name_problem(path.stem)
    if problem is not None:
        raise ConfigError(f"a profile is named after its file, whose name {problem}")
    profile = validated(Profile, {"name": path.stem, **values})
    for name in profile.agents:
        if not _AGENT_NAME.fullmatch(name):
            raise ConfigError(f"agents: {name!r} must be letters, digits, - and _ only")
    return profile


def agent_of(key: str) -> str | None:
    """The one agent that a setting such as ``agents.drrn.gamma`` concerns; None if all."""
    parts = key.split(".")
    return parts[1] if parts[0] == "agents" and len(parts) > 1 else None


def names_of(profile: str, overrides: Sequence[str], agents: Sequence[str]) -> dict[str, str]:
    """What agents go by in directories and options, by how they are asked for.

    One that is asked for by its file goes by another name.

    Raises:
        AgentError: If an agent cannot be found.
        ConfigError: If the profile cannot be used.
    """
    return {name: next(iter(load_profile(profile, overrides, (name,)).agents)) for name in agents}


def _find(reference: str) -> Path:
    if "/" in reference or reference.endswith((".yaml", ".yml")):
        path = Path(reference)
        if not path.is_file():
            raise ConfigError(f"no profile file {reference!r}")
        if path.stem in profile_names() and path.resolve().parent != PROFILES.resolve():
            raise ConfigError(
                f"{reference}: runs are kept under its name, and {path.stem!r} comes with the "
                f"benchmark; give the file another"
            )
        return path
    if reference not in profile_names():
        raise ConfigError(f"unknown profile {reference!r}{nearest(reference, profile_names())}")
    return PROFILES / f"{reference}.yaml"


def _choose(name: str, known: dict[str, Any]) -> str:
    """The name an agent goes by in the profile; one from outside is added to it."""
    if name in known:
        return name
    if ".py" not in name and name not in registered():
        raise ConfigError(f"unknown agent {name!r}{nearest(name, {**known, **registered()})}")
    label = find(name).name
    given = known.get(label) or {}
    if label != name and isinstance(given, dict):
        other = str(given.get("agent", name))
        if absolute(other) != absolute(name):
            raise ConfigError(
                f"{name} goes by {label!r}, and so does {other}; give one another name in a "
                f"profile: agents: {{my-name: {{agent: {name}}}}}"
            )
        given = {**given, "agent": other}
    known[label] = given
    return label


def _resolved(name: str, given: Mapping[str, Any]) -> tuple[str, _Own, dict[str, Any]]:
    """An agent's entry, what of the harness's it has of its own, and all of its options."""
    options = dict(given)
    reference = options.pop("agent", name)
    own = {each.name: options.pop(each.name, None) for each in dataclasses.fields(_Own)}
    if not isinstance(reference, str):
        raise ConfigError(f"agents.{name}.agent: must be a name, got {reference!r}")
    entry = find(reference)
    config_class = entry.load().Config
    if not dataclasses.is_dataclass(config_class):
        raise AgentError(f"agent {name!r}: its Config must be a dataclass")
    try:
        config = validated(config_class, {**entry.preset, **options}, f"agents.{name}")
        given_ones = {field.name for field in dataclasses.fields(config_class) if field.init}
        chosen = {k: v for k, v in dataclasses.asdict(config).items() if k in given_ones}
        resolved = json.loads(json.dumps(chosen))
        return reference, validated(_Own, own, f"agents.{name}"), resolved
    except ConfigError:
        raise
    except Exception as error:  # a stranger's types and checks
        raise AgentError(f"agent {name!r}: its Config cannot be used: {error}") from error


def _assignment(override: str) -> tuple[str, Any]:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: must be key=value, such as train.steps=1000")
    return key, parse_yaml(text, f"--set {override}")


def _assign(values: dict[str, Any], key: str, value: object) -> None:
    *parents, last = key.split(".")
    for depth, parent in enumerate(parents, start=1):
        inner = values.get(parent)
        if inner is None:
            inner = values[parent] = {}
        if not isinstance(inner, dict):
            raise ConfigError(f"--set {key}: {'.'.join(parents[:depth])} has no options")
        values = inner
    values[last] = value
