"""Many runs side by side, each in a process of its own; one that fails does not stop the others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live

from agents.registry import find
from bench import provenance
from bench.config import RunConfig
from bench.interruption import PARENT_VARIABLE, Interrupted, StopSignal
from bench.lifecycle import record_failure
from bench.run import RunDirectory, RunError
from bench.run_status import RunStatus, running_status, status_table, steps_taken

_POLL_SECONDS = 0.2
_LINE_SECONDS = 30.0
_USER_ERROR = 2


@dataclass(frozen=True)
class Outcome:
    """How one run ended.

    Attributes:
        config: The run.
        error: What went wrong, in one line; None if it is complete.
    """

    config: RunConfig
    error: str | None = None


Command = Callable[[RunConfig], list[str]]


def train_command(
    profile: str, overrides: Sequence[str], out: Path, *, force_new: bool = False
) -> Command:
    """The command line of each run's process: ``python -m bench train ...``.

    Args:
        profile: The profile as the user named it.
        overrides: The user's ``key=value`` pairs.
        out: Where all profiles' runs are kept.
        force_new: Whether what is there is moved aside.

    Returns:
        Gives the arguments for a run.
    """

    def command(config: RunConfig) -> list[str]:
        pairs = list(overrides)
        if config.entry != config.agent:  # a label; it may not be in the profile's file
            pairs.append(f"agents.{config.agent}.agent={json.dumps(config.entry)}")
        sets = [part for pair in pairs for part in ("--set", pair)]
        # -P: a directory called bench where the user stands must not be taken for this one
        python = [sys.executable, "-P", "-m", "bench", "train"]
        run = ["--profile", profile, "--agent", config.agent, "--seed", str(config.seed)]
        return [*python, *run, "--out", str(out), *sets, *(["--force-new"] if force_new else [])]

    return command


def reproduce(
    runs: Sequence[RunConfig],
    command: Command,
    out: Path,
    console: Console,
    *,
    jobs: int,
    force_new: bool = False,
) -> list[Outcome]:
    """Trains and evaluates runs, skipping those that are complete.

    Args:
        runs: The runs, all validated.
        command: Arguments of the process for a run.
        out: Where all profiles' runs are kept.
        console: A terminal gets a live table, anything else plain lines.
        jobs: Number of processes side by side.
        force_new: Whether a run that cannot be gone on with is moved aside.

    Returns:
        How each of the runs ended, in their order.

    Raises:
        RunError: If a directory holds another run than the one asked for; nothing is started.
        Interrupted: If a signal came; every process was told, and has saved its state.
    """
    statuses: dict[str, RunStatus] = {}
    waiting: deque[RunConfig] = deque()
    for config in runs:
        run = RunDirectory.of(out, config)
        obstacle = run.obstacle(config)
        if obstacle is not None and not force_new:
            raise RunError(f"{obstacle}; --force-new moves it aside and starts afresh")
        status = RunStatus(config, "waiting")
        if obstacle is None and run.state() == "complete":
            status = RunStatus(config, "skipped")
            console.print(f"{status.name}: already complete", highlight=False)
        else:
            waiting.append(config)
        statuses[status.name] = status
    return _Pool(command, out, console, jobs, statuses, waiting).to_the_end()


@dataclass
class _Child:
    """A run's process."""

    config: RunConfig
    run: RunDirectory
    process: subprocess.Popen[bytes]
    printed: Path
    started: float
    started_at: int

    def status(self) -> RunStatus:
        seconds = time.monotonic() - self.started
        return running_status(self.run, self.config, seconds, self.started_at)

    def error(self) -> str | None:
        """What went wrong, once the process has ended."""
        code = self.process.returncode
        if code == 0:
            return None
        printed = self.printed.read_text(encoding="utf-8", errors="replace").strip()
        last = printed.splitlines()[-1].removeprefix("glam: ") if printed else ""
        manifest = self.run.manifest() or {}
        if code == _USER_ERROR:
            ending = last
        elif manifest.get("state") == "failed" and manifest["error"]:
            return str(manifest["error"])
        else:
            ending = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
        with suppress(OSError, RunError):  # the disk is full, or another process has the run
            self._record(ending, printed)
        return ending

    def _record(self, ending: str, printed: str) -> None:
        """A process that could not say how it ended is spoken for: tables show what is recorded."""
        with self.run.lock():
            if self.run.manifest() is None:
                learns = find(self.config.entry).load().learns
                self.run.create(self.config, {"label": self.config.agent}, learns)
            if self.run.state() not in ("trained", "complete"):
                record_failure(self.run, ending)
            with self.run.log.open("a", encoding="utf-8") as log:
                log.write(f"{printed}\n{ending}\n")


@dataclass
class _Pool:
    """The processes of a ``reproduce``."""

    command: Command
    out: Path
    console: Console
    jobs: int
    statuses: dict[str, RunStatus]
    waiting: deque[RunConfig]
    children: list[_Child] = field(default_factory=list)
    errors: dict[str, str | None] = field(default_factory=dict)
    stop: StopSignal = field(default_factory=StopSignal)
    folder: tempfile.TemporaryDirectory[str] = field(default_factory=tempfile.TemporaryDirectory)
    last_line: float = field(default_factory=time.monotonic)

    def to_the_end(self) -> list[Outcome]:
        live = Live(console=self.console, auto_refresh=False)
        with self.folder, self.stop.listening():
            try:
                if self.console.is_terminal:
                    live.start()
                while self.waiting or self.children:
                    self.stop.check()
                    while self.waiting and len(self.children) < self.jobs:
                        self._start(self.waiting.popleft())
                    time.sleep(_POLL_SECONDS)
                    self._collect()
                    self._show(live)
            except Interrupted as interruption:
                self._tell_all(interruption.exit_code - 128)
                raise
            finally:
                live.stop()
        return [
            Outcome(status.config, self.errors.get(name)) for name, status in self.statuses.items()
        ]

    def _start(self, config: RunConfig) -> None:
        threads = str(config.threads)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "PYTHONPATH": os.pathsep.join(
                [str(provenance.ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
            ),
            PARENT_VARIABLE: str(os.getpid()),
        }
        run = RunDirectory.of(self.out, config)
        printed = Path(self.folder.name) / f"{config.agent}-{config.seed}"
        with printed.open("wb") as output:
            process = subprocess.Popen(
                self.command(config),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=output,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches it through us, once
            )
        child = _Child(config, run, process, printed, time.monotonic(), steps_taken(run))
        self.children.append(child)
        name = f"{config.agent} seed {config.seed}"
        self._say(f"{name}: started, process {process.pid}, log {run.log}")

    def _collect(self) -> None:
        for child in list(self.children):
            status = child.status()
            if child.process.poll() is not None:
                self.children.remove(child)
                error = self.errors[status.name] = child.error()
                phase = "complete" if error is None else "failed"
                status = RunStatus(child.config, phase, status.steps, status.success)
                self._say(f"{status.line()}{'' if error is None else f': {error}'}")
            self.statuses[status.name] = status

    def _show(self, live: Live) -> None:
        if self.console.is_terminal:
            live.update(status_table(self.statuses.values()), refresh=True)
        elif time.monotonic() - self.last_line >= _LINE_SECONDS:
            self.last_line = time.monotonic()
            for child in self.children:
                self._say(self.statuses[f"{child.config.agent} seed {child.config.seed}"].line())

    def _tell_all(self, number: int) -> None:
        """Hands a signal on and waits until every run has saved its state."""
        self._say("stopping: every run finishes its update and saves its state")
        for child in self.children:
            child.process.send_signal(number)
        for child in self.children:
            child.process.wait()

    def _say(self, line: str) -> None:
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)
