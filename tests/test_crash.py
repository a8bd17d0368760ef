"""A run ended at any of its file operations, by a kill or a full disk, ends with the same bytes."""

import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from run_files import quiet, result_bytes, run_in_process, small_config

from bench.lifecycle import perform
from bench.storage.run import RunDirectory, RunFailed

WRITES = os.O_WRONLY | os.O_RDWR
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


def in_a_child(work: Callable[[], None], out: Path, on_change: Callable[[int], None]) -> int:
    """Forks, does the work, and calls `on_change(n)` before its n-th change of a file under `out`.

    Returns:
        The child's exit code, or minus the signal that ended it.
    """
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple) -> None:
            nonlocal seen
            if event == "open":
                changes = isinstance(arguments[2], int) and arguments[2] & WRITES
            else:
                changes = event in CHANGES
            if changes and str(arguments[0]).startswith((str(out), "seed-", "steps-")):
                seen += 1
                on_change(seen)

        code = 1
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.addaudithook(hook)
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The bytes of a run that nothing disturbed, and how many changes to files it makes."""
    config = small_config()
    expected = result_bytes(run_in_process(config, tmp_path_factory.mktemp("whole")).path)
    out = tmp_path_factory.mktemp("counted")
    tally = out.with_name("tally")
    work = lambda: perform(config, out, quiet())  # noqa: E731
    assert in_a_child(work, out, lambda n: tally.write_text(str(n)) and None) == 0
    return config, expected, int(tally.read_text())


def left_over(run: RunDirectory) -> list[Path]:
    return [path for path in run.path.rglob("*") if "writing" in path.name]


@pytest.mark.parametrize("moment", range(8))
def test_a_kill_before_any_change_of_a_file_loses_nothing(whole, tmp_path, moment):
    config, expected, changes = whole
    last = random.Random(moment).randint(1 + moment * changes // 8, (moment + 1) * changes // 8)

    def kill(n):
        if n == last:
            os.kill(os.getpid(), signal.SIGKILL)

    assert in_a_child(lambda: perform(config, tmp_path, quiet()), tmp_path, kill) == -signal.SIGKILL
    run = run_in_process(config, tmp_path)
    assert result_bytes(run.path) == expected
    assert left_over(run) == []


@pytest.mark.parametrize("moment", range(4))
def test_a_disk_that_is_full_from_some_moment_on_loses_nothing(whole, tmp_path, moment):
    config, expected, changes = whole
    first = random.Random(moment).randint(2 + moment * changes // 4, (moment + 1) * changes // 4)

    def refuse(n):
        if n >= first:
            raise OSError(28, os.strerror(28))

    def work():
        try:
            perform(config, tmp_path, quiet())
        except RunFailed as error:
            assert "No space left on device; free some" in str(error)  # noqa: PT017
            os._exit(3)
        except OSError:  # before the run began
            os._exit(4)

    assert in_a_child(work, tmp_path, refuse) in (3, 4)
    assert result_bytes(run_in_process(config, tmp_path).path) == expected
