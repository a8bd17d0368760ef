"""How an agent is found by name; the modules that need torch are imported only then."""

from __future__ import annotations

import difflib
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Any

from agents.base import Agent, AgentError

ENTRY_POINT_GROUP = "glam.agents"


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
        except (Exception, SystemExit) as error:  # a stranger's code runs
            problem = f"cannot import {module_name}: {type(error).__name__}: {error}"
            raise AgentError(f"agent {self.name!r}: {problem}") from error
        found = getattr(module, class_name, None)
        if not isinstance(found, type):
            raise AgentError(f"agent {self.name!r}: {module_name} has no class {class_name!r}")
        if not issubclass(found, Agent):
            raise AgentError(f"agent {self.name!r}: {class_name} is not a subclass of agents.Agent")
        return found


_LANGUAGE_MODEL = "agents.language_model.agent:LanguageModelAgent"


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
        "agents.language_model.zero_shot:ZeroShotAgent",
        "zero-shot: GFlan-T5 before any update",
    ),
    AgentEntry(
        "glam-smollm2",
        _LANGUAGE_MODEL,
        "GLAM with SmolLM2-135M, a causal model (extra smollm2); fine-tuned whole with PPO",
        {"model": "smollm2"},
    ),
    AgentEntry(
        "smollm2",
        "agents.language_model.zero_shot:ZeroShotAgent",
        "zero-shot: SmolLM2-135M before any update (extra smollm2)",
        {"model": "smollm2"},
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


def is_file(name: str) -> bool:
    """Whether a name is a ``path/to/file.py:Class``."""
    path, colon, _ = name.rpartition(":")
    return bool(colon) and path.endswith(".py")


def absolute(name: str) -> str:
    """A name that is the same however the path of an agent's file is written."""
    path, _, class_name = name.rpartition(":")
    return f"{Path(path).resolve()}:{class_name}" if is_file(name) else name


def find(name: str) -> AgentEntry:
    """Looks an agent up by name or by ``path/to/file.py:Class``.

    Args:
        name: What the user typed.

    Returns:
        The registry's row; a file's agent is named after its class.

    Raises:
        AgentError: If there is none, naming the nearest.
    """
    if is_file(name):
        path, _, class_name = name.rpartition(":")
        if not Path(path).is_file():
            raise AgentError(
                f"no file {path!r} in {Path.cwd()} to take the agent {class_name!r} from"
            )
        if class_name.lower() in BUILT_IN:
            raise AgentError(f"{name}: {class_name.lower()!r} is taken; rename the class")
        return AgentEntry(class_name.lower(), name, f"from {path}")
    if name.endswith(".py"):
        raise AgentError(f"{name!r} names no class; say {name}:CLASS")
    entries = registered()
    if name not in entries:
        near = difflib.get_close_matches(name, entries, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(entries)}"
        raise AgentError(f"unknown agent {name!r}{hint}")
    return entries[name]


def load_pretraining() -> Any:
    """Imports the class that pretrains MiniFlan; its ``Config`` is a dataclass of numbers."""
    return importlib.import_module("agents.miniflan.pretraining").Pretraining


_VERSIONS: dict[str, tuple[int, int]] = {}
"""Time and size of the agents' files that were imported."""


def _import_file(path: Path) -> Any:
    digest = hashlib.sha256(bytes(path.resolve())).hexdigest()[:8]  # two may be called agent.py
    module_name = f"glam_plugin_{path.stem}_{digest}"
    state = path.stat()
    version = (state.st_mtime_ns, state.st_size)
    known = sys.modules.get(module_name)
    if known is not None and _VERSIONS.get(module_name) == version:
        return known  # what it registers at import, it may do once only
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
    _VERSIONS[module_name] = version
    return module
