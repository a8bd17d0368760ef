"""Runs as jobs of a queue, through submitit: submitted, requeued when their time is over."""

from __future__ import annotations

import io
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import redirect_stderr, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.registry import absolute
from bench.config import RunConfig, config_hash
from bench.launching.executors import (
    Ending,
    Job,
    PlannedRun,
    ending_of,
    parent_variable,
    read_printed,
    wait_for_launched,
)
from bench.launching.slurm_options import NO_SUBMITIT
from bench.storage import atomic
from bench.storage.run import RunDirectory, RunError
from bench.validation import ConfigError

if TYPE_CHECKING:
    import submitit

_STOPPED = 128 + signal.SIGTERM  # the training was told to stop, and saved everything
_MOST_REQUEUES = 1000
_GRACE_SECONDS = 60.0


class SubmititExecutor:
    """Jobs of submitit: in SLURM's queue, or like there but on this machine, to try it out."""

    def __init__(self, cluster: str, options: Mapping[str, Any], side_by_side: int | None) -> None:
        """Looks whether submitit and the queue are there.

        Args:
            cluster: ``slurm`` or ``local``, as submitit names them.
            options: Parameters of submitit's executor, from :mod:`bench.launching.slurm_options`.
            side_by_side: Jobs of an array that may run at the same time; None: as many as fit.

        Raises:
            ConfigError: If one of them is not.
        """
        try:
            import submitit  # noqa: F401
        except ImportError as error:
            raise ConfigError(NO_SUBMITIT) from error
        if cluster == "slurm" and (shutil.which("sbatch") is None or shutil.which("srun") is None):
            raise ConfigError(
                "--executor slurm: there is no sbatch on this machine; run it on a login node of "
                "the cluster, or try it here with --executor submitit-local"
            )
        self._cluster = cluster
        self._options = dict(options)
        if side_by_side is not None and cluster == "slurm":
            self._options["array_parallelism"] = side_by_side

    def attached(self, planned: PlannedRun) -> Job | None:
        """The run's job, if SLURM still knows it as waiting or running.

        Raises:
            RunError: If SLURM does not say, or if the job was submitted with other settings.
        """
        place = _Place.of(planned.run)
        if self._cluster != "slurm" or not place.id.exists() or place.exit.exists():
            return None
        import submitit

        number, _, submitted = place.id.read_text().strip().partition(" ")
        job: submitit.Job[int] = submitit.SlurmJob(place.folder, number)
        state = job.watcher.get_state(job.job_id, mode="force")
        if state == "UNKNOWN":
            raise RunError(
                f"sacct does not know whether job {job.job_id} of {planned.run.path} goes on; "
                f"if it does not, delete {place.id}"
            )
        if job.done():
            return None
        if submitted and submitted != _settings_hash(planned.config):  # nothing else may tell yet
            raise RunError(
                f"job {job.job_id} of {planned.run.path} was submitted with other settings; "
                f"`scancel {job.job_id}` ends it"
            )
        return _Submission(job, place, stays=True)

    def start(self, planned: Sequence[PlannedRun], folder: Path) -> list[Job]:
        """Submits all of them, to SLURM as job arrays: one for each directory and thread count."""
        alike: dict[tuple[Path, int], list[PlannedRun]] = {}
        for each in planned:
            alike.setdefault((each.out, each.config.threads), []).append(each)
        jobs: dict[int, Job] = {}
        for (_, threads), group in alike.items():
            for each, job in zip(group, self._submit(group, threads), strict=True):
                jobs[id(each)] = job
        return [jobs[id(each)] for each in planned]

    def _submit(self, planned: Sequence[PlannedRun], threads: int) -> list[Job]:
        import submitit
        from submitit.core.utils import FailedJobError, FailedSubmissionError, environment_variables

        places = [_Place.of(each.run) for each in planned]
        folder = places[0].folder
        folder.mkdir(parents=True, exist_ok=True)
        for place in places:
            for path in (place.id, place.begun, place.exit, place.printed):
                path.unlink(missing_ok=True)
        python = f"{shlex.quote(sys.executable)} -P"
        executor: submitit.SlurmExecutor | submitit.LocalExecutor
        if self._cluster == "slurm":
            executor = submitit.SlurmExecutor(folder, _MOST_REQUEUES, python=python)
            given = {"cpus_per_task": threads, **self._options}
            given.setdefault("job_name", f"glam-{planned[0].config.profile}")
            executor.update_parameters(**given)
        else:
            executor = submitit.LocalExecutor(folder, _MOST_REQUEUES, python=python)
            executor.update_parameters(
                timeout_min=self._options["time"], signal_delay_s=self._options["signal_delay_s"]
            )
        calls = [
            SubmittedRun(each.command, each.environment(), place, each.run.lock_path)
            for each, place in zip(planned, places, strict=True)
        ]
        try:
            roots = planned[0].environment()["PYTHONPATH"]
            with environment_variables(PYTHONPATH=roots), redirect_stderr(io.StringIO()):
                submitted = executor.submit_array(calls)
        except (FailedJobError, FailedSubmissionError) as error:  # of sbatch itself
            said = " ".join(str(error).split())
            raise RunError(f"the jobs were refused: {said}; change --slurm KEY=VALUE") from error
        for job, place, each in zip(submitted, places, planned, strict=True):
            atomic.write_text(place.id, f"{job.job_id} {_settings_hash(each.config)}")
        stays = self._cluster == "slurm"
        return [_Submission(j, p, stays=stays) for j, p in zip(submitted, places, strict=True)]


def is_submitted(run: RunDirectory) -> bool:
    """Whether a run is a job that waits or works, as far as its files tell."""
    place = _Place.of(run)
    return place.id.exists() and not place.exit.exists()


def is_queued(run: RunDirectory) -> bool:
    """Whether a run is a job that waits for its turn, as far as its files tell."""
    return is_submitted(run) and not _Place.of(run).begun.exists()


def _settings_hash(config: RunConfig) -> str:
    """`config_hash`, whichever way the path of an agent's file is written."""
    return config_hash(replace(config, entry=absolute(config.entry)))


@dataclass(frozen=True)
class _Place:
    """Where a run's job is kept; only what submitit's own process reads there is pickled data.

    Attributes:
        folder: submitit's folder.
        name: What the files of a run begin with.
    """

    folder: Path
    name: str

    @classmethod
    def of(cls, run: RunDirectory) -> _Place:
        seed = run.path.resolve()
        agent, profile = seed.parent, seed.parent.parent
        return cls(profile.parent / ".jobs", f"{profile.name}-{agent.name}-{seed.name}")

    @property
    def id(self) -> Path:
        """The job's number, a space, and the hash of the config that it was submitted with."""
        return self.folder / f"{self.name}.id"

    @property
    def begun(self) -> Path:
        return self.folder / f"{self.name}.begun"

    @property
    def exit(self) -> Path:
        return self.folder / f"{self.name}.exit"

    @property
    def printed(self) -> Path:
        return self.folder / f"{self.name}.err"


class _Submission:
    def __init__(self, job: submitit.Job[int], place: _Place, *, stays: bool) -> None:
        self._job, self._place, self.stays = job, place, stays
        self.title = f"job {job.job_id}"

    def begun(self) -> bool:
        return self._place.begun.exists()

    def ending(self) -> Ending | None:
        if not self._job.done():
            return None
        if self._place.exit.exists():
            return ending_of(int(self._place.exit.read_text()), self._place.printed)
        self._place.id.unlink(missing_ok=True)
        fate = f"{self.title} ended as {self._job.state}; see {self._job.paths.stderr}"
        return Ending(None, read_printed(self._place.printed), fate)

    def stop(self, number: int) -> None:
        if not self.stays:  # its controller hands SIGTERM on to the training
            with suppress(ProcessLookupError):
                os.kill(int(self._job.job_id), signal.SIGTERM)

    def wait(self) -> None:
        while not self.stays and not self._job.done():
            time.sleep(0.1)


class SubmittedRun:
    """What a job of submitit calls: the training, in a process of its own.

    When submitit is told that the job's time is over or that others need the machine, it calls
    :meth:`checkpoint` and puts the job back into the queue, where the same command goes on.
    """

    def __init__(
        self,
        command: Sequence[str],
        environment: Mapping[str, str],
        place: _Place,
        lock_path: Path,
    ) -> None:
        """Keeps what is needed to start it.

        Args:
            command: Arguments of the process.
            environment: Variables beside those of the job.
            place: Where its exit code is kept.
            lock_path: The run's lock.
        """
        self._lock_path = lock_path
        self._command, self._environment, self._place = tuple(command), dict(environment), place
        self._directory = os.getcwd()
        self._pid = 0

    def __call__(self) -> int:
        """Trains; gives the exit code."""
        with self._place.printed.open("wb") as printed:
            process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=printed,
                cwd=self._directory,
                env={**os.environ, **self._environment, **parent_variable(self._command)},
                preexec_fn=_ignore_user_signals,
            )
        self._pid = process.pid
        self._place.begun.touch()
        signal.signal(signal.SIGTERM, lambda *_: self._tell())
        self._wait()
        code = process.wait()
        if code == _STOPPED and os.environ.get("SUBMITIT_EXECUTOR") == "slurm":
            time.sleep(_GRACE_SECONDS)  # SIGTERM to all: the queue's own signal may follow
        atomic.write_text(self._place.exit, str(code))
        return code

    def checkpoint(self) -> Any:
        """Lets the training save its state; gives the call that resumes it."""
        from submitit.helpers import DelayedSubmission

        if self._pid:
            self._tell()
            self._wait()
            # What is there now is this run.
            self._command = tuple(part for part in self._command if part != "--force-new")
        self._pid = 0
        self._place.begun.unlink(missing_ok=True)
        return DelayedSubmission(self)

    def _tell(self) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGTERM)

    def _wait(self) -> None:
        # Popen.wait() holds a lock, and checkpoint() is called while it waits
        with suppress(ChildProcessError):
            os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOWAIT)
        wait_for_launched(self._command, self._lock_path)


def _ignore_user_signals() -> None:
    """SLURM sends its warning to every process of a job; it is meant for submitit's."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
