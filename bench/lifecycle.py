"""One run from nothing to complete: build, train, evaluate, record how it ended."""

from __future__ import annotations

import errno
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
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
from bench.processes import ALONE, Processes, first_ending, joined
from bench.progress import RunProgress
from bench.replays import replay_header, replay_rows
from bench.row_file import EPISODE_COLUMNS, METRIC_COLUMNS
from bench.run import RunDirectory, RunError, split_records
from bench.run_log import logging_to
from bench.train import load_agent, train
from envs import SPLITS, evaluation_seeds

log = logging.getLogger("glam")

_FRESH = "--force-new moves it aside and starts afresh"
_EXPECTED = (AgentError, CheckpointError, ConfigError, OSError, RecordError, RunError)


class RunFailed(Exception):
    """A run that began and could not be finished; the message is one line."""


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
    if "torch" in sys.modules:  # an agent without it should not wait for its import
        sys.modules["torch"].set_num_threads(config.threads)
    context = AgentContext(
        n_envs=config.train.n_envs,
        device=processes.device or config.device,
        seed=config.seed,
        n_actions=config.environment.n_actions,
        history=config.environment.history,
        processes=processes.count,
        process=processes.index,
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
            lambda: run.obstacle(config) is None and run.state() == "complete"
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
        sitting = _Sitting(agent, config, run, console, processes)
        sitting.guard(lambda: sitting.go_on(test))

    if not processes.is_main:
        go_on(Console(quiet=True))
        return
    with run.lock():
        aside = run.set_aside() if force_new and run.path.exists() else None
        obstacle = run.obstacle(config, identity["model"], processes.count)
        if obstacle is not None:
            raise RunError(f"{obstacle}; {_FRESH}")
        if not run.begun:
            run.create(config, identity, agent.learns, processes.count)
        with logging_to(run.log, console):
            if aside is not None:
                log.warning("moved the old run to %s", aside)
            go_on(console)


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
    processes: Processes = ALONE
    stop: StopSignal = field(init=False)

    def __post_init__(self) -> None:
        self.stop = StopSignal(self.processes)

    def guard(self, work: Callable[[], None]) -> None:
        """Does the work and records how it ended."""
        with self.stop.listening():  # the launcher's signal must not cut the record of a failure
            self._guard(work)

    def _guard(self, work: Callable[[], None]) -> None:
        try:
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
            process, first = first_ending(problem)
            if process != self.processes.index:
                problem = f"process {process}: {first}"
            log.error("failed: %s", problem, exc_info=error)
            if self.processes.is_main:
                record_failure(self.run, problem)
            name = f"{self.config.agent} seed {self.config.seed}"
            raise RunFailed(f"{name} failed: {problem} (see {self.run.log})") from error

    def go_on(self, test: bool, again: Collection[str] = ()) -> None:
        """Trains if that has not ended, then plays what has no rows yet and what is asked again."""
        if self.processes.from_main(self.run.state) not in ("trained", "complete"):
            self._train()
        elif self.agent.learns:
            self._load_trained()
        if test:
            self._test(again)

    def _train(self) -> None:
        run, main = self.run, self.processes.is_main
        if main:
            run.update_manifest("running")
        steps = 0
        if self.agent.learns:
            with self._phase("train", "train", self.config.train.steps, "steps") as progress:
                steps = train(
                    self.agent, self.config, run, progress, self.stop.check, self.processes
                )
        elif main:
            for rows, columns in ((run.metrics, METRIC_COLUMNS), (run.episodes, EPISODE_COLUMNS)):
                rows.clear()
                rows.append([columns])
        if main:
            run.update_manifest("trained", steps=steps)

    def _load_trained(self) -> None:
        checkpoint = self.processes.from_main(self.run.checkpoints.latest)
        if checkpoint is None:
            raise CheckpointError(f"{self.run.path} is trained but has no checkpoint")
        load_agent(self.agent, self.config, checkpoint)

    def _test(self, again: Collection[str]) -> None:
        """Rows are put in place a whole split at a time; earlier ones stay until then."""
        count = self.config.evaluation.episodes
        for name in dict.fromkeys((*self.config.evaluation.splits, *again)):
            done = partial(self.run.tested, name, count)
            if name not in again and self.processes.from_main(done):
                continue
            episodes = self._play(name, evaluation_seeds(count))
            self.processes.from_main(partial(self._write, name, episodes))
        self.processes.from_main(partial(self.run.update_manifest, "complete"))

    def _play(self, split: str, seeds: Sequence[int]) -> list[TestEpisode]:
        """Each process plays every so many of the episodes; returns all, in order."""
        mine = seeds[self.processes.index :: self.processes.count]
        played: list[TestEpisode] = []
        with self._phase(f"test {split}", "evaluate", len(mine), "episodes") as progress:

            def ended(done: int, episode: TestEpisode) -> None:
                progress.update(done, [episode.success])

            # A process that was stopped says so when the others have played theirs.
            with suppress(Interrupted) if self.processes.count > 1 else nullcontext():
                played = evaluate(
                    self.agent, split, self.config, ended, self.stop.check_alone, mine
                )
            shares = self.processes.gather(played)
            self.stop.check()
        found = {episode.seed: episode for share in shares for episode in share}
        return [found[seed] for seed in seeds]

    def _write(self, split: str, episodes: Sequence[TestEpisode]) -> None:
        rows = [episode.row(SPLITS[split]) for episode in episodes]
        header = replay_header(self.config.environment.n_actions)
        replays = [header, *replay_rows(self.agent, split, self.config, episodes)]
        self.run.write_evaluation(split, rows, replays)

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
                self._add_wall_seconds(phase, time.monotonic() - started)
            raise
        self._add_wall_seconds(phase, time.monotonic() - started)

    def _add_wall_seconds(self, phase: Literal["train", "evaluate"], seconds: float) -> None:
        if self.processes.is_main:
            self.run.add_wall_seconds(phase, seconds)
