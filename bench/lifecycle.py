"""One run from nothing to complete: build, train, evaluate, record how it ended."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from agents.base import Agent, AgentContext, AgentError, speaking_for
from agents.registry import find, is_file
from bench.checkpoint import CheckpointError
from bench.config import ConfigError, RunConfig, config_hash, validated
from bench.evaluate import TestEpisode, evaluate
from bench.interruption import Interrupted, StopSignal
from bench.one_line_errors import in_one_line
from bench.parsing import RecordError, name_problem
from bench.progress import RunProgress
from bench.replays import replay_header, replay_rows
from bench.row_file import EPISODE_COLUMNS, METRIC_COLUMNS
from bench.run import RunDirectory, RunError, split_records
from bench.run_log import logging_to
from bench.train import load_agent, train
from envs import SPLITS

log = logging.getLogger("glam")

_FRESH = "--force-new moves it aside and starts afresh"
_EXPECTED = (AgentError, CheckpointError, ConfigError, OSError, RecordError, RunError)


class RunFailed(Exception):
    """A run that began and could not be finished; the message is one line."""


def build_agent(config: RunConfig) -> Agent:
    """Builds a run's agent, untrained, on the run's threads and device.

    Args:
        config: The run.

    Returns:
        The agent.

    Raises:
        AgentError: If it cannot be found or built.
        ConfigError: If its options or the device cannot be used.
    """
    agent_class = find(config.entry).load()
    options: Any = validated(agent_class.Config, config.agent_options, f"agents.{config.agent}")
    check_device(config.device)
    if "torch" in sys.modules:  # an agent without it should not wait for its import
        sys.modules["torch"].set_num_threads(config.threads)
    context = AgentContext(
        n_envs=config.train.n_envs,
        device=config.device,
        seed=config.seed,
        n_actions=config.environment.n_actions,
        history=config.environment.history,
    )
    with speaking_for(f"agent {config.agent!r}, building it"):
        return agent_class(options, context)


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
    if run.obstacle(config) is None and run.state() == "complete":
        return run
    agent = build_agent(config)
    identity = _identity(agent, config)
    with run.lock():
        aside = run.set_aside() if force_new and run.path.exists() else None
        obstacle = run.obstacle(config, identity["model"])
        if obstacle is not None:
            raise RunError(f"{obstacle}; {_FRESH}")
        if not run.begun:
            run.create(config, identity, agent.learns)
        with logging_to(run.log, console):
            if aside is not None:
                log.warning("moved the old run to %s", aside)
            sitting = _Sitting(agent, config, run, console)
            sitting.guard(lambda: sitting.go_on(test))
    return run


def evaluate_run(
    run: RunDirectory,
    console: Console,
    splits: Iterable[str] = (),
    episodes: int | None = None,
    agent_file: str | None = None,
) -> None:
    """Evaluates a trained run again, or on further splits.

    Args:
        run: A run whose training has ended.
        console: Where progress is shown.
        splits: Splits to play; by default those of its config.
        episodes: Another number of test episodes; then all splits of its config are played.
        agent_file: The ``path/to/file.py:Class`` of the run's agent, if it is one: a directory of
            records alone must not decide which code is run.

    Raises:
        RunError: If it is not trained, another process works in it, or its agent is a file that
            was not named.
        RunFailed: If the evaluation ended with an error.
        Interrupted: If a signal stopped it.
    """
    config = run.config()
    if is_file(config.entry) and config.entry != agent_file:
        raise RunError(
            f"{run.path} was made by code in a file; to run it, add --agent {config.entry}"
        )
    agent = build_agent(config)
    wanted = replace(
        config,
        evaluation=replace(config.evaluation, episodes=episodes or config.evaluation.episodes),
    )
    asked = list(splits) or list(config.evaluation.splits)
    if wanted != config:
        asked += config.evaluation.splits
    with run.lock():
        manifest = run.manifest() or {}
        if manifest.get("state") not in ("trained", "complete"):
            raise RunError(f"{run.path} is not trained yet; `glam train` goes on with it")
        obstacle = run.obstacle(config, _identity(agent, config)["model"])
        if obstacle is not None:
            raise RunError(obstacle)
        run.write_config(wanted)
        run.update_manifest(
            "trained",
            config_hash=config_hash(wanted),
            seeds={**manifest["seeds"], "test_count": wanted.evaluation.episodes},
            splits={**manifest["splits"], **split_records(asked)},
        )
        with logging_to(run.log, console):
            sitting = _Sitting(agent, wanted, run, console)
            sitting.guard(lambda: sitting.go_on(test=True, again=asked))


def record_failure(run: RunDirectory, problem: str) -> None:
    """Marks a run as failed, as far as the disk allows.

    Args:
        run: A run that was created.
        problem: What went wrong, in one line.
    """
    try:
        run.update_manifest("failed", error=problem)
    except OSError as error:  # the disk may be the very problem
        log.error("the failure could not be recorded: %s", error)


def _identity(agent: Agent, config: RunConfig) -> dict[str, Any]:
    with speaking_for(f"agent {config.agent!r}, identity()"):
        said: dict[str, Any] = {"label": config.agent, "model": {}, **agent.identity()}
        said = json.loads(json.dumps(said, allow_nan=False))
        problem = name_problem(said["label"])
        if problem is not None:
            raise AgentError(f"label {problem}")
        if not isinstance(said["model"], dict):
            raise AgentError(f"model is {said['model']!r}, expected a mapping")
    return said


@dataclass
class _Sitting:
    """One process's work on a run."""

    agent: Agent
    config: RunConfig
    run: RunDirectory
    console: Console
    stop: StopSignal = field(default_factory=StopSignal)

    def guard(self, work: Callable[[], None]) -> None:
        """Does the work and records how it ended."""
        try:
            with self.stop.listening():
                work()
        except Interrupted as interruption:
            log.info("%s", interruption)
            raise
        except Exception as error:
            problem = (
                str(error) if isinstance(error, _EXPECTED) else f"{type(error).__name__}: {error}"
            )
            problem = in_one_line(problem)
            if os.strerror(errno.ENOSPC) in problem:
                problem = f"{problem}; free some on the disk of {self.run.path}, then run it again"
            if isinstance(error, CheckpointError):
                problem = f"{problem}; {_FRESH}"
            log.error("failed: %s", problem, exc_info=error)
            record_failure(self.run, problem)
            name = f"{self.config.agent} seed {self.config.seed}"
            raise RunFailed(f"{name} failed: {problem} (see {self.run.log})") from error

    def go_on(self, test: bool, again: Collection[str] = ()) -> None:
        """Trains if that has not ended, then plays what has no rows yet and what is asked again."""
        if self.run.state() not in ("trained", "complete"):
            self._train()
        elif self.agent.learns:
            self._load_trained()
        if test:
            self._test(again)

    def _train(self) -> None:
        run = self.run
        run.update_manifest("running")
        steps = 0
        if self.agent.learns:
            with self._phase("train", "train", self.config.train.steps, "steps") as progress:
                steps = train(self.agent, self.config, run, progress, self.stop.check)
        else:
            for rows, columns in ((run.metrics, METRIC_COLUMNS), (run.episodes, EPISODE_COLUMNS)):
                rows.clear()
                rows.append([columns])
        run.update_manifest("trained", steps=steps)

    def _load_trained(self) -> None:
        checkpoint = self.run.checkpoints.latest()
        if checkpoint is None:
            raise CheckpointError(f"{self.run.path} is trained but has no checkpoint")
        load_agent(self.agent, self.config, checkpoint)

    def _test(self, again: Collection[str]) -> None:
        """Rows are put in place a whole split at a time; earlier ones stay until then."""
        count = self.config.evaluation.episodes
        for name in dict.fromkeys((*self.config.evaluation.splits, *again)):
            if name not in again and self.run.tested(name, count):
                continue
            with self._phase(f"test {name}", "evaluate", count, "episodes") as progress:

                def ended(
                    done: int, episode: TestEpisode, progress: RunProgress = progress
                ) -> None:
                    progress.update(done, [episode.success])

                episodes = evaluate(self.agent, name, self.config, ended, self.stop.check)
            rows = [episode.row(SPLITS[name]) for episode in episodes]
            header = replay_header(self.config.environment.n_actions)
            replays = [header, *replay_rows(self.agent, name, self.config, episodes)]
            self.run.write_evaluation(name, rows, replays)
        self.run.update_manifest("complete")

    @contextmanager
    def _phase(
        self, what: str, phase: Literal["train", "evaluate"], total: int, unit: str
    ) -> Iterator[RunProgress]:
        started = time.monotonic()
        title = f"{self.config.agent} seed {self.config.seed}: {what}"
        try:
            with RunProgress(title, total, unit, self.console) as progress:
                yield progress
        except BaseException:
            with suppress(OSError):  # a full disk must not hide what went wrong
                self.run.add_wall_seconds(phase, time.monotonic() - started)
            raise
        self.run.add_wall_seconds(phase, time.monotonic() - started)
