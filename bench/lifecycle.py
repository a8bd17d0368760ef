"""One run from nothing to complete: build, train, evaluate, record how it ended."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from agents.base import Agent, AgentContext, AgentError, speaking_for
from agents.registry import find, is_file
from bench.config import RunConfig, config_hash
from bench.memory import keep_freed_memory, resume_collection
from bench.processes import ALONE, Processes, joined
from bench.session import FRESH, Session
from bench.storage.first_manifest import split_records
from bench.storage.mismatch import mismatch, mismatch_before_loading
from bench.storage.parsing import name_problem
from bench.storage.run import RunDirectory, RunError, RunFailed
from bench.storage.run_log import logging_to
from bench.validation import ConfigError, validated
from envs import SPLITS

log = logging.getLogger("glam")
CODE_CHANGED = "its file has changed since the run began, so that its rows are of several versions"


def build_agent(config: RunConfig, processes: Processes = ALONE) -> Agent:
    """Builds a run's agent, untrained, on the run's threads and device.

    Args:
        config: The run.
        processes: Those that train it together.

    Returns:
        The agent.

    Raises:
        AgentError: If it cannot be found or built, or not trained by several processes.
        ConfigError: If its options or the device cannot be used.
    """
    agent_class = find(config.entry).load()
    if processes.count > 1 and not agent_class.data_parallel:
        raise AgentError(
            f"agent {config.agent!r} cannot share a run between {processes.count} processes; start "
            "it without `accelerate launch` (`glam reproduce --jobs` plays seeds side by side)"
        )
    options: Any = validated(agent_class.Config, config.agent_options, f"agents.{config.agent}")
    check_device(config.device)
    if config.device.startswith("cuda"):
        repeat_sums()
    keep_freed_memory()
    if "torch" in sys.modules:  # an agent without it should not wait for its import
        sys.modules["torch"].set_num_threads(config.threads)
    context = AgentContext(
        n_envs=config.train.n_envs,
        device=processes.device or config.device,
        seed=config.seed,
        n_actions=config.environment.n_actions,
        history=config.environment.history,
        world_size=processes.count,
        rank=processes.index,
        training_steps=config.train.steps,
    )
    with speaking_for(f"agent {config.agent!r}, building it"):
        agent = agent_class(options, context)
    resume_collection()
    return agent


def repeat_sums() -> None:
    """Has a GPU add in the same order every time, where PyTorch knows how; else it warns.

    To be called before the first tensor is there: cuBLAS reads its variable once.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch

    torch.use_deterministic_algorithms(True, warn_only=True)
    # Nothing here reads memory that was not written.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def check_device(device: str) -> None:
    """Makes sure that a torch device is there.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:<n>`` or ``mps``.

    Raises:
        ConfigError: If it is not.
    """
    if device == "cpu":
        return
    import torch

    if device == "mps":
        there = torch.backends.mps.is_available()
    else:
        there = int(device.partition(":")[2] or 0) < torch.cuda.device_count()
    if not there:
        raise ConfigError(f"device: there is no {device!r} on this machine; use --device cpu")


def device_here(device: str) -> str:
    """The device, or ``cpu`` where this machine lacks it."""
    try:
        check_device(device)
    except ConfigError:
        return "cpu"
    return device


def perform(
    config: RunConfig, out: Path, console: Console, *, force_new: bool = False, test: bool = True
) -> RunDirectory:
    """Trains and evaluates a run, from wherever an earlier process left it.

    Args:
        config: The run.
        out: Where all profiles' runs are kept.
        console: Where progress is shown.
        force_new: Move what is there aside and start afresh, unless it is this run, complete.
        test: Evaluate after training.

    Returns:
        The run's directory; untouched if the run is complete.

    Raises:
        AgentError: If the agent cannot be built; nothing is left behind.
        ConfigError: If a setting cannot be used; nothing is left behind.
        RunError: If the directory holds another run, or another process works in it.
        RunFailed: If the run ended with an error, which its manifest and log hold.
        Interrupted: If a signal stopped it, with everything saved.
    """
    run = RunDirectory.of(out, config)
    with joined(config.device) as processes:
        if not processes.from_main(
            lambda: mismatch_before_loading(run, config) is None and run.state() == "complete"
        ):
            _perform(config, run, console, processes, force_new, test)
    return run


def _perform(
    config: RunConfig,
    run: RunDirectory,
    console: Console,
    processes: Processes,
    force_new: bool,
    test: bool,
) -> None:
    agent = build_agent(config, processes)
    identity = _identity(agent, config)

    def go_on(console: Console) -> None:
        session = Session(agent, config, run, console, processes)
        session.guard(lambda: session.go_on(test))

    if not processes.is_main:
        go_on(Console(quiet=True))
        return
    with run.lock():
        aside = run.set_aside() if force_new and run.path.exists() else None
        other = mismatch_before_loading(run, config)
        other = other or mismatch(run, config, identity["model"], processes.count)
        if other is not None:
            raise RunError(f"{other}; {FRESH}")
        if not run.begun:
            run.create(config, identity, agent.learns, processes.count)
        changed = run.note_origin(type(agent), config.threads, config.device)
        with logging_to(run.log, console):
            if changed:
                log.warning("%s: %s", config.agent, CODE_CHANGED)
            if aside is not None:
                log.warning("moved the old run to %s", aside)
            go_on(console)


def evaluate_run(
    run: RunDirectory,
    console: Console,
    splits: Iterable[str] = (),
    episodes: int | None = None,
    agent_file: str | None = None,
    device: str | None = None,
) -> None:
    """Evaluates a trained run again, or on further splits.

    Args:
        run: A run whose training has ended.
        console: Where progress is shown.
        splits: Splits to play; by default those of its config.
        episodes: Another number of test episodes; then all splits that there are are played.
        agent_file: The ``path/to/file.py:Class`` of the run's agent, if it is one: a directory of
            records alone must not decide which code is run.
        device: Torch device in place of the one it was trained on.

    Raises:
        RunError: If it is not trained or has no checkpoint, another process works in it, its agent
            is a file that was not named, or splits that are not to be played would lose rows.
        RunFailed: If the evaluation ended with an error.
        Interrupted: If a signal stopped it.
    """
    config = run.config()
    count = episodes or config.evaluation.episodes
    wanted = replace(config, evaluation=replace(config.evaluation, episodes=count))
    asked = _splits_to_play(run, config, list(splits), count, changed=episodes is not None)
    config.environment.check(asked)
    agent = build_agent(replace(with_named_code(run, agent_file), device=device or config.device))
    with run.lock():
        other = mismatch(run, config, _identity(agent, config)["model"])
        if other is not None:
            raise RunError(other)
        manifest = run.manifest() or {}
        if manifest.get("state") not in ("trained", "complete"):
            raise RunError(f"{run.path} is not trained yet; `glam train` resumes it")
        if agent.learns and run.checkpoints.latest() is None:
            raise RunError(f"{run.path} has no checkpoint, so only its rows are left")
        run.write_config(wanted)
        changed = run.note_origin(type(agent), config.threads, device or config.device)
        run.update_manifest(
            "trained",
            config_hash=config_hash(wanted),
            seeds={**manifest["seeds"], "test_count": count},
            splits={**manifest["splits"], **split_records(asked)},
        )
        with logging_to(run.log, console):
            if changed:
                log.warning("%s: %s", config.agent, CODE_CHANGED)
            session = Session(agent, wanted, run, console)
            try:
                session.guard(lambda: session.test(asked))
            except RunFailed:
                with suppress(OSError):  # the disk may be the very problem
                    _put_back(run, config, manifest)
                raise


def _splits_to_play(
    run: RunDirectory, config: RunConfig, splits: Sequence[str], count: int, *, changed: bool
) -> list[str]:
    """The splits asked for, or all; and those with rows of another number of episodes."""
    # An interrupted call leaves such rows too.
    stale = [name for name in run.evaluated() if name in SPLITS and not run.tested(name, count)]
    if changed and splits and set(stale) - set(splits):
        others = ", ".join(name for name in stale if name not in splits)
        raise RunError(
            f"{count} test episodes would replace those of {others} too, as a run has one number "
            f"for all of its splits; leave out --split, or --episodes"
        )
    return list(dict.fromkeys([*(splits or config.evaluation.splits), *stale]))


def _put_back(run: RunDirectory, config: RunConfig, manifest: Mapping[str, Any]) -> None:
    """After a failed test: a run whose earlier rows are all there is as good as it was.

    Any other is trained all the same, so that `glam evaluate` can be called again.
    """
    tests = config.evaluation
    if manifest["state"] == "complete" and all(
        run.tested(name, tests.episodes) for name in tests.splits
    ):
        run.write_config(config)
        kept = {name: manifest[name] for name in ("config_hash", "seeds", "error", "finished")}
        run.update_manifest("complete", **kept)
    else:
        run.update_manifest("trained", error=(run.manifest() or {}).get("error"))


def with_named_code(run: RunDirectory, agent_file: str | None) -> RunConfig:
    """A run's config, where its agent is code in a file with the file that the user named.

    A directory of records alone must not decide which code is run. The file may have moved; if it
    is another one, its hash is noted beside those that worked on the run.

    Raises:
        RunError: If no file was named, or another class.
    """
    config = run.config()
    if not is_file(config.entry):
        return config
    own = config.entry.rpartition(":")[2]
    if agent_file is None or not is_file(agent_file) or agent_file.rpartition(":")[2] != own:
        raise RunError(
            f"{run.path} was made by code in a file; to run it, add --agent {config.entry}, or "
            f"where that file is now"
        )
    return replace(config, entry=agent_file)


def as_json(identity: object) -> dict[str, Any]:
    """What an agent's ``identity()`` returned, as records hold it.

    Raises:
        AgentError: If they cannot.
    """
    if not isinstance(identity, Mapping):
        raise AgentError(f"gives {identity!r:.60}, not a mapping")
    try:
        written: dict[str, Any] = json.loads(json.dumps(dict(identity), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AgentError(f"cannot be written as JSON: {error}") from error
    return written


def _identity(agent: Agent, config: RunConfig) -> dict[str, Any]:
    with speaking_for(f"agent {config.agent!r}, identity()"):
        said = {"label": config.agent, "model": {}, **as_json(agent.identity())}
        problem = name_problem(said["label"])
        if problem is not None:
            raise AgentError(f"label {problem}")
        if not isinstance(said["model"], dict):
            raise AgentError(f"model is {said['model']!r}, expected a mapping")
    return said
