"""Many runs side by side, each in a process of its own; one that fails does not stop the others."""

from __future__ import annotations

import json
import shlex
import shutil
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from rich.console import Console
from rich.live import Live

from agents.base import AgentError
from agents.registry import find
from bench.config import RunConfig
from bench.interruption import Interrupted, StopSignal
from bench.launching.executors import (
    TRAIN,
    Ending,
    Executor,
    Job,
    LocalExecutor,
    PlannedRun,
    is_launched,
)
from bench.launching.run_status import RunStatus, running_status, status_table, steps_taken
from bench.one_line_errors import RUN_FAILED, USER_ERROR
from bench.profile import agent_of
from bench.session import record_failure
from bench.storage.mismatch import mismatch_before_loading
from bench.storage.run import RunDirectory, RunError
from bench.validation import ConfigError

_POLL_SECONDS = 0.2
_LINE_SECONDS = 30.0


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        planned: The run.
        name: Its agent, seed and point of a grid.
        error: What went wrong, in one line; None if it is complete.
    """

    planned: PlannedRun
    name: str
    error: str | None = None


Command = Callable[[RunConfig], tuple[str, ...]]


def train_command(
    profile: str,
    overrides: Sequence[str],
    out: Path,
    *,
    force_new: bool = False,
    launch: str | None = None,
) -> Command:
    """The command line of each run's process: ``python -m bench train ...``.

    Args:
        profile: The profile as the user named it.
        overrides: The user's ``key=value`` pairs.
        out: Where all profiles' runs are kept.
        force_new: Whether what is there is moved aside.
        launch: What starts Python modules in place of ``python``, such as ``accelerate launch``.

    Returns:
        Gives the arguments for a run.
    """
    train = TRAIN if launch is None else (*_launcher(launch), "-m", "bench", "train")

    def command(config: RunConfig) -> tuple[str, ...]:
        # other agents' options are not this run's, nor are labels that it does not know
        mine = (None, config.agent)
        pairs = [
            pair
            for pair in overrides
            if (key := pair.partition("=")[0]) != "seeds" and agent_of(key) in mine
        ]
        if config.entry != config.agent:  # a label; it may not be in the profile's file
            pairs.append(f"agents.{config.agent}.agent={json.dumps(config.entry)}")
        sets = [part for pair in pairs for part in ("--set", pair)]
        run = ["--profile", profile, "--agent", config.agent, "--seed", str(config.seed)]
        fresh = ["--force-new"] if force_new else []
        return (*train, *run, "--out", str(out), *sets, *fresh)

    return command


def _launcher(launch: str) -> tuple[str, ...]:
    try:
        parts = tuple(shlex.split(launch))
    except ValueError as error:
        raise ConfigError(f"--launch {launch}: {error}") from error
    if not parts or shutil.which(parts[0]) is None:
        raise ConfigError(f"--launch {launch}: there is no such command")
    return parts


def reproduce(
    runs: Sequence[PlannedRun],
    console: Console,
    *,
    jobs: int,
    executor: Executor | None = None,
    force_new: bool = False,
) -> list[Outcome]:
    """Trains and evaluates runs, skipping those that are complete.

    Args:
        runs: The runs, all validated.
        console: A terminal gets a live table, anything else plain lines.
        jobs: Number of processes side by side.
        executor: Starts them; by default on this machine.
        force_new: Whether what is there is moved aside, unless it is the run, complete.

    Returns:
        How each of the runs ended, in their order.

    Raises:
        RunError: If a directory holds another run than the one asked for; nothing is started.
        Interrupted: If a signal came; every process of this machine was told, and has saved its
            state. Jobs in a queue go on; the same call finds them again.
    """
    executor = executor or LocalExecutor()
    statuses: dict[str, RunStatus] = {}
    waiting: deque[PlannedRun] = deque()
    children: list[_Child] = []
    replaced: dict[Path, int] = {}
    for planned in runs:
        run, config = planned.run, planned.config
        other = mismatch_before_loading(run, config)
        if other is not None and not force_new:
            raise RunError(f"{other}; --force-new moves it aside and starts afresh")
        complete = other is None and run.state() == "complete"
        status = RunStatus(config, "waiting", point=planned.point)
        if complete or not force_new:
            status = replace(running_status(run, config), phase="waiting", point=planned.point)
        elif run.path.exists():
            replaced[run.path] = run.path.stat().st_ino
        if complete:
            status = replace(status, phase="skipped")
            console.print(f"{status.name}: already complete", highlight=False, soft_wrap=True)
        elif (job := executor.attached(planned)) is not None:
            # What is there may be its own, if it has begun.
            inode = None if other is None else replaced[run.path]
            children.append(_Child(planned, run, job, inode))
            _say(console, f"{status.name}: found again, {job.title}, log {run.log}")
        else:
            waiting.append(planned)
        statuses[status.name] = status
    planned_runs = dict(zip(statuses, runs, strict=True))
    pool = _Pool(executor, console, jobs, statuses, waiting, children, replaced)
    errors = pool.to_the_end()
    return [Outcome(planned, name, errors.get(name)) for name, planned in planned_runs.items()]


@dataclass
class _Child:
    """A run whose process was started.

    Attributes:
        planned: The run.
        run: Its directory.
        job: Its process.
        replaced: The directory of another run, which the process will move aside: its inode. None
            if there was none.
        begun: Whether the process works.
        started: When it began to.
        started_at: Steps that had been taken then.
    """

    planned: PlannedRun
    run: RunDirectory
    job: Job
    replaced: int | None
    begun: bool = field(init=False)
    started: float = field(init=False)
    started_at: int = field(init=False)

    def __post_init__(self) -> None:
        self._look()

    def _look(self) -> None:
        self.begun, self.started = self.job.begun(), time.monotonic()
        self.started_at = 0 if self.is_another() else steps_taken(self.run)

    def is_another(self) -> bool:
        """Whether what is in the directory is still the run that will be moved aside."""
        if self.replaced is None:
            return False
        try:
            return self.run.path.stat().st_ino == self.replaced
        except FileNotFoundError:
            return False

    def status(self) -> RunStatus:
        config, point = self.planned.config, self.planned.point
        if self.begun != self.job.begun():  # its turn has come, or it was put back
            self._look()
        if self.is_another():
            return RunStatus(config, "starting" if self.begun else "queued", point=point)
        seconds = time.monotonic() - self.started
        status = running_status(self.run, config, seconds, self.started_at)
        status = replace(status, point=point)
        return status if self.begun else replace(status, phase="queued")

    def error(self, ending: Ending) -> str | None:
        """What went wrong, once the process has ended."""
        launched = is_launched(self.planned.command)
        another = self.is_another()
        manifest = {} if another else self.run.manifest() or {}
        if ending.code == 0 and not (launched and manifest.get("state") != "complete"):
            return None
        printed = ending.printed
        said = [line for line in printed.splitlines() if line.startswith("glam: ")]
        last = said[-1].removeprefix("glam: ") if said else ""
        problem = ending.fate
        if ending.code == 0:
            problem = "its launcher has ended and it is not complete; --launch must wait for it"
        elif last and (launched or ending.code == USER_ERROR):  # launchers have codes of their own
            problem = last
        elif (launched or (last and ending.code == RUN_FAILED)) and manifest.get("error"):
            return str(manifest["error"])  # it said so itself; else the error is of an earlier try
        if another:
            return problem
        # The disk is full, another process has the run, or the agent's file is being edited.
        with suppress(OSError, RunError, AgentError, ConfigError):
            self._record(problem, printed)
        return problem

    def _record(self, problem: str, printed: str) -> None:
        """A process that could not say how it ended is spoken for: tables show what is recorded."""
        config = self.planned.config
        with self.run.lock():
            if self.run.manifest() is None:
                learns = find(config.entry).load().learns
                self.run.create(config, {"label": config.agent}, learns)
            if self.run.state() not in ("trained", "complete"):
                record_failure(self.run, problem)
            with self.run.log.open("a", encoding="utf-8") as log:
                log.write(f"{printed}\n{problem}\n")


@dataclass
class _Pool:
    """The processes of a ``reproduce``."""

    executor: Executor
    console: Console
    jobs: int
    statuses: dict[str, RunStatus]
    waiting: deque[PlannedRun]
    children: list[_Child]
    replaced: dict[Path, int]
    errors: dict[str, str | None] = field(default_factory=dict)
    stop: StopSignal = field(default_factory=StopSignal)
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)
    last_line: float = field(default_factory=time.monotonic)

    def to_the_end(self) -> dict[str, str | None]:
        """Runs everything; gives what went wrong, or None, by the name of each that was run."""
        live = Live(console=self.console, auto_refresh=False)
        with self.folder, self.stop.listening():
            try:
                if self.console.is_terminal:
                    live.start()
                while self.waiting or self.children:
                    self.stop.check()
                    self._start()
                    self._show(live)
                    time.sleep(_POLL_SECONDS)
                    self._collect()
                self._show(live)
            except Interrupted as interruption:
                self._tell_all(interruption.exit_code - 128)
                raise
            finally:
                live.stop()
        return self.errors

    def _start(self) -> None:
        free = max(self.jobs - len(self.children), 0)
        starting = [self.waiting.popleft() for _ in range(min(free, len(self.waiting)))]
        if not starting:
            return
        begun = self.executor.start(starting, Path(self.folder.name))
        for planned, job in zip(starting, begun, strict=True):
            run = planned.run
            child = _Child(planned, run, job, self.replaced.get(run.path))
            self.children.append(child)
            self._say(f"{child.status().name}: started, {job.title}, log {child.run.log}")

    def _collect(self) -> None:
        for child in list(self.children):
            ending = child.job.ending()
            status = child.status()
            if ending is not None:
                self.children.remove(child)
                error = self.errors[status.name] = child.error(ending)
                status = replace(status, phase="complete" if error is None else "failed")
                self._say(f"{status.line()}{'' if error is None else f': {error}'}")
            self.statuses[status.name] = status

    def _show(self, live: Live) -> None:
        if self.console.is_terminal:
            live.update(status_table(self.statuses.values()), refresh=True)
        elif time.monotonic() - self.last_line >= _LINE_SECONDS:
            self.last_line = time.monotonic()
            for child in self.children:
                self._say(child.status().line())

    def _tell_all(self, number: int) -> None:
        """Hands a signal on and waits until every run has saved its state."""
        staying = [child.job.title for child in self.children if child.job.stays]
        if staying:
            self._say(f"in the queue, and staying there: {', '.join(staying)}; scancel ends them")
        if len(staying) < len(self.children):
            self._say("stopping: every run finishes its update and saves its state")
        for child in self.children:
            child.job.stop(number)
        for child in self.children:
            child.job.wait()

    def _say(self, line: str) -> None:
        _say(self.console, line)


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False, soft_wrap=True)
