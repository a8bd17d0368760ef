"""The contract every agent is written against, and how an agent is found by name."""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from envs.observation import Observation
from envs.text_env import TextEnv
from envs.vector import VectorEnv

ENTRY_POINT_GROUP = "glam.agents"


class AgentError(ValueError):
    """An agent that cannot be found, built or loaded; the message says what to do."""


@dataclass(frozen=True)
class AgentContext:
    """What the harness tells every agent.

    Attributes:
        n_envs: Number of training environments.
        device: Torch device name.
        seed: The run's seed; all randomness of the agent comes from it.
        n_actions: Size of the action set.
        history: Largest number of views in an observation.
    """

    n_envs: int = 1
    device: str = "cpu"
    seed: int = 0
    n_actions: int = 6
    history: int = 3


@dataclass(frozen=True)
class NoConfig:
    """The configuration of an agent without options."""


class Agent(ABC):
    """An agent: acts on observations, learns from environments, can be saved and restored.

    The harness owns budget, logging, checkpoints and evaluation; the environments count steps and
    record episodes.

    Attributes:
        Config: Frozen dataclass of the agent's options; every default stands there.
        learns: False for an agent that is only evaluated.
        privileged: True for a reference that looks behind the observations; it is shown the
            environments through :meth:`attach`.
    """

    Config: ClassVar[type] = NoConfig
    learns: ClassVar[bool] = True
    privileged: ClassVar[bool] = False

    def __init__(self, config: Any, context: AgentContext) -> None:
        """Keeps what the agent was built from.

        Args:
            config: An instance of ``Config``.
            context: What the harness tells every agent.
        """
        self.config = config
        self.context = context

    @abstractmethod
    def act(self, observations: Sequence[Observation]) -> NDArray[np.integer]:
        """Chooses actions, for evaluation; changes nothing in the agent.

        An agent that samples uses ``observation.draw``, so that an episode does not depend on
        which others are played beside it (see :func:`sample_actions`).

        Args:
            observations: Any number of observations.

        Returns:
            (len(observations),) action indices.
        """

    def update(self, envs: VectorEnv) -> Mapping[str, float]:
        """One round: interact with the environments, learn, return what to log.

        Args:
            envs: The training environments; whatever is stepped counts.

        Returns:
            Numbers to log, under the same names every round.

        Raises:
            AgentError: If the agent does not learn.
        """
        raise AgentError(f"{type(self).__name__} does not learn; it can only be evaluated")

    def save(self, directory: Path) -> None:
        """Writes everything a resumed run needs: weights, optimiser, replay, generators.

        Args:
            directory: An existing, empty directory.

        Raises:
            AgentError: If the agent learns but does not say how to save what it learned.
        """
        if self.learns:
            raise AgentError(f"{type(self).__name__} learns, so it must implement save and load")

    def load(self, directory: Path) -> None:
        """Restores what :meth:`save` wrote.

        Args:
            directory: A directory that :meth:`save` filled.

        Raises:
            AgentError: If the agent learns but does not say how to restore what it learned.
        """
        if self.learns:
            raise AgentError(f"{type(self).__name__} learns, so it must implement save and load")

    def identity(self) -> Mapping[str, Any]:
        """What the records should say about this agent.

        Returns:
            ``label``: name in tables; ``model``: mapping with ``name``, ``pretrained`` and
            ``weights_sha256`` where there is a model.
        """
        return {"label": type(self).__name__, "model": {}}

    def attach(self, envs: Sequence[TextEnv]) -> None:  # noqa: B027  # most agents need none
        """Shows a privileged agent the environments behind the next observations.

        Args:
            envs: One environment for each observation passed to :meth:`act`, in the same order.
        """


def sample_actions(
    probabilities: NDArray[np.floating], observations: Sequence[Observation]
) -> NDArray[np.int64]:
    """Samples one action for each observation with the observation's own draw.

    Args:
        probabilities: (batch, n_actions), rows summing to 1.
        observations: (batch,) observations.

    Returns:
        (batch,) action indices, by inversion of the cumulative distribution.
    """
    cumulative = np.cumsum(np.asarray(probabilities, np.float64), axis=1)
    draws = np.array([observation.draw for observation in observations])
    chosen = (cumulative <= draws[:, None] * cumulative[:, -1:]).sum(axis=1)
    return np.asarray(np.minimum(chosen, cumulative.shape[1] - 1), np.int64)


@dataclass(frozen=True)
class AgentEntry:
    """A row of the registry.

    Attributes:
        name: Name on the command line and in every record.
        target: ``"module:Class"`` or ``"path/to/file.py:Class"``; imported only when needed.
        summary: One line for ``glam agents``.
        preset: Options that make this name out of the class.
    """

    name: str
    target: str
    summary: str
    preset: Mapping[str, Any] = field(default_factory=dict)

    def load(self) -> type[Agent]:
        """Imports the class.

        Raises:
            AgentError: If it cannot be imported or is not an Agent.
        """
        module_name, _, class_name = self.target.rpartition(":")
        try:
            if module_name.endswith(".py"):
                module = _import_file(Path(module_name))
            else:
                module = importlib.import_module(module_name)
        except (ImportError, OSError, SyntaxError) as error:
            raise AgentError(
                f"agent {self.name!r}: cannot import {module_name}: {error}"
            ) from error
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise AgentError(f"agent {self.name!r}: {module_name} has no class {class_name!r}")
        if not issubclass(found, Agent):
            raise AgentError(f"agent {self.name!r}: {class_name} is not a subclass of agents.Agent")
        return found


_LANGUAGE_MODEL = "agents.language_model.agent:LanguageModelAgent"
_NO_PRETRAINING = {"pretrained": False}

_BUILT_IN = (
    AgentEntry("gflan-t5", _LANGUAGE_MODEL, "LM head scores the actions; fine-tuned with PPO"),
    AgentEntry(
        "npae-flan-t5",
        _LANGUAGE_MODEL,
        "random weights, pretrained embeddings, action heads; PPO",
        {
            "pretrained": False,
            "pretrained_embeddings": True,
            "policy_head": "action_heads",
        },
    ),
    AgentEntry(
        "aflan-t5",
        _LANGUAGE_MODEL,
        "pretrained, action heads instead of the LM head; PPO",
        {"policy_head": "action_heads"},
    ),
    AgentEntry(
        "npa-flan-t5",
        _LANGUAGE_MODEL,
        "random weights, action heads; PPO",
        {"pretrained": False, "policy_head": "action_heads"},
    ),
    AgentEntry(
        "npe-flan-t5",
        _LANGUAGE_MODEL,
        "random weights, pretrained embeddings, LM head; PPO",
        {"pretrained": False, "pretrained_embeddings": True},
    ),
    AgentEntry(
        "flan-t5",
        "agents.language_model.agent:ZeroShotAgent",
        "zero-shot: GFlan-T5 before any update",
    ),
    AgentEntry(
        "drrn",
        "agents.drrn:DRRNAgent",
        "GRU encoders, Q(s, a), replay (He et al. 2016)",
    ),
    AgentEntry(
        "symbolic-ppo",
        "agents.symbolic_ppo:SymbolicPPOAgent",
        "FiLM network on the 7×7×3 view and the goal; stable-baselines3's PPO",
    ),
    AgentEntry(
        "random",
        "agents.random_policy:RandomAgent",
        "uniform over the actions: the floor",
    ),
    AgentEntry(
        "bot",
        "agents.bot:BotAgent",
        "MiniGrid's BabyAI bot, sees the grid: the ceiling",
    ),
)
BUILT_IN: Mapping[str, AgentEntry] = MappingProxyType({entry.name: entry for entry in _BUILT_IN})


def registered() -> dict[str, AgentEntry]:
    """All agents known by name: the built-in ones, then those of installed packages.

    Returns:
        Entries by name; a package cannot take a built-in name.
    """
    entries = dict(BUILT_IN)
    for point in entry_points(group=ENTRY_POINT_GROUP):
        summary = f"from {point.dist.name}" if point.dist is not None else point.value
        entries.setdefault(point.name, AgentEntry(point.name, point.value, summary))
    return entries


def find(name: str) -> AgentEntry:
    """Looks an agent up by name or by ``path/to/file.py:Class``.

    Args:
        name: What the user typed.

    Returns:
        The registry's row; a file's agent is named after its class.

    Raises:
        AgentError: If there is none, naming the nearest.
    """
    path, colon, class_name = name.rpartition(":")
    if colon and path.endswith(".py"):
        if not Path(path).is_file():
            raise AgentError(f"no file {path!r} to take the agent {class_name!r} from")
        return AgentEntry(class_name.lower(), name, f"from {path}")
    entries = registered()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(entries)}"
        raise AgentError(f"unknown agent {name!r}{hint}")
    return entries[name]


def _import_file(path: Path) -> Any:
    module_name = f"glam_plugin_{path.stem}"
    spec = importlib.util.spec_from_file_location(module_name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses look their module up by name
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[module_name]
        raise
    return module
