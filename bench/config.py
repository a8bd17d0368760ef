"""What a run is made of, as frozen dataclasses: validated, hashed, written beside its results."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field

from bench.validation import ConfigError, nearest, validated
from envs import ARTICLE_SPLITS, ENGLISH, LEVELS, SPLITS, TASK_KINDS, LanguageView, TextEnv

_EPISODES_TRIED = 3
_NAMES_OF_SPLITS = {"article": ARTICLE_SPLITS, "all": tuple(SPLITS)}


def _known_level(name: str) -> str:
    if name not in LEVELS:
        raise ValueError(f"unknown level {name!r}{nearest(name, LEVELS)}")
    return name


def _named_splits(value: object) -> object:
    if isinstance(value, str) and value in _NAMES_OF_SPLITS:
        return _NAMES_OF_SPLITS[value]
    return _as_tuple(value)


def _as_tuple(value: object) -> object:
    if isinstance(value, str):  # a name by itself is a list of one
        return (value,)
    return tuple(value) if isinstance(value, list) else value


def _known_splits(names: tuple[str, ...]) -> tuple[str, ...]:
    for name in names:
        if name not in SPLITS:
            hint = nearest(name, (*SPLITS, *_NAMES_OF_SPLITS))
            raise ValueError(f"unknown split {name!r}{hint}")
    if len(set(names)) < len(names):
        raise ValueError("names a split twice")
    return names


def _known_kinds(kinds: tuple[str, ...]) -> tuple[str, ...]:
    for kind in kinds:
        if kind not in TASK_KINDS:
            raise ValueError(f"unknown task kind {kind!r}{nearest(kind, TASK_KINDS)}")
    # The order of the mix, so that the same kinds are the same configuration.
    return tuple(kind for kind in TASK_KINDS if kind in kinds)


def _known_device(name: str) -> str:
    if not re.fullmatch(r"cpu|mps|cuda(:\d{1,3})?", name):
        raise ValueError(f"must be cpu, cuda, cuda:<n> or mps, got {name!r}")
    return name


Count = Annotated[int, Field(ge=1, le=10**12)]
Few = Annotated[int, Field(ge=1, le=10_000)]  # each costs memory at once
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Device = Annotated[str, AfterValidator(_known_device)]
_TaskKinds = Annotated[
    tuple[str, ...], BeforeValidator(_as_tuple), AfterValidator(_known_kinds), Field(min_length=1)
]
_Splits = Annotated[tuple[str, ...], BeforeValidator(_named_splits), AfterValidator(_known_splits)]


@dataclass(frozen=True)
class EnvironmentConfig:
    """The world of training and of every split.

    Attributes:
        level: Level of training; a split brings its own.
        room_size: Side of a room in cells, walls included.
        num_distractors: Objects besides those that the mission needs.
        task_kinds: Kinds that are played, in training and in every split; fewer than all is an
            easier rung, which every table names.
        history: Number of views an observation remembers.
        n_actions: Size of the action set: 6, or 3 to 9 for the ablations.
    """

    level: Annotated[str, AfterValidator(_known_level)] = "MixedTrainLocal"
    room_size: Annotated[int, Field(le=100)] = 8
    num_distractors: int = 8
    task_kinds: _TaskKinds = TASK_KINDS
    history: Annotated[int, Field(le=1000)] = 3
    n_actions: int = 6

    def check(self, splits: Iterable[str]) -> None:
        """Makes sure that there are episodes of every kind: of training, and of the splits.

        Raises:
            ConfigError: If there can be none, or only very few.
        """
        views = [(self.level, ENGLISH), *((SPLITS[s].level, SPLITS[s].view) for s in splits)]
        try:
            kinds = {level: self.build(level, view).grid_env.kinds for level, view in views}
            for level, kind in ((level, kind) for level, of in kinds.items() for kind in of):
                env = dataclasses.replace(self, task_kinds=(kind,)).build(level)
                for seed in range(_EPISODES_TRIED):
                    env.reset(seed=seed)
        except (ValueError, RuntimeError) as error:
            raise ConfigError(f"environment: {error}") from error

    def build(self, level: str | None = None, view: LanguageView = ENGLISH) -> TextEnv:
        """Builds one environment.

        Args:
            level: Level to play instead of the training level.
            view: Wording of goals, sentences and actions.

        Returns:
            An environment that has not been reset yet.

        Raises:
            ValueError: If a size is out of range.
        """
        return TextEnv(
            level or self.level,
            view=view,
            history=self.history,
            n_actions=self.n_actions,
            room_size=self.room_size,
            num_distractors=self.num_distractors,
            task_kinds=self.task_kinds,
        )


@dataclass(frozen=True)
class TrainConfig:
    """The budget of training.

    Attributes:
        steps: Environment steps, all environments together; the last update may go over it.
        n_envs: Environments played side by side.
        checkpoint_every: Environment steps between checkpoints, rounded up to whole updates.
    """

    steps: Count = 1_500_000
    n_envs: Few = 32
    checkpoint_every: Count = 50_000


@dataclass(frozen=True)
class EvaluationConfig:
    """What is played after training.

    Attributes:
        splits: Names of the splits; in YAML also ``article`` or ``all``.
        episodes: Test episodes per split.
        n_envs: Test episodes played side by side.
    """

    splits: _Splits = ARTICLE_SPLITS
    episodes: Annotated[int, Field(ge=1, le=1_000_000)] = 1000
    n_envs: Few = 32


@dataclass(frozen=True)
class RunConfig:
    """Everything that decides the bytes of one run.

    Attributes:
        profile: Name of the profile; says where the run is kept.
        agent: The agent's name in the profile; says where the run is kept.
        entry: The agent's name in the registry, or ``path/to/file.py:Class``.
        seed: The run's seed; all randomness comes from it.
        environment: The world.
        train: The budget of training.
        evaluation: What is played after training.
        agent_options: Every option of the agent, defaults and presets included.
        device: Torch device.
        threads: CPU threads of one run; other numbers can give other bytes.
    """

    profile: str
    agent: str
    entry: str
    seed: Seed
    environment: EnvironmentConfig = field(default_factory=EnvironmentConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    agent_options: Mapping[str, Any] = field(default_factory=dict)
    device: Device = "cpu"
    threads: Few = 1

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values."""
        values: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return values

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> RunConfig:
        """Reads back what :meth:`to_json` gave.

        Raises:
            ConfigError: If a field is unknown, absent or of the wrong type.
        """
        return validated(cls, values)


def config_hash(config: RunConfig) -> str:
    """Identifies what decides the results.

    Args:
        config: The run.

    Returns:
        SHA-256 of the canonical JSON of all fields but the two names the run is kept under.
    """
    values = config.to_json()
    del values["profile"], values["agent"]
    canonical = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True)
class Difference:
    """A field that two resolved configs disagree on."""

    name: str
    before: Any
    after: Any

    def __str__(self) -> str:
        """Such as ``train.steps (was 100, now 200)``."""
        return f"{self.name} (was {self.before!r}, now {self.after!r})"


def differences(
    old: Mapping[str, Any], new: Mapping[str, Any], path: str = ""
) -> Iterator[Difference]:
    """Compares two resolved configs.

    Args:
        old: JSON values of one.
        new: JSON values of the other.
        path: Name of what is compared, with a dot at its end.

    Yields:
        Every field that differs, named from the top.
    """
    for key in dict.fromkeys((*old, *new)):
        before, after = old.get(key), new.get(key)
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            yield from differences(before, after, f"{path}{key}.")
        elif before != after:
            yield Difference(f"{path}{key}", before, after)
