"""The setting of a set of runs in plain words, and where it departs from the paper's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

from agents.base import AgentError
from bench.profile import load_profile
from bench.reporting import paper
from bench.reporting.records import Records, Run
from bench.validation import ConfigError
from envs import TASK_KINDS

_NEVER_PRETRAINED = (
    "npae-flan-t5",
    "npa-flan-t5",
    "npe-flan-t5",
)  # by definition, in the paper too

STANDING_DEPARTURES = (
    "a task kind is drawn for every episode, and a test is a fixed list of episodes (public code: "
    "an environment keeps its kind, and a test ends with the first episodes to finish)",
    "in French the actions are French too (public code: English) and articles agree with their "
    "nouns (public code: often not)",
    "actions are scored by log-probabilities, unless scoring=logits (public code: sums of logits)",
    "a model that is not pretrained acts without dropout (public code: with)",
    "Symbolic-PPO sees stacked views instead of having an LSTM, has no batch norm, and its values "
    "are clipped as stable-baselines3 clips them",
    "DRRN's sub-words are learned from the environment's own sentences, some six hundred "
    "(published: 8,000)",
)
"""The main differences from the published experiments, whatever the profile."""

_SECTIONS = ("environment", "train", "agent_options")
# The first six have sentences of their own; the others change no result but by rounding.
_SAID_OR_SAME = {
    *("steps", "room_size", "history", "num_distractors", "task_kinds", "model"),
    *("checkpoint_every", "max_batch_tokens", "activation_checkpointing"),
}


def profiles(records: Records) -> str:
    """Names of the profiles that the runs come from."""
    names = sorted({run.manifest["profile"] for run in records.runs if run.manifest})
    return " / ".join(names) or "unknown"


def describe_setting(records: Records) -> str:
    """One sentence: profile, level options, steps, seeds, test episodes, language models.

    Where runs differ, each value is followed by the agents it holds for.
    """
    environment = [
        _spread(records, lambda run: run.config["environment"]["level"]),
        "room size " + _spread(records, lambda run: run.config["environment"]["room_size"]),
        "distractors " + _spread(records, lambda run: run.config["environment"]["num_distractors"]),
        "history " + _spread(records, lambda run: run.config["environment"].get("history")),
        "task kinds " + _spread(records, _task_kinds),
    ]
    seeds = sorted({run.seed for run in records.runs})
    parts = [
        f"Profile {_spread(records, lambda run: run.manifest['profile'])}",
        ", ".join(environment),
        _spread(records, lambda run: run.budget if run.learns else None) + " training steps",
        f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}",
        _spread(records, lambda run: run.test_episodes) + " test episodes per split",
    ]
    models = _spread(records, _model_name)
    if models != "no":
        parts.append(f"language model {models}")
    return "; ".join(parts) + "."


def departures(records: Records) -> tuple[str, ...]:
    """Sentences that say where these runs are not the paper's setting; none if they are."""
    runs = [run for run in records.runs if run.config]
    scaled = {run.manifest["profile"] for run in runs} - {"paper"}
    differing = [f"profile {name}" for name in sorted(scaled)]
    published: list[tuple[str, int, Callable[[Run], Any]]] = [
        ("training steps", paper.STEPS, lambda run: run.budget if run.learns else None),
        ("test episodes per split", paper.TEST_EPISODES, lambda run: run.test_episodes),
        ("room size", paper.ROOM_SIZE, lambda run: run.config["environment"]["room_size"]),
        ("history", paper.HISTORY, lambda run: run.config["environment"].get("history")),
        (
            "distractors",
            paper.NUM_DISTRACTORS,
            lambda run: run.config["environment"]["num_distractors"],
        ),
    ]
    for name, value, of in published:
        if {of(run) for run in runs} - {None, value}:
            differing.append(f"{name} {_spread(records, of)} (paper: {value:,})")
    differing += _changed(runs)
    if any(set(kinds) != set(paper.TASK_KINDS) for kinds in map(_kinds, runs)):
        played = _spread(records, _task_kinds)
        differing.append(f"task kinds {played} (paper: {', '.join(paper.TASK_KINDS)})")
    if any(paper.MODEL.lower() not in name.lower() for name in map(_base_model, runs) if name):
        models = _spread(records, _base_model)
        differing.append(f"language model {models} (paper: {paper.MODEL})")
    sentences = []
    if differing:
        sentences.append(f"This is not the paper's setting: {'; '.join(differing)}.")
    unpretrained = [records.label(a) for a in records.agents if lacks_pretraining(records, a)]
    if unpretrained:
        sentences.append(
            f"Language model not pretrained here: {', '.join(unpretrained)}. The paper's is "
            f"{paper.MODEL}, pretrained: this says nothing about what pretraining gives."
        )
    return tuple(sentences)


def _changed(runs: list[Run]) -> list[str]:
    """Options of the paper profile that were changed for a run, each with its agents."""
    found: dict[str, list[str]] = {}
    for run in runs:
        published = _published(run.agent) if run.manifest["profile"] == "paper" else {}
        for section in _SECTIONS:
            given = run.config.get(section) or {}
            for key, value in published.get(section, {}).items():
                if key not in _SAID_OR_SAME and given.get(key, value) != value:
                    change = f"{key} {given[key]} (paper: {value})"
                    found.setdefault(change, []).append(run.agent)
    everyone = {run.agent for run in runs}
    return [
        change if set(agents) == everyone else f"{change} [{', '.join(dict.fromkeys(agents))}]"
        for change, agents in found.items()
    ]


@cache
def _published(agent: str) -> Mapping[str, Any]:
    """What the paper profile gives an agent, as JSON; nothing if it does not know it."""
    try:
        return next(load_profile("paper", agents=(agent,)).runs([0])).to_json()
    except (AgentError, ConfigError):
        return {}


def lacks_pretraining(records: Records, agent: str) -> bool:
    """Whether the agent's language model is not pretrained although the paper's is."""
    if agent in _NEVER_PRETRAINED:
        return False
    models = (run.manifest.get("model") or {} for run in records.of(agent))
    return any(model.get("pretrained") is False for model in models)


def _kinds(run: Run) -> tuple[str, ...]:
    return tuple(run.config["environment"].get("task_kinds", TASK_KINDS))


def _task_kinds(run: Run) -> str:
    kinds = _kinds(run)
    return "all five" if set(kinds) == set(paper.TASK_KINDS) else ", ".join(kinds)


def _base_model(run: Run) -> str | None:
    model = run.manifest.get("model") or {}
    return None if model.get("pretrained") is None else model.get("name")


def _model_name(run: Run) -> str | None:
    name = _base_model(run)
    return name and f"{name}{'' if run.manifest['model']['pretrained'] else ' (not pretrained)'}"


def _spread(records: Records, of: Callable[[Run], Any]) -> str:
    """The value all runs share, or each value with its agents; "no" if no run has one."""
    agents: dict[Any, list[str]] = {}
    for run in records.runs:
        value = of(run) if run.config else None
        if value is not None and run.agent not in agents.setdefault(value, []):
            agents[value].append(run.agent)
    texts = {value: f"{value:,}" if isinstance(value, int) else str(value) for value in agents}
    if len(agents) == 1:
        return next(iter(texts.values()))
    return " / ".join(f"{texts[v]} [{', '.join(agents[v])}]" for v in agents) or "no"
