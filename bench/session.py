"""One process's work on a run: train, test, record how it ended."""

from __future__ import annotations

import errno
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Literal

from rich.console import Console

from agents.base import Agent, AgentError
from bench.config import RunConfig
from bench.evaluate import EvaluationEpisode, evaluate
from bench.interruption import Interrupted, StopSignal
from bench.one_line_errors import in_one_line
from bench.processes import ALONE, Processes, first_ending, in_plain_words
from bench.progress import WINDOW, RunProgress
from bench.replays import replay_header, replay_rows
from bench.storage.checkpoint import CheckpointError
from bench.storage.parsing import RecordError
from bench.storage.row_file import EPISODE_COLUMNS, METRIC_COLUMNS
from bench.storage.run import RunDirectory, RunError, RunFailed
from bench.train import load_agent, train
from bench.validation import ConfigError, validated
from envs import SPLITS, evaluation_seeds

log = logging.getLogger("glam")

FRESH = "--force-new moves it aside and starts afresh"
EPISODES_A_PART = 200
"""Test episodes that are played before they are saved; a split of no more is saved when it ends."""
_EXPECTED = (AgentError, CheckpointError, ConfigError, OSError, RecordError, RunError)


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


@dataclass
class Session:
    """One process's work on a run.

    Attributes:
        agent: The agent, as it was built.
        config: The run.
        run: Where it is recorded; only the main process writes.
        console: Where progress is shown.
        processes: Those that share the work; all must do the same.
        stop: Whether a signal asked to stop.
    """

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
            problem = in_plain_words(in_one_line(problem))
            if os.strerror(errno.ENOSPC) in problem:
                problem = f"{problem}; free some on the disk of {self.run.path}, then run it again"
            if isinstance(error, CheckpointError):
                problem = f"{problem}; {FRESH}"
            process, first = first_ending(problem)
            if process != self.processes.index:
                problem = f"process {process}: {first}"
            log.error("failed: %s", problem, exc_info=error)
            if self.processes.is_main:
                record_failure(self.run, problem)
            name = f"{self.config.agent} seed {self.config.seed}"
            raise RunFailed(f"{name} failed: {problem} (see {self.run.log})") from error

    def go_on(self, test: bool) -> None:
        """Trains if that has not ended, then plays the splits that have no rows yet."""
        if self.processes.from_main(self.run.state) not in ("trained", "complete"):
            self._train()
        else:
            self._load_trained()
        if test:
            self._test(self.processes.from_main(self._untested))

    def test(self, splits: Sequence[str]) -> None:
        """Plays splits, anew those that have rows, with a run that has been trained."""
        self._load_trained()
        self._test(splits)

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
        if not self.agent.learns:
            return
        checkpoint = self.processes.from_main(self.run.checkpoints.latest)
        if checkpoint is None:
            raise CheckpointError(f"{self.run.path} is trained but has no checkpoint")
        load_agent(self.agent, self.config, checkpoint)

    def _test(self, splits: Sequence[str]) -> None:
        """Rows are put in place a whole split at a time; earlier ones stay until then."""
        for name in splits:
            episodes = self._play(name, evaluation_seeds(self.config.evaluation.episodes))
            self.processes.from_main(partial(self._write, name, episodes))
        self.processes.from_main(self._end_tests)

    def _untested(self) -> list[str]:
        asked = self.config.evaluation
        return [name for name in asked.splits if not self.run.tested(name, asked.episodes)]

    def _end_tests(self) -> None:
        if not self._untested():
            self.run.update_manifest("complete")

    def _play(self, split: str, seeds: Sequence[int]) -> list[EvaluationEpisode]:
        """Plays what an earlier session has not; returns all, in order."""
        found = self.processes.from_main(partial(self._kept, split, seeds))
        parts = [seeds[i : i + EPISODES_A_PART] for i in range(0, len(seeds), EPISODES_A_PART)]
        with self._phase(f"test {split}", "evaluate", len(seeds), "episodes") as progress:
            progress.resume_at(len(found))
            progress.update(len(found), [episode.success for episode in found.values()])
            for part in parts:
                if not found.keys() >= set(part):
                    played = self._play_part(split, part, len(found), progress)
                    found |= {episode.seed: episode for episode in played}
                    if part is not parts[-1]:
                        rows = [asdict(episode) for episode in found.values()]
                        self.processes.from_main(partial(self.run.keep_part, split, rows))
        return [found[seed] for seed in seeds]

    def _kept(self, split: str, seeds: Sequence[int]) -> dict[int, EvaluationEpisode]:
        """What an earlier session has played of these, with the same code."""
        try:
            kept = [validated(EvaluationEpisode, each) for each in self.run.tested_parts(split)]
        except (ConfigError, ValueError) as error:
            log.warning("%s: what was played before cannot be read (%s)", split, error)
            return {}
        return {episode.seed: episode for episode in kept if episode.seed in set(seeds)}

    def _play_part(
        self, split: str, seeds: Sequence[int], before: int, progress: RunProgress
    ) -> list[EvaluationEpisode]:
        """Each process plays every so many of the episodes; returns all."""
        mine = seeds[self.processes.index :: self.processes.count]
        played: list[EvaluationEpisode] = []

        def ended(done: int, episode: EvaluationEpisode) -> None:
            progress.update(before + done * self.processes.count, [episode.success])

        # A process that was stopped says so when the others have played theirs.
        with suppress(Interrupted) if self.processes.count > 1 else nullcontext():
            played = evaluate(self.agent, split, self.config, ended, self.stop.check_alone, mine)
        shares = self.processes.gather(played)
        self.stop.check()
        return [episode for share in shares for episode in share]

    def _write(self, split: str, episodes: Sequence[EvaluationEpisode]) -> None:
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
            window = WINDOW if phase == "train" else None
            with RunProgress(title, total, unit, self.console, window) as progress:
                yield progress
        except BaseException:
            with suppress(OSError):  # a full disk must not hide what went wrong
                self._add_wall_seconds(phase, time.monotonic() - started)
            raise
        self._add_wall_seconds(phase, time.monotonic() - started)

    def _add_wall_seconds(self, phase: Literal["train", "evaluate"], seconds: float) -> None:
        if self.processes.is_main:
            self.run.add_wall_seconds(phase, seconds)
